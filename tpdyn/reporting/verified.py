"""How does a run of the proofs look? A table in the terminal, and the same in TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tpdyn.reporting.events import Run


@final
@dataclass(frozen=True, slots=True)
class Theorem:
    """What became of one file. outcome: "holds", "fails", or "left out"; counts of tests; failures: (test, text) of each.

    known: tests that passed in an earlier run. expected: tests that are known to fail, each with its reason. figures: lines that
    tests printed: rates, powers, the largest deviation.
    """

    name: str
    outcome: str
    passed: int = 0
    skipped: int = 0
    known: int = 0
    seconds: float = 0.0
    failures: tuple[tuple[str, str], ...] = ()
    expected: tuple[tuple[str, str], ...] = ()
    figures: tuple[str, ...] = ()

    @property
    def ran(self) -> bool:
        """Whether it has a test at all."""
        return bool(self.passed + self.skipped + self.known + len(self.failures) + len(self.expected))

    @property
    def statement(self) -> str:
        """The name of the file as a sentence."""
        return self.name.removeprefix("test_").replace("_", " ")


def rows(theorems: Sequence[Theorem]) -> list[tuple[str, str, str, str]]:
    """Return theorem, outcome, tests, seconds; one row a file."""
    return [
        (each.statement, each.outcome, _tests(each), "" if each.outcome == "left out" else f"{each.seconds:.0f}")
        for each in theorems
    ]


def text(theorems: Sequence[Theorem], profile: str, seconds: float) -> str:
    """Write the table as plain text, then each failure with its last lines, then the known failures."""
    table = rows(theorems)
    width = max(len(row[0]) for row in table)
    lines = [
        f"{statement:<{width}}  {outcome:<8}  {tests:<28}  {spent:>5}" for statement, outcome, tests, spent in table
    ]
    for each in theorems:
        for test, told in each.failures:
            lines += ["", f"FAILS: {test}", *(f"    {line}" for line in told.splitlines()[-25:])]
    known = [f"  {test}: {why}" for each in theorems for test, why in each.expected]
    if known:
        lines += ["", "known not to hold:", *known]
    run = [each for each in theorems if each.outcome != "left out"]
    held = sum(each.outcome == "holds" for each in run)
    lines += ["", f"profile {profile}: {held} of {len(run)} theorems hold ({seconds:.0f} s)"]
    return "\n".join(lines)


def show(theorems: Sequence[Theorem], profile: str, seconds: float) -> None:
    """Print the table on standard output."""
    sys.stdout.write(text(theorems, profile, seconds) + "\n")


def log(theorems: Sequence[Theorem], seconds: float, folder: Path) -> None:
    """Write the table and its counts for TensorBoard."""
    lines = ["| theorem | outcome | tests | seconds |", "| --- | --- | --- | ---: |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(theorems)]
    figures = [f"**{each.statement}**\n\n    " + "\n    ".join(each.figures) for each in theorems if each.figures]
    for old in folder.glob("events.out.tfevents.*.tpdyn"):
        old.unlink()
    with Run(folder) as run:
        run.text("verify/theorems", "\n".join(lines))
        run.text("verify/figures", "\n\n".join(figures))
        run.scalar("verify/hold", 0, sum(each.outcome == "holds" for each in theorems))
        run.scalar("verify/fail", 0, sum(each.outcome == "fails" for each in theorems))
        run.scalar("verify/seconds", 0, seconds)


def _tests(each: Theorem) -> str:
    if each.outcome == "left out":
        return "not in this profile"
    parts = [(each.passed, "passed"), (each.known, "known"), (len(each.failures), "failed"), (each.skipped, "skipped")]
    return (
        ", ".join(f"{count} {what}" for count, what in (*parts, (len(each.expected), "xfailed")) if count) or "no test"
    )
