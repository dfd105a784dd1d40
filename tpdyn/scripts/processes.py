"""What if a script trains in processes of its own? Those that are handed a model run here, one after the other.

Asynchronous training (Hogwild, A3C) shares one model between processes, of which each makes steps of the same kind. A recording
follows one process. So a process is run where it is started if it is handed a
module or an optimizer. Its function must be the script's own. Others (loaders of data, environments) start as they would.
"""

from __future__ import annotations

import inspect
import multiprocessing.process as processes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import nn
from torch.optim import Optimizer

from tpdyn.recorder.live.frames import is_user_file


@contextmanager
def trained_here() -> Iterator[None]:
    """Run within what a script would train in another process."""
    original = processes.BaseProcess.start
    kind: Any = processes.BaseProcess

    def start(process: Any) -> None:
        if not _trains(process):
            original(process)
            return
        process._popen = _Ended()
        process.run()

    kind.start = start
    try:
        yield
    finally:
        kind.start = original


def _trains(process: Any) -> bool:
    """Whether a process runs a function of the user's, and is handed what is trained."""
    target = inspect.unwrap(process._target) if callable(process._target) else None
    code = getattr(target, "__code__", None)
    handed = [*process._args, *process._kwargs.values()]
    return (
        code is not None
        and is_user_file(code.co_filename)
        and any(isinstance(x, nn.Module | Optimizer) for x in handed)
    )


@final
class _Ended:
    """The handle of a process that is over, as `join`, `is_alive` and `exitcode` ask for it."""

    returncode = 0
    sentinel = -1
    pid = 0

    def poll(self, flag: int = 0) -> int:
        return 0

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def terminate(self) -> None:
        """Do nothing: it is over."""

    kill = close = terminate
