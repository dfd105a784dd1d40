"""At which width was a script tuned? Where its own text says so: the number that `--set` replaces, the default of its option."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from tpdyn.scripts.formula import BadFormula, Formula
from tpdyn.scripts.settings import BadSetting, read_settings
from tpdyn.scripts.standing_in import text_of


def own_width(script: Path, width_args: Sequence[str] = (), settings: Sequence[str] = ()) -> int | None:
    """Find the width that a script has by default; None if its text does not say.

    Asks the settings and options whose value is the width itself, in order. An option's default is that of
    `add_argument("--d-model", default=256)`.
    """
    try:
        for setting in read_settings(script, settings):
            values = {location.value for location in setting.locations}
            if _is_width(setting.formula) and len(values) == 1 and isinstance(value := values.pop(), int):
                return value
        for option in width_args:
            name, _, formula = option.partition("=")
            if "{" not in option and _is_width(Formula.read(formula or "n")):
                value = _default(script, name)
                if value is not None:
                    return value
    except (BadSetting, BadFormula, OSError, SyntaxError, UnicodeDecodeError):
        return None
    return None


def _is_width(formula: Formula) -> bool:
    return all(formula.at(width) == width for width in (64, 96))


def _default(script: Path, name: str) -> int | None:
    for node in ast.walk(ast.parse(text_of(script))):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"
        ):
            continue
        named = {each.value for each in node.args if isinstance(each, ast.Constant)}
        for keyword in node.keywords:
            if name in named and keyword.arg == "default" and isinstance(keyword.value, ast.Constant):
                value = keyword.value.value
                return value if type(value) is int and value > 0 else None
    return None
