"""How are many runs made at once? By joblib: processes of this machine, or a Dask or Ray cluster; results as they end.

One job makes the runs here, in order. A worker that is killed (a node that leaves) loses nothing: what it had not handed over is
done again. A run that runs out of memory is done again with half as many beside it, at last alone. Each worker of this machine has
cores / jobs threads.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, final

T = TypeVar("T")
R = TypeVar("R")

BACKENDS = ("loky", "dask", "ray")
TIMEOUT = "10s"
"""Of a scheduler's first answer."""
TRIES = 3
"""So often in a row may workers be lost without one run that ends."""


class WorkersError(RuntimeError):
    """Workers cannot be had, or are lost again and again. The message says what to do."""


def cores() -> int:
    """Count the cores that this process may use."""
    import joblib

    return int(joblib.cpu_count())


def check_jobs(jobs: int, backend: str = "loky") -> None:
    """Raise ValueError for a number of jobs or a backend that makes no sense here, WorkersError for one not installed."""
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs is {jobs!r}; expected a whole number >= 1")
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; expected one of: {', '.join(BACKENDS)}")
    if backend == "loky" and jobs > cores():
        raise ValueError(
            f"jobs is {jobs}, and there are {cores()} cores. Expected at most as many, since more would only wait for each "
            "other"
        )
    if backend != "loky":
        package = {"dask": "distributed", "ray": "ray"}[backend]
        try:
            import_module(package)
        except ImportError as error:
            raise WorkersError(
                f"the backend {backend} needs the package {package}, which is not installed here ({error}). Try "
                f'pip install "tpdyn[{backend}]", or the backend loky'
            ) from error


def own_slot(count: int, folder: str | None = None) -> int:
    """Return a number below `count` that the other workers of this machine lack, such as that of a GPU.

    It is kept while the process lives. A worker too many gets one that is taken. folder: where the claims lie (the one for
    temporary files).
    """
    key = count, folder
    if key not in _SLOTS:
        _SLOTS[key] = _claimed(count, folder or tempfile.gettempdir())
    slot = _SLOTS[key]
    return os.getpid() % count if slot is None else slot


_SLOTS: dict[tuple[int, str | None], int | None] = {}


def _claimed(count: int, folder: str) -> int | None:
    """Lock the first free slot, until this process ends. None where all are taken, or files cannot be locked."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    for slot in range(count):
        file = os.open(Path(folder, f"tpdyn-{os.getuid()}-slot-{slot}"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return slot
        except OSError:
            os.close(file)
    return None


def made(
    run: Callable[[T], R],
    tasks: Sequence[T],
    *,
    jobs: int = 1,
    backend: str = "loky",
    on: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[T, R]]:
    """Run each task, and hand over (task, result) as they end: in order with one job, else in any order.

    run: for several jobs a function that can be pickled. on: asked before the task of a single job begins, or when one of
    several has ended. When it says no, further tasks are not handed over. backend: "loky", "dask" or "ray" (as `ray.init()`
    finds it). The cluster of dask is that of the current `distributed.Client`, else of DASK_SCHEDULER_ADDRESS, else a local
    one.

    Raises what `run` raises, ValueError as `check_jobs` does, and WorkersError.
    """
    check_jobs(jobs, backend)
    waiting = list(tasks)
    while waiting:
        again: list[T] = []
        error: Exception | None = None
        for task, result in _tried(partial(_spared, run), waiting, jobs, backend, on):
            if isinstance(result, _Short):
                again.append(task)
                error = result.error
            else:
                yield task, result
        if error is not None and jobs == 1 and len(again) == len(waiting):
            raise error
        waiting, jobs = again, max(1, jobs // 2)


@final
@dataclass(frozen=True)
class _Short:
    """Memory ran out, with this error."""

    error: Exception


def _spared(run: Callable[[T], R], task: T) -> R | _Short:
    try:
        return run(task)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        freed(error)
        return _Short(error)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or what it came from, is that memory ran out."""
    while error is not None:
        text = str(error)
        told = isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
        if told or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        error = error.__cause__
    return False


def freed(error: BaseException | None) -> None:
    """Let go of what an error holds by its frames, and of what the accelerator keeps for later."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tried(
    run: Callable[[T], R], tasks: Sequence[T], jobs: int, backend: str, on: Callable[[], bool]
) -> Iterator[tuple[T, R]]:
    """Run each task until it ends, whatever workers are lost."""
    if jobs == 1 and backend == "loky":
        for task in tasks:
            if not on():
                return
            yield task, run(task)
        return
    waiting, lost = dict(enumerate(tasks)), 0
    with _backend(backend, jobs):
        while waiting:
            before = len(waiting)
            try:
                for number, result in (_in_rounds if backend == "ray" else _streamed)(run, waiting, jobs):
                    yield waiting.pop(number), result
                    if not on():
                        return
            except _lost_errors() as error:
                lost = 0 if len(waiting) < before else lost + 1
                if lost >= TRIES:
                    raise WorkersError(
                        f"workers were lost {lost} times without one run that ended ({type(error).__name__}: {error}); is "
                        f"there memory for {jobs} runs at once? Try fewer jobs"
                    ) from error


def _streamed(run: Callable[[T], R], tasks: dict[int, T], jobs: int) -> Iterator[tuple[int, R]]:
    import joblib

    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
    with _sent():
        stream = parallel(joblib.delayed(_numbered)(run, number, task) for number, task in list(tasks.items()))
        try:
            yield from stream
        finally:
            with contextlib.suppress(Exception):
                stream.close()


def _in_rounds(run: Callable[[T], R], tasks: dict[int, T], jobs: int) -> Iterator[tuple[int, R]]:
    """Run as many at once as there are jobs, and hand them over together: joblib's backend for Ray cannot stream."""
    import joblib

    waiting = list(tasks.items())
    for start in range(0, len(waiting), jobs):
        with _sent(), joblib.Parallel(n_jobs=jobs, batch_size=1) as parallel:
            found = parallel(
                joblib.delayed(_numbered)(run, number, task) for number, task in waiting[start : start + jobs]
            )
        yield from found


def _numbered(run: Callable[[T], R], number: int, task: T) -> tuple[int, R]:
    """Run a task in a worker. What it starts itself, such as a loader's workers, are ordinary processes and not loky's."""
    before = multiprocessing.get_start_method(allow_none=True)
    if before != "loky":
        return number, run(task)
    multiprocessing.set_start_method(None, force=True)
    try:
        return number, run(task)
    finally:
        multiprocessing.set_start_method(before, force=True)


@contextlib.contextmanager
def _sent() -> Iterator[None]:
    """Say what to do with a function that cannot be sent to workers."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if "pickle" in type(cause).__name__.lower() or "pickle" in str(cause):
                raise WorkersError(
                    f"the function cannot be sent to workers ({error}). Put it into a file, so that workers can import it, or "
                    "use one job"
                ) from error
            cause = cause.__cause__
        raise


def _lost_errors() -> tuple[type[BaseException], ...]:
    """List the errors that the installed backends raise when a worker is lost."""
    errors: list[type[BaseException]] = [BrokenProcessPool, CancelledError]
    for module, name in (
        ("joblib.externals.loky.process_executor", "TerminatedWorkerError"),
        ("distributed.scheduler", "KilledWorker"),
        ("distributed.comm", "CommClosedError"),
        ("ray.exceptions", "RayActorError"),
        ("ray.exceptions", "WorkerCrashedError"),
    ):
        import sys

        if module.split(".")[0] in sys.modules or module.startswith("joblib"):
            with contextlib.suppress(ImportError, AttributeError):
                errors.append(getattr(import_module(module), name))
    return tuple(errors)


@contextlib.contextmanager
def _backend(backend: str, jobs: int) -> Iterator[None]:
    import joblib

    if backend == "loky":
        with joblib.parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=max(1, cores() // jobs)):
            yield
        return
    if backend == "ray":
        ray: Any = import_module("ray")
        try:
            if not ray.is_initialized():
                ray.init()
        except (OSError, RuntimeError, ValueError) as error:
            raise WorkersError(
                f"no Ray cluster answers ({error}); expected a running one at RAY_ADDRESS, or none there: a local one is started"
            ) from error
        module: Any = import_module("ray.util.joblib")
        module.register_ray()
        with joblib.parallel_config(backend="ray", n_jobs=jobs):
            yield
        return
    distributed: Any = import_module("distributed")
    with contextlib.ExitStack() as stack:
        try:
            distributed.get_client()
        except ValueError:
            address = os.environ.get("DASK_SCHEDULER_ADDRESS")
            own = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
            try:
                stack.enter_context(
                    distributed.Client(address, timeout=TIMEOUT) if address else distributed.Client(**own)
                )
            except (OSError, TimeoutError) as error:
                raise WorkersError(
                    f"no Dask scheduler answers at {address or 'a local address'} ({error}); expected a running one: see "
                    "DASK_SCHEDULER_ADDRESS"
                ) from error
        stack.enter_context(joblib.parallel_config(backend="dask", n_jobs=jobs))
        yield
