"""What do commands have in common on the command line? Their shared arguments, and how lists of numbers are read."""

from __future__ import annotations

import ast
import glob
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tpdyn.scripts.target import Target as Script


def targets(begun: str) -> list[str]:
    """Complete a target: folders, Python files, and behind a file's colon its functions that take arguments."""
    file, colon, _ = begun.partition(".py:")
    if not colon:
        paths = sorted(glob.glob(f"{glob.escape(begun)}*"))
        return [f"{path}{os.sep}" if os.path.isdir(path) else path for path in paths if _is_offered(path)]
    try:
        with open(f"{file}.py", encoding="utf-8") as opened:
            body = ast.parse(opened.read()).body
    except (OSError, SyntaxError, ValueError):
        return []
    functions = [each.name for each in body if isinstance(each, ast.FunctionDef) and each.args.args]
    return [text for name in functions if (text := f"{file}.py:{name}").startswith(begun)]


def _is_offered(path: str) -> bool:
    return path.endswith(".py") or os.path.isdir(path)


def words(begun: str) -> list[str]:
    """Complete a word of the verdict."""
    from tpdyn.reporting.explain import TEXTS

    return [word for word in TEXTS if word.startswith(begun)]


Target = Annotated[
    str,
    typer.Argument(
        help="file.py:function, or a script that is run as it is, with --width-arg or --set", autocompletion=targets
    ),
]
ScriptArguments = Annotated[
    list[str] | None, typer.Argument(metavar="[-- SCRIPT ARGUMENTS]", help="passed on to the script")
]
WidthArgs = Annotated[
    list[str] | None,
    typer.Option(
        help="the script's own option for the width: --width-arg=--d-model; again for others that grow with it: "
        "--width-arg='--d-ff=4*n'"
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="a number in the script's text, set to a function of the width, as in --set n_embd=n. 400=n sets every 400, "
        "31:400=n that of line 31. GPTConfig.n_head=n/16 names a field, keyword or default. config.yaml:model.width=n "
        "names another file",
    ),
]


InPlace = Annotated[
    bool,
    typer.Option(
        "--in-place", help="run the script in this folder itself, not each time in a scratch folder that shows it"
    ),
]

RecordWidths = Annotated[str, typer.Option(help="three small widths to record at")]
ScriptWidths = Annotated[
    str, typer.Option(help="three small widths to record at (16,24,40; a script: the three smallest of --widths)")
]
TimeLimit = Annotated[float, typer.Option(min=1, help="seconds that one run may take")]

Jobs = Annotated[int, typer.Option(min=1, help="runs that are made at once; each gets cores / jobs threads")]
Backend = Annotated[str, typer.Option(help="who makes them: loky (processes here), dask or ray (a cluster)")]
Fresh = Annotated[bool, typer.Option("--fresh", help="make every run anew, and do not look up finished ones")]

Require = Annotated[str, typer.Option(help="fail unless it is in this regime: feature-learning, kernel, ...")]
Exponents = Annotated[bool, typer.Option("--exponents", help="show powers of the width, not factors")]
Statements = Annotated[bool, typer.Option("--statements", help="show the texts of lines and instructions")]
VerdictFile = Annotated[Path | None, typer.Option(help="write the verdict to this file")]
Logdir = Annotated[Path, typer.Option(help="where TensorBoard looks; a folder is made in it")]


def widths_of(text: str) -> tuple[int, ...]:
    """Read widths such as "64,128"; raise typer.BadParameter for anything else."""
    widths = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if 0 in widths:
        raise typer.BadParameter(f"{text!r}; expected positive whole numbers with commas between, e.g. 64,128,256,512")
    return tuple(widths)


def pair_of(text: str) -> tuple[int, int]:
    """Read two whole numbers such as "-6,6"; raise typer.BadParameter for anything else."""
    try:
        low, high = (int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r}; expected two whole numbers with a comma between, e.g. -6,6") from None
    return low, high


def limits_of(text: str) -> tuple[Fraction, Fraction]:
    """Read two exact numbers such as "-1,5/2"; raise typer.BadParameter for anything else."""
    try:
        low, high = (Fraction(part) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r}; expected two numbers with a comma between, e.g. -1,5/2") from None
    return low, high


def say(message: str) -> None:
    """Tell the user something beside the result, on standard error."""
    print(f"tpdyn: {message}", file=sys.stderr)


def progress() -> AbstractContextManager[Callable[[str, int, int], None]]:
    """Show a bar, or lines where there is no terminal: told (what, done, in all)."""
    from tpdyn.reporting import progress as reporting

    return reporting.progress()


def target_of(
    target: str, arguments: list[str] | None, width_args: list[str] | None, settings: list[str] | None, in_place: bool
) -> Script:
    """Put the words that mean a script together; tell what is set in it."""
    from tpdyn.scripts.script import told
    from tpdyn.scripts.target import Target

    for message in told(target, settings or ()):
        say(message)
    return Target(target, tuple(width_args or ()), tuple(arguments or ()), tuple(settings or ()), in_place=in_place)
