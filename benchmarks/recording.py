"""How much slower is a recorded training step than an eager one? `python benchmarks/recording.py`

The GPT of examples/gpt.py (two layers, AdamW, clipping) trains with and without the recorder, in turns, in one process
and one thread. A batch is that of nanoGPT's settings for a CPU (12 x 64 tokens), or of the example (10 x 20):
recording costs the same for each operation, so its share falls with their size. A round builds the model twice and times
the same steps after a first one (which allocates); its ratio is that of the two medians. Printed: the median ratio over
rounds, and the smallest and the largest.
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

from tpdyn.recording.recorder import Recorder

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import gpt

VOCABULARY = 30
BATCHES = ((12, 64), (10, 20))
WIDTHS = (16, 64, 256)
STEPS, ROUNDS = 6, 7


def step_times(width: int, batch: int, context: int, record: bool) -> list[float]:
    """Seconds of each step but the first."""
    torch.manual_seed(0)
    times = []
    with Recorder(width) if record else contextlib.nullcontext():
        model = gpt.GPT(VOCABULARY, context, width, 4, 2, mup=False)
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
    step_times(16, 2, 8, record=True)  # imports, kernels
    print(f"{'batch':>9} {'width':>6} {'eager ms':>9} {'recorded ms':>12} {'ratio':>6}   range of {ROUNDS} rounds")
    for batch, context in BATCHES:
        for width in WIDTHS:
            eager, recorded, ratios = [], [], []
            for _ in range(ROUNDS):
                eager.append(statistics.median(step_times(width, batch, context, record=False)))
                recorded.append(statistics.median(step_times(width, batch, context, record=True)))
                ratios.append(recorded[-1] / eager[-1])
            print(
                f"{f'{batch} x {context}':>9} {width:>6} {1e3 * statistics.median(eager):>9.1f} "
                f"{1e3 * statistics.median(recorded):>12.1f} {statistics.median(ratios):>6.1f}   "
                f"{min(ratios):.1f} to {max(ratios):.1f}"
            )


if __name__ == "__main__":
    main()
