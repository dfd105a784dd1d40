"""Where are numbers written in a file? In Python by the syntax tree, in YAML, JSON and TOML by what changes if one is changed.

A location in Python has the names that its syntax gives it (`GPTConfig.n_embd`). Every number that is written there is a
location, with a name or without. A location in a configuration has the path of its entry (`model.layers.0.width`).
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, final

Position = tuple[int, int, int, int]
"""First and last line, counted from 1, with columns in UTF-8 bytes, as `ast` counts them: (line, column, line, column)."""

NUMBER = re.compile(r"(?<![\w.])\d[\d_]*(\.\d*)?([eE][-+]?\d+)?(?![\w.])")
PROBE = 7304.0
"""A number that stands in for another, to see which entry changes. If it is the number itself, twice that follows."""


class NotReadable(ValueError):
    """A file in which locations cannot be found; the message says why."""


@final
@dataclass(frozen=True)
class Location:
    """A value in a text. names: what it is called, first the shortest. value: the number written there, if it is one.

    calculated: whether it is a calculation of numbers alone, `128 * 4`.
    """

    position: Position
    names: tuple[str, ...]
    value: int | float | None
    calculated: bool = False

    @property
    def line(self) -> int:
        """Counted from 1."""
        return self.position[0]


def is_python(file: str) -> bool:
    """Tell whether a file is read as Python; YAML, JSON and TOML are told by their endings."""
    return PurePath(file).suffix.lower() not in _PARSERS


def locations_in(text: str, file: str) -> tuple[Location, ...]:
    """List all locations of a text, in its order. file: its ending tells the language. Raises NotReadable."""
    locations = _python_locations(text, file) if is_python(file) else _data_locations(text, file)
    return tuple(sorted(locations, key=lambda location: location.position))


def with_values(text: str, values: Mapping[Position, str]) -> str:
    """Replace words of the text at some locations; lines keep their numbers."""
    lines = [line.encode() for line in re.findall(r"[^\n]*\n|[^\n]+", text)]
    for (line, column, last, end), value in sorted(values.items(), reverse=True):
        between = last - line
        words = value.encode() if not between else b"(" + value.encode() + b"\n" * between + b")"
        joined = lines[line - 1][:column] + words + lines[last - 1][end:]
        lines[line - 1 : last] = [joined, *[b""] * between]
    return b"".join(lines).decode()


# -- Python -------------------------------------------------------------------------------------------------------------


def position_of(node: ast.expr) -> Position:
    """Return the position at which an expression is written."""
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0


def _python_locations(text: str, file: str) -> list[Location]:
    try:
        tree = ast.parse(text, file)
    except (SyntaxError, ValueError) as error:
        raise NotReadable(f"{file} is not a Python file: {error}") from error
    names: dict[Position, list[str]] = {}
    calculated: set[Position] = set()
    values: dict[Position, int | float | None] = {}
    for name, node in _named(tree):
        names.setdefault(position_of(node), []).append(name)
        values[position_of(node)] = _number(node)
        if _is_calculation(node):
            calculated.add(position_of(node))
    inside = {id(node) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for node in ast.walk(text)}
    for each in ast.walk(tree):
        if id(each) not in inside and isinstance(each, ast.Constant) and _number(each) is not None:
            values[position_of(each)] = _number(each)
    return [
        Location(at, tuple(dict.fromkeys(names.get(at, ()))), value, at in calculated) for at, value in values.items()
    ]


def _number(node: ast.expr) -> int | float | None:
    plain = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return node.value if plain else None  # type: ignore[attr-defined]


def _is_calculation(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and all(
        isinstance(each, ast.BinOp | ast.operator) or _number(each) is not None  # type: ignore[arg-type]
        for each in ast.walk(node)
    )


def _named(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield (name, value) of every location that a setting can name, each once for every name that it has."""
    yield from _variables(tree.body, "")
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=owner, body=body):
                yield from _variables(body, f"{owner}.")
            case ast.FunctionDef(name=owner) | ast.AsyncFunctionDef(name=owner):
                yield from _variables(node.body, f"{owner}.")
                for name, default in _parameters(node):
                    if default is not None:
                        yield f"{owner}.{name}", default
            case ast.Call(func=ast.Name(id=owner) | ast.Attribute(attr=owner), keywords=keywords) if owner != "dict":
                for keyword in keywords:
                    if keyword.arg is not None:
                        yield f"{owner}.{keyword.arg}", keyword.value
                    if keyword.arg == "default" and (option := _option(node)):
                        yield f"{owner}.{option}", keyword.value
            case ast.Assign() | ast.AnnAssign():
                for target, value in _assigned(node):
                    if isinstance(target, ast.Attribute):
                        yield ast.unparse(target), value
                    elif isinstance(target, ast.Name):
                        for key, entry in _entries(value):
                            yield f"{target.id}.{key}", entry
            case _:  # no other syntax binds a value to a name that a setting could mean
                pass


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield (name, default) of each parameter, but for `*args` and `**kwargs`."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = [None] * (len(positional) - len(arguments.defaults))
    for argument, default in (
        *zip(positional, [*required, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ):
        yield argument.arg, default


def _option(call: ast.Call) -> str:
    """Name the option that `add_argument("-b", "--batch-size", default=64)` adds: batch_size; '' for another call."""
    words = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    option = next((word for word in words if word.startswith("--")), words[0] if words else "")
    return option.lstrip("-").replace("-", "_") if isinstance(call.func, ast.Attribute) else ""


def default_unless_read(text: str, name: str) -> Position | None:
    """Find the one default of a parameter of this name, if nothing else of a Python text reads the variable.

    `h_dim = 400` does nothing where the model is `VAE()`, whose own default is `h_dim=400`.
    """
    tree = ast.parse(text)
    written: list[Position] = []
    inside: set[int] = set()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        parameters = dict(_parameters(function))
        if name in parameters:
            inside |= {id(node) for statement in function.body for node in ast.walk(statement)}
            if (default := parameters[name]) is not None:
                written.append(position_of(default))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load) and id(node) not in inside:
            return None
    return written[0] if len(written) == 1 else None


def _variables(body: Sequence[ast.stmt], owner: str) -> Iterator[tuple[str, ast.expr]]:
    """Yield (name, value) of the assignments of a body, and of its blocks: under `if __name__ == "__main__":`, say."""
    for statement in body:
        for target, value in _assigned(statement):
            if isinstance(target, ast.Name):
                yield f"{owner}{target.id}", value
        for block in _blocks(statement):
            yield from _variables(block, owner)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the blocks of a statement that have no names of their own."""
    if isinstance(statement, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
        for part in ("body", "orelse", "finalbody"):
            yield getattr(statement, part, [])
    for handler in getattr(statement, "handlers", ()):
        yield handler.body


def _assigned(statement: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield (target, value) of an assignment, of tuples entry by entry."""
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        yield statement.target, statement.value
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            both = isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple)
            if both and len(target.elts) == len(statement.value.elts):  # type: ignore[attr-defined]
                yield from zip(target.elts, statement.value.elts, strict=True)  # type: ignore[attr-defined]
            else:
                yield target, statement.value


def _entries(value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield the entries of `{"key": value}` and of `dict(key=value)`."""
    if isinstance(value, ast.Dict):
        for key, entry in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, entry
    elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        for keyword in value.keywords:
            if keyword.arg is not None:
                yield keyword.arg, keyword.value


# -- YAML, JSON, TOML ---------------------------------------------------------------------------------------------------


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise NotReadable("a YAML file needs the package pyyaml: pip install pyyaml") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": json.loads,
    ".toml": tomllib.loads,
}


def _data_locations(text: str, file: str) -> list[Location]:
    """Change every number in turn: the entries that change with it are its names. Comments change nothing."""
    parse = _PARSERS[PurePath(file).suffix.lower()]
    try:
        before = dict(_leaves(parse(text)))
    except NotReadable:
        raise
    except ValueError as error:
        raise NotReadable(f"{file} cannot be read: {error}") from error
    locations = []
    for match in NUMBER.finditer(text):
        written = match.group().replace("_", "")
        value = int(written) if written.isdecimal() else float(written)
        other = PROBE if value != PROBE else 2 * PROBE
        probe = str(other if isinstance(value, float) else int(other))
        try:
            after = dict(_leaves(parse(text[: match.start()] + probe + text[match.end() :])))
        except ValueError:
            continue  # a date, a version
        names = [name for name in before if name in after and after[name] != before[name]]
        if names and len(before) == len(after) and all(_is(after[name], other) for name in names):
            locations.append(Location(_position(text, match.start(), match.end()), tuple(names), value))
    return locations


def _is(value: object, number: float) -> bool:
    """Tell whether an entry is the number, with one sign or the other."""
    return type(value) in (int, float) and abs(value) == number  # type: ignore[arg-type]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the entries of nested dicts and lists, by their dotted paths."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path, value
        return
    for key, entry in inner:
        yield from _leaves(entry, f"{path}.{key}" if path else str(key))


def _position(text: str, start: int, end: int) -> Position:
    line = text.count("\n", 0, start) + 1
    begin = text.rfind("\n", 0, start) + 1
    return line, len(text[begin:start].encode()), line, len(text[begin:end].encode())
