"""With which power of the width must all learning rates fall? The largest that the theory allows.

Where the best learning rate lies depends on the task; that it cannot exceed what keeps the network stable does not. Under
muP that bound does not move, and neither, then, does the optimum (Tensor Programs V, arXiv 2203.03466); under the standard
parametrization it falls, and takes the optimum along.
"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Regime

LARGEST, SMALLEST = Fraction(3), Fraction(-4)


def stable_rate(program: Program) -> Fraction | None:
    """The largest x (a multiple of 1/4) such that all learning rates times n^x keep the program stable; None if it is
    unstable at any rate, as when it is unstable at initialisation."""
    names = [parameter.name for parameter in program.parameters]
    power = LARGEST
    while power >= SMALLEST:
        given = Exponents(rate=dict.fromkeys(names, -power))
        if predict(program, exponents=given, remedy=False).regime is not Regime.UNSTABLE:
            return power
        power -= Fraction(1, 4)
    return None
