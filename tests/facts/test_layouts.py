"""Is every wide axis numbered: first the result's, then those that are summed?"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.facts.layouts import Layout, layout
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Contract, Operand

N, ONE = Builder.n, Fraction(1)


def of(b: Builder, var: int) -> Layout | None:
    return Facts.of(b.build()).layouts[var]


def test_a_matrix_times_a_vector() -> None:
    """`h_i = sum_j W_ij x_j`: i is 0, j is 1."""
    b = Builder()
    h = b.einsum("ij,j->i", b.parameter("W", (N, N)), b.data("x", (N,)))
    assert of(b, h) == Layout(((0, 1), (1,)), ((1, ONE),), 1)


def test_finite_axes_have_no_number() -> None:
    b = Builder()
    h = b.einsum("bi,oi->bo", b.data("x", (7, 3)), b.parameter("W", (N, 3)))
    assert of(b, h) == Layout(((), (0,)), (), 1)


def test_a_sum_knows_the_order_of_its_dim() -> None:
    b = Builder()
    x = b.data("x", (Scaling.of(4, 2),))
    assert of(b, b.einsum("i->", x)) == Layout(((0,),), ((0, Fraction(2)),), 0)


def test_a_transpose_is_a_matter_of_numbers() -> None:
    b = Builder()
    turned = b.einsum("ij->ji", b.parameter("W", (N, N)))
    assert of(b, turned) == Layout(((1, 0),), (), 2)


def test_a_diagonal_names_one_axis_twice() -> None:
    b = Builder()
    w = b.parameter("W", (N, N))
    diagonal = b.add(Contract((Operand(w, (0, 0)),)), (N,))
    assert of(b, diagonal) == Layout(((0, 0),), (), 1)


def test_the_axis_that_is_picked_from_is_gone_and_the_index_has_no_place() -> None:
    b = Builder()
    picked = b.gather(b.parameter("table", (N, N)), b.index("tokens", (7,)))
    assert of(b, picked) == Layout(((1, 0),), ((1, ONE),), 1)


def test_a_wide_axis_that_meets_a_finite_one_has_no_layout() -> None:
    b = Builder()
    x = b.data("x", (N,))
    three = b.statements[b.data("y", (3,))]
    assert layout(three, (Operand(x, (0,)),), (b.statements[x],)) is None
