"""A model whose parameters lie in shards over two processes is parametrized, and trains like the bare one.

`tests/parametrizing/test_apply_survives.py` asks the same of a process group of one process, where each shard is whole.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import tpdyn
from tpdyn.parametrizing.parametrization import Parametrization

BASE, WIDTH = 32, 64
Kind = Literal["fully_shard", "FullyShardedDataParallel", "DistributedDataParallel"]
CASES: list[tuple[Kind, bool]] = [
    ("fully_shard", False),
    ("FullyShardedDataParallel", False),
    ("FullyShardedDataParallel", True),
    ("fully_shard", True),
    ("DistributedDataParallel", False),
]
QUICK = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else len(CASES)


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def fit(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 6, generator=draws), torch.randn(5, 3, generator=draws)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


@cache
def derived() -> Parametrization:
    def train(width: int) -> None:
        model = net(width)
        fit(model, sgd(model))

    return tpdyn.derive(tpdyn.record(train, widths=(16, 24, 40)))


def wrapped(model: nn.Module, kind: Kind) -> nn.Module:
    if kind == "fully_shard":
        mesh = init_device_mesh("cpu", (2,))
        for part in (model[2], model):  # type: ignore[index]
            fully_shard(part, mesh=mesh)
        return model
    if kind == "FullyShardedDataParallel":
        return FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
    return nn.parallel.DistributedDataParallel(model)


def whole(model: nn.Module) -> list[torch.Tensor]:
    if isinstance(model, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(model):
            return [p.detach().clone() for p in model.parameters()]
    return [p.full_tensor() if hasattr(p, "full_tensor") else p.detach().clone() for p in model.parameters()]


def work(rank: int, asked: Parametrization, kind: Kind, before: bool, folder: str) -> None:
    """One of two processes."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = net(WIDTH)
    if before:
        tpdyn.parametrize(model, sgd(model), asked, base_width=BASE)
    model = wrapped(model, kind)
    optimizer = sgd(model)
    width = None
    if kind == "FullyShardedDataParallel" and not before:
        with pytest.raises(ValueError, match=r"shards, which hide their shapes; give the model's width"):
            tpdyn.parametrize(model, optimizer, asked, base_width=BASE)
        width = WIDTH
    for _ in range(2):
        tpdyn.parametrize(model, optimizer, asked, base_width=BASE, width=width)
    fit(model, optimizer)
    found = whole(model)
    if rank == 0:
        torch.save(found, f"{folder}/found")
    distributed.destroy_process_group()


@pytest.mark.parametrize(("kind", "before"), CASES[:QUICK])
def test_two_processes_train_like_one(kind: Kind, before: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = net(WIDTH)
    optimizer = sgd(model)
    tpdyn.parametrize(model, optimizer, derived(), base_width=BASE)
    fit(model, optimizer)
    torch.multiprocessing.spawn(work, (derived(), kind, before, str(tmp_path)), nprocs=2)  # type: ignore[attr-defined]
    found = torch.load(tmp_path / "found")
    assert all(torch.allclose(a, b.reshape(a.shape), atol=1e-6) for a, b in zip(model.parameters(), found, strict=True))
