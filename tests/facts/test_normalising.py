"""Is an optimizer that divides by its own size told from one that does not?"""

from __future__ import annotations

import pytest

from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Apply, Eigenvalues, Operand
from tpdyn.testing.perceptrons import mlp_program

N = Builder.n


@pytest.mark.parametrize(("optimizer", "entrywise"), [("sgd", False), ("sign", True), ("adam", True)])
def test_sign_descent_and_adam_normalise_entry_by_entry_and_sgd_does_not(optimizer, entrywise: bool) -> None:
    assert Facts.of(mlp_program(1, "tanh", optimizer)).entrywise is entrywise


def optimized(function: str, phase: str, shape: tuple[object, ...]) -> tuple[Facts, int]:
    b = Builder()
    b.at(phase=phase)
    made = b.apply(function, b.parameter("w", shape))  # type: ignore[arg-type]
    return Facts.of(b.build()), made


def test_only_the_optimizer_along_a_wide_dim_by_a_function_that_divides_by_a_size_counts() -> None:
    facts, made = optimized("sign", "optimizer", (N,))
    assert facts.normalising == (made,)
    for function, phase, shape in (("sign", "forward", (N,)), ("sign", "optimizer", (3,)), ("tanh", "optimizer", (N,))):
        assert optimized(function, phase, shape)[0].normalising == ()


def test_a_function_of_eigenvalues_does_not_act_entry_by_entry() -> None:
    """Shampoo's inverse roots."""
    b = Builder()
    b.at(phase="optimizer")
    g = b.parameter("g", (N, 3))
    s = b.einsum("ik,jk->ij", g, g)
    spectrum = b.add(Eigenvalues(Operand(s, (1, 2)), (1,), (2,), 0), (N,))
    b.add(Apply("rsqrt", (Operand(b.combine((1, spectrum), constant=1e-8), (0,)),)), (N,))
    assert Facts.of(b.build()).normalising == ()


def test_what_is_only_read_to_be_divided_is_a_numerator_also_behind_a_sum() -> None:
    """Linear attention: `phi(q) (phi(k)^T v)` is of order 1, and so is the sum of weights that it is divided by."""
    b = Builder()
    b.at(phase="forward")
    y, bias, weight = b.parameter("y", (7, N)), b.parameter("bias", (N,)), b.parameter("z", (7,))
    total = b.combine((1, y), (1, bias))
    quotient = b.einsum("ti,t->ti", total, b.apply("reciprocal", weight))
    b.at(phase="backward")
    b.apply("tanh", y)  # gradients read it, too
    assert Facts.of(b.build()).numerators == {y, bias, total}
    assert quotient


def test_what_is_read_otherwise_too_is_no_numerator() -> None:
    b = Builder()
    b.at(phase="forward")
    y, weight = b.parameter("y", (7, N)), b.parameter("z", (7,))
    b.einsum("ti,t->ti", y, b.apply("reciprocal", weight))
    b.einsum("ti,t->ti", y, weight)
    assert Facts.of(b.build()).numerators == frozenset()
