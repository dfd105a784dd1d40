"""Mirrors tpdyn/reporting/progress.py: lines where a log is kept, one line in a notebook."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tpdyn.reporting.progress import Cell, Lines, progress


def test_a_log_gets_the_beginning_the_end_and_a_line_every_ten_seconds() -> None:
    now, out = [0.0], io.StringIO()
    tell = Lines(out, lambda: now[0])
    for done in range(33):
        tell("measuring", done, 32)
        now[0] += 1.0
    tell("measuring", 32, 32)
    assert out.getvalue().splitlines() == [f"tpdyn: measuring {done}/32" for done in (0, 10, 20, 30, 32)]


def test_a_pipe_gets_lines_and_no_control_characters() -> None:
    out = io.StringIO()
    with progress(out) as tell:
        tell("recording", 0, 4)
        tell("recording", 4, 4)
    assert out.getvalue() == "tpdyn: recording 0/4\ntpdyn: recording 4/4\n"


@pytest.mark.parametrize(("ci", "lines"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_a_job_that_has_a_terminal_gets_lines_too(ci: str, lines: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # so that rich takes it for a terminal
    monkeypatch.setenv("CI", ci)
    out = io.StringIO()
    with progress(out) as tell:
        tell("recording", 4, 4)
    assert (out.getvalue() == "tpdyn: recording 4/4\n") is lines


class Kernel:
    """What IPython shows: cells by number, and how often each was changed."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.changes = 0

    def display(self, data: dict[str, str], raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        self.shown.append(data["text/plain"])
        return SimpleNamespace(update=self.update)

    def update(self, data: dict[str, str], raw: bool) -> None:
        assert raw
        self.shown[-1] = data["text/plain"]
        self.changes += 1


def test_a_notebook_gets_one_line_that_changes_at_most_twice_a_second() -> None:
    kernel, now = Kernel(), [0.0]
    tell = Cell(kernel.display, lambda: now[0])
    for done in range(1001):
        tell("measuring", done, 1000)
        now[0] += 0.01
    assert kernel.shown == ["measuring " + 30 * "█" + " 1000/1000"]
    assert kernel.changes <= 21


@pytest.mark.parametrize("kernel", [True, False])
def test_a_kernel_is_a_notebook_and_a_terminal_of_ipython_is_none(
    kernel: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Kernel()
    shell = SimpleNamespace(kernel=seen) if kernel else SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=seen.display))
    with progress() as tell:
        tell("recording", 0, 4)
        tell("recording", 4, 4)
    assert len(seen.shown) == kernel
    assert bool(capsys.readouterr().err) != kernel
