"""Mirrors tpdyn/store/workers.py: runs by workers; one that is killed loses nothing."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import joblib
import pytest

from tpdyn.store.workers import WorkersError, check_jobs, made


def _squared(folder: str, number: int) -> int:
    """Dies at its first attempt of number 2."""
    if number == 2:
        mark = Path(folder) / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def _dies(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_one_job_runs_in_order_until_told_to_stop() -> None:
    seen: list[int] = []
    for number, square in made(lambda n: n**2, range(9), on=lambda: len(seen) < 3):
        assert square == number**2
        seen.append(number)
    assert seen == [0, 1, 2]


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_workers_that_always_die_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tpdyn.store.workers.cores", lambda: 2)
    assert dict(made(partial(_squared, str(tmp_path)), range(5), jobs=2)) == {n: n**2 for n in range(5)}
    assert (tmp_path / "died").exists()
    with pytest.raises(WorkersError, match="lost 3 times without one run that ended"):
        list(made(_dies, range(2), jobs=2))


def test_what_cannot_be_had_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=f"there are {joblib.cpu_count()} cores; expected at most as many"):
        check_jobs(10_000)
    with pytest.raises(ValueError, match="expected one of: loky, dask, ray"):
        check_jobs(1, "slurm")
    with pytest.raises(ValueError, match="expected a whole number"):
        check_jobs(0)


def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("tpdyn.store.workers.import_module", missing)
    with pytest.raises(WorkersError, match=r'pip install "tpdyn\[dask\]"'):
        check_jobs(2, "dask")


@pytest.mark.slow
def test_a_function_that_cannot_be_sent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpdyn.store.workers.cores", lambda: 2)
    lock = __import__("threading").Lock()

    def locked(number: int) -> int:
        with lock:
            return number

    with pytest.raises(WorkersError, match="cannot be sent to workers"):
        list(made(locked, range(2), jobs=2))
