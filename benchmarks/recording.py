"""How much slower is a recorded training step than an eager one, or one that a coordinate check watches?
`python benchmarks/recording.py`

The GPT of examples/gpt.py (two layers, AdamW, clipping) trains in three ways. It trains as it is, with forward hooks on
every module, and with the recorder. The hooks take the mean size of the output, as a coordinate check does. All is in
turns, in one process and one thread. A batch is that of nanoGPT on a CPU (12 x 64 tokens), or of the example (10 x 20).
Recording costs the same for each operation, so its share falls with their size. A round builds the model three times and
times the same steps after a first one (which allocates). Its ratios are those of the medians. Printed: the median ratios
over rounds, and the smallest and the largest.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from tpdyn.recorder.live.recorder import Recorder

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import gpt

VOCABULARY = 30
BATCHES = ((12, 64), (10, 20))
WIDTHS = (16, 64, 256)
STEPS, ROUNDS = 6, 7


def watched(model: nn.Module) -> dict[str, list[float]]:
    """The mean size of every module's output in every step, by forward hooks."""
    sizes: dict[str, list[float]] = {}
    for name, module in model.named_modules():

        def hook(_: nn.Module, __: object, output: torch.Tensor, name: str = name) -> None:
            sizes.setdefault(name, []).append(output.detach().abs().mean().item())

        module.register_forward_hook(hook)
    return sizes


def step_times(width: int, batch: int, context: int, how: str) -> list[float]:
    """Seconds of each step but the first."""
    torch.manual_seed(0)
    times = []
    with Recorder(width) if how == "recorded" else contextlib.nullcontext():
        model = gpt.GPT(VOCABULARY, context, width, 4, 2, mup=False)
        if how == "hooks":
            watched(model)
        optimizer = torch.optim.AdamW(gpt.groups(model, 1e-3), weight_decay=0.1)
        rows = torch.randint(VOCABULARY, (batch, context + 1))
        for _ in range(STEPS):
            start = time.perf_counter()
            loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            times.append(time.perf_counter() - start)
    return times[1:]


def main() -> None:
    torch.set_num_threads(1)
    step_times(16, 2, 8, "recorded")  # imports, kernels
    print(
        f"{'batch':>9} {'width':>6} {'eager ms':>9} {'hooks ms':>9} {'recorded ms':>12} {'/ eager':>8} {'/ hooks':>8}   "
        f"range of {ROUNDS} rounds"
    )
    for batch, context in BATCHES:
        for width in WIDTHS:
            seconds: dict[str, list[float]] = {"eager": [], "hooks": [], "recorded": []}
            for _ in range(ROUNDS):
                for how, found in seconds.items():
                    found.append(statistics.median(step_times(width, batch, context, how)))
            middle = {how: 1e3 * statistics.median(found) for how, found in seconds.items()}
            to = {
                how: [a / b for a, b in zip(seconds["recorded"], seconds[how], strict=True)]
                for how in ("eager", "hooks")
            }
            print(
                f"{f'{batch} x {context}':>9} {width:>6} {middle['eager']:>9.1f} {middle['hooks']:>9.1f} "
                f"{middle['recorded']:>12.1f} {statistics.median(to['eager']):>8.1f} {statistics.median(to['hooks']):>8.1f}   "
                f"{min(to['eager']):.1f} to {max(to['eager']):.1f}, {min(to['hooks']):.1f} to {max(to['hooks']):.1f}"
            )


if __name__ == "__main__":
    main()
