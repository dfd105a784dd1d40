"""How is a program stored? As JSON that says everything exactly, and is read back equal.

Fractions are strings ("-1/2"), whole numbers are JSON integers. Floats are JSON numbers in the shortest form that reads
back the same. Infinities and NaN are the strings "inf", "-inf", "nan". Instructions are objects with the name of their
class under "is". `arrays` are not stored: a program is its formulas.

Whoever reads a file need not trust it. Nesting, numbers and labels have bounds, far beyond those of programs. So a damaged
file costs a message, and neither memory nor hours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from typing import Any, get_args

from tpdyn.exponents import Number, Scaling
from tpdyn.program.check import check
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Law,
    Leaf,
    LeafKind,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import (
    Factor,
    Mark,
    Origin,
    Parameter,
    Phase,
    Program,
    Source,
    Statement,
    Type,
    View,
)

VERSION = 1
"""Of the layout described here; readers refuse others."""

_LARGEST = 10**15
"""The largest whole number of a program file: a step, a line, a position, a length."""

_LARGEST_LABEL = 999
"""Labels count axes, of which a statement has a few."""

_LARGEST_POWER = 10**6
"""Of the numerator and of the denominator of a power of the width."""

_FRACTION = re.compile(r"-?[0-9]{1,300}(/[0-9]{1,300})?", re.ASCII)
"""No exponent: written out, "1e999999999" fills the memory. With 300 digits a fraction is still a float."""

_DEEPEST = 16
"""How deep parts of packed tensors may lie in each other: no deeper than a tensor has dims."""

_INSTRUCTIONS = {
    kind.__name__: kind
    for kind in (Leaf, Contract, Combine, Apply, Gather, Scatter, Slice, Concat, Eigenvalues, Spectral)
}


def to_json(program: Program) -> str:
    """Write the program as JSON text, one statement a line."""
    head = {
        "tpdyn": "program",
        "version": VERSION,
        "steps": program.steps,
        "widths": list(program.widths),
        "verified": program.verified,
        "notes": list(program.notes),
        "guarded": dict(program.guarded),
        **({"late": dict(program.late)} if program.late else {}),
    }
    lines = {
        "statements": [_statement(statement) for statement in program.statements],
        "parameters": [_plain(parameter) for parameter in program.parameters],
        "marks": [_plain(mark) for mark in program.marks],
    }
    text = json.dumps(head, allow_nan=False)[:-1]
    for key, items in lines.items():
        body = ",\n".join("  " + json.dumps(item, allow_nan=False) for item in items)
        text += f',\n"{key}": [\n{body}\n]' if items else f',\n"{key}": []'
    return text + "\n}\n"


def from_json(text: str) -> Program:
    """Read the program that `to_json` wrote, and check it.

    Raises:
        ValueError: the text is not JSON, not a program, of another version, or ill-formed; says what and where.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("this is not a tensor program: its JSON is nested too deeply") from None
    except ValueError as error:  # not JSON, or a number of thousands of digits
        raise ValueError(f"this is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("tpdyn") != "program":
        raise ValueError('this JSON is not a tensor program: expected an object with "tpdyn": "program"')
    if data.get("version") != VERSION:
        raise ValueError(
            f"the program is stored in version {data.get('version')!r} of the layout; "
            f"this tpdyn reads version {VERSION}"
        )
    reader = _Reader()
    program = Program(
        statements=reader.each(data, "statements", reader.statement),
        parameters=reader.each(data, "parameters", reader.parameter),
        marks=reader.each(data, "marks", reader.mark),
        steps=reader.integer(data, "steps"),
        widths=reader.integers(data, "widths"),
        verified=None if reader.get(data, "verified") is None else reader.integer(data, "verified"),
        notes=reader.each(data, "notes", reader.text_itself),
        guarded=reader.sizes(data, "guarded"),
        late=reader.sizes(data, "late") if "late" in data else {},
    )
    check(program)
    return program


# -- writing ---------------------------------------------------------------------------------------------------------


def _statement(statement: Statement) -> dict[str, Any]:
    return {
        "name": statement.name,
        "shape": _plain(statement.shape),
        "type": statement.type,
        "instruction": _plain(statement.instruction),
        "origin": _plain(statement.origin),
    }


def _plain(value: Any) -> Any:
    """Write dataclasses as objects, tuples as lists, numbers exactly."""
    if isinstance(value, Scaling):
        return [[_number(c), str(p)] for c, p in value.terms]
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    named = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Slice):
        named |= {"start": _bound(value.start), "length": _bound(value.length)}
    if isinstance(value, View) and not value.parts:
        del named["parts"], named["along"]
    kind = type(value).__name__
    return {"is": kind} | named if kind in _INSTRUCTIONS else named


def _bound(value: Scaling) -> Any:
    """Write a bound of a slice: a whole number, or a scaling where it depends on the width."""
    return int(value.constant) if value.is_constant else _plain(value)


def _number(value: Number) -> int | float | str:
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# -- reading ---------------------------------------------------------------------------------------------------------


class _Reader:
    """Reads objects field by field; what is wrong is a ValueError that names its path."""

    def __init__(self) -> None:
        self.path: list[str] = []

    def wrong(self, problem: str) -> ValueError:
        return ValueError(f"the stored program is damaged at {'.'.join(self.path) or 'the top'}: {problem}")

    def get(self, data: Any, key: str) -> Any:
        if not isinstance(data, dict):
            raise self.wrong(f"expected an object with {key!r}, got {_brief(data)}")
        if key not in data:
            raise self.wrong(f"{key!r} is missing")
        return data[key]

    def each(self, data: Any, key: str, read: Callable[[Any], Any]) -> tuple[Any, ...]:
        items = self.get(data, key)
        if not isinstance(items, list):
            raise self.wrong(f"{key!r} should be a list, got {_brief(items)}")
        result = []
        for number, item in enumerate(items):
            self.path.append(f"{key}[{number}]")
            result.append(read(item))
            self.path.pop()
        return tuple(result)

    def text(self, data: Any, key: str, among: tuple[str, ...] | None = None) -> str:
        value = self.get(data, key)
        if not isinstance(value, str) or (among is not None and value not in among):
            expected = "a text" if among is None else f"one of {', '.join(among)}"
            raise self.wrong(f"{key!r} should be {expected}, got {_brief(value)}")
        return value

    def text_itself(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(f"expected a text, got {_brief(value)}")
        return value

    def integer_itself(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(f"expected an integer, got {_brief(value)}")
        if abs(value) > _LARGEST:
            raise self.wrong(f"expected at most {_LARGEST}, got {_brief(value)}")
        return value

    def integer(self, data: Any, key: str) -> int:
        self.path.append(key)
        value = self.integer_itself(self.get(data, key))
        self.path.pop()
        return value

    def integers(self, data: Any, key: str) -> tuple[int, ...]:
        return self.each(data, key, self.integer_itself)

    def label_itself(self, value: Any) -> int:
        label = self.integer_itself(value)
        if not 0 <= label <= _LARGEST_LABEL:
            raise self.wrong(f"expected the number of an axis, from 0 to {_LARGEST_LABEL}, got {label}")
        return label

    def label(self, data: Any, key: str) -> int:
        self.path.append(key)
        value = self.label_itself(self.get(data, key))
        self.path.pop()
        return value

    def labels(self, data: Any, key: str) -> tuple[int, ...]:
        return self.each(data, key, self.label_itself)

    def maybe_label(self, data: Any, key: str) -> int | None:
        return None if self.get(data, key) is None else self.label(data, key)

    def number(self, value: Any) -> Number:
        if isinstance(value, str):
            if value in ("inf", "-inf", "nan"):
                return float(value)
            try:
                if _FRACTION.fullmatch(value):
                    return Fraction(value)
            except ZeroDivisionError:
                pass
            raise self.wrong(f"{_brief(value)} is not a number: expected a fraction of at most 300 digits")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(f"expected a number, got {_brief(value)}")
        if isinstance(value, int) and abs(value) >= 10**300:
            raise self.wrong(f"expected a number of at most 300 digits, got {_brief(value)}")
        return value

    def power(self, value: Any) -> Fraction:
        number = self.number(value)
        if not math.isfinite(number):
            raise self.wrong(f"expected a power of the width, got {number}")
        power = Fraction(number)
        if max(abs(power.numerator), power.denominator) > _LARGEST_POWER:
            raise self.wrong(f"expected a power of the width of at most {_LARGEST_POWER}, got {_brief(value)}")
        return power

    def sizes(self, data: Any, key: str) -> dict[str, float]:
        self.path.append(key)
        listed = self.get(data, key)
        if not isinstance(listed, dict):
            raise self.wrong(f"expected an object, got {_brief(listed)}")
        sizes = {name: float(self.number(value)) for name, value in listed.items()}
        if not all(map(math.isfinite, sizes.values())):
            raise self.wrong(f"expected finite sizes, got {_brief(listed)}")
        self.path.pop()
        return sizes

    def scaling_itself(self, value: Any) -> Scaling:
        if not isinstance(value, list) or not all(isinstance(term, list) and len(term) == 2 for term in value):
            raise self.wrong(f"expected a list of [coefficient, power], got {_brief(value)}")
        terms = tuple((self.number(c), self.power(p)) for c, p in value)
        powers = [power for _, power in terms]
        if powers != sorted(set(powers), reverse=True) or any(c == 0 for c, _ in terms):
            raise self.wrong(f"the terms {_brief(value)} should have falling powers and no zero coefficient")
        return Scaling(terms)

    def scaling(self, data: Any, key: str) -> Scaling:
        self.path.append(key)
        value = self.scaling_itself(self.get(data, key))
        self.path.pop()
        return value

    def bound(self, data: Any, key: str) -> Scaling:
        return self.scaling(data, key) if isinstance(self.get(data, key), list) else Scaling.of(self.integer(data, key))

    def operand_itself(self, data: Any) -> Operand:
        return Operand(self.integer(data, "var"), self.labels(data, "axes"))

    def operand(self, data: Any, key: str) -> Operand:
        self.path.append(key)
        value = self.operand_itself(self.get(data, key))
        self.path.pop()
        return value

    def maybe_operand(self, data: Any) -> Operand | None:
        return None if data is None else self.operand_itself(data)

    def term(self, data: Any) -> tuple[Scaling, Operand]:
        if not isinstance(data, list) or len(data) != 2:
            raise self.wrong(f"expected [scale, operand], got {_brief(data)}")
        return self.scaling_itself(data[0]), self.operand_itself(data[1])

    def statement(self, data: Any) -> Statement:
        kind: Type = self.text(data, "type", get_args(Type))  # type: ignore[assignment]
        return Statement(
            self.text(data, "name"),
            self.instruction(self.get(data, "instruction")),
            self.each(data, "shape", self.scaling_itself),
            kind,
            self.origin(self.get(data, "origin")),
        )

    def instruction(self, data: Any) -> Instruction:
        match self.text(data, "is", tuple(_INSTRUCTIONS)):
            case "Leaf":
                leaf: LeafKind = self.text(data, "kind", get_args(LeafKind))  # type: ignore[assignment]
                return Leaf(leaf, self.text(data, "name"), self.law(self.get(data, "law")))
            case "Contract":
                return Contract(self.each(data, "operands", self.operand_itself), self.scaling(data, "scale"))
            case "Combine":
                terms, constant = self.each(data, "terms", self.term), self.scaling(data, "constant")
                return Combine(terms, constant, self.truth(data, "epsilon"))
            case "Apply":
                return Apply(
                    self.text(data, "function"),
                    self.each(data, "operands", self.operand_itself),
                    self.each(data, "parameters", self.scaling_itself),
                    self.maybe_label(data, "along"),
                )
            case "Gather":
                return Gather(self.operand(data, "value"), self.operand(data, "index"), self.label(data, "axis"))
            case "Scatter":
                return Scatter(self.operand(data, "value"), self.operand(data, "index"), self.label(data, "axis"))
            case "Slice":
                return Slice(
                    self.operand(data, "value"),
                    self.label(data, "axis"),
                    self.bound(data, "start"),
                    self.integer(data, "step"),
                    self.bound(data, "length"),
                )
            case "Eigenvalues":
                return Eigenvalues(self.operand(data, "value"), *self.spectrum(data))
            case "Spectral":
                return Spectral(self.operand(data, "weights"), self.operand(data, "value"), *self.spectrum(data))
            case "Concat":
                return Concat(
                    self.each(data, "parts", self.maybe_operand),
                    self.each(data, "lengths", self.scaling_itself),
                    self.label(data, "axis"),
                )
            case other:
                raise AssertionError(f"{other} is an instruction that JSON does not read yet")

    def spectrum(self, data: Any) -> tuple[tuple[int, ...], tuple[int, ...], int, bool]:
        descending = self.truth(data, "descending")
        return self.labels(data, "rows"), self.labels(data, "columns"), self.label(data, "axis"), descending

    def truth(self, data: Any, key: str) -> bool:
        value = self.get(data, key)
        if not isinstance(value, bool):
            raise self.wrong(f"{key!r} should be true or false, got {_brief(value)}")
        return value

    def law(self, data: Any) -> Law:
        kinds = ("zero", "constant", "normal", "uniform", "bernoulli", "iid", "orthogonal", "data", "index", "array")
        kind: Any = self.text(data, "kind", kinds)
        return Law(kind, self.scaling(data, "location"), self.scaling(data, "scale"))

    def origin(self, data: Any) -> Origin:
        phase: Phase = self.text(data, "phase", get_args(Phase))  # type: ignore[assignment]
        source = self.get(data, "source")
        return Origin(
            self.integer(data, "step"),
            phase,
            self.text(data, "module"),
            Source(self.text(source, "file"), self.integer(source, "line"), self.text(source, "text")),
        )

    def view(self, data: Any) -> View:
        if len(self.path) > _DEEPEST:
            raise self.wrong(f"parts lie in parts, more than {_DEEPEST} deep")
        return View(
            self.integers(data, "pieces"),
            self.each(data, "dims", self.dim),
            self.maybe_label(data, "stacked"),
            self.each(data, "grid", self.factor),
            *((self.each(data, "parts", self.view), self.maybe_label(data, "along")) if "parts" in data else ()),
        )

    def dim(self, data: Any) -> tuple[int, ...]:
        return self.labels({"axes": data}, "axes")

    def factor(self, data: Any) -> Factor:
        return Factor(self.label(data, "dim"), self.label(data, "place"), self.integer(data, "count"))

    def maybe_view(self, data: Any) -> View | None:
        return None if data is None else self.view(data)

    def parameter(self, data: Any) -> Parameter:
        return Parameter(
            self.text(data, "name"),
            self.each(data, "versions", self.view),
            self.each(data, "gradients", self.maybe_view),
        )

    def mark(self, data: Any) -> Mark:
        kind: Any = self.text(data, "kind", ("module", "output", "loss"))
        return Mark(kind, self.text(data, "name"), self.integer(data, "step"), self.view(self.get(data, "view")))


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
