"""Are vectors of known lengths answered for consistently?

Their law is that of proofs_checks/test_norms_of_rows_have_the_law_of_dense_rows.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.sampled.gaussian import orthonormal
from tpdyn.readings.sampled.spheres import Spheres

F64 = torch.float64
N, COUNT = 90, 40


def normal(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def told(asked: str, seed: int = 0) -> tuple[Spheres, Tensor, Tensor, list[tuple[str, Tensor, Tensor]]]:
    """Vectors with some answers: c asks for a component, s for a sum. Also (their lengths, the directions, the answers)."""
    lengths = normal(COUNT).abs()
    spheres = Spheres(lengths, N, np.random.default_rng(seed))
    directions, answers = orthonormal(normal(len(asked), N, seed=1)), []
    for k, kind in enumerate(asked):
        u = normal(COUNT, seed=20 + k)
        length, along = spheres.total(u) if kind == "s" else (0.0, spheres.component())
        answers.append((kind, u, along))
        if kind == "s":
            assert float(u @ along) == pytest.approx(length, rel=1e-12)
    return spheres, lengths, directions, answers


def drawn(spheres: Spheres, directions: Tensor, answers: list[tuple[str, Tensor, Tensor]]) -> Tensor:
    generator = torch.Generator().manual_seed(3)

    def fresh(k: int) -> Tensor:
        new = torch.randn(k, N, generator=generator, dtype=F64)
        return new - (new @ directions.T) @ directions

    return spheres.whole(fresh) + sum(
        torch.outer(along, e) for (_, _, along), e in zip(answers, directions, strict=True)
    )


@pytest.mark.parametrize("asked", ["", "c", "s", "cscs", "sssccss", "csssssssc"])
def test_drawn_vectors_give_all_that_was_told(asked: str) -> None:
    """Their lengths, their components, and that a sum lies in the directions told when it was."""
    spheres, lengths, directions, answers = told(asked)
    whole = drawn(spheres, directions, answers)
    torch.testing.assert_close(whole.norm(dim=1), lengths, rtol=0, atol=1e-13)
    torch.testing.assert_close(
        whole @ directions.T, torch.stack([a for _, _, a in answers], 1) if asked else whole[:, :0]
    )
    for k, (kind, u, _) in enumerate(answers):
        if kind == "s":
            rest = u @ whole - (u @ whole @ directions[: k + 1].T) @ directions[: k + 1]
            assert float(rest.norm()) < 1e-12


def test_frames_stay_orthonormal_over_many_answers() -> None:
    spheres = told("cs" * 8)[0]
    for link in spheres.links:
        torch.testing.assert_close(
            link @ link.mT, torch.eye(8, dtype=F64).expand(*link.shape[:2], 8, 8), rtol=0, atol=1e-12
        )


def test_a_sum_over_one_vector_is_refused() -> None:
    spheres = Spheres(torch.ones(COUNT, dtype=F64), N, np.random.default_rng(0))
    with pytest.raises(OutsideTheory, match="a sum over few rows"):
        spheres.total(torch.eye(COUNT, dtype=F64)[3])


def test_few_vectors_or_dims_are_small() -> None:
    assert Spheres.is_small(1000, 20, 0)
    assert Spheres.is_small(20, 1000, 5)
    assert not Spheres.is_small(1000, 1000, 20)
    assert Spheres.is_small(1000, 1000, 200)
