"""What does `tpdyn.monitor` cost, beside the bare loop and beside forward hooks? `python benchmarks/monitoring.py`

The GPT of examples/gpt.py (two layers, AdamW, clipping, 12 x 64 tokens) trains in four ways. It trains bare, with forward
hooks on every module, monitored in each step, and monitored with `every=100`. The hooks take size, largest entry and change
of the module's output in each step. All is in one process and one thread, in turns of ten steps. Printed is the ratio of
processor times for each pair: the median over the rounds, the smallest and the largest. A round of `every=100` is a hundred
steps with one look among them. With `--alarms`: how often runs leave the bands of their twins.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import tpdyn
from tpdyn.monitoring.alarms import Alarm
from tpdyn.monitoring.history import History

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import gpt

VOCABULARY, BATCH, CONTEXT = 30, 12, 64
WIDTHS = (64, 256)
TURN, TURNS = 10, 10
ROUNDS = 3
SEEDS = 100


def hooked(model: nn.Module) -> None:
    """Size, largest entry and change of every module's output, by forward hooks."""
    first: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():

        def hook(_: nn.Module, __: object, output: torch.Tensor, name: str = name) -> None:
            value = output.detach()
            change = (value - first.setdefault(name, value.clone())).abs().mean()
            torch.stack([value.abs().mean(), value.abs().amax(), change]).tolist()

        module.register_forward_hook(hook)


def training(width: int, how: str) -> tuple[Callable[[], None], contextlib.AbstractContextManager[Any]]:
    """Return one step of the training, and what watches it."""
    torch.manual_seed(0)
    model = gpt.GPT(VOCABULARY, CONTEXT, width, 4, 2, mup=True)
    optimizer = torch.optim.AdamW(gpt.groups(model, 1e-3), weight_decay=0.1)
    rows = torch.randint(VOCABULARY, (BATCH, CONTEXT + 1))
    watching: Any = contextlib.nullcontext()
    if how == "hooks":
        hooked(model)
    elif how.startswith("every"):
        watching = tpdyn.monitor(model, optimizer, every=int(how.removeprefix("every=")), on_alarm=lambda alarm: None)

    def step() -> None:
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step, watching


def rounds(width: int) -> list[dict[str, float]]:
    """Return the processor seconds of a hundred steps in each way, for each round."""
    with contextlib.ExitStack() as stack:
        steps = {}
        for how in ("bare", "hooks", "every=1", "every=100"):
            steps[how], watching = training(width, how)
            stack.enter_context(watching)
            steps[how]()
        found = []
        for _ in range(ROUNDS):
            spent = dict.fromkeys(steps, 0.0)
            for _ in range(TURNS):
                for how, step in steps.items():
                    start = time.process_time()
                    for _ in range(TURN):
                        step()
                    spent[how] += time.process_time() - start
            found.append(spent)
    return found


def alarmed(seed: int, width: int, scale: float, twins: Sequence[History]) -> tuple[bool, History]:
    """Whether a perceptron under muP (SGD, 60 steps) leaves its bands; scale multiplies the rate of the hidden matrix."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(10, width, False), nn.ReLU(), nn.Linear(width, width, False), nn.ReLU(), nn.Linear(width, 4, False)
    )
    nn.init.zeros_(model[4].weight)
    groups = [
        {"params": model[0].parameters(), "lr": 0.05 * width / 64},
        {"params": model[2].parameters(), "lr": 0.05 * scale},
        {"params": model[4].parameters(), "lr": 0.05 * 64 / width},
    ]
    optimizer = torch.optim.SGD(groups)
    data = torch.Generator().manual_seed(7)
    x, y = torch.randn(256, 10, generator=data), torch.randint(4, (256,), generator=data)
    raised: list[Alarm] = []
    with tpdyn.monitor(model, optimizer, width=width, every=10, twins=twins, on_alarm=raised.append) as watched:
        for _ in range(60):
            rows = torch.randint(256, (32,))
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return any("band" in alarm.rule for alarm in raised), watched.history


def alarms() -> None:
    """How often do bands of two twins at 64 ring at 512? For the right recipe, and for a hidden rate wrong by 8^(1/2)."""
    counts = {"right": 0, "hidden rate too large": 0, "hidden rate too small": 0}
    for seed in range(SEEDS):
        twins = [alarmed(1000 + 2 * seed + k, 64, 1.0, ())[1] for k in range(2)]
        for name, scale in zip(counts, (1.0, 8.0**0.5, 8.0**-0.5), strict=True):
            counts[name] += alarmed(seed, 512, scale, twins)[0]
    for name, count in counts.items():
        print(f"{name}: {count} of {SEEDS} runs left a band", flush=True)


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    if "--alarms" in sys.argv:
        alarms()
        return
    for width in WIDTHS:
        found = rounds(width)
        for name, one, other in (
            ("every=100 / bare", "every=100", "bare"),
            ("a look in each step / bare", "every=1", "bare"),
            ("a look in each step / hooks in each step", "every=1", "hooks"),
        ):
            ratios = [each[one] / each[other] for each in found]
            print(
                f"width {width}: {name}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
