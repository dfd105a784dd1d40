"""Are leaves drawn as the finite reading draws them, and operators' noise apart from everything else?"""

from __future__ import annotations

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.program.evaluation.leaves import draw
from tpdyn.program.instructions import Law, Leaf
from tpdyn.readings.sampled.noise import Independent

TWO = Scaling.of(2.0)
LAWS = [
    Law("zero"),
    Law("constant", TWO),
    Law("normal", TWO, TWO),
    Law("iid", TWO, TWO),
    Law("uniform", TWO, TWO),
    Law("bernoulli", Scaling.of(0.3)),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)
def test_a_vector_is_drawn_as_the_finite_reading_draws_it(law: Law) -> None:
    leaf = Leaf("parameter", "u", law)
    noise = Independent(5, 4, torch.ones((), dtype=torch.float64))
    assert torch.equal(noise.leaf(0, leaf, (3, 5), (1,)), draw(leaf, (3, 5), 5, torch.float64, 4))


def test_streams_are_independent_and_go_on() -> None:
    """Of two seeds, statements, axes and uses; a stream that is drawn from again goes on."""
    streams = [
        Independent(100, seed, torch.ones((), dtype=torch.float64)).draw(position, (axis,), (1000, 1000), number)
        for seed in (0, 1)
        for position in (1, 2)
        for axis in (0, 1)
        for number in (0, 1)
    ]
    draws = torch.cat([stream(1) for stream in streams] + [streams[0](1)])
    correlations = draws @ draws.T / 1000 - torch.eye(17, dtype=torch.float64)
    assert float(correlations.abs().max()) < 0.25  # five standard deviations of a variance are 0.22
