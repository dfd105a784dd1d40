"""Orders are an upper bound: no random program grows faster with the width than the reading says.

Each example is run at widths 32 and 512, with 15 seeds. The growth of a value is the slope of log(median over seeds of the
mean absolute entry). For a single Gaussian scalar the median of 15 draws of |N(0, 1)| has a logarithm of standard deviation
0.25. So a slope over a factor 16 in width has 0.25 * sqrt(2) / log(16) = 0.13. The tolerance 1/2 is four standard
deviations, for the worst case of a value without entries to average over. A reading that forgot the law of large numbers
(an error of 1/2 or more) is rejected. See the last test.
"""

import math
from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Contract, Law, Leaf, Operand
from tpdyn.program.program import Program
from tpdyn.readings.finite import run
from tpdyn.readings.orders.reading import read
from tpdyn.testing.perceptrons import WIDE
from tpdyn.testing.strategies import programs

WIDTHS = (32, 512)
SEEDS = 15
TOLERANCE = 0.5


def growth(program: Program) -> list[float | None]:
    """The measured exponent of each value; None where it is exactly zero."""
    sizes = np.zeros((len(WIDTHS), SEEDS, len(program)))
    for i, width in enumerate(WIDTHS):
        for seed in range(SEEDS):
            values = run(program, width, leaves={}, seed=seed, dtype=torch.float64)
            sizes[i, seed] = [float(value.abs().mean()) for value in values.values()]
    medians = np.median(sizes, axis=1)
    return [
        None if low == 0 or high == 0 else math.log(high / low) / math.log(WIDTHS[1] / WIDTHS[0])
        for low, high in medians.T
    ]


def too_fast(program: Program, orders: list[Fraction | None]) -> list[str]:
    return [
        f"{statement.name}: measured {measured:+.2f}, predicted at most {order}"
        for statement, measured, order in zip(program.statements, growth(program), orders, strict=True)
        if measured is not None and (order is None or measured > order + TOLERANCE)
    ]


@given(programs())
@settings(max_examples=12 if settings.default is not None and settings.default.max_examples == 25 else 40)
def test_no_value_of_a_random_program_grows_faster_than_its_order(program: Program) -> None:
    orders = [value.size for value in read(program).values]
    assert not too_fast(program, orders), program.show()


def test_a_reading_without_the_law_of_large_numbers_is_rejected() -> None:
    build = Builder()
    build.at(phase="forward")
    v = build.leaf(Leaf("parameter", "v", Law("normal", Scaling(()), Scaling.of(1))), (WIDE,))
    build.add(Contract((Operand(v, (0,)), Operand(v, (0,))), Scaling.of(1, -1)), (), name="mean square")
    program = build.build()
    assert not too_fast(program, [value.size for value in read(program).values])
    assert too_fast(program, [Fraction(0), Fraction(-3, 4)])
