"""Which numbers of a script's own text are set to a function of the width? `--set n_embd=n`, for scripts without options.

A name stands for one place of the text where a value is written:

* `n_embd`: an assignment at the top of the file, `n_embd = 384`;
* `GPTConfig.n_embd`: a field of the class GPTConfig, a keyword where something of that name is called
  (`GPTConfig(n_embd=64)`, `transformers.GPT2Config(n_embd=64)`), or the default of a parameter of a function of that name;
* `config.n_embd`: an entry of the dict that is assigned to `config`, or the assignment `config.n_embd = 64`.

`model.py:GPTConfig.n_embd` looks in another file, as seen from the script's folder; of several places of one name,
`n_embd@12` is that in line 12. The script then runs with another value at
that place: the syntax tree is changed in memory, every position in it is that of the file, and the file stays as it is.
"""

from __future__ import annotations

import ast
import difflib
import linecache
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import final

from tpdyn.scripts.formula import BadFormula, Formula

MOST_NAMES = 12
Position = tuple[int, int, int, int]


class BadSetting(ValueError):
    """A setting that names no place of the script, or several; the message lists what there is."""


@final
@dataclass(frozen=True)
class Setting:
    """One number of a file that becomes a function of the width: `position` is where its value is written."""

    name: str
    file: str
    position: Position
    formula: Formula

    def __str__(self) -> str:
        return f"{self.name}={self.formula.text}"


def read_settings(script: Path, words: Sequence[str]) -> tuple[Setting, ...]:
    """The places that `NAME=FORMULA` words mean, in the script or in another file (`model.py:NAME=FORMULA`).

    Raises BadSetting for a name that is not in the file, or there more than once, and for a word of another form.
    """
    found: dict[tuple[str, Position], Setting] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise BadSetting(f"--set {word}: expected NAME=FORMULA, as in --set n_embd=n or --set Config.n_head=n/16")
        try:
            formula = Formula.read(text)
        except BadFormula as error:
            raise BadSetting(f"--set {word}: {error}") from error
        setting = _found(script, name.strip(), formula)
        before = found.setdefault((setting.file, setting.position), setting)
        if before is not setting:
            raise BadSetting(f"--set {word}: the same number is set by --set {before}; expected it once")
    return tuple(found.values())


def codes(settings: Sequence[Setting], width: int) -> dict[str, CodeType]:
    """The code of every file with a setting, as it is at a width, by absolute path. Raises BadFormula."""
    made = {}
    for file in dict.fromkeys(setting.file for setting in settings):
        values = {s.position: s.formula.at(width) for s in settings if s.file == file}
        tree = _tree(file)
        _Set(values).visit(tree)
        made[file] = compile(tree, file, "exec", dont_inherit=True)
    return made


@final
class _Set(ast.NodeTransformer):
    """Puts numbers where values were; positions stay."""

    def __init__(self, values: dict[Position, int]) -> None:
        self.values = values

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and _position(node) in self.values:
            return ast.copy_location(ast.Constant(self.values[_position(node)]), node)
        return super().generic_visit(node)


def _position(node: ast.expr) -> Position:
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0


def _tree(file: str) -> ast.Module:
    linecache.checkcache(file)
    # What is shown as the script's text is what is changed: a patched one, too, that only stands in for the file.
    return ast.parse("".join(linecache.getlines(file)), file)


def _found(script: Path, name: str, formula: Formula) -> Setting:
    file, colon, inner = name.rpartition(":")
    inner, _, line = inner.partition("@")
    path = (script.parent / file if colon else script).resolve()
    if not path.is_file():
        raise BadSetting(f"--set {name}: no file {path}; expected one, as seen from the folder of {script}")
    try:
        places = list(_places(_tree(str(path))))
    except SyntaxError as error:
        raise BadSetting(f"{path} is no Python file: {error}") from error
    places.sort(key=lambda place: _position(place[1]))
    named = [value for known, value in places if known == inner]
    mine = [value for value in named if not line or str(value.lineno) == line]
    if not named:
        names = list(dict.fromkeys(known for known, value in places if _is_number(value)))
        close = difflib.get_close_matches(inner, names, MOST_NAMES, 0.5)
        last = [known for known in names if known.rpartition(".")[2] == inner.rpartition(".")[2]]
        listed = list(dict.fromkeys([*last, *close, *names]))
        more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
        there = f"{', '.join(listed[:MOST_NAMES])}{more}" if listed else "none"
        raise BadSetting(f"--set {name}: {path.name} has no such place; its numbers are: {there}")
    if len(mine) != 1:
        lines = linecache.getlines(str(path))
        shown = [f"\n  line {value.lineno}: {lines[value.lineno - 1].strip()}" for value in named]
        raise BadSetting(
            f"--set {name}: {path.name} has {len(named)} places of that name; expected one, by its line "
            f"({inner}@{named[-1].lineno}={formula.text}):{''.join(shown)}"
        )
    return Setting(inner, str(path), _position(mine[0]), formula)


def _is_number(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and type(value.value) is int


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of every place that a setting can name, each once for every name that it has."""
    for statement in tree.body:
        for target, value in _assigned(statement):
            if isinstance(target, ast.Name):
                yield target.id, value
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=owner, body=body):
                for statement in body:
                    for target, value in _assigned(statement):
                        if isinstance(target, ast.Name):
                            yield f"{owner}.{target.id}", value
            case ast.FunctionDef(name=owner, args=arguments) | ast.AsyncFunctionDef(name=owner, args=arguments):
                positional = [*arguments.posonlyargs, *arguments.args]
                last = positional[len(positional) - len(arguments.defaults) :]
                for argument, default in zip(last, arguments.defaults, strict=True):
                    yield f"{owner}.{argument.arg}", default
                for argument, each in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
                    if each is not None:
                        yield f"{owner}.{argument.arg}", each
            case ast.Call(func=ast.Name(id=owner) | ast.Attribute(attr=owner), keywords=keywords) if owner != "dict":
                for keyword in keywords:
                    if keyword.arg is not None:
                        yield f"{owner}.{keyword.arg}", keyword.value
            case ast.Assign() | ast.AnnAssign():
                for target, value in _assigned(node):
                    if isinstance(target, ast.Attribute):
                        yield ast.unparse(target), value
                    elif isinstance(target, ast.Name):
                        for key, entry in _entries(value):
                            yield f"{target.id}.{key}", entry
            case _:
                pass


def _assigned(statement: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of an assignment, of tuples entry by entry."""
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
    """The entries of `{"key": value}` and of `dict(key=value)`."""
    if isinstance(value, ast.Dict):
        for key, entry in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, entry
    elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        for keyword in value.keywords:
            if keyword.arg is not None:
                yield keyword.arg, keyword.value
