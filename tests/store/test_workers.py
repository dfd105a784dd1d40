"""Mirrors tpdyn/store/workers.py: runs by workers; one that is killed loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import joblib
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tpdyn.store.workers import WorkersError, _claimed, check_jobs, is_out_of_memory, made, own_slot


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
def test_what_runs_out_of_memory_is_done_again_with_fewer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []

    def tried(run: Callable[[int], int], tasks: list[int], jobs: int, *_: object) -> Iterator[tuple[int, int]]:
        at_once.append(jobs)
        yield from ((task, run(task)) for task in tasks)

    def squared(number: int) -> int:
        if number > 2 and at_once[-1] * number > 7:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return number**2

    monkeypatch.setattr("tpdyn.store.workers._tried", tried)
    monkeypatch.setattr("tpdyn.store.workers.cores", lambda: 8)
    assert dict(made(squared, range(6), jobs=4)) == {n: n**2 for n in range(6)}
    assert at_once == [4, 2, 1]  # three fits with one beside it, four and five alone
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        list(made(squared, [1, 8], jobs=4))
    with pytest.raises(RuntimeError, match="another mistake"):
        list(made(lambda _: (_ for _ in ()).throw(RuntimeError("another mistake")), [1]))


def test_an_error_tells_whether_memory_ran_out() -> None:
    caused = ValueError("the script failed")
    caused.__cause__ = torch.OutOfMemoryError("CUDA out of memory")
    assert is_out_of_memory(caused)
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes"))
    assert not is_out_of_memory(None)


def _loaded(number: int) -> int:
    """A script's own loader, whose batches another process makes."""
    loader = DataLoader(TensorDataset(torch.arange(number)), batch_size=2, num_workers=1)
    return sum(int(x.sum()) for (x,) in loader)


@pytest.mark.slow
def test_what_a_run_starts_itself_are_ordinary_processes() -> None:
    """In a worker they would be loky's, which no loader can start: 'Process' object has no attribute 'env'."""
    assert dict(made(_loaded, [3, 4], jobs=2)) == {3: 3, 4: 6}


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_workers_that_always_die_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tpdyn.store.workers.cores", lambda: 2)
    assert dict(made(partial(_squared, str(tmp_path)), range(5), jobs=2)) == {n: n**2 for n in range(5)}
    assert (tmp_path / "died").exists()
    with pytest.raises(WorkersError, match="lost 3 times without one run that ended"):
        list(made(_dies, range(2), jobs=2))


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_worker_of_a_local_cluster_that_is_killed_in_the_middle_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, package: str
) -> None:
    """On the loopback address; needs `pip install "tpdyn[dask,ray]"`."""
    module = pytest.importorskip(package)
    if backend == "ray":
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        module.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", _node_ip_address="127.0.0.1")
    try:
        found = dict(made(partial(_squared, str(tmp_path)), range(5), jobs=2, backend=backend))
    finally:
        if backend == "ray":
            module.shutdown()
    assert found == {n: n**2 for n in range(5)}
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    monkeypatch.setattr("tpdyn.store.workers.TIMEOUT", "1s")
    with pytest.raises(WorkersError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(made(abs, range(2), jobs=2, backend="dask"))


def test_what_cannot_be_had_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=f"there are {joblib.cpu_count()} cores. Expected at most as many"):
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


def test_each_worker_has_a_gpu_of_its_own_while_there_are_enough(tmp_path: Path) -> None:
    assert [_claimed(2, str(tmp_path)) for _ in range(3)] == [0, 1, None]  # as three processes would
    assert own_slot(3, str(tmp_path)) == own_slot(3, str(tmp_path)) == 2
    assert own_slot(2, str(tmp_path)) == os.getpid() % 2  # a worker too many


def _threads(_: int) -> int:
    return torch.get_num_threads()


@pytest.mark.slow
def test_each_worker_has_cores_over_jobs_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tpdyn.store.workers.cores", lambda: 2)
    assert set(dict(made(_threads, range(2), jobs=2)).values()) == {1}


def test_a_dask_cluster_that_does_not_answer_is_named_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dask:
        @staticmethod
        def get_client() -> None:
            raise ValueError("No global client found")

        @staticmethod
        def Client(address: str, timeout: str) -> None:
            raise OSError(f"Timed out trying to connect to {address} after {timeout}")

    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://head:8786")
    monkeypatch.setattr("tpdyn.store.workers.import_module", lambda name: Dask)
    with pytest.raises(WorkersError, match="no Dask scheduler answers at tcp://head:8786"):
        list(made(abs, range(2), jobs=2, backend="dask"))


def test_a_ray_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        @staticmethod
        def is_initialized() -> bool:
            return False

        @staticmethod
        def init() -> None:
            raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr("tpdyn.store.workers.import_module", lambda name: Ray)
    with pytest.raises(WorkersError, match=r"no Ray cluster answers \(Could not find any running Ray instance\)"):
        list(made(abs, range(2), jobs=2, backend="ray"))
