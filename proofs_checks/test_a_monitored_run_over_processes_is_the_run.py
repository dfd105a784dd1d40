"""A run over two processes (DDP) is bitwise the same when it is monitored. Only rank 0 looks and writes.

Two gradients are accumulated for each step, the first of them without synchronisation; a block is checkpointed. The
first look, before any step, is that of one process alone. `tests/monitoring/test_monitor.py` asks the same of a group of
one process, in which nothing is sent.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

import tpdyn

STEPS = 3

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="torch without gloo"
)


class Net(nn.Module):
    """Dropout, which draws; a buffer, which DDP sends around; a checkpoint, which runs again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.out = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 2)
        self.block = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = checkpoint(self.block, self.norm(self.first(x)), use_reentrant=False)
        return self.out(h)  # type: ignore[no-any-return]


def trained(rank: int, parallel: bool, logdir: Path | None) -> tuple[nn.Module, Any]:
    """The model after some steps on the data of one rank; with a log folder the run is monitored."""
    torch.manual_seed(0)
    model = Net()
    wrapped: Any = nn.parallel.DistributedDataParallel(model) if parallel else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    monitor = tpdyn.monitor(wrapped, optimizer, every=1, logdir=logdir) if logdir else None
    torch.manual_seed(rank)
    with monitor or contextlib.nullcontext():
        for _ in range(STEPS):
            optimizer.zero_grad()
            for last in (False, True):
                with contextlib.nullcontext() if last or not parallel else wrapped.no_sync():
                    wrapped(torch.randn(8, 6)).square().mean().backward()
            optimizer.step()
    return model, monitor


def work(rank: int, folder: str) -> None:
    """One of two processes."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    log = Path(folder) / f"log-{rank}"
    bare, _ = trained(rank, True, None)
    model, monitor = trained(rank, True, log)
    for (name, one), other in zip(bare.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    sums = torch.stack([each.detach().sum() for each in model.parameters()])
    others = sums.clone()
    distributed.broadcast(others, 0)
    assert torch.equal(sums, others)
    assert monitor.history.steps == (list(range(STEPS + 1)) if rank == 0 else [])
    assert log.exists() == (rank == 0)
    if rank == 0:
        _, alone = trained(rank, False, Path(folder) / "alone")
        assert monitor.history.looks[0] == pytest.approx(alone.history.looks[0], rel=1e-5)
        assert monitor.history.looks[-1] != pytest.approx(alone.history.looks[-1], rel=1e-3)
    distributed.destroy_process_group()


def test_two_processes_train_bitwise_as_they_do_unwatched(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)  # type: ignore[attr-defined]
