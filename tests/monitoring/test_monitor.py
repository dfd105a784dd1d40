"""Does a monitor see what happens in a run, and leave the run bitwise what it would have been?"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import tpdyn
from tpdyn.monitoring.alarms import Alarm, Limits
from tpdyn.monitoring.history import read


class Net(nn.Module):
    """Dropout, batch normalisation, attention and a counter of its own: whatever a look could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.5)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.out = nn.Linear(16, 2)
        self.calls = 0
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1.0  # type: ignore[operator]
        h = self.drop(F.relu(self.norm(self.fc(x))))
        y, _ = self.attention(h[None], h[None], h[None])
        return self.out(y[0])  # type: ignore[no-any-return]


def run(
    watch: Callable[[nn.Module, torch.optim.Optimizer], Any] | None,
    wrap: Callable[[nn.Module], Any] = lambda model: model,
    steps: int = 6,
    autocast: bool = False,
) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = Net()
    wrapped = wrap(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss = torch.zeros(())
    with warnings.catch_warnings():
        watched = watch(wrapped, optimizer) if watch else None
        if watched is not None:
            watched.__enter__()
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                loss = wrapped(torch.randn(8, 6)).square().mean()
            loss.backward()
            optimizer.step()
        if watched is not None:
            watched.__exit__(None, None, None)
    return model, loss.detach()


@pytest.mark.parametrize("autocast", [False, True])
def test_a_monitored_run_is_bitwise_the_run(autocast: bool) -> None:
    bare, loss = run(None, autocast=autocast)
    model, watched = run(lambda m, o: tpdyn.monitor(m, o, every=2), autocast=autocast)
    assert torch.equal(loss, watched)
    for (name, one), other in zip(bare.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert (bare.calls, bare.training) == (model.calls, model.training)


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")  # where other tests left global hooks
def test_wrappers_are_looked_through_and_compiled_models_stay_compiled() -> None:
    kept: list[Any] = []

    def watch(m: nn.Module, o: torch.optim.Optimizer) -> Any:
        kept.append(tpdyn.monitor(m, o, every=3))
        return kept[-1]

    compiled = lambda m: torch.compile(m, backend="eager")  # noqa: E731
    _, loss = run(None, compiled)
    _, watched = run(watch, compiled)
    assert torch.equal(loss, watched)
    run(watch, nn.DataParallel)
    for each in kept:
        assert each.history.steps == [0, 1, 3, 6]
        assert ("size", "attention.out_proj") in each.history.looks[-1] or ("size", "attention") in each.history.looks[
            -1
        ]


def test_what_is_seen_is_what_a_second_copy_of_the_model_shows() -> None:
    """Size, change, update, alignment and norms against plain formulas, on a linear net."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 3))
    x = torch.randn(4, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    copies = [copy.deepcopy(model)]
    with tpdyn.monitor(model, optimizer, probe=x, every=1, on_alarm=lambda alarm: None) as watched:
        for _ in range(2):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            gradient = model[2].weight.grad
            optimizer.step()
            copies.append(copy.deepcopy(model))
    first, before, after = copies
    look = watched.history.looks[2]
    h = torch.relu(after[0](x))
    dw = after[2].weight - before[2].weight
    expected = {
        ("size", "output"): after(x).abs().mean(),
        ("largest", "1"): h.abs().max(),
        ("change", "0"): (after[0](x) - first[0](x)).abs().mean(),
        ("update", "2"): F.linear(h, dw).abs().mean(),
        ("alignment", "2"): F.linear(h, dw).norm() / dw.norm() / h.norm(),
        ("dead", "1"): (h == 0).all(dim=0).float().mean(),
        ("weight", "2.weight"): after[2].weight.square().mean().sqrt(),
        ("step", "2.weight"): dw.square().mean().sqrt(),
        ("gradient", "2.weight"): gradient.square().mean().sqrt(),
        ("ratio", "2.weight"): dw.norm() / after[2].weight.norm(),
    }
    for key, value in expected.items():
        assert look[key] == pytest.approx(value.item(), rel=1e-5), key


@pytest.mark.parametrize("causal", [False, True])
def test_the_largest_logit_of_a_fused_attention_is_that_of_the_formula(causal: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(4, 12)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).split(4, dim=-1)
            return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], is_causal=causal, scale=0.3)

    torch.manual_seed(3)
    model, x = Attention(), torch.randn(2, 5, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with tpdyn.monitor(model, optimizer, probe=x, every=1) as watched:
        model(x).sum().backward()
        optimizer.step()
    q, k, _ = model.qkv(x).split(4, dim=-1)
    logits = 0.3 * q @ k.transpose(1, 2)
    logits = logits.masked_fill(torch.ones(5, 5).triu(1).bool(), -1e9) if causal else logits
    assert watched.history.looks[0]["logits", "output"] == pytest.approx(logits.max().item(), rel=1e-5)


def test_the_files_can_be_read_back_and_a_later_run_does_not_replace_them(tmp_path: Path) -> None:
    kept: list[Any] = []

    def watch(m: nn.Module, o: torch.optim.Optimizer) -> Any:
        kept.append(tpdyn.monitor(m, o, every=2, logdir=tmp_path, width=16))
        return kept[-1]

    run(watch)
    run(watch)
    history = read(tmp_path / "monitor")
    assert history.width == 16
    assert history.steps == kept[0].history.steps == [0, 1, 2, 4, 6]
    assert history.looks == kept[0].history.looks
    assert (tmp_path / "monitor-2").is_dir()
    assert "test_monitor.py" in history.sources["fc"]


def test_a_twin_makes_a_band_which_a_wrong_scale_leaves() -> None:
    """The second matrix of the wide run starts 30 times too large. That is far beyond the band, as one alarm a module."""

    def train(width: int, scale: float, **options: Any) -> Any:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width, bias=False))
        with torch.no_grad():
            model[2].weight.normal_(std=scale * width**-0.5)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        x = torch.randn(16, 8)
        with tpdyn.monitor(model, optimizer, width=width, every=1, **options) as watched:
            for _ in range(5):
                optimizer.zero_grad()
                model(x).mean().backward()
                optimizer.step()
        return watched

    quiet = {"on_alarm": lambda alarm: None}
    twins = [train(width, 1.0, **quiet).history for width in (64, 128)]
    right = train(1024, 1.0, twins=twins, **quiet)
    wrong = train(1024, 30.0, twins=twins, **quiet)
    assert not [alarm for alarm in right.raised if "size" in alarm.rule]
    assert [(alarm.rule, alarm.name, alarm.step) for alarm in wrong.raised if "size" in alarm.rule] == [
        ("size outside the band", "2", 2),
        ("size outside the band", "output", 2),
    ]


def test_what_goes_wrong_in_a_look_ends_the_watching_and_not_the_run() -> None:
    bare, _ = run(None)

    with pytest.warns(UserWarning, match="stops watching at step 0, the run goes on: RuntimeError"):
        model, _ = run(lambda m, o: tpdyn.monitor(m, o, probe=torch.ones(8, 5), every=1))
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), model.parameters(), strict=True))


def test_a_model_that_is_never_called_is_said() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tpdyn.monitor(nn.Sequential(model), optimizer, every=1) as watched:
        model(torch.ones(1, 2)).sum().backward()
        with pytest.warns(UserWarning, match="no batch"):
            optimizer.step()
    assert watched.history.steps == []


def test_a_loader_can_be_wrapped_and_an_alarm_be_caught() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    caught: list[Alarm] = []
    watched = tpdyn.monitor(model, optimizer, every=1, on_alarm=caught.append, limits=Limits(formats=("fp8 e4m3",)))
    for x in watched.over([torch.ones(1, 2)] * 3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    rules = [alarm.rule for alarm in caught]
    assert rules[0] == "out of fp8 e4m3"
    assert "not finite" in rules
    assert not model._forward_pre_hooks
    assert len(caught) == len({(alarm.rule, alarm.name, alarm.step) for alarm in caught})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "at least 1"),
        ({"probe": 3}, "a tuple of arguments"),
        ({"twins": ["nowhere"]}, "need `width=`"),
        ({"twins": ["/nonexistent"], "width": 4}, "holds no monitor.jsonl"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_door(options: dict[str, Any], message: str) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=message):
        tpdyn.monitor(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


def test_what_is_no_model_or_no_optimizer_is_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="not a model"):
        tpdyn.monitor("model", torch.optim.SGD(model.parameters(), lr=0.1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a torch"):
        tpdyn.monitor(model, 3)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = nn.Linear(2, 2)
    with pytest.raises(OSError, match="cannot write the log folder"):
        tpdyn.monitor(model, torch.optim.SGD(model.parameters(), lr=0.1), logdir=tmp_path / "file").__enter__()


class Checkpointed(nn.Module):
    """Two blocks with dropout, each run again in the backward pass where `reentrant` is not None."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.first, self.out, self.reentrant = nn.Linear(6, 16), nn.Linear(16, 2), reentrant
        self.block = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for _ in range(2):
            h = self.block(h) if self.reentrant is None else checkpoint(self.block, h, use_reentrant=self.reentrant)
        return self.out(h)  # type: ignore[no-any-return]


def accumulated(
    watched: bool,
    reentrant: bool | None = None,
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
    logdir: Path | None = None,
) -> tuple[nn.Module, Any]:
    """Three steps of two backward passes each; the model, and its monitor where it is watched."""
    torch.manual_seed(0)
    model = Checkpointed(reentrant)
    wrapped = wrap(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    monitor = tpdyn.monitor(wrapped, optimizer, every=1, logdir=logdir) if watched else None
    with monitor or contextlib.nullcontext():
        for _ in range(3):
            optimizer.zero_grad()
            for _ in range(2):
                (wrapped(torch.randn(8, 6)).square().mean() / 2).backward()
            model.gradient = model.out.weight.grad.square().mean().sqrt().item()  # type: ignore[union-attr, assignment]
            optimizer.step()
    return model, monitor


@pytest.mark.parametrize("reentrant", [None, True, False])
def test_accumulation_and_checkpointing_are_watched_and_left_alone(reentrant: bool | None) -> None:
    """One look a step, not a backward pass; the gradient is the sum over them; a checkpoint hides no module."""
    bare, _ = accumulated(False, reentrant)
    model, monitor = accumulated(True, reentrant)
    _, unhidden = accumulated(True)
    for one, other in zip(bare.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert monitor.history.steps == [0, 1, 2, 3]
    assert monitor.history.looks[-1]["gradient", "out.weight"] == pytest.approx(model.gradient, rel=1e-5)
    for look, seen in zip(monitor.history.looks, unhidden.history.looks, strict=True):
        assert look == pytest.approx(seen, rel=1e-5)
    assert ("update", "block.0") in look
    assert ("update", "block.0#2") in look


def in_a_process(rank: int, size: int, folder: str) -> None:
    """One of `size` processes: the same run bare and watched; raises where they differ."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    try:
        bare, _ = accumulated(False, wrap=nn.parallel.DistributedDataParallel)
        log = Path(folder) / str(rank)
        model, monitor = accumulated(True, wrap=nn.parallel.DistributedDataParallel, logdir=log)
        assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), model.parameters(), strict=True))
        assert monitor.history.steps == ([0, 1, 2, 3] if rank == 0 else [])
        assert log.exists() == (rank == 0)
        if rank == 0:
            _, alone = accumulated(True)
            assert monitor.history.looks[0] == pytest.approx(alone.history.looks[0], rel=1e-5)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch without gloo"
)
def test_a_data_parallel_run_of_one_process_is_watched_and_left_alone(tmp_path: Path) -> None:
    in_a_process(0, 1, str(tmp_path))
