"""What could the user have meant? Options, functions and numbers that a script really has, for messages that name one it has not.

Options are read off the text: `add_argument("--width", ...)` and `option("--width", ...)` of argparse and click.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from tpdyn.scripts.locations import Location, NotReadable, is_python, locations_in
from tpdyn.store.identity import reached

MOST = 12
ADDING = frozenset({"add_argument", "option", "Option"})
SIZES = frozenset(
    "width hidden embd embed embedding dim dims d channels units size features neurons nhid ngf ndf".split()
)
"""Words of names that are sizes of a model more often than not."""


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the name that a misspelt one most likely meant; None if none is near.

    >>> nearest("trian", ["batches", "train"])
    'train'
    """
    found = difflib.get_close_matches(name, names, 1, 0.6)
    return found[0] if found else None


def listed(names: Sequence[str]) -> str:
    """List names, the first of many."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def options_of(script: Path, *, numbers: bool = False) -> tuple[str, ...]:
    """List the long options that a script and its own imports define, in order. numbers: only those that take a whole number."""
    found: list[str] = []
    for path in [script.resolve(), *(each for each in reached(script.resolve(), (), {}) if each != script.resolve())]:
        with suppress(OSError, SyntaxError, ValueError):
            for node in ast.walk(ast.parse(path.read_bytes())) if is_python(str(path)) else ():
                if isinstance(node, ast.Call) and _called(node) in ADDING and (not numbers or _takes_a_number(node)):
                    found += [text for text in _texts(node.args) if text.startswith("--")]
    return tuple(dict.fromkeys(found))


def functions_of_a_width(script: Path) -> tuple[str, ...]:
    """List the functions of a file that can be called with one argument. Those come first whose argument is named as a size."""
    try:
        body = ast.parse(script.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return ()
    found = [
        node
        for node in body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and not node.decorator_list  # it may be a command of click's
        and _takes_one(node.args)
    ]
    return tuple(node.name for node in sorted(found, key=lambda node: not _is_size(_first(node.args))))


def a_number_of(script: Path) -> str | None:
    """Return a setting of a number that looks like a size of the model: `n_embd=n`, `config.yaml:width=n`, or `400=n`.

    None if there is none.
    """
    configurations = [each for each in reached(script.resolve(), (), {}) if not is_python(str(each))]
    for path in (script, *configurations):
        named = [name for each in _numbers(path) for name in each.names if _is_size(name)]
        if named:
            return f"{named[0]}=n" if path == script else f"{path.name}:{named[0]}=n"
    unnamed = [int(each.value) for each in _numbers(script) if not each.names and each.value is not None]
    return f"{max(unnamed)}=n" if unnamed else None


def _numbers(path: Path) -> list[Location]:
    try:
        places = locations_in(path.read_text(encoding="utf-8"), str(path))
    except (NotReadable, OSError, UnicodeDecodeError):
        return []
    return [each for each in places if isinstance(each.value, int) and each.value > 2]


def ways_in(script: Path) -> str:
    """Say how this script could be given a width: an option, a number or a function that it has."""
    options, setting, functions = options_of(script, numbers=True), a_number_of(script), functions_of_a_width(script)
    ways = []
    if options:
        likely = next((option for option in options if _is_size(option)), options[0])
        ways.append(f"the one of its options that is its width ({listed(options)}), as in --width-arg={likely}")
    elif setting and ":" not in setting and _takes_words(script):
        ways.append(f"its own option, as in '--width-arg=--{setting.removesuffix('=n')}={{n}}'")
        ways.append(f"a number in its text, as in --set {setting}")
    elif setting:
        ways.append(f"a number in its text, as in --set {setting}")
    if functions:
        ways.append(f"a function of the width, as in {script}:{functions[0]}")
    if not ways:
        ways = [
            "a script with an option for its width, as in --width-arg=--d-model, or with a function train(width: int)"
        ]
    return "Expected " + ", or ".join(ways)


def _takes_words(script: Path) -> bool:
    """Tell whether a script, or what it imports or executes, splits words of its command line at '='."""
    for path in reached(script.resolve(), (), {}):
        with suppress(OSError, UnicodeDecodeError):
            text = path.read_text(encoding="utf-8") if is_python(str(path)) else ""
            if "sys.argv" in text and re.search(r"split\(['\"]=", text):
                return True
    return False


def unknown_options(script: Path, words: Iterable[str]) -> str:
    """Say which words are options that the script has not. It is '' if it has all, or if none can be read."""
    options = options_of(script)
    given = [word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2]
    wrong = [name for name in given if not any(option.startswith(name) for option in (*options, "--help"))]
    if not options or not wrong:
        return ""
    close = nearest(wrong[0], options)
    return (
        f"it has no option {wrong[0]}; its options are {listed(options)}"
        + (f". Is it {close}?" if close else "")
    )  # fmt: skip


def _is_size(name: str) -> bool:
    words = name.strip("-").rpartition(".")[2].lower().replace("-", "_").split("_")
    return not SIZES.isdisjoint(words) and "batch" not in words


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _texts(nodes: Iterable[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _takes_a_number(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    kind, default = given.get("type"), given.get("default")
    if isinstance(kind, ast.Name):
        return kind.id == "int"
    return isinstance(default, ast.Constant) and type(default.value) is int


def _first(arguments: ast.arguments) -> str:
    return next(each.arg for each in (*arguments.posonlyargs, *arguments.args))


def _takes_one(arguments: ast.arguments) -> bool:
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = len(positional) - len(arguments.defaults)
    return needed <= 1 <= len(positional) and None not in arguments.kw_defaults
