"""Is what has no theory found: values that grow both ways, and fixed matrices over the width?"""

from __future__ import annotations

from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Law, Leaf

N = Builder.n


def test_a_batch_that_grows_with_the_width_makes_values_with_two_wide_dims() -> None:
    b = Builder()
    b.at(phase="forward")
    h = b.einsum("bi,oi->bo", b.data("x", (N, 3)), b.parameter("W", (N, 3)))
    assert Facts.of(b.build()).wide_data == (h,)


def test_a_matrix_that_is_made_of_weights_alone_is_none_after_updates_as_little_as_before() -> None:
    b = Builder()
    w = b.parameter("W", (N, N))
    for step in range(2):
        b.at(step=step, phase="forward")
        b.apply("tanh", b.now("W"))  # a quantised weight, say
        x = b.data(f"x{step}", (N,))
        b.at(phase="optimizer")
        b.update("W", b.combine((1, b.now("W")), (-1, b.einsum("i,j->ij", x, x))))
    assert Facts.of(b.build()).wide_data == ()
    assert w == 0


def transformed(kind: str, law: str, *, sums: bool = True) -> Facts:
    b = Builder()
    b.at(phase="forward")
    h = b.einsum("bi,oi->bo", b.data("x", (7, 3)), b.parameter("W", (N, 3)))
    fixed = b.leaf(Leaf(kind, "F", Law(law)), (N, N))  # type: ignore[arg-type]
    b.einsum("bo,op->bp" if sums else "bo,op->bop", h, fixed)
    return Facts.of(b.build())


def test_a_fixed_matrix_that_is_summed_over_the_width_is_named() -> None:
    facts = transformed("constant", "array")
    assert facts.fixed_products == (len(facts.program) - 1,)
    assert transformed("buffer", "array").fixed_products


def test_random_matrices_and_products_without_a_sum_are_inside_of_the_theory() -> None:
    assert not transformed("random", "normal").fixed_products
    assert not transformed("constant", "array", sums=False).fixed_products
