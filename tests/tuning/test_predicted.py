"""Is the largest stable power of the learning rate that of the theory?"""

from fractions import Fraction
from typing import Literal

import pytest

import tpdyn
from tpdyn.claims import theorems
from tpdyn.testing.perceptrons import mlp_script
from tpdyn.tuning.predicted import stable_rate


@pytest.mark.parametrize(
    ("point", "optimizer", "power"),
    [
        (theorems.standard(2), "sgd", Fraction(-1)),
        (theorems.standard(2), "adam", Fraction(-3, 2)),  # the hidden layer's change must not move the large readout
        (theorems.neural_tangent(2), "sgd", Fraction(0)),
        (theorems.maximal_update(2), "sgd", Fraction(0)),
        (theorems.maximal_update_adam(2), "adam", Fraction(0)),
    ],
)
def test_the_largest_stable_rate_is_that_of_the_theorems(
    point: theorems.Abc, optimizer: Literal["sgd", "adam"], power: Fraction
) -> None:
    program = tpdyn.record(mlp_script(2, "tanh", optimizer, point=point), widths=(16, 24, 40), steps=3)
    assert stable_rate(program) == power
