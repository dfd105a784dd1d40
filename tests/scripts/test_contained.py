"""Mirrors tpdyn/scripts/contained.py: a script cannot leave for us, swallow Ctrl-C or run forever."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tpdyn.scripts.contained import ScriptLeft, TookTooLong, contained


def test_leaving_for_good_can_be_caught() -> None:
    original = os._exit
    with pytest.raises(ScriptLeft) as left, contained():
        os._exit(10)
    assert left.value.code == 10 and os._exit is original


def test_a_child_process_ends_as_it_wants() -> None:
    with contained():
        child = os.fork()
        if child == 0:
            os._exit(7)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_an_interrupt_that_the_script_catches_is_passed_on() -> None:
    def saves_a_checkpoint() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), contained():
        saves_a_checkpoint()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loop_that_catches_everything_ends_at_its_limit() -> None:
    def retry_forever() -> None:
        while True:
            try:  # noqa: SIM105 (what such scripts do)
                time.sleep(1)
            except:  # noqa: E722
                pass

    start = time.monotonic()
    with pytest.raises(TookTooLong), contained(0.2):
        retry_forever()
    assert time.monotonic() - start < 20


def test_a_run_within_its_limit_is_not_interrupted_afterwards() -> None:
    with contained(0.1):
        pass
    time.sleep(0.2)


def test_the_working_folder_is_the_same_afterwards(tmp_path: Path) -> None:
    here = Path.cwd()
    with contained():
        os.chdir(tmp_path)
    assert Path.cwd() == here


def test_other_threads_are_contained_as_far_as_they_can_be() -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            with contained(1.0):
                os._exit(3)
        except SystemExit as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert isinstance(caught[0], ScriptLeft)
