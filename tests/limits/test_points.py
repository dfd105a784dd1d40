"""Do the points have the moments of the limit, and the laws of their leaves?"""

from __future__ import annotations

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
    with pytest.raises(ReadingError, match="asks for 41 directions of a space of 64 points; take more"):
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
