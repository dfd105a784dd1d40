"""Mirrors tpdyn/cli/ending.py: a failure has its status and its words, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import Run, left_behind

from tpdyn.cli import app
from tpdyn.commands.failures import LONGEST

Published = Callable[[dict[str, Any]], list[str]]


def test_the_statuses_are_in_the_help(tpdyn: Run) -> None:
    text = " ".join(tpdyn("check", "--help").stdout.split())
    for status in (
        "0 stable",
        "10 unstable",
        "11 trivial",
        "12 the runs",
        "16 the runs",
        "13 outside",
        "2 bad input",
        "130",
    ):
        assert status in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.py:train"], "no such file"),
        (["{script}:no_such"], "no_such"),
        (["{script}:raises"], "no such thing in the file"),
        (["{script}:leaves"], "the file with the data is missing"),
        (["{script}:never_steps"], "step"),
        (["{script}:ignores_the_width"], "width"),
        (["{script}:train", "--widths", "64"], "two different"),
        (["{script}:train", "--widths", "64,many"], "expected positive whole numbers"),
        (["{script}:train", "--record-widths", "16"], "width"),
        (["{script}", "--width-arg=--d-model", "--widths", "64,128"], "three or more"),
        (["{script}", "--width-arg=--no-such-option", "--widths", "20,28,44"], "--no-such-option"),
        (["{script}", "--width-arg=--d-model=n/8", "--widths", "20,24,32"], "n/8 is 5/2 at width 20"),
        (
            ["{script}", "--set", "widht=n", "--widths", "20,24,32"],
            "no number of that name; its numbers are: train.steps",
        ),
        (["{script}:train", "--json", "missing/verdict.json"], "does not exist"),
        (["{script}:train", "--logdir", "{script}"], "cannot"),
        (["{script}:train", "--steps", "0"], "steps"),
        (["{script}:train", "--budget", "soon"], "expected a time such as 90s, 10m or 1h"),
        (["{script}:train", "--widths", "0,64,128"], "expected positive whole numbers"),
        (["{script}:train", "--widths", "64,64,128"], "64 is given twice"),
        (["{script}:train", "--record-widths", "16,0"], "expected positive whole numbers"),
        (["{script}:train", "--device", "gpu"], "device is 'gpu', which cannot be used here"),
        (["{script}:leaves_for_good"], "left with status 0"),
        (["{script}:retries_forever", "--time-limit", "1"], "took longer than 1 s"),
    ],
)
def test_bad_input_is_said_clearly_and_leaves_nothing_behind(
    tpdyn: Run, script: Path, words: list[str], said: str
) -> None:
    done = tpdyn("check", *(word.format(script=script) for word in words))
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert left_behind() == []


def test_the_line_that_raised_is_named(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:raises")
    assert 'raise KeyError("no such thing in the file")' in done.stderr
    assert "script.py:" in done.stderr


def test_an_operation_without_a_rule_is_outside_and_named_with_its_line(
    tpdyn: Run, script: Path, published: Published
) -> None:
    done = tpdyn("check", f"{script}:sorts", "--json", "verdict.json")
    assert done.exit_code == 13, done.output
    assert "svdvals" in done.stderr
    assert "script.py:" in done.stderr
    verdict = json.loads(Path("verdict.json").read_text())
    assert verdict["regime"] is None
    assert published(verdict) == []
    assert left_behind() == ["verdict.json"]


@pytest.mark.parametrize("function", ["interrupted", "saves_when_interrupted"])
def test_an_interrupt_leaves_with_its_status_and_nothing_behind(tpdyn: Run, script: Path, function: str) -> None:
    done = tpdyn("check", f"{script}:{function}", "--json", "verdict.json")
    assert done.exit_code == 130, done.output
    assert "interrupted" in done.stderr
    assert left_behind() == []


@pytest.mark.parametrize("leaving", ["sys.exit(0)", "sys.exit(10)", "os._exit(0)", "os._exit(10)", "raise SystemExit"])
def test_an_exit_at_import_is_never_ours(tpdyn: Run, tmp_path: Path, leaving: str) -> None:
    """An entry point without a guard: status 0 would pass for a check, 10 for an unstable script."""
    file = tmp_path / "unguarded.py"
    file.write_text(f"import os, sys\n\ndef train(width):\n    pass\n\n{leaving}\n")
    done = tpdyn("check", f"{file}:train", "--require", "unstable")
    assert done.exit_code == 2 and "leaves when it is imported" in done.stderr
    assert tpdyn("check", str(file), "--set", "nothing=n").exit_code == 2


@pytest.mark.parametrize("command", ["show", "derive", "fix", "phase", "transfer", "simulate", "limit"])
def test_a_run_that_never_ends_is_stopped_by_each_command(tpdyn: Run, script: Path, command: str) -> None:
    done = tpdyn(command, f"{script}:retries_forever", "--time-limit", "1")
    assert done.exit_code == 2 and "took longer than 1 s" in done.stderr, done.output
    assert "--time-limit" in done.stderr and left_behind() == []


def test_the_limit_of_a_run_is_one_option_with_one_default() -> None:
    commands = typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    options = {name: each for name, command in commands for each in command.params if each.name == "time_limit"}
    assert options.keys() == {"check", "show", "derive", "fix", "phase", "transfer", "simulate", "limit"}
    assert {(each.help, each.default) for each in options.values()} == {("seconds that one run may take", LONGEST)}
