"""Which numbers of a script's own text are set to a function of the width? `--set n_embd=n`, for scripts without options.

Set a name or a number of the script, or of a file that it imports, runs or reads:

* `n_embd`: an assignment at the top of the file, `n_embd = 384` or `n_embd = 6 * 64`. It may be under
  `if __name__ == "__main__":`. Where there is none, it is the only `main.n_embd`, `GPTConfig.n_embd`, ... that there is;
* `GPTConfig.n_embd`: a field of the class GPTConfig, or an assignment in a function of that name (`main.n_embd`). It is
  also a keyword where that name is called (`GPTConfig(n_embd=64)`, `transformers.GPT2Config(n_embd=64)`). Or it is the
  default of a parameter of a function of that name;
* `config.n_embd`: an entry of the dict that is assigned to `config`, or the assignment `config.n_embd = 64`;
* `400`: every location where the number 400 is written, as in `nn.Linear(784, 400)`. Names that count something else
  (`BATCH_SIZE = 64`) are left out, if there are others. `31:400` is all of line 31, `31:23:400` the one in its column 23,
  as compilers count (both from 1);
* `model.py:GPTConfig.n_embd`, `model.py:31:400`: in another file, as seen from the script's folder, or from the working folder.
  What the script has not is looked for in files of its folder that it imports or names. It is set where only one has it;
* `config.yaml:model.width`: an entry of a YAML, JSON or TOML file, by its path.

A switch is set by True or False (`use_amp=False`).

A variable that nothing reads (`h_dim = 400` before a model whose own default is `h_dim=400`) takes that default with it.

Of several locations of one name, `n_embd@12` is that in line 12. The script then runs with another value at these
locations. The syntax tree is changed in memory, or the text that the script reads. Every line is that of the file, and the
file stays as it is.
"""

from __future__ import annotations

import ast
import difflib
import linecache
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import final

from tpdyn.recorder.errors import Told
from tpdyn.scripts.formula import BadFormula, Formula
from tpdyn.scripts.locations import (
    Location,
    NotReadable,
    Position,
    default_unless_read,
    is_python,
    locations_in,
    position_of,
    with_values,
)
from tpdyn.store.identity import reached

MOST_NAMES = 12
COUNTS = frozenset(
    "batch bs epoch epochs seed step steps iter iters iteration iterations worker workers thread threads interval freq every log "
    "buffer seq sequence length len block horizon samples episodes".split()
)
"""Words of names whose numbers count samples, tokens, steps or the like: not sizes of a model."""
LITERAL = re.compile(r"\d[\d_]*(\.\d*)?([eE][-+]?\d+)?")


class BadSetting(Told, ValueError):
    """A setting that does not name a location of the script, or names several; the message lists what there is."""


@final
@dataclass(frozen=True)
class Setting:
    """Numbers of a file that become a function of the width.

    name: as it was given, less the file. listed: whether its locations are to be told, since the name alone does not tell them.
    left: equal numbers that stay, as they count something else.
    """

    name: str
    file: str
    locations: tuple[Location, ...]
    formula: Formula
    listed: bool = False
    left: tuple[Location, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}={self.formula.text}"

    def at(self, width: int) -> dict[Position, int | float]:
        """Evaluate the number at each location; a float where one stood there, else a whole number. Raises BadFormula."""
        real = {location: _is_real(location, self.formula) for location in self.locations}
        return {
            location.position: self.formula.real_at(width) if real[location] else self.formula.at(width)
            for location in self.locations
        }

    def told(self) -> str:
        """Tell its locations, with their lines."""
        lines = _text(self.file).splitlines()
        count = f"{len(self.locations)} location{'s' if len(self.locations) > 1 else ''}"
        shown = [
            f"\n  {location_name(self.file, location)}: {lines[location.line - 1].strip()}"
            for location in self.locations
        ]
        stay = [
            f"\n  {location_name(self.file, each)}: {lines[each.line - 1].strip()}\n    (to set it, too: "
            f"--set {each.line}:{each.position[1] + 1}:{self.name}={self.formula.text})"
            for each in self.left
        ]
        left = f"\nIt leaves what seems to count samples or steps:{''.join(stay)}" if stay else ""
        return f"--set {self} sets {count}:{''.join(shown)}{left}"


def location_name(file: str, location: Location) -> str:
    """Name a location as compilers do; `--set` takes this, with the number behind it."""
    return f"{Path(file).name}:{location.line}:{location.position[1] + 1}"


def read_settings(script: Path, words: Sequence[str]) -> tuple[Setting, ...]:
    """Read the settings that `NAME=FORMULA` words mean, in the script or in another file (`model.py:NAME=FORMULA`).

    Raises BadSetting for a name that the file has not, or has more than once. Raises it, too, for a word of another form.
    """
    taken: dict[tuple[str, Position], Setting] = {}
    settings = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise BadSetting(f"--set {word}: expected NAME=FORMULA, as in --set n_embd=n or --set Config.n_head=n/16")
        try:
            formula = Formula.read(text)
        except BadFormula as error:
            raise BadSetting(f"--set {word}: {error}") from error
        setting = _found(script, name.strip(), formula)
        for location in setting.locations:
            before = taken.setdefault((setting.file, location.position), setting)
            if before is not setting:
                raise BadSetting(f"--set {word}: the same number is set by --set {before}; expected it once")
        settings.append(setting)
    return tuple(settings)


def codes(settings: Sequence[Setting], width: int) -> dict[str, CodeType]:
    """Compile every Python file with a setting, as it is at a width; by absolute path. Raises BadFormula."""
    by_file = {}
    for file, values in _values(settings, width).items():
        if is_python(file):
            tree = ast.parse(_text(file), file)
            _Set(values).visit(tree)
            by_file[file] = compile(tree, file, "exec", dont_inherit=True)
    return by_file


def texts(settings: Sequence[Setting], width: int) -> dict[str, str]:
    """Return the text of every file with a setting, at a width, by absolute path; lines keep their numbers. Raises BadFormula."""
    values = _values(settings, width)
    return {
        file: with_values(_text(file), {at: repr(value) for at, value in set_to.items()})
        for file, set_to in values.items()
    }


def _values(settings: Sequence[Setting], width: int) -> dict[str, dict[Position, int | float]]:
    by_file: dict[str, dict[Position, int | float]] = {}
    for setting in settings:
        by_file.setdefault(setting.file, {}).update(setting.at(width))
    return by_file


def _is_real(location: Location, formula: Formula) -> bool:
    if formula.is_switch:
        return False
    return isinstance(location.value, float) or (location.value is None and formula.is_real)


@final
class _Set(ast.NodeTransformer):
    """Puts numbers where values were; positions stay."""

    def __init__(self, values: dict[Position, int | float]) -> None:
        self.values = values

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and position_of(node) in self.values:
            return ast.copy_location(ast.Constant(self.values[position_of(node)]), node)
        return super().generic_visit(node)


def _text(file: str) -> str:
    if is_python(file):
        linecache.checkcache(file)
        # What is shown as the script's text is what is changed: a patched one, too, that only stands in for the file.
        return "".join(linecache.getlines(file))
    with open(file, encoding="utf-8", newline="") as opened:
        return opened.read()


def _found(script: Path, name: str, formula: Formula) -> Setting:
    file, inner, line, column = _parts(name)
    path = _path(script, file, name)
    try:
        locations = locations_in(_text(str(path)), str(path))
    except (NotReadable, OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"--set {name}: {error}") from error
    literal = LITERAL.fullmatch(inner) is not None
    named = _named(locations, inner, literal)
    elsewhere = [] if named or file or line else _imported_with(path, inner, literal)
    if len(elsewhere) == 1:
        ((path, locations),) = elsewhere
        named = _named(locations, inner, literal)
    mine = [location for location in named if line in (0, location.line) and column in (0, location.position[1] + 1)]
    left = [location for location in mine if literal and not line and _counts(location)]
    left = left if len(left) < len(mine) else []
    mine = [location for location in mine if location not in left]
    if elsewhere[1:]:
        files = [each.relative_to(path.parent).as_posix() for each, _ in elsewhere]
        raise BadSetting(
            f"--set {name}: {path.name} has none, but {len(files)} files that it imports or names have; expected one of "
            f"{', '.join(f'--set {each}:{name}={formula.text}' for each in files)}"
        )
    if not named:
        raise BadSetting(f"--set {name}: {_nothing(path, locations, inner, literal)}")
    if not mine or (len(mine) > 1 and not literal):
        lines = _text(str(path)).splitlines()
        shown = [f"\n  line {location.line}: {lines[location.line - 1].strip()}" for location in named]
        known = "locations with that number" if literal else "locations of that name"
        example = f"{named[-1].line}:{inner}" if literal else f"{inner}@{named[-1].line}"
        expected = "expected one of them" if literal else "expected one, by its line"
        raise BadSetting(
            f"--set {name}: {path.name} has {len(named)} {known}; {expected} "
            f"({example}={formula.text}):{''.join(shown)}"
        )
    listed = literal or bool(elsewhere) or inner not in mine[0].names
    if not literal and not line and len(mine) == 1 and is_python(str(path)) and inner.isidentifier():
        default = default_unless_read(_text(str(path)), inner)
        more = [location for location in locations if location.position == default and location.value == mine[0].value]
        mine, listed = [*mine, *more], listed or bool(more)
    return Setting(name if not file else name[len(file) + 1 :], str(path), tuple(mine), formula, listed, tuple(left))


def _named(locations: Sequence[Location], inner: str, literal: bool) -> list[Location]:
    """Return the locations of a name, or of a number, of the type that it is written in."""
    if not literal:
        return [location for location in locations if inner in location.names] or _only(locations, inner)
    number = ast.literal_eval(inner.lstrip("0") or "0") if "." not in inner else float(inner)
    return [location for location in locations if type(location.value) is type(number) and location.value == number]


def _imported_with(script: Path, inner: str, literal: bool) -> list[tuple[Path, tuple[Location, ...]]]:
    """Return the files that the script imports or names, if they have the name or number, with their locations."""
    found = []
    for path in reached(script, (), {}):
        if path != script and (path.suffix == ".py" or not is_python(str(path))):
            with suppress(NotReadable, OSError, UnicodeDecodeError):
                locations = locations_in(_text(str(path)), str(path))
                if _named(locations, inner, literal):
                    found.append((path, locations))
    return found


def _counts(location: Location) -> bool:
    """Whether the name of a location says that it counts samples, tokens or steps: batch_size, BATCH_SIZE, seq_len."""
    return any(word in COUNTS for name in location.names for word in name.rpartition(".")[2].lower().split("_"))


def _only(locations: Sequence[Location], inner: str) -> list[Location]:
    """Return the one number whose name ends so (`main.n_embd` for `n_embd`); nothing if there are several."""
    ending = [
        location
        for location in locations
        if _is_size(location) and any(name.endswith(f".{inner}") for name in location.names)
    ]
    return ending if len(ending) == 1 else []


def _is_size(location: Location) -> bool:
    return location.value is not None or location.calculated


def _parts(name: str) -> tuple[str, str, int, int]:
    """Split `FILE:LINE:COLUMN:NAME`, or `NAME@LINE`: file, name or number, line and column; 0 and "" for what is not given."""
    *before, inner = name.split(":")
    inner, _, line = inner.partition("@")
    numbers: list[int] = [int(line)] if line.isdecimal() else []
    while before and before[-1].isdecimal() and len(numbers) < 2:
        numbers.insert(0, int(before.pop()))
    if line and not line.isdecimal():
        raise BadSetting(f"--set {name}: {line!r} is not a line; expected its number, as in {inner}@12")
    return ":".join(before), inner, [*numbers, 0][0], [*numbers, 0, 0][1]


def _path(script: Path, file: str, name: str) -> Path:
    if not file:
        return script.resolve()
    path = (script.parent / file).resolve()
    if not path.is_file() and Path(file).is_file():
        return Path(file).resolve()
    if not path.is_file():
        raise BadSetting(f"--set {name}: no file {path}; expected one, as seen from the folder of {script}")
    return path


def _nothing(path: Path, locations: Sequence[Location], inner: str, literal: bool) -> str:
    """Write the message for a name or a number that is not there."""
    if literal:
        values = sorted({location.value for location in locations if location.value is not None})
        numbers = [repr(value) for value in values]
        return f"{path.name} has no number {inner}; its numbers are: {', '.join(numbers) or 'none'}"
    names = list(dict.fromkeys(known for location in locations if _is_size(location) for known in location.names))
    close = difflib.get_close_matches(inner, names, MOST_NAMES, 0.5)
    last = [known for known in names if known.rpartition(".")[2] == inner.rpartition(".")[2]]
    listed = list(dict.fromkeys([*last, *close, *names]))
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    if listed:
        return f"{path.name} has no number of that name; its numbers are: {', '.join(listed[:MOST_NAMES])}{more}"
    sizes = sorted({location.value for location in locations if isinstance(location.value, int) and location.value > 2})
    also = f". Set a number wherever it is written, as in --set {sizes[-1]}=n" if sizes else ""
    return f"{path.name} has no number of that name; none of its numbers has a name{also}"
