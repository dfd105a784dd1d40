"""Mirrors tpdyn/recorder/canonical/pieces.py: a value is one statement for each index over what is written out."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from tpdyn.exponents import Scaling
from tpdyn.program.evaluation.evaluate import evaluate
from tpdyn.program.instructions import Combine, Law, Leaf, Operand, operands_of
from tpdyn.recorder.canonical.pieces import Held, Pieces
from tpdyn.recorder.fitting.atoms import Atoms
from tpdyn.recorder.fitting.widths import Fitted, FittedStatement

WIDTH = 16
N = Scaling.of(1, 1)


def pieces_of(*shape: int, expanded: Collection[int] = ()) -> Pieces:
    """One leaf that is held, and a statement that reads it."""
    atoms = Atoms((16, 24))
    nodes = tuple(atoms.new(Scaling.of(size)) for size in shape)
    leaf = Leaf("data", "x", Law("data"))
    sizes = tuple(map(Scaling.of, shape))
    reader = Combine(((N, Operand(0, tuple(range(len(shape))))),))
    found = Pieces(
        Fitted((16, 24), [FittedStatement(leaf, sizes), FittedStatement(reader, sizes)]), atoms, set(expanded)
    )
    products = tuple((node,) for node in nodes)
    indices = list(found.indices(nodes))
    var = {index: found.emit(leaf, found.kept_shape(nodes)) for index in indices[:-1] or indices}
    found.held.append(Held(products, {index: var.get(index) for index in indices}, "float"))
    return found


def values(pieces: Pieces, x: Tensor) -> list[Tensor]:
    made: list[Tensor] = []
    for statement in pieces.statements:
        shape = tuple(size.size_at(WIDTH) for size in statement.shape)
        if isinstance(statement.instruction, Leaf):
            made.append(x)
        else:
            operands = [made[operand.var] for operand in operands_of(statement.instruction)]
            made.append(evaluate(statement.instruction, operands, shape, WIDTH))
    return made


def test_finite_axes_are_merged_row_major_and_divided_again() -> None:
    pieces = pieces_of(2, 3, 4)
    x = torch.arange(24.0, dtype=torch.float64).reshape(2, 3, 4)
    inner, outer, every = (pieces.merged(0, at, count) for at, count in ((1, 2), (0, 2), (0, 3)))
    again = pieces.divided(every, 0, (2, 3, 4))
    made = values(pieces, x)
    assert torch.equal(made[inner], x.reshape(2, 12))
    assert torch.equal(made[outer], x.reshape(6, 4))
    assert torch.equal(made[every], x.reshape(24))
    assert torch.equal(made[again], x)


def test_pieces_are_counted_row_major_over_what_is_written_out() -> None:
    pieces = pieces_of(2, 5, 3, expanded=(0, 2))
    assert list(pieces.held[0].pieces) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert pieces.statements[0].shape == (Scaling.of(5),)


def test_a_piece_that_is_zero_is_written_when_somebody_reads_it_and_once() -> None:
    pieces = pieces_of(2, 3, expanded=(0,))
    before = len(pieces.statements)
    assert pieces.actual(0, (0,)) == 0 and len(pieces.statements) == before
    zero = pieces.actual(0, (1,))
    assert pieces.statements[zero].instruction == Combine(()) and pieces.statements[zero].shape == (Scaling.of(3),)
    assert pieces.actual(0, (1,)) == zero


def test_a_value_whose_axes_are_in_place_is_not_copied() -> None:
    pieces = pieces_of(2, 3)
    known: dict[Operand, int] = {}
    assert pieces.relabelled(0, (0, 1), (Scaling.of(2), Scaling.of(3)), known) == 0
    turned = pieces.relabelled(0, (1, 0), (Scaling.of(3), Scaling.of(2)), known)
    assert turned != 0 and pieces.relabelled(0, (1, 0), (Scaling.of(3), Scaling.of(2)), known) == turned
    x = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    assert torch.equal(values(pieces, x)[turned], x.T)
