"""Is a program read back equal, and is everything else refused with a word about what is wrong?"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
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
from tpdyn.program.program import Factor, Mark, Origin, Parameter, Program, Source, View

spec = importlib.util.spec_from_file_location("show_examples", Path(__file__).with_name("test_show.py"))
assert spec is not None
assert spec.loader is not None
show_examples = importlib.util.module_from_spec(spec)
sys.modules["show_examples"] = show_examples
spec.loader.exec_module(show_examples)

ODD = (
    None,
    True,
    [],
    {},
    [[]],
    10**400,
    -(10**30),
    "1/0",
    "9" * 5000,
    "1e999999999",
    "inf",
    [[1, "inf"]],
    [["nan", "0"]],
)
N, ONE = Scaling.of(1, 1), Scaling.of(1)

coefficients = st.one_of(
    st.integers(-5, 5), st.fractions(-3, 3, max_denominator=9), st.floats(allow_nan=False), st.just(math.inf)
).filter(bool)
powers = st.fractions(-4, 4, max_denominator=12)


@st.composite
def scalings(draw: st.DrawFn) -> Scaling:
    terms = draw(st.dictionaries(powers, coefficients, max_size=3))
    return Scaling(tuple((terms[power], power) for power in sorted(terms, reverse=True)))


texts = st.text(max_size=12)
origins = st.builds(
    Origin,
    st.integers(0, 3),
    st.sampled_from(["initialization", "data", "forward", "backward", "optimizer"]),
    texts,
    st.builds(Source, texts, st.integers(0, 999), texts),
)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Well-formed programs with every kind of instruction, on values of shape [n, 6]."""
    six = Scaling.of(6)
    b = Builder()
    law = st.builds(
        Law,
        st.sampled_from(["normal", "uniform", "iid", "orthogonal", "bernoulli", "constant"]),
        scalings(),
        scalings(),
    )
    values = [b.leaf(Leaf("parameter", "w", draw(law)), (N, six)), b.leaf(Leaf("random", "x", draw(law)), (N, six))]
    index = b.leaf(Leaf("data", "k", Law("index")), (six,), type="int")
    for _ in range(draw(st.integers(0, 8))):
        b.origin = draw(origins)
        v = st.sampled_from(values)
        both = Operand(draw(v), (0, 1))
        nonzero = scalings().filter(lambda scaling: not scaling.is_zero)
        match draw(
            st.sampled_from(
                [
                    "contract",
                    "combine",
                    "apply",
                    "softmax",
                    "gather",
                    "scatter",
                    "slice",
                    "wide slice",
                    "concat",
                    "spectral",
                ]
            )
        ):
            case "contract":
                made = b.add(
                    Contract(
                        (
                            Operand(draw(v), (0, 2)),
                            Operand(draw(v), (3, 2)),
                        )[:1]
                        + (both,),
                        draw(nonzero),
                    ),
                    (N, six),
                )
            case "combine":
                terms = ((draw(scalings()), both), (draw(scalings()), Operand(draw(v), (0, 1))))
                made = b.add(Combine(terms, draw(scalings()), draw(st.booleans())), (N, six))
            case "apply":
                made = b.add(Apply("clamp", (both,), (draw(scalings()), draw(scalings()))), (N, six))
            case "softmax":
                made = b.add(Apply("softmax", (both,), along=1), (N, six))
            case "gather":
                made = b.add(Gather(Operand(draw(v), (0, 2)), Operand(index, (1,)), 2), (N, six))
            case "scatter":
                made = b.add(Scatter(Operand(draw(v), (0, 2)), Operand(index, (2,)), 1), (N, six))
            case "wide slice":
                made = b.add(Slice(both, 0, N + Scaling.of(-1), -1, N), (N, six))
            case "slice":
                made = b.add(Slice.of(both, 1, 5, -1, 6), (N, six))
            case "spectral":
                values_of, descending = Operand(draw(v), (2, 0)), draw(st.booleans())
                square = b.add(Contract((values_of, Operand(values_of.var, (2, 1)))), (six, six))
                along = b.add(Eigenvalues(Operand(square, (1, 2)), (1,), (2,), 0, descending), (six,))
                root = Spectral(Operand(along, (2,)), Operand(square, (0, 1)), (0,), (1,), 2, descending)
                made = b.add(Contract((Operand(b.add(root, (six, six)), (1, 2)), Operand(draw(v), (0, 2)))), (N, six))
            case _:
                half = b.add(Slice.of(both, 1, draw(st.integers(0, 3)), 1, 3), (N, Scaling.of(3)))
                made = b.add(Concat((Operand(half, (0, 1)), None), (Scaling.of(3), Scaling.of(3)), 1), (N, six))
        values.append(made)
    view = View((values[-1],), ((0,), (), (1,)))
    stacked = View((values[0], values[-1]), ((0,), (1,)), 1, (Factor(1, 1, 2),))
    packed = View.packed([view, View.packed([view, view], 1)], 1)
    b.parameters.append(Parameter("w", (stacked, stacked), (None, stacked)))
    b.marks += [Mark("module", draw(texts), 0, each) for each in (view, packed)]
    return b.build(steps=2, widths=(16, 24), verified=draw(st.none() | st.just(40)), notes=tuple(draw(st.lists(texts))))


@given(programs())
def test_a_program_is_read_back_equal(program: Program) -> None:
    again = Program.from_json(program.to_json())
    assert again == program
    assert repr(again) == repr(program)  # also the types of numbers: 1 is not 1.0


def test_a_training_program_is_read_back_equal() -> None:
    program = show_examples.two_layers()
    assert Program.from_json(program.to_json()) == program
    assert program.to_json() == show_examples.two_layers().to_json()
    late = replace(program, late={"w": 784.0})
    assert Program.from_json(late.to_json()) == late


def _damaged(path: list[Any], value: Any) -> str:
    data = json.loads(show_examples.two_layers().to_json())
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a tensor program"),
        ('{"tpdyn": "report"}', "not a tensor program"),
        (_damaged(["version"], 99), "version 99"),
        (_damaged(["statements"], {}), "damaged at statements: expected a list"),
        (_damaged(["steps"], "two"), "damaged at steps: expected an integer"),
        (_damaged(["statements", 2, "shape"], None), r"damaged at statements\[2\]: 'shape' is missing"),
        (
            _damaged(["statements", 4, "instruction", "is"], "Convolve"),
            r"instruction.is: expected one of Leaf, Contract",
        ),
        (_damaged(["statements", 4, "instruction", "scale"], [["1/0", "0"]]), "not a number"),
        (_damaged(["statements", 4, "instruction", "scale"], [[1, "0"], [1, "1"]]), "falling powers"),
        (_damaged(["statements", 4, "instruction", "operands", 0, "var"], 99), "reads statement 99"),
        (_damaged(["marks", 0, "kind"], "layer"), r"damaged at marks\[0\].kind: expected one of module"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "not JSON"),
        (_damaged(["steps"], 10**30), "damaged at steps: expected at most 1000000000000000, got 1000"),
        (
            _damaged(["statements", 4, "instruction", "operands", 0, "axes", 0], 10**9),
            "number of an axis, from 0 to 999",
        ),
        (
            _damaged(["statements", 4, "instruction", "scale"], [["1e999999999", "0"]]),
            "a fraction of at most 300 digits",
        ),
        (_damaged(["statements", 4, "instruction", "scale"], [[10**400, "0"]]), "a number of at most 300 digits"),
        (_damaged(["statements", 4, "shape"], [[1, "inf"]]), "damaged at .*expected a list of"),
        (_damaged(["statements", 4, "shape"], [[[1, "inf"]]]), r"shape\[0\]: expected a power of the width, got inf"),
        (_damaged(["statements", 4, "shape"], [[[1, "1/10000000"]]]), "a power of the width of at most 1000000"),
        (_damaged(["guarded"], {"x": "inf"}), "damaged at guarded: expected finite sizes"),
    ],
)
def test_damage_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Program.from_json(text)


def test_numbers_are_exact() -> None:
    b = Builder()
    scale = Scaling(((0.1 + 0.2, Fraction(1, 3)), (Fraction(1, 3), Fraction(0)), (-math.inf, Fraction(-1))))
    b.add(Combine((), scale), (N,), name="c")
    (statement,) = Program.from_json(b.build().to_json()).statements
    assert isinstance(statement.instruction, Combine)
    assert statement.instruction.constant == scale


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_with_anything_anywhere_is_read_or_refused_at_once(data: st.DataObject) -> None:
    """So were 3,000 mutations of a recorded program (an embedding, a norm, Adam), none in more than five seconds."""
    stored = json.loads(show_examples.two_layers().to_json())
    inner: Any = stored
    while True:
        key = data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        if not inner[key] or not isinstance(inner[key], dict | list) or data.draw(st.integers(0, 5)) == 0:
            break
        inner = inner[key]
    inner[key] = data.draw(st.sampled_from(ODD) | st.integers() | st.floats() | st.text())
    with contextlib.suppress(ValueError):
        str(Program.from_json(json.dumps(stored)))
