"""Mirrors tpdyn/commands/failures.py: every failure of a script is one of two, in the words of its line, with a status."""

from __future__ import annotations

import io
import sys
import time

import pytest

from tpdyn.commands.failures import BadInput, BeyondTheory, Exit, Watched, status_of, translated
from tpdyn.program.errors import OutsideTheory
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting.widths import FitError
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.lowering.values import LoweringError
from tpdyn.scripts.contained import TookTooLong
from tpdyn.scripts.script import BadTarget


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutsideTheory("no rule"), BeyondTheory),
        (LoweringError("no rule"), BeyondTheory),
        (FitError("a dim of fixed size", outside=True), BeyondTheory),
        (FitError("one width"), BadInput),
        (RecordingError("no step"), BadInput),
        (BadInput("as it is"), BadInput),
    ],
)
def test_our_errors_keep_their_words(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as told, translated():
        raise error
    assert str(told.value) == str(error)


def test_an_error_of_the_script_is_told_with_its_line() -> None:
    with (
        pytest.raises(BadInput, match=r"the script raised ZeroDivisionError: .*\n  at .*test_failures\.py:\d+: 1 / 0"),
        translated(),
    ):
        1 / 0  # noqa: B018


def test_errors_have_the_status_of_who_is_to_mend_them() -> None:
    assert status_of(BeyondTheory("x")) is Exit.OUTSIDE
    assert {status_of(error) for error in (BadInput("x"), BadTarget("x"), PermissionError("x"))} == {Exit.BAD_INPUT}
    assert status_of(RuntimeError("x")) is None


def test_only_the_first_run_is_heard_and_every_run_counted(capsys: pytest.CaptureFixture[str]) -> None:
    counted: list[int] = []
    watched = Watched(lambda width: print("width", width), counted.append)
    for width in (4, 8):
        watched(width)
    Watched(lambda width: print("width", width), silent=True)(16)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "width 4\n") and counted == [1, 2]


def test_warnings_and_bars_are_heard_from_the_first_run_only_and_what_a_failing_run_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(width: int) -> None:
        print("bar at", width, file=sys.stderr)
        if width == 16:
            sys.exit(2)

    watched = Watched(train)
    watched(4)
    watched(8)
    with pytest.raises(BadInput, match="at width 16 the script left with status 2"):
        watched(16)
    assert capsys.readouterr().err == "bar at 4\nbar at 16\n"


def test_a_script_that_closes_or_replaces_the_standard_streams_leaves_ours(capsys: pytest.CaptureFixture[str]) -> None:
    def closes(width: int) -> None:
        print("said", flush=True)
        sys.stderr.write("told")
        assert sys.stdout.encoding
        sys.stdout.close()
        sys.stderr.close()
        sys.stdout = sys.stderr = io.StringIO()

    before = sys.stdout, sys.stderr
    Watched(closes)(4)
    assert (sys.stdout, sys.stderr) == before
    print("ours", file=sys.stderr)
    assert capsys.readouterr().err == "said\ntoldours\n"


def test_a_script_that_leaves_well_is_done_and_one_that_leaves_badly_is_told() -> None:
    Watched(lambda width: sys.exit(0))(4)
    with pytest.raises(BadInput, match="at width 4 the script left with status 3"):
        Watched(lambda width: sys.exit(3))(4)
    with pytest.raises(RecordingError, match=r"^at width 4 the script left with status 3$"):
        record_tape(Watched(lambda width: sys.exit(3)), 4, 1, 0)


def test_a_run_beyond_its_time_is_stopped_with_what_to_try() -> None:
    with pytest.raises(BadInput, match=r"a run at width 4 took longer than 0\.1 s, and was stopped.*--time-limit"):
        Watched(lambda width: time.sleep(5), seconds=0.1, silent=True)(4)


def test_a_run_that_waits_for_its_own_processes_is_told_so() -> None:
    def waits(width: int) -> None:
        raise TookTooLong(children=2)

    with pytest.raises(
        BadInput, match=r"It waited for processes of its own.*under if __name__ == '__main__'.*--time-limit"
    ):
        Watched(waits, seconds=3.0, silent=True)(4)
