"""Mirrors tpdyn/program/builder.py: shorthands make the instructions that they stand for, and refuse what does not fit."""

from __future__ import annotations

import doctest

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.program import builder
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Contract, Law, Leaf
from tpdyn.program.program import Program
from tpdyn.readings.finite import run

n = Builder.n


def test_the_examples_of_the_docstrings_run() -> None:
    found = doctest.testmod(builder)
    assert found.attempted > 3 and not found.failed


def trained() -> Program:
    """The example of the module's docstring."""
    lines = [line for line in (builder.__doc__ or "").splitlines() if line.startswith("    ")]
    space: dict[str, object] = {"Builder": Builder, "Scaling": Scaling}
    exec("\n".join(line[4:] for line in lines), space)
    program = space["program"]
    assert isinstance(program, Program)
    return program


def test_the_example_of_the_module_is_a_training_program_of_two_steps() -> None:
    program = trained()
    assert program.steps == 2
    v = program.parameter("v")
    assert [program.statements[view.var].name for view in v.versions] == ["v", "v_1", "v_2"]
    assert [program.statements[g.var].name for g in v.gradients if g is not None] == ["h0", "h1"]
    h = torch.arange(4.0, dtype=torch.float64)
    values = run(program, 4, leaves={"h0": h, "h1": h})
    first, second = (values[program.mark("f", step).view.var] for step in (0, 1))
    assert torch.allclose(second - first, -0.1 / 4 * h @ h)


def test_einsum_is_a_contraction_in_any_order_of_axes() -> None:
    b = Builder()
    w, x = b.parameter("w", (3, n)), b.data("x", (4, n))
    y = b.einsum("oi,bi->bo", w, x, scale=Scaling.of(2, -1))
    s = b.einsum("ji->i", w)
    value = torch.randn(4, 5, dtype=torch.float64)
    values = run(b.build(), 5, leaves={"x": value})
    assert torch.allclose(values[y], 2 / 5 * value @ values[w].T)
    assert torch.allclose(values[s], values[w].sum(0))


@pytest.mark.parametrize(
    ("left", "right"),
    [((n,), (n,)), ((3, n), (n,)), ((n,), (n, 3)), ((3, n), (n, 4)), ((2, 3, n), (n, 4)), ((3, n), (2, n, 4))],
)
def test_matmul_is_that_of_torch(left: tuple[Scaling | int, ...], right: tuple[Scaling | int, ...]) -> None:
    b = Builder()
    x, y = b.parameter("x", left), b.parameter("y", right)
    z = b.matmul(x, y)
    values = run(b.build(), 5)
    assert torch.allclose(values[z], values[x] @ values[y])


def test_functions_and_sums_line_axes_up_from_the_right() -> None:
    b = Builder()
    x, bias, one = b.parameter("x", (3, n)), b.parameter("b", (n,)), b.constant("one", 1.5)
    larger = b.apply("maximum", x, bias)
    total = b.combine((2, x), (Scaling.of(1, -1), bias), (1, one), constant=0.25)
    share = b.apply("softmax", x, along=-1)
    values = run(b.build(), 5)
    assert torch.equal(values[larger], torch.maximum(values[x], values[bias]))
    assert torch.allclose(values[total], 2 * values[x] + values[bias] / 5 + 1.75)
    assert torch.allclose(values[share], values[x].softmax(-1))


def test_gather_is_an_embedding() -> None:
    b = Builder()
    table, tokens = b.parameter("table", (6, n)), b.index("tokens", (2, 3))
    rows = b.gather(table, tokens)
    where = torch.tensor([[0, 5, 5], [2, 0, 5]])
    values = run(b.build(), 4, leaves={"tokens": where})
    assert torch.equal(values[rows], values[table][where])


def test_leaves_have_the_laws_that_were_asked_for() -> None:
    b = Builder()
    made = [
        b.parameter("w", (n,), std=Scaling.of(1, "-1/2")),
        b.parameter("zero", (n,), std=0),
        b.parameter("u", (n,), law=Law("uniform", scale=Scaling.of(1))),
        b.random("mask", (n,), Law("bernoulli", Scaling.of(0.5))),
        b.constant("c", 2, (n,)),
    ]
    leaves = [b.statements[at].instruction for at in made]
    assert [leaf.law.kind for leaf in leaves if isinstance(leaf, Leaf)] == [
        "normal",
        "zero",
        "uniform",
        "bernoulli",
        "constant",
    ]
    assert [leaf.kind for leaf in leaves if isinstance(leaf, Leaf)] == ["parameter"] * 3 + ["random", "constant"]


def test_a_step_without_an_update_keeps_the_version() -> None:
    b = Builder()
    w, v = b.parameter("w", (n,)), b.parameter("v", (n,))
    b.at(step=1)
    later = b.update("w", b.combine((0.5, w)), gradient=v)
    program = b.build()
    assert [view.var for view in program.parameter("w").versions] == [w, w, later]
    assert program.parameter("w").gradients[0] is None and program.parameter("w").gradients[1] is not None
    assert [view.var for view in program.parameter("v").versions] == [v, v, v]
    assert b.now("w") == later and b.now("v") == v


def test_what_does_not_fit_is_refused_at_once_with_its_shapes() -> None:
    b = Builder()
    w, x = b.parameter("w", (3, n)), b.data("x", (4,))
    with pytest.raises(ValueError, match=r"matmul of \[3, n\] and \[4\]: expected equal inner sizes"):
        b.matmul(w, x)
    with pytest.raises(ValueError, match=r"maximum of shapes \[3, n\], \[4\]: expected equal sizes"):
        b.apply("maximum", w, x)
    with pytest.raises(ValueError, match=r"einsum\('ij,k'\) of 2 values"):
        b.einsum("ij,k", w, x)
    with pytest.raises(ValueError, match=r"'i' has 1 letters, but w has the shape \[3, n\]"):
        b.einsum("i->i", w)
    with pytest.raises(ValueError, match="no value has the axis 'k'"):
        b.einsum("ij->k", w)
    with pytest.raises(ValueError, match="parameter 'w': there is one already"):
        b.parameter("w", (n,))
    with pytest.raises(KeyError, match="no parameter 'v'; there are: w"):
        b.now("v")
    with pytest.raises(ValueError, match=r"has the shape \[3, n\], its update \[4\]"):
        b.update("w", x)
    b.update("w", b.combine((1, w)))
    with pytest.raises(ValueError, match="has its update of step 0"):
        b.update("w", b.combine((1, w)))


def test_any_instruction_can_be_added_by_hand() -> None:
    b = Builder()
    x = b.data("x", (n,))
    made = b.add(Contract((b.operand(x), b.operand(x))), (n,), name="square")
    assert b.build().statements[made].name == "square"
