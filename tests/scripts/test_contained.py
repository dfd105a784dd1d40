"""Mirrors tpdyn/scripts/contained.py: a script cannot leave for us, swallow Ctrl-C or run forever."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

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


def test_a_forked_process_that_comes_to_the_end_of_the_run_ends_there() -> None:
    """It would record a second time, and write over what the first wrote."""
    for status in (0, 5):
        children = []
        with contained():
            children.append(os.fork())
            if children[0] == 0:
                sys.exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == status


@pytest.mark.parametrize("handler", [lambda *_: sys.exit(0), lambda *_: None, signal.SIG_IGN, signal.SIG_DFL])
def test_an_interrupt_that_a_handler_of_the_script_takes_is_passed_on(handler: Any) -> None:
    def stops_well() -> None:
        signal.signal(signal.SIGINT, handler)
        signal.raise_signal(signal.SIGINT)

    before, setting = signal.getsignal(signal.SIGINT), signal.signal
    with pytest.raises(KeyboardInterrupt), contained():
        stops_well()
    assert signal.getsignal(signal.SIGINT) is before and signal.signal is setting


def test_a_second_interrupt_is_not_left_to_a_handler_of_the_script() -> None:
    asked = []

    def goes_on() -> None:
        signal.signal(signal.SIGINT, lambda *_: asked.append("once"))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        asked.append("not reached")

    with pytest.raises(KeyboardInterrupt), contained():
        goes_on()
    assert asked == ["once"]


def test_processes_that_ran_when_a_run_took_too_long_are_counted() -> None:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))

    def waits() -> None:
        process.start()
        try:
            process.join()
        finally:
            process.kill()

    with pytest.raises(TookTooLong) as late, contained(0.1):
        waits()
    assert late.value.children >= 1


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
