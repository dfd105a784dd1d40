"""Does the checker name every problem, each in its ring, and nothing else?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.check import IllFormed, check, ring
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Law,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import Factor, Mark, Parameter, Program, Source, View

N, ONE, TWO, SEVEN = Scaling.of(1, 1), Scaling.of(1), Scaling.of(2), Scaling.of(7)


def start() -> tuple[Builder, dict[str, int]]:
    """x : [n], A : [n, n], c : [7, n], k : [7] int"""
    b = Builder()
    shapes = {"x": (N,), "A": (N, N), "c": (SEVEN, N)}
    at = {name: b.leaf(Leaf("data", name, Law("data")), shape) for name, shape in shapes.items()}
    at["k"] = b.leaf(Leaf("data", "k", Law("index")), (SEVEN,), type="int")
    b.at(source=Source("train.py", 12, "h = fc(x)"))
    return b, at


Add = Callable[[Builder, dict[str, int]], object]

GOOD: dict[str, Add] = {
    "product": lambda b, at: b.add(Contract((Operand(at["A"], (0, 1)), Operand(at["x"], (1,)))), (N,)),
    "expand": lambda b, at: b.add(Contract((Operand(at["x"], (1,)),)), (SEVEN, N)),
    "sum": lambda b, at: b.add(Combine(((ONE, Operand(at["c"], (0, 1))), (ONE, Operand(at["x"], (1,))))), (SEVEN, N)),
    "zero": lambda b, at: b.add(Combine(()), (N,)),
    "apply": lambda b, at: b.add(Apply("softmax", (Operand(at["c"], (0, 1)),), along=1), (SEVEN, N)),
    "gather": lambda b, at: b.add(Gather(Operand(at["c"], (2, 1)), Operand(at["k"], (0,)), 2), (SEVEN, N)),
    "scatter": lambda b, at: b.add(Scatter(Operand(at["c"], (2, 1)), Operand(at["k"], (2,)), 0), (TWO, N)),
    "slice": lambda b, at: b.add(Slice.of(Operand(at["c"], (0, 1)), 0, 6, -3, 2), (TWO, N)),
    "the same, to the last": lambda b, at: b.add(Slice(Operand(at["x"], (0,)), 0, N + Scaling.of(-1), -1, N), (N,)),
    "row": lambda b, at: b.add(Slice.of(Operand(at["c"], (1, 0)), 1, 6, 1, 1), (N,)),
    "concat": lambda b, at: b.add(
        Concat((Operand(at["c"], (0, 1)), Operand(at["x"], (1,)), None), (SEVEN, ONE, TWO), 0), (Scaling.of(10), N)
    ),
    "eigenvalues": lambda b, at: b.add(Eigenvalues(Operand(at["A"], (1, 2)), (1,), (2,), 0), (N,)),
    "function of a matrix": lambda b, at: b.add(
        Spectral(Operand(at["x"], (2,)), Operand(at["A"], (1, 0)), (0,), (1,), 2), (N, N)
    ),
    "functions of one matrix": lambda b, at: b.add(
        Spectral(Operand(at["c"], (0, 3)), Operand(at["A"], (1, 2)), (1,), (2,), 3), (SEVEN, N, N)
    ),
}

BAD: dict[str, tuple[Add, str]] = {
    "reads forward": (lambda b, at: b.add(Combine(((ONE, Operand(9, (0,))),)), (N,)), "reads statement 9"),
    "labels miss an axis": (lambda b, at: b.add(Contract((Operand(at["A"], (0,)),)), (N,)), "2 axes but 1 labels"),
    "dims under one label differ": (
        lambda b, at: b.add(Contract((Operand(at["c"], (0, 1)), Operand(at["x"], (0,)))), (SEVEN, N)),
        "label 0 has size n on axis 0 of x but 7 on the result",
    ),
    "summed dims differ": (
        lambda b, at: b.add(Contract((Operand(at["c"], (2, 0)), Operand(at["A"], (2, 1)))), (N, N)),
        "label 2 has size n on axis 0 of A but 7 on c",
    ),
    "zero scale": (lambda b, at: b.add(Contract((Operand(at["x"], (0,)),), Scaling(())), (N,)), "scale is zero"),
    "three factors": (lambda b, at: b.add(Contract((Operand(at["x"], (0,)),) * 3), (N,)), "contracts 3 values"),
    "combine sums": (lambda b, at: b.add(Combine(((ONE, Operand(at["A"], (0, 1))),)), (N,)), "only a contraction sums"),
    "apply sums": (lambda b, at: b.add(Apply("tanh", (Operand(at["A"], (0, 1)),)), (N,)), "only a contraction sums"),
    "unknown function": (lambda b, at: b.add(Apply("tan", (Operand(at["x"], (0,)),)), (N,)), "applies 'tan'"),
    "wrong arity": (
        lambda b, at: b.add(Apply("where", (Operand(at["x"], (0,)),)), (N,)),
        "where takes 3 values, but 1",
    ),
    "a parameter is missing": (
        lambda b, at: b.add(Apply("clamp", (Operand(at["x"], (0,)),), (ONE,)), (N,)),
        "clamp has 1 parameters; expected low, high",
    ),
    "softmax without an axis": (
        lambda b, at: b.add(Apply("softmax", (Operand(at["x"], (0,)),)), (N,)),
        "softmax needs an axis",
    ),
    "tanh along an axis": (
        lambda b, at: b.add(Apply("tanh", (Operand(at["x"], (0,)),), along=0), (N,)),
        "tanh has no axis",
    ),
    "softmax along nothing": (
        lambda b, at: b.add(Apply("softmax", (Operand(at["x"], (0,)),), along=1), (N,)),
        "normalises along label 1",
    ),
    "gather keeps its axis": (
        lambda b, at: b.add(Gather(Operand(at["c"], (0, 1)), Operand(at["k"], (0,)), 0), (SEVEN, N)),
        "is summed away",
    ),
    "float index": (
        lambda b, at: b.add(Gather(Operand(at["A"], (2, 1)), Operand(at["x"], (0,)), 2), (N, N)),
        "expected int",
    ),
    "scatter fills an axis of the value": (
        lambda b, at: b.add(Scatter(Operand(at["c"], (0, 1)), Operand(at["k"], (2,)), 0), (SEVEN, N)),
        "on the value or on the index",
    ),
    "scatter sums what the index lacks": (
        lambda b, at: b.add(Scatter(Operand(at["c"], (3, 1)), Operand(at["k"], (2,)), 0), (SEVEN, N)),
        "label 3",
    ),
    "slice past the end": (
        lambda b, at: b.add(Slice.of(Operand(at["c"], (0, 1)), 0, 6, 1, 2), (TWO, N)),
        "past the end of an axis of size 7",
    ),
    "slice before the start": (
        lambda b, at: b.add(Slice.of(Operand(at["c"], (0, 1)), 0, 1, -2, 2), (TWO, N)),
        "before the first entry",
    ),
    "wide slice past the end": (
        lambda b, at: b.add(Slice(Operand(at["x"], (0,)), 0, Scaling.of(1), 1, N), (N,)),
        "past the end of an axis of size n",
    ),
    "wide slice before the start": (
        lambda b, at: b.add(Slice(Operand(at["x"], (0,)), 0, Scaling.of(5), -1, N), (N,)),
        "before the first entry",
    ),
    "slice of length 1 keeps its axis": (
        lambda b, at: b.add(Slice.of(Operand(at["x"], (0,)), 0, 0, 1, 1), (N,)),
        "length 1 drops its axis",
    ),
    "slice of another length": (
        lambda b, at: b.add(Slice.of(Operand(at["c"], (0, 1)), 0, 0, 1, 3), (TWO, N)),
        "takes 3 entries along label 0",
    ),
    "concat lengths": (
        lambda b, at: b.add(Concat((Operand(at["c"], (0, 1)),), (SEVEN,), 0), (Scaling.of(8), N)),
        "add up to 7, not 8",
    ),
    "concat part without the axis": (
        lambda b, at: b.add(Concat((Operand(at["x"], (1,)),), (TWO,), 0), (TWO, N)),
        "lacks the axis",
    ),
    "a matrix that is not square": (
        lambda b, at: b.add(Eigenvalues(Operand(at["c"], (1, 2)), (1,), (2,), 0), (N,)),
        "not square: its rows are 7, its columns n",
    ),
    "rows that are no labels": (
        lambda b, at: b.add(Eigenvalues(Operand(at["A"], (1, 2)), (1,), (1,), 0), (N,)),
        "should each be labels",
    ),
    "as many eigenvalues as rows": (
        lambda b, at: b.add(Eigenvalues(Operand(at["A"], (1, 2)), (1,), (2,), 0), (SEVEN,)),
        "a matrix of size n has as many eigenvalues, not 7",
    ),
    "eigenvalues along an axis of the matrix": (
        lambda b, at: b.add(Eigenvalues(Operand(at["A"], (1, 2)), (1,), (2,), 1), (N,)),
        "should be an axis of the result only",
    ),
    "eigenvalues keep the rows": (
        lambda b, at: b.add(Eigenvalues(Operand(at["A"], (0, 2)), (0,), (2,), 1), (N, N)),
        "expected labels >= 2",
    ),
    "too few weights": (
        lambda b, at: b.add(Spectral(Operand(at["k"], (2,)), Operand(at["A"], (0, 1)), (0,), (1,), 2), (N, N)),
        "there are other weights",
    ),
    "weights along a row": (
        lambda b, at: b.add(Spectral(Operand(at["A"], (0, 2)), Operand(at["A"], (0, 1)), (0,), (1,), 2), (N, N)),
        "have labels of the matrix",
    ),
    "a function without rows": (
        lambda b, at: b.add(Spectral(Operand(at["x"], (3,)), Operand(at["A"], (0, 2)), (0,), (2,), 3), (N, N)),
        "should be axes of the result: 0 .. 1",
    ),
    "weights along no eigenvalues": (
        lambda b, at: b.add(Spectral(Operand(at["x"], (1,)), Operand(at["A"], (0, 1)), (0,), (1,), 1), (N, N)),
        "the label 1 of the eigenvalues",
    ),
    "axis of size 1": (lambda b, at: b.add(Combine(()), (ONE, N)), "axis 0 has size 1"),
    "a name twice": (lambda b, at: b.add(Combine(()), (N,), name="x"), "the name 'x' is taken by statement 0"),
}


@pytest.mark.parametrize("name", GOOD)
def test_well_formed_statements_pass(name: str) -> None:
    b, at = start()
    GOOD[name](b, at)
    b.build()


@pytest.mark.parametrize("name", BAD)
def test_each_rule_is_shown_to_be_able_to_fail(name: str) -> None:
    b, at = start()
    add, message = BAD[name]
    add(b, at)
    with pytest.raises(IllFormed) as error:
        b.build()
    assert message in str(error.value)
    assert "--> train.py:12" in str(error.value)
    assert "1 problem" in str(error.value)


def test_all_problems_are_found_at_once() -> None:
    b, at = start()
    for name in ("zero scale", "axis of size 1", "unknown function"):
        BAD[name][0](b, at)
    with pytest.raises(IllFormed, match=r"(?s)3 problems.*scale is zero.*size 1.*'tan'"):
        b.build()


def test_a_ring_shows_problem_source_line_statement_and_neighbours() -> None:
    b, at = start()
    b.add(Apply("tanh", (Operand(at["x"], (0,)),)), (N,), name="h")
    program = b.build()
    assert ring(program, 4, "the problem") == (
        "the problem\n"
        "  --> train.py:12 (step 0, forward)\n"
        "   |\n"
        "   | h = fc(x)\n"
        "   |\n"
        "   2 | c : data   [7, n]\n"
        "   3 | k : index   [7] int\n"
        " > 4 | h = tanh(x)   [n]"
    )


def _with(**tables: object) -> Program:
    b, _at = start()
    return replace(b.build(), **tables)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View((9,), ((0,),)), "names statement 9"),
        (View((), ((0,),)), "no value"),
        (View((1,), ((0,),)), "should name each of the 2 axes once"),
        (View((1,), ((0, 0),)), "should name each of the 2 axes once"),
        (View((0, 0), ((0,),)), "2 pieces, but its stacked factors count 1"),
        (View((0, 1), ((0,),), 0), "different shapes"),
        (View((0, 0), ((0,),), 1), "stacks its pieces in dim 1"),
        (View((0, 0), ((0,),), 0, (Factor(0, 0, 3),)), "factors count 3"),
        (View.packed([View((0,), ((0,),)), View((9,), ((0,),))], 0), "names statement 9"),
        (View((0,), (), parts=(View((0,), ((0,),)), View((0,), ((0,),))), along=0), "not those of its parts"),
        (View.packed([View((0,), ((0,),)), View((0,), ((0,),))], 1), "along dim 1, which is none"),
        (View.packed([View((1,), ((0,), (1,))), View((1,), ((0, 1), ()))], 0), "different dims besides dim 0"),
    ],
)
def test_views_are_checked(view: View, message: str) -> None:
    with pytest.raises(IllFormed, match=message):
        check(_with(marks=(Mark("module", "fc", 0, view),)))
    with pytest.raises(IllFormed, match=message):
        check(_with(parameters=(Parameter("w", (view,), ()),)))


def test_versions_and_gradients_have_the_shape_of_version_0() -> None:
    x, a = View((0,), ((0,),)), View((1,), ((0,), (1,)))
    check(_with(parameters=(Parameter("w", (x, x), (x, None)),)))
    with pytest.raises(IllFormed, match=r"gradient of step 0: has shape \(n, n\), version 0 has \(n\)"):
        check(_with(parameters=(Parameter("w", (x,), (a,)),)))
    with pytest.raises(IllFormed, match="has no version 0"):
        check(_with(parameters=(Parameter("w", (), ()),)))


def test_arrays_belong_to_leaves() -> None:
    with pytest.raises(IllFormed, match="an array 'mask', but no leaf"):
        check(_with(arrays={"mask": np.zeros(3)}))
