"""Mirrors tpdyn/recorder/canonical/labels.py: what is summed over comes last, and what is written out chooses a piece."""

from __future__ import annotations

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, Contract, Law, Leaf, Operand
from tpdyn.recorder.canonical.labels import Labels
from tpdyn.recorder.canonical.pieces import Held, Pieces
from tpdyn.recorder.fitting.atoms import Atoms
from tpdyn.recorder.fitting.widths import Fitted, FittedStatement

N = Scaling.of(1, 1)


def test_a_product_that_sums_over_two_parts_has_two_choices_and_the_labels_of_what_is_left() -> None:
    """`sum_(p, k) x[i, (p, k)] w[j, (p, k)]`, p one of two parts of a wide dim: x and w are two pieces each."""
    atoms = Atoms((16, 24))
    i, j, part, k = (atoms.new(size) for size in (Scaling.of(7), N, Scaling.of(2), N))
    wide = N * Scaling.of(2)
    x, w = Operand(0, (0, 2)), Operand(1, (1, 2))
    statements = [
        FittedStatement(Leaf("data", "x", Law("data")), (Scaling.of(7), wide)),
        FittedStatement(Leaf("data", "w", Law("data")), (N, wide)),
        FittedStatement(Contract((x, w)), (Scaling.of(7), N)),
    ]
    pieces = Pieces(Fitted((16, 24), statements), atoms, {part})
    pieces.held.append(Held(((i,), (part, k)), {(0,): 0, (1,): None}, "float"))
    pieces.held.append(Held(((j,), (part, k)), {(0,): 2, (1,): 3}, "float"))
    labels = Labels(pieces, ((i,), (j,)), (x, w))

    assert labels.shape == (Scaling.of(7), N)
    assert labels.numbers == {(0, 0): 0, (1, 0): 1, (2, 1): 2}
    assert labels.summed == [(2, 0)]
    assert [index for index, _ in labels.results()] == [()]
    first, second = (chosen for _, chosen in labels.choices(labels.summed))
    assert (labels.piece(x, first), labels.piece(w, first)) == (0, 2)
    assert (labels.piece(x, second), labels.piece(w, second)) == (None, 3)
    assert labels.operand(w, second) == Operand(3, (1, 2))
    zero = labels.operand(x, second)  # read all the same: written down
    assert pieces.statements[zero.var].instruction == Combine(()) and zero.axes == (0, 2)


def test_a_label_that_stands_for_other_atoms_is_left_to_the_result() -> None:
    atoms = Atoms((16, 24))
    whole = atoms.new(Scaling.of(6))
    leaf = FittedStatement(Leaf("data", "x", Law("data")), (Scaling.of(6),))
    pieces = Pieces(Fitted((16, 24), [leaf]), atoms, ())
    pieces.held.append(Held(((whole,),), {(): 0}, "float"))
    assert Labels(pieces, ((),), (Operand(0, (0,)),), besides=0).products == {0: ()}  # one entry is taken
    assert Labels(pieces, ((),), (Operand(0, (0,)),)).products == {0: (whole,)}
