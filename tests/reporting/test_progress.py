"""Mirrors tpdyn/reporting/progress.py: lines where a log is kept."""

from __future__ import annotations

import io

from tpdyn.reporting.progress import Lines, progress


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
