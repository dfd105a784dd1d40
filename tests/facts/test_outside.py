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


def test_a_weight_between_two_counted_steps_is_a_weight_too() -> None:
    """A critic takes two steps of its own optimizer for one of the actor's, which is counted. Its loss has weight decay."""
    b = Builder()
    b.parameter("W", (N, N))
    b.at(phase="optimizer")
    x = b.data("x", (N,))
    between = b.combine((1, b.now("W")), (-1, b.einsum("i,j->ij", x, x)))
    b.at(phase="forward")
    b.einsum("ij,ij->ij", between, between)
    b.at(phase="optimizer")
    b.update("W", b.combine((1, between), (-1, b.einsum("i,j->ij", x, x))))
    assert Facts.of(b.build()).wide_data == ()


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


def attended(**shape: object) -> tuple[Builder, int, int]:
    """Rows k and v of three tokens, and the matrix `sum_t k_t v_t^T`."""
    b = Builder()
    b.at(phase="forward")
    x = b.data("x", (3, 5))
    k, v = (b.einsum("ti,oi->to", x, b.parameter(name, (N, 5))) for name in "kv")
    return b, k, b.einsum("td,te->de", k, v)


def test_a_sum_over_tokens_of_outer_products_is_a_matrix_of_the_theory_and_so_is_a_function_of_its_entries() -> None:
    """The memory of linear attention, and a covariance: both dims are dims of vectors."""
    b, k, memory = attended()
    b.einsum("td,de->te", k, b.apply("tanh", memory))
    assert Facts.of(b.build()).wide_data == ()


def test_of_a_product_of_two_matrices_one_must_have_a_finite_rank() -> None:
    b, _, memory = attended()
    low = b.einsum("de,ef->df", b.parameter("W", (N, N)), memory)
    curved = b.apply("tanh", memory)
    high = b.einsum("de,fe->df", curved, curved)
    facts = Facts.of(b.build())
    assert low not in facts.wide_data and facts.wide_data == (high,)


def test_a_fixed_matrix_times_what_the_network_computes_is_none_of_the_theory() -> None:
    """Ones on the diagonal, say: only the size of its entries is known."""
    b, k, memory = attended()
    kept = b.einsum("de,de->de", memory, b.leaf(Leaf("constant", "eye", Law("array")), (N, N)))
    three = b.einsum("td,de->tde", k, memory)
    assert Facts.of(b.build()).wide_data == (kept,)
    assert three


def test_three_growing_dims_are_too_many() -> None:
    b, k, memory = attended()
    cube = b.einsum("tc,de->cde", k, memory)
    assert Facts.of(b.build()).wide_data == (cube,)
