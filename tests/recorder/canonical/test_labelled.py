"""Mirrors tpdyn/recorder/canonical/labelled.py: an instruction is written piece by piece, zeros and single terms without a sum."""

from __future__ import annotations

import pytest
from written_scripts import ONE, Script, kinds, made

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Apply, Combine, Contract, Eigenvalues, Operand
from tpdyn.recorder.fitting.widths import FitError


def halves(s: Script, n: int, *parts: str | None) -> int:
    """Parts of size n end to end; None: zeros."""
    operands = [None if part is None else s.leaf(part, 7, n) for part in parts]
    return s.cat(operands, [n] * len(parts), 1, 7, n * len(parts))


def test_a_sum_over_parts_is_a_sum_of_products_and_over_one_part_a_product() -> None:
    def build(s: Script, n: int, *parts: str | None) -> None:
        s.linear(halves(s, n, *parts), s.leaf("w", n, n * len(parts)))
        s.lowered.marks = s.lowered.marks[-1:]

    both = made(lambda s, n: build(s, n, "a", "b")).program
    assert sum(isinstance(s.instruction, Contract) for s in both.statements) == 2
    assert isinstance(both.statements[-1].instruction, Combine)
    one = made(lambda s, n: build(s, n, "a", None)).program
    assert sum(isinstance(s.instruction, Contract) for s in one.statements) == 1
    assert kinds(one) == {"Leaf", "Contract"}


def test_a_sum_leaves_out_parts_that_are_zero_but_for_its_constant() -> None:
    def build(s: Script, n: int) -> None:
        x, y = halves(s, n, "a", None), halves(s, n, None, "b")
        s.add(Combine(((ONE, s.full(x)), (Scaling.of(2), s.full(y))), Scaling.of(3)), 7, 2 * n)
        s.lowered.marks = s.lowered.marks[-1:]

    sums = [s.instruction for s in made(build).program.statements if isinstance(s.instruction, Combine)]
    assert [[scale for scale, _ in each.terms] for each in sums] == [[ONE], [Scaling.of(2)]]


def test_a_function_of_a_part_that_is_zero_reads_the_zero() -> None:
    """exp(0) is 1: it cannot be left out."""

    def build(s: Script, n: int) -> None:
        s.add(Apply("exp", (s.full(halves(s, n, "a", None)),)), 7, 2 * n)
        s.lowered.marks = s.lowered.marks[-1:]

    program = made(build).program
    assert Combine(()) in [s.instruction for s in program.statements]


def test_an_entrywise_product_is_one_for_each_part_that_is_not_zero() -> None:
    def build(s: Script, n: int) -> None:
        x, y = halves(s, n, "a", None), s.leaf("b", 7, 2 * n)
        s.add(Contract((s.full(x), s.full(y))), 7, 2 * n)
        s.lowered.marks = s.lowered.marks[-1:]

    assert sum(isinstance(s.instruction, Contract) for s in made(build).program.statements) == 1


def test_equal_pieces_are_one_statement() -> None:
    def build(s: Script, n: int) -> None:
        a = s.leaf("a", 7, n)
        s.add(Apply("tanh", (s.full(s.cat([a, a], [n, n], 1, 7, 2 * n)),)), 7, 2 * n)
        s.lowered.marks = s.lowered.marks[-1:]

    assert sum(isinstance(s.instruction, Apply) for s in made(build).program.statements) == 1


def test_a_matrix_of_several_parts_has_no_eigenvalues() -> None:
    def build(s: Script, n: int) -> None:
        rows = s.cut(s.leaf("w", 2 * n, 2 * n), 0, 0, n)
        s.add(Apply("tanh", (s.full(rows),)), n, 2 * n)
        square = s.add(Contract((Operand(0, (0, 2)), Operand(0, (1, 2)))), 2 * n, 2 * n)
        s.add(Eigenvalues(Operand(square, (1, 2)), (1,), (2,), 0), 2 * n)

    with pytest.raises(FitError, match=r"(?s)eigenvalues of a matrix whose rows are several parts.*net\.py:4"):
        made(build)
