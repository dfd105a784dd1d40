"""In which ways can a script fail to be checked? Two, each with a message in the words of its line, and an exit status."""

from __future__ import annotations

import contextlib
import enum
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import IO, Any, final

from tpdyn.home import PACKAGE
from tpdyn.measuring.run import MeasuringError
from tpdyn.program.errors import OutsideTheory, ReadingError
from tpdyn.recorder.errors import RecordingError, Told
from tpdyn.recorder.fitting.widths import FitError
from tpdyn.recorder.live.frames import is_user_file
from tpdyn.recorder.lowering.values import LoweringError
from tpdyn.scripts.contained import ScriptLeft, TookTooLong, contained
from tpdyn.scripts.script import BadTarget
from tpdyn.store.workers import WorkersError
from tpdyn.tuning.sweep import SweepError


@final
class Exit(enum.IntEnum):
    """The exit status of `tpdyn check`; of `tpdyn fix` (UNVERIFIED: its patch is not all that is needed).

    DISAGREEMENT: the runs contradict the prediction. UNDECIDED: they leave the regime undecided.
    """

    OK = 0
    UNEXPECTED = 1
    BAD_INPUT = 2
    UNSTABLE = 10
    TRIVIAL = 11
    DISAGREEMENT = 12
    OUTSIDE = 13
    ANOTHER_REGIME = 14
    UNVERIFIED = 15
    UNDECIDED = 16
    INTERRUPTED = 130


class BadInput(Told, ValueError):
    """What was asked for cannot be checked: the message says what was given, what was expected, what to try."""


class BeyondTheory(RuntimeError):
    """The script does something for which the theory, or the recording, lacks a rule; the message names its line."""


def status_of(error: BaseException) -> Exit | None:
    """Return the exit status of an error that the user can mend; None for any other."""
    if isinstance(error, BeyondTheory):
        return Exit.OUTSIDE
    # An unwritable file or folder is an OSError; a target that cannot be loaded a BadTarget.
    return Exit.BAD_INPUT if isinstance(error, BadInput | BadTarget | OSError) else None


LONGEST = 600.0
"""Seconds that one run may take unless --time-limit says otherwise: one that hangs ends at last."""

MOST_HEARD = 2000
"""Characters of standard error that are kept of a later run that fails."""


@final
class Heard:
    """What a script takes for a standard stream: it writes through, and stays open where the script closes it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Only flush: the stream is ours."""
        self._stream.flush()


class Watched:
    """The user's function: its runs are counted, its output is passed on from the first run only (silent: from none).

    If the run leaves with a failure, what a later run wrote to standard error is passed on. It says why. seconds: how long
    one run may take.
    """

    def __init__(
        self,
        train: Callable[[int], Any],
        done: Callable[[int], None] = lambda _: None,
        *,
        silent: bool = False,
        seconds: float = LONGEST,
    ) -> None:
        self._train = self.__wrapped__ = train
        self._done = done
        self._silent = silent
        self._seconds = seconds
        self._runs = 0

    def __call__(self, width: int) -> None:
        """Run it once."""
        self._runs += 1
        try:
            self._run(width)
        finally:
            self._done(self._runs)

    def _run(self, width: int) -> None:
        said, heard = sys.stderr, io.StringIO()
        with contextlib.ExitStack() as stack:
            if self._runs == 1 and not self._silent:
                stack.enter_context(contextlib.redirect_stdout(Heard(said)))
                stack.enter_context(contextlib.redirect_stderr(Heard(said)))
            else:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(heard))
            try:
                with contained(self._seconds):
                    self._train(width)
            except SystemExit as leaving:
                if leaving.code not in (None, 0) or isinstance(leaving, ScriptLeft):
                    said.write(heard.getvalue()[-MOST_HEARD:])
                    raise BadInput(f"at width {width} the script left with status {leaving.code!r}") from leaving
            except TookTooLong as error:
                raise BadInput(
                    f"a run at width {width} took longer than {self._seconds:g} s, and was stopped. {_hint(error)} If it is "
                    "just slow, give it more with --time-limit"
                ) from error


def _hint(error: TookTooLong) -> str:
    """Name what makes such a run endless: processes that it waits for, or a loop that catches everything."""
    if error.children:
        return (
            "It waited for processes of its own. Each that is started anew (spawn) imports the script first: put the part that "
            "starts them under if __name__ == '__main__':"
        )
    return "A loop that catches every exception also catches what stops it after the wanted steps: catch only those you expect."


@contextlib.contextmanager
def translated() -> Any:
    """Turn every failure of the user's script into one of the two errors that the command line knows."""
    try:
        yield
    except (OutsideTheory, LoweringError) as error:
        raise BeyondTheory(str(error)) from error
    except (RecordingError, MeasuringError, ReadingError, SweepError, WorkersError) as error:
        raise BadInput(str(error)) from error
    except FitError as error:
        raise (BeyondTheory if error.outside else BadInput)(str(error)) from error
    except ValueError as error:
        if _is_ours(error) or isinstance(error, BadInput):
            raise BadInput(str(error)) from error
        raise BadInput(_blame(error)) from error
    except Exception as error:
        if _is_ours(error):
            raise
        raise BadInput(_blame(error)) from error


def _is_ours(error: BaseException) -> bool:
    """Tell whether the error was raised below the user's code by this package, rather than by the user's own line."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    users = [index for index, file in enumerate(files) if is_user_file(file)]
    return not users or any(file.startswith(PACKAGE) for file in files[users[-1] :])


def _blame(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_file(frame.filename)]
    location = f"\n  at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
    return f"the script raised {type(error).__name__}: {error}{location}"
