"""Where does the picture in README.md come from? `python docs/picture.py` checks an example and draws its verdict."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from tpdyn.commands.check import check, fix_command
from tpdyn.reporting.terminal import show
from tpdyn.scripts.target import Target

ROOT = Path(__file__).resolve().parents[1]
TARGET = Target("examples/digits_mlp.py:train_ntk")


def main() -> None:
    """Write docs/verdict.svg."""
    os.chdir(ROOT)
    checked = check(TARGET.load())
    console = Console(record=True, width=100, force_terminal=True, color_system="truecolor", highlight=False)
    assert checked.report is not None
    show(checked.report, console, fix=fix_command(TARGET, checked.prediction.program, steps=3))
    console.save_svg("docs/verdict.svg", title=f"tpdyn check {TARGET.target}")


if __name__ == "__main__":
    main()
