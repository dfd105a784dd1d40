"""With which power of the width must all learning rates fall? The largest that the theory allows.

The best learning rate depends on the task. But it cannot exceed what keeps the network stable. Under muP this bound does
not move with the width. So the optimum does not either (Tensor Programs V, arXiv 2203.03466). Under the standard
parametrization the bound falls, and takes the optimum along.
"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Regime

LARGEST, SMALLEST = Fraction(3), Fraction(-4)


def stable_rate(program: Program) -> Fraction | None:
    """Find the largest x such that all learning rates times n^x keep the program stable.

    x is a multiple of 1/4. None: the program is unstable at any rate, for instance at initialisation.
    """
    names = [parameter.name for parameter in program.parameters]
    power = LARGEST
    while power >= SMALLEST:
        given = Exponents(rate=dict.fromkeys(names, -power))
        if predict(program, exponents=given, remedy=False).regime is not Regime.UNSTABLE:
            return power
        power -= Fraction(1, 4)
    return None
