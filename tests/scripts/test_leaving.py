"""Mirrors tpdyn/scripts/leaving.py: no script decides our exit status, not even after its run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tpdyn.scripts.leaving import ScriptLeft, caught, end_child


def test_leaving_raises_here_and_leaves_in_a_forked_process() -> None:
    leave = caught(os._exit)
    child = os.fork()
    if child == 0:
        leave(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with pytest.raises(ScriptLeft) as left:
        leave(0)
    assert left.value.code == 0


AFTERWARDS = """
import atexit, os, sys, threading
from tpdyn.scripts.leaving import keep_the_exit
keep_the_exit()
watchdog = threading.Thread(target=lambda: os._exit(0))
watchdog.start()
watchdog.join()
atexit.register(lambda: os._exit(0))
sys.exit(14)
"""


def test_a_thread_or_a_function_of_atexit_that_leaves_does_not_change_our_status() -> None:
    done = subprocess.run([sys.executable, "-c", AFTERWARDS], capture_output=True, text=True, check=False)
    assert done.returncode == 14, done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 0), (SystemExit(), 0), (SystemExit(3), 3), (SystemExit("no data"), 1), (KeyError("x"), 1)],
)
def test_a_forked_process_ends_as_it_would_by_itself(error: BaseException | None, status: int) -> None:
    class Left(Exception):
        pass

    def leave(code: int) -> None:
        raise Left(code)

    with pytest.raises(Left) as left:
        end_child(error, leave)  # type: ignore[arg-type]
    assert left.value.args == (status,)
