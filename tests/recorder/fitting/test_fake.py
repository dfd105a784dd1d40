"""Are shapes and constants compared at a width that no memory would hold, and is what differs named?"""

from __future__ import annotations

import math
import resource

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.record import record

LARGE = 1_000_000


def loop(model: nn.Module, lr: float = 0.1, *, clip: bool = True) -> None:
    """Batches in an order that torch draws; a loss that is printed."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, generator=generator), torch.randint(0, 3, (12,), generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(4):
        batch = torch.randperm(12).tolist()[:7]
        loss = F.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        if clip and loss.item() > 0:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def mlp(width: int, hidden: int | None = None) -> nn.Module:
    hidden = width if hidden is None else hidden
    return nn.Sequential(
        nn.Linear(5, width), nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 3)
    )


def test_a_width_of_a_million_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    program = record(lambda n: loop(mlp(n), lr=1 / n), steps=3, at=LARGE)
    assert program.notes[-1].startswith(f"shapes and constants were compared at width {LARGE}, too: ")
    assert int(program.notes[-1].split(": ")[1].split()[0]) > 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # one of the matrices has 4 TB


def test_the_program_is_that_without_the_comparison() -> None:
    with_it, without = (record(lambda n: loop(mlp(n)), steps=2, verify=False, at=at) for at in (LARGE, None))
    assert with_it.statements == without.statements


def test_a_size_that_only_looked_proportional_is_named() -> None:
    def train(width: int) -> None:
        loop(mlp(width, min(width, 4096)))

    with pytest.raises(
        RecordingError, match=rf"(?s)so n was expected. At width {LARGE} it is 4096 and not 1e\+06.*test_fake"
    ):
        record(train, steps=1, at=LARGE)


def test_a_constant_that_only_looked_constant_is_named() -> None:
    def train(width: int) -> None:
        loop(mlp(width), lr=0.1 if width < 1000 else 0.1 * 1000 / width)

    with pytest.raises(RecordingError, match=rf"(?s)so 0.99.* was expected. At width {LARGE}|so -?0.1.* was expected"):
        record(train, steps=1, at=LARGE)


def test_a_branch_on_the_width_is_named() -> None:
    def train(width: int) -> None:
        loop(nn.Sequential(mlp(width), nn.Tanh()) if width > 1000 else mlp(width))

    with pytest.raises(RecordingError, match=rf"(?s)does other things at width {LARGE}.*A branch on the width"):
        record(train, steps=1, at=LARGE)


def test_what_cannot_run_without_values_is_refused_as_such() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        scale = float(model[0].weight.detach().numpy().std()) * math.sqrt(5)
        loop(nn.Sequential(model, nn.Hardtanh(-10, 10)), lr=0.1 if scale > 0 else 0.2)

    with pytest.raises(
        RecordingError, match=f"does not run under fake tensors, so nothing was checked at width {LARGE}"
    ):
        record(train, steps=1, at=LARGE)


def test_a_width_among_the_recorded_ones_is_refused() -> None:
    with pytest.raises(RecordingError, match="at = 40: expected a width above the recorded ones"):
        record(lambda n: loop(mlp(n)), steps=1, at=40)
