"""How is a program stored? As JSON that says everything exactly, and is read back equal.

Fractions are strings ("-1/2"), whole numbers are JSON integers. Floats are JSON numbers in the shortest form that reads
back the same. Infinities and NaN are the strings "inf", "-inf", "nan". Instructions are objects with the name of their
class under "is". `arrays` are not stored: a program is its formulas.

Whoever reads a file need not trust it. Nesting, numbers and labels have bounds, far beyond those of programs. So a damaged
file costs a message, and neither memory nor hours.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tpdyn.exponents import Number, Scaling
from tpdyn.program.check import check
from tpdyn.program.instructions import Instruction, Slice
from tpdyn.program.program import Mark, Parameter, Program, Statement, View

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

_INSTRUCTIONS = {kind.__name__: kind for kind in get_args(Instruction)}

_STORED: dict[str, Any] = {
    "statements": tuple[Statement, ...],
    "parameters": tuple[Parameter, ...],
    "marks": tuple[Mark, ...],
    "steps": int,
    "widths": tuple[int, ...],
    "verified": int | None,
    "notes": tuple[str, ...],
    "guarded": dict[str, float],
    "late": dict[str, float],
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
    stored = {key: kind for key, kind in _STORED.items() if key in data or key != "late"}
    program = Program(**{key: _member(data, key, _reader(kind), ()) for key, kind in stored.items()})
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


# -- reading: by the types of the fields -----------------------------------------------------------------------------

Place = tuple[Any, ...]
"""Where a value stands: (the place around it, its key or number), and () at the top."""
Read = Callable[[Any, Place], Any]


def _wrong(place: Place, problem: str) -> ValueError:
    path = ""
    while place:
        place, key = place
        path = (f"[{key}]" if isinstance(key, int) else f".{key}") + path
    return ValueError(f"the stored program is damaged at {path[1:] or 'the top'}: {problem}")


def _checked(right: Callable[[Any], bool], expected: str, read: Read | None = None) -> Read:
    """Read a value that must be right."""

    def checked(value: Any, place: Place) -> Any:
        if not right(value):
            raise _wrong(place, f"expected {expected}, got {_brief(value)}")
        return value if read is None else read(value, place)

    return checked


def _integer(value: Any, place: Place) -> int:
    if type(value) is not int:
        raise _wrong(place, f"expected an integer, got {_brief(value)}")
    if abs(value) > _LARGEST:
        raise _wrong(place, f"expected at most {_LARGEST}, got {_brief(value)}")
    return value


def _label(value: Any, place: Place) -> int:
    label = _integer(value, place)
    if not 0 <= label <= _LARGEST_LABEL:
        raise _wrong(place, f"expected the number of an axis, from 0 to {_LARGEST_LABEL}, got {label}")
    return label


_LABELS = frozenset("axes axis along rows columns dims stacked dim place".split())
"""Fields that count axes."""


def _number_at(value: Any, place: Place) -> Number:
    if isinstance(value, str):
        if value in ("inf", "-inf", "nan"):
            return float(value)
        with contextlib.suppress(ZeroDivisionError):
            if _FRACTION.fullmatch(value):
                return Fraction(value)
        raise _wrong(place, f"{_brief(value)} is not a number: expected a fraction of at most 300 digits")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(place, f"expected a number, got {_brief(value)}")
    if isinstance(value, int) and abs(value) >= 10**300:
        raise _wrong(place, f"expected a number of at most 300 digits, got {_brief(value)}")
    return value


def _power(value: Any, place: Place) -> Fraction:
    number = _number_at(value, place)
    if not math.isfinite(number):
        raise _wrong(place, f"expected a power of the width, got {number}")
    power = Fraction(number)
    if max(abs(power.numerator), power.denominator) > _LARGEST_POWER:
        raise _wrong(place, f"expected a power of the width of at most {_LARGEST_POWER}, got {_brief(value)}")
    return power


def _scaling(value: Any, place: Place) -> Scaling:
    if type(value) is int:  # a bound of a slice
        return Scaling.of(_integer(value, place))
    if not isinstance(value, list) or not all(isinstance(term, list) and len(term) == 2 for term in value):
        raise _wrong(place, f"expected a list of [coefficient, power], got {_brief(value)}")
    terms = tuple((_number_at(c, place), _power(p, place)) for c, p in value)
    powers = [power for _, power in terms]
    if powers != sorted(set(powers), reverse=True) or any(c == 0 for c, _ in terms):
        raise _wrong(place, f"the terms {_brief(value)} should have falling powers and no zero coefficient")
    return Scaling(terms)


def _sizes(value: dict[str, Any], place: Place) -> dict[str, float]:
    sizes = {name: float(_number_at(size, place)) for name, size in value.items()}
    if not all(map(math.isfinite, sizes.values())):
        raise _wrong(place, f"expected finite sizes, got {_brief(value)}")
    return sizes


def _member(value: Any, key: str, read: Read, place: Place) -> Any:
    if not isinstance(value, dict):
        raise _wrong(place, f"expected an object with {key!r}, got {_brief(value)}")
    if key not in value:
        raise _wrong(place, f"{key!r} is missing")
    return read(value[key], (place, key))


@cache
def _reader(kind: Any, integer: Read = _integer) -> Read:
    """Return how a value of a type is read, and the integers in it."""
    form, parts = get_origin(kind), get_args(kind)
    if kind == Instruction:
        name = _reader(Literal[*_INSTRUCTIONS])
        return lambda value, place: _reader(_INSTRUCTIONS[_member(value, "is", name, place)])(value, place)
    if kind in (int, Scaling):
        return integer if kind is int else _scaling
    if kind in (str, bool):
        return _checked(lambda value: type(value) is kind, "a text" if kind is str else "true or false")
    if form is Literal:
        return _checked(lambda value: value in parts, f"one of {', '.join(parts)}")
    if form is dict:
        return _checked(lambda value: isinstance(value, dict), "an object", _sizes)
    reads = [_reader(part, integer) for part in parts if part not in (..., NoneType)]
    if NoneType in parts:
        return lambda value, place: None if value is None else reads[0](value, place)
    if form is tuple and ... in parts:
        items: Read = lambda value, place: tuple([reads[0](item, (place, k)) for k, item in enumerate(value)])  # noqa: E731
        return _checked(lambda value: isinstance(value, list), "a list", items)
    if form is tuple:
        items = lambda value, place: tuple([read(item, place) for read, item in zip(reads, value)])  # noqa: E731
        whole = lambda value: isinstance(value, list) and len(value) == len(reads)  # noqa: E731
        return _checked(whole, f"a list of {len(reads)}", items)
    return _of_class(kind)


def _of_class(kind: Any) -> Read:
    """Return how an object is read: field by field."""

    @cache
    def members() -> list[tuple[str, Read]]:  # a view may have parts that are views
        hints = get_type_hints(kind).items()
        return [(key, _reader(part, _label if key in _LABELS else _integer)) for key, part in hints]

    def read(value: Any, place: Place) -> Any:
        if kind is View and isinstance(value, dict) and "parts" not in value:
            value = {"parts": [], "along": None, **value}  # not written of a tensor that is not packed
        elif kind is View and _depth(place) > _DEEPEST:
            raise _wrong(place, f"parts lie in parts, more than {_DEEPEST} deep")
        return kind(*[_member(value, key, member, place) for key, member in members()])

    return read


def _depth(place: Place) -> int:
    return 1 + _depth(place[0]) if place else 0


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
