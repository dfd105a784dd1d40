"""Are axes split where something splits them, and only there?"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Contract, Eigenvalues, Law, Leaf, Operand, Slice, Spectral
from tpdyn.recorder.fitting.atoms import Atoms, Misfit, common_measure, divide, find_atoms, whole
from tpdyn.recorder.fitting.widths import fit
from tpdyn.recorder.lowered import Lowered, LoweredStatement, Reshape

WIDTHS = (16, 24, 40)
N, ONE = Scaling.of(1, 1), Scaling.of(1)


def test_a_split_that_some_width_does_not_allow_is_refused() -> None:
    atoms = Atoms((16, 24, 40))
    whole_dim, parts = atoms.new(N), [atoms.new(Scaling.of(16)), atoms.new(Scaling.of(Fraction(1, 16), 1))]
    with pytest.raises(Misfit, match="neither divides"):
        atoms.unify([whole_dim], parts)


def test_sizes_divide_exactly() -> None:
    assert divide(Scaling.of(3, 1), Scaling.of(3)) == N
    assert divide(N + Scaling.of(10), Scaling.of(2)) == Scaling.of(Fraction(1, 2), 1) + Scaling.of(5)
    assert divide(Scaling.of(2, 1) + Scaling.of(20), N + Scaling.of(10)) == Scaling.of(2)
    assert divide(N, N + Scaling.of(10)) is None
    assert whole(Scaling.of(3, 1), N) == 3
    assert whole(N, Scaling.of(2, 1)) is None
    assert whole(N, Scaling.of(2)) is None
    assert common_measure([Scaling.of(2, 1), Scaling.of(Fraction(3, 2), 1), Scaling(())]) == Scaling.of(
        Fraction(1, 2), 1
    )
    assert common_measure([N, Scaling.of(10)]) is None


@given(st.data())
def test_a_chain_of_reshapes_is_refined_to_common_atoms(data: st.DataObject) -> None:
    """Start from a list of atoms, group it in several random ways. All are the same product of the same atoms."""
    atoms = Atoms(WIDTHS)
    factors = data.draw(st.lists(st.sampled_from([2, 3, 5]), min_size=2, max_size=5)) + [0]
    factors = data.draw(st.permutations(factors))
    sizes = [Scaling.of(1, 1) if f == 0 else Scaling.of(f) for f in factors]
    groupings: list[list[int]] = []
    for _ in range(3):
        cuts = sorted({0, len(sizes), *data.draw(st.lists(st.integers(0, len(sizes)), max_size=3))})
        nodes = []
        for a, b in pairwise(cuts):
            product = ONE
            for size in sizes[a:b]:
                product = product * size
            nodes.append(atoms.new(product))
        groupings.append(nodes)
    try:
        for other in groupings[1:]:
            atoms.unify(groupings[0], other)
    except Misfit:
        # two cuts may be incomparable sizes (6 = 2*3 against 3*2 in another place) only if no chain of divisors exists
        products = [[str(atoms.sizes[node]) for node in grouping] for grouping in groupings]
        raise AssertionError(f"{products} have the common refinement {list(map(str, sizes))}") from None
    flat = [[atom for node in grouping for atom in atoms.of(node)] for grouping in groupings]
    assert flat[0] == flat[1] == flat[2]


def test_the_search_names_each_axis_once_for_each_statement() -> None:
    def linear(n: int) -> Lowered:
        x, w = (Leaf("data", name, Law("data")) for name in ("x", "w"))
        product = Contract((Operand(0, (0, 2)), Operand(1, (1, 2))))
        statements = [LoweredStatement(x, (1, n)), LoweredStatement(w, (n, n)), LoweredStatement(product, (1, n))]
        return Lowered(n, statements)

    atoms, nodes = find_atoms(fit([linear(width) for width in WIDTHS]))
    assert nodes[0][0] is None
    assert nodes[2][1] == nodes[1][0]
    assert atoms.root(nodes[0][1] or 0) == atoms.root(nodes[1][1] or 0)
    assert nodes[1][0] != nodes[1][1]


def test_a_part_of_size_one_at_some_width_is_no_part() -> None:
    atoms = Atoms((16, 32, 48))
    assert atoms.quotient(N, Scaling.of(16)) is None
    assert atoms.quotient(N, Scaling.of(8)) == Scaling.of(Fraction(1, 8), 1)


def test_a_split_that_a_slice_of_a_slice_shows_reaches_the_source() -> None:
    def twice(n: int) -> Lowered:
        statements = [
            LoweredStatement(Leaf("data", "x", Law("data")), (12, n)),
            LoweredStatement(Slice.of(Operand(0, (0, 1)), 0, 0, 1, 6), (6, n)),
            LoweredStatement(Slice.of(Operand(1, (0, 1)), 0, 0, 1, 4), (4, n)),
            LoweredStatement(Reshape(2), (2, 2, n)),
        ]
        return Lowered(n, statements)

    atoms, nodes = find_atoms(fit([twice(width) for width in WIDTHS]))
    assert [len(atoms.of(nodes[position][0])) for position in (0, 1, 2)] == [2, 2, 2]


@pytest.mark.parametrize("function", [Eigenvalues, Spectral])
def test_rows_and_columns_of_a_matrix_with_eigenvalues_are_one_space(function: type) -> None:
    def matrix(n: int) -> Lowered:
        square, weights = (Leaf("data", name, Law("data")) for name in ("m", "w"))
        made = (
            Eigenvalues(Operand(0, (1, 2)), (1,), (2,), 0)
            if function is Eigenvalues
            else Spectral(Operand(1, (2,)), Operand(0, (0, 1)), (0,), (1,), 2)
        )
        shape = (n,) if function is Eigenvalues else (n, n)
        return Lowered(
            n, [LoweredStatement(square, (n, n)), LoweredStatement(weights, (n,)), LoweredStatement(made, shape)]
        )

    atoms, nodes = find_atoms(fit([matrix(width) for width in WIDTHS]))
    assert atoms.root(nodes[0][0] or 0) == atoms.root(nodes[0][1] or 0)
