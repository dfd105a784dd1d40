"""Mirrors tpdyn/program/evaluation/views.py: a tensor of the script is put together from its pieces, and taken apart again."""

from __future__ import annotations

import doctest

import pytest
import torch

from tpdyn.program.evaluation import views
from tpdyn.program.evaluation.views import from_view, to_view
from tpdyn.program.program import Factor, View


def test_the_example_of_the_docstring_runs() -> None:
    found = doctest.testmod(views)
    assert found.attempted == 1 and not found.failed


def test_stacked_pieces_are_the_outer_factor_of_their_dim() -> None:
    """A fused weight of two 3 x 5 pieces, stacked along its first dim."""
    pieces = [torch.arange(15.0).reshape(3, 5), -torch.arange(15.0).reshape(3, 5)]
    assert torch.equal(to_view(View((0, 1), ((0,), (1,)), 0), pieces), torch.cat(pieces))
    assert torch.equal(to_view(View((0, 1), ((0,), (1,)), 1), pieces), torch.cat(pieces, 1))


def test_pieces_may_be_an_inner_factor() -> None:
    """Every other entry: piece 0 holds 0, 2, 4, piece 1 holds 1, 3, 5."""
    view = View((0, 1), ((0,),), None, (Factor(0, 1, 2),))
    assert to_view(view, [torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5])]).tolist() == [0, 1, 2, 3, 4, 5]


def test_two_factors_of_a_dim_are_in_the_order_of_their_places() -> None:
    view = View(tuple(range(6)), ((0,),), None, (Factor(0, 0, 2), Factor(0, 1, 3)))
    pieces = [torch.arange(4 * k, 4 * k + 4) for k in range(6)]
    assert to_view(view, pieces).tolist() == list(range(24))


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (View((0,), ((1,), (), (0,))), (3, 2)),
        (View((0,), ((0, 1),)), (2, 3)),
        (View((4, 2), ((0,), (1,)), 1), (3, 2)),
        (View((0, 1, 2, 3, 4, 5), ((0,), (1,)), 0, (Factor(0, 0, 2), Factor(1, 1, 3))), (4, 5)),
    ],
)
def test_taking_apart_is_the_inverse_of_putting_together(view: View, shape: tuple[int, ...]) -> None:
    values = {piece: torch.randn(shape, generator=torch.Generator().manual_seed(piece)) for piece in view.pieces}
    apart = from_view(view, to_view(view, values), dict.fromkeys(view.pieces, shape))
    assert apart.keys() == values.keys()
    assert all(torch.equal(apart[piece], values[piece]) for piece in values)


def test_parts_of_a_packed_tensor_lie_end_to_end() -> None:
    """Rows of 2, 2 x 3 and 1 in columns of 4 and 1. The last row has no axis."""
    rows = [View((0,), ((0,), (1,))), View((1, 2), ((0,), (1,)), 0), View((3,), ((), (0,)))]
    first = View.packed(rows, 0)
    last = View.packed([View((4,), ((0,), ())), View((5, 6), ((0,), ()), 0), View((7,), ((), ()))], 0)
    view = View.packed([first, last], 1)
    shapes = {0: (2, 4), 1: (3, 4), 2: (3, 4), 3: (4,), 4: (2,), 5: (3,), 6: (3,), 7: ()}
    whole = torch.arange(45.0).reshape(9, 5)
    apart = from_view(view, whole, shapes)
    assert {piece: tuple(value.shape) for piece, value in apart.items()} == shapes
    assert torch.equal(apart[2], whole[5:8, :4]) and torch.equal(apart[7], whole[8, 4])
    assert torch.equal(to_view(view, apart), whole)
    with pytest.raises(ValueError, match=r"shape \(9, 6\) does not fill parts of lengths \[4, 1\]"):
        from_view(view, torch.zeros(9, 6), shapes)


def test_a_tensor_that_does_not_fill_the_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 3\) does not fill 1 values of shape \(2, 3\)"):
        from_view(View((0,), ((0,), (1,))), torch.zeros(3, 3), {0: (2, 3)})
