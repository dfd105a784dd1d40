"""Mirrors tpdyn/program/law.py: mean, standard deviation and draws of a law are those of its entries."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.program.law import Law

HALF = Scaling.of(0.5, "-1/2")
LAWS = {
    "zero": Law("zero"),
    "constant": Law("constant", Scaling.of(3, -1)),
    "normal": Law("normal", Scaling.of(1.0), HALF),
    "uniform": Law("uniform", Scaling.of(-0.25), HALF),
    "bernoulli": Law("bernoulli", Scaling.of(0.2)),
    "iid": Law("iid", Scaling.of(2.0), HALF),
    "orthogonal": Law("orthogonal", scale=HALF),
}
GIVEN = ("data", "index", "array")


def test_every_kind_is_drawn_or_given() -> None:
    kinds = get_args(Law.__dataclass_fields__["kind"].type) or (*LAWS, *GIVEN)
    assert set(kinds) == {*LAWS, *GIVEN}
    assert all(Law(kind).is_given == (kind in GIVEN) for kind in kinds)
    assert [kind for kind in kinds if Law(kind).is_number] == ["zero", "constant"]


@pytest.mark.parametrize("kind", LAWS)
def test_draws_have_the_mean_and_the_standard_deviation_of_the_law(kind: str) -> None:
    """40,000 entries: 5 standard errors of the mean, and of the standard deviation (relative, 1/sqrt(2N) at most 1.5 times)."""
    law, width = LAWS[kind], 9
    entries = law.draw((200, 200), width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    std = law.std.at(width)
    assert law.moments_at(width) == pytest.approx((law.mean.at(width), std))
    assert entries.shape == (200, 200) and entries.dtype == torch.float64
    assert float(entries.mean()) == pytest.approx(law.mean.at(width), abs=5 * std / 200 + 1e-12)
    assert float(entries.std()) == pytest.approx(std, rel=0.03, abs=1e-12)


def test_a_uniform_law_fills_its_interval_and_no_more() -> None:
    law = LAWS["uniform"]
    entries = law.draw((10_000,), 4, generator=torch.Generator().manual_seed(0))
    assert -0.5 <= float(entries.min()) < -0.499 and -0.001 < float(entries.max()) <= 0


@pytest.mark.parametrize("kind", LAWS)
def test_an_affine_function_of_a_draw_has_the_affine_law(kind: str) -> None:
    law = LAWS[kind].affine(-2.0, 0.5)
    assert law.mean.at(9) == pytest.approx(0.5 - 2 * LAWS[kind].mean.at(9))
    assert law.std.at(9) == pytest.approx(2 * LAWS[kind].std.at(9))
    assert law.kind == {"bernoulli": "iid", "orthogonal": "iid", "zero": "constant"}.get(kind, kind)
    assert LAWS[kind].affine(0.0).std.is_zero


@pytest.mark.parametrize("kind", GIVEN)
def test_what_is_given_has_neither_moments_nor_draws(kind: str) -> None:
    law = Law(kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{kind} is given"):
        _ = law.mean
    with pytest.raises(ValueError, match=f"{kind} is given"):
        _ = law.std
    with pytest.raises(ValueError, match="no law to draw it from"):
        law.draw((2,), 3)


def test_a_probability_that_depends_on_the_width_has_no_power_for_its_deviation() -> None:
    law = Law("bernoulli", Scaling.of(1, -1))
    with pytest.raises(ValueError, match="depends on the width"):
        _ = law.std
    assert law.moments_at(4) == pytest.approx((0.25, (0.25 * 0.75) ** 0.5))


@pytest.mark.parametrize("kind", ["zero", "constant", "normal", "iid", "uniform", "bernoulli"])
def test_a_number_is_drawn_as_a_tensor_without_axes(kind: str) -> None:
    law = Law(kind, Scaling.of(0.5), Scaling.of(1.0))  # type: ignore[arg-type]
    assert law.draw((), 5, generator=torch.Generator().manual_seed(0)).shape == ()


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (4, 3, 3)])
def test_an_orthogonal_matrix_has_orthogonal_rows_or_columns_of_one_length(shape: tuple[int, ...]) -> None:
    law = Law("orthogonal", scale=HALF)
    made = law.draw(shape, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert made.shape == shape
    flat = made.flatten(1)
    flat = flat if flat.shape[0] <= flat.shape[1] else flat.T
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat), dtype=torch.float64) * flat.shape[1] / 36)
    assert law.affine(-2.0) == Law("orthogonal", scale=HALF * Scaling.of(2.0))


def test_an_orthogonal_matrix_is_drawn_uniformly() -> None:
    """2,000 draws of 3 x 3: E tr = 0, E tr^2 = 1 and E tr^4 = 3 for Haar (O(3)), five standard errors; E w_11 = 0.

    A QR whose signs are not fixed has E w_11 < 0 (LAPACK's reflections).
    """
    generator = torch.Generator().manual_seed(0)
    law = Law("orthogonal", scale=Scaling.of(3**-0.5))
    draws = torch.stack([law.draw((3, 3), 1, generator=generator, dtype=torch.float64) for _ in range(2000)])
    trace = draws.diagonal(dim1=1, dim2=2).sum(1)
    for numbers, mean in ((draws[:, 0, 0], 0), (trace, 0), (trace**2, 1), (trace**4, 3)):
        assert abs(float(numbers.mean()) - mean) < 5 * float(numbers.std()) / 2000**0.5


def test_a_vector_is_no_orthogonal_matrix() -> None:
    with pytest.raises(ValueError, match=r"an orthogonal matrix of shape \(3,\); expected rows and columns"):
        Law("orthogonal", scale=HALF).draw((3,), 3)
