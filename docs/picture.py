"""Where does the picture in README.md come from? `python docs/picture.py` checks an example and draws its verdict."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from tpdyn.commands.check import check
from tpdyn.home import shipped
from tpdyn.reporting.terminal import show
from tpdyn.scripts.script import load

TARGET = "digits_mlp.py:train_ntk"


def main() -> None:
    """Write docs/verdict.svg."""
    train = load(str(shipped("examples") / "digits_mlp.py") + ":train_ntk", None, [])
    checked = check(train, widths=(64, 128, 256, 512))
    console = Console(record=True, width=100, force_terminal=True, color_system="truecolor", highlight=False)
    if checked.report is not None:
        show(checked.report, console)
    console.save_svg(str(Path(__file__).parent / "verdict.svg"), title=f"tpdyn check examples/{TARGET}")


if __name__ == "__main__":
    main()
