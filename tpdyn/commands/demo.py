"""What does tpdyn show in a minute? One network on real data, parametrized in three ways: three verdicts."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from tpdyn.commands.check import Checked, check
from tpdyn.commands.failures import Exit
from tpdyn.home import shipped
from tpdyn.regimes.prediction import Regime
from tpdyn.reporting import folders, tensorboard, terminal
from tpdyn.reporting.live import Live
from tpdyn.reporting.progress import Progress, silent
from tpdyn.scripts.script import load

WIDTHS = (64, 256, 1024, 2048)  # wide apart: growth shows beside what a small width adds to it
SEEDS = 16
DECIDE_WITHIN = 120.0  # seconds for further runs of a case that is undecided
# Name of the log, function in digits_mlp.py, what theory says of it.
CASES = (
    ("standard parametrization", "train", Regime.UNSTABLE),
    ("NTK parametrization", "train_ntk", Regime.KERNEL),
    ("muP", "train_mup", Regime.FEATURE_LEARNING),
)


def run(logdir: Path, progress: Progress = silent) -> dict[str, Checked]:
    """Check the three functions and log them under `logdir`; by name."""
    script = shipped("examples") / "digits_mlp.py"
    for name, _, _ in CASES:
        folders.check_writable(logdir / name.replace(" ", "-"))
    checked = {}
    for name, function, _ in CASES:
        train = load(f"{script}:{function}", None, [])
        with Live(logdir / name.replace(" ", "-")) as watch:
            checked[name] = check(
                train,
                widths=WIDTHS,
                seeds=SEEDS,
                decide_within=DECIDE_WITHIN,
                progress=_named(name, progress),
                watch=watch,
            )
        report = checked[name].report
        if report is not None:
            tensorboard.log(report, logdir / name.replace(" ", "-"))
    return checked


def _named(name: str, progress: Progress) -> Progress:
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def show(checked: dict[str, Checked], logdir: Path, console: Console | None = None) -> None:
    """Print the three verdicts."""
    out = console or terminal.console()
    for name, each in checked.items():
        out.rule(f"[bold]{name}[/bold]", align="left")
        if each.report is not None:
            terminal.show(each.report, out, facts=False)
    out.rule()
    out.print(f"the evidence: tensorboard --logdir {logdir}")


def exit_of(checked: dict[str, Checked]) -> Exit:
    """Return 0 when all three regimes are what theory says and the runs contradict none of them."""
    expected = {name: regime for name, _, regime in CASES}
    right = all(each.prediction.regime is expected[name] for name, each in checked.items())
    against = any(each.exit in (Exit.DISAGREEMENT, Exit.OUTSIDE) for each in checked.values())
    return Exit.OK if right and not against else Exit.DISAGREEMENT
