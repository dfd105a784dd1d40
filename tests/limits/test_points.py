"""Do the points have the moments of the limit, and the laws of their leaves?"""

from __future__ import annotations

import math

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.limits.points import BLOCK, Points, Stream
from tpdyn.program.builder import Builder
from tpdyn.program.errors import ReadingError
from tpdyn.program.instructions import Law

ONE = torch.ones((), dtype=torch.float64)
n = Builder.n


def test_columns_have_the_first_two_moments_of_the_limit_exactly() -> None:
    stream = Stream("a", 512, ONE, independent=False)
    columns = torch.cat([stream(3), stream(1), stream(BLOCK)])
    torch.testing.assert_close(columns @ columns.T / 512, torch.eye(4 + BLOCK, dtype=torch.float64))
    assert float(columns.mean(1).abs().max()) < 1e-12


def test_single_columns_are_spread_evenly() -> None:
    """Each sixteenth of the law holds a sixteenth of the points to a few; independent ones would miss by 11."""
    column = torch.special.ndtr(Stream("a", 2048, ONE, independent=False)(1)[0])
    counts = torch.histc(column, 16, 0, 1)
    assert float((counts - 128).abs().max()) <= 6


def test_scrambles_differ_and_repeat() -> None:
    one, same, other = (Stream(key, 64, ONE, independent=False)(2) for key in ("a", "a", "b"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_more_directions_than_points_can_hold_are_refused() -> None:
    stream = Stream("a", 64, ONE, independent=False)
    stream(20)
    with pytest.raises(
        ReadingError,
        match=r"asks for 41 directions of a space of 64 points, which have room for 32\. Take more",
    ):
        stream(20)


def test_independent_spaces_keep_their_fluctuations() -> None:
    z = torch.cat([Stream(f"{k}", 64, ONE, independent=True)(2) for k in range(200)])
    assert float((z[::2] * z[1::2]).sum(1).std()) == pytest.approx(8, rel=0.25)


@pytest.mark.parametrize(
    ("law", "mean", "square"),
    [
        (Law("normal", Scaling.of(1.0), Scaling.of(2.0)), 1, 5),
        (Law("iid", Scaling(()), Scaling.of(2.0)), 0, 4),
        (Law("orthogonal", Scaling(()), Scaling.of(2.0)), 0, 4),
        (Law("uniform", Scaling.of(1.0), Scaling.of(3.0)), 1, 4),
        (Law("bernoulli", Scaling.of(0.25)), 0.25, 0.25),
        (Law("constant", Scaling.of(3.0)), 3, 9),
        (Law("zero"), 0, 0),
    ],
    ids=lambda law: getattr(law, "kind", ""),
)
def test_a_leaf_has_its_law(law: Law, mean: float, square: float) -> None:
    b = Builder()
    position = b.parameter("u", (3, n), law=law)
    program = b.build(widths=(16, 24))
    points = Points(Facts.of(program).spaces, 4096, ONE, 0)
    leaf = program.statements[position].instruction
    u = points.leaf(position, leaf, (3, 4096), (1,))  # type: ignore[arg-type]
    assert u.shape == (3, 4096)
    assert u.mean(1).tolist() == pytest.approx([mean] * 3, abs=1e-3)
    assert u.square().mean(1).tolist() == pytest.approx([square] * 3, abs=5e-3)


def test_two_matrices_share_the_points_of_their_common_space_and_take_different_columns() -> None:
    b = Builder()
    x = b.parameter("x", (n,))
    positions = [b.parameter(name, (n, n)) for name in "QK"]
    q, k = (b.matmul(position, x) for position in positions)
    b.einsum("n,n->", q, k)
    points = Points(Facts.of(b.build(widths=(16, 24))).spaces, 256, ONE, 0)
    q_rows, k_rows = (points.draw(position, (0,), (256, 256), 0)(1) for position in positions)
    assert abs(float((q_rows * k_rows).sum())) < 1e-9


def test_answers_without_a_wide_axis_vanish() -> None:
    b = Builder()
    v = b.parameter("v", (2, n))
    points = Points(Facts.of(b.build(widths=(16, 24))).spaces, 256, ONE, 0)
    assert torch.equal(points.draw(v, (0,), (2, 256), 0)(3), torch.zeros(3, 2, dtype=torch.float64))


NAMES = [f"told {number}" for number in range(10)]
"""Each names a scramble. A root mean square over ten is known to 22 %."""


def sums(count: int) -> torch.Tensor:
    rows = torch.randn(count, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return rows / rows.norm(dim=1)[:, None]


def root_mean_square(errors: list[torch.Tensor]) -> float:
    return float(torch.stack(errors).square().mean().sqrt())


def quantiles_miss(size: int) -> float:
    """By how much the mean of |z| over so many normal quantiles, scaled to variance 1, misses the limit's."""
    z = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size)
    return abs(float(z.abs().mean() / z.square().mean().sqrt()) - math.sqrt(2 / math.pi))


@pytest.mark.parametrize(("paired", "size"), [(False, 4096), (True, 2048)])
def test_sums_that_will_be_read_are_spread_evenly(paired: bool, size: int) -> None:
    """The mean of their size misses by what that of quantiles does (9e-5 and 1.7e-4).

    Untold they miss by 1.0e-3 and 1.8e-3; points without order would by `sqrt((1 - 2/pi) / size)`, 0.9e-2 and 1.3e-2.
    """

    def error(told: bool) -> float:
        streams = [Stream(name, 4096, ONE, independent=False, paired=paired) for name in NAMES]
        means = [(along @ stream(6, along if told else None)).abs().mean(1) for stream in streams]
        return root_mean_square([mean - math.sqrt(2 / math.pi) for mean in means])

    along = sums(2)
    assert error(told=True) < 2 * quantiles_miss(size) < 4 * quantiles_miss(size) < error(told=False)


def test_sums_of_the_second_call_are_even_beside_those_of_the_first() -> None:
    """The mean of |h b|, even in b so that pairs do not help, misses by 1.6e-3, untold by 7e-3. The bound is between them."""

    def error(told: bool) -> float:
        along, products = sums(1), []
        for name in NAMES:
            stream = Stream(name, 4096, ONE, independent=False, paired=True)
            h, b = (along @ stream(6, along if told else None) for _ in range(2))
            products.append((h * b).abs().mean(1) - 2 / math.pi)
        return root_mean_square(products)

    assert error(told=True) < 3.4e-3 < error(told=False)


def test_vectors_of_several_columns_are_even_position_by_position() -> None:
    b = Builder()
    w = b.parameter("w", (2, n, n))
    along, spaces = sums(1)[:, :2], Facts.of(b.build(widths=(16, 24))).spaces
    along = along / along.norm()
    points = Points(spaces, 4096, ONE, 0)
    vectors = points.draw(w, (0, 1), (2, 4096, 4096), 0)(2, along).reshape(2, 2, 4096)
    read = torch.einsum("k,kpn->pn", along[0], vectors)
    assert float((read.abs().mean(1) - math.sqrt(2 / math.pi)).abs().max()) < 3 * quantiles_miss(4096)


def test_pairs_cancel_what_is_odd_in_later_columns() -> None:
    stream = Stream("a", 256, ONE, independent=False, paired=True)
    h, b, c = stream(2), stream(3), stream(1)
    odd = torch.stack([(torch.exp(h[0]) * b[1].pow(3)).mean(), (torch.relu(h[1]) * b[0] * c[0].square()).mean()])
    assert float(odd.abs().max()) < 1e-12
    assert float((b[0] * c[0] * h[0].square()).mean().abs()) > 1e-6
    columns = torch.cat([h, b, c])
    torch.testing.assert_close(columns @ columns.T / 256, torch.eye(6, dtype=torch.float64))
