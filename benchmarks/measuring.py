"""How many seeds a second does the recorded program make, beside the live loop? `nice python benchmarks/measuring.py`

Both observe the same things: sizes and changes of all modules, parameters and gradients in three steps. The live loop is
`measure(..., by="script")`, one run after the other. The program is recorded once (its time is printed) and makes batches
of seeds. Printed are seeds per CPU second, on one thread. They are for the digits network of the examples (SGD) and a
network with Adam. The last number is the time that `tpdyn.runs` takes for a thousand runs of a hundred modules.

Seen on two busy cores, without a GPU: see docs/reference/speed.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import tpdyn
from tpdyn.measuring.by_program import observed
from tpdyn.measuring.run import live_run
from tpdyn.store.store import Measured, Store, key_of

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (64, 128, 256, 512)
LIVE, SEEDS, STEPS = 6, 64, 3


def adam(width: int) -> None:
    model = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = torch.randn(8, 16), torch.randn(8, 4)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def compare(name: str, train: Callable[[int], object]) -> None:
    start = time.process_time()
    program = tpdyn.record(train, steps=STEPS)
    print(f"{name}: recorded in {time.process_time() - start:.1f} s")
    total = [0.0, 0.0]
    for width in WIDTHS:
        live_run(train, width, 0, STEPS, "script")
        start = time.process_time()
        for seed in range(LIVE):
            live_run(train, width, seed, STEPS, "script")
        live = (time.process_time() - start) / LIVE
        start = time.process_time()
        for _ in observed(program, width, range(SEEDS), STEPS, dtype=torch.float32):
            pass
        mine = (time.process_time() - start) / SEEDS
        total[0] += live
        total[1] += mine
        print(
            f"  width {width:4}: live {1 / live:6.1f}, program {1 / mine:7.1f} seeds a second: {live / mine:.1f} times"
        )
    print(f"  all widths: {total[0] / total[1]:.1f} times")


def opening() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.under(folder)
        values = [
            Measured(t, f"blocks.{m}.fc", what, 0.1 * m)
            for t in range(3)
            for m in range(100)
            for what in ("size", "rms", "change", "change_rms", "nonfinite", "new_nonfinite", "epsilon")
        ]
        for number in range(1000):
            facts = {"script": "s.py", "kind": "measure", "by": "script", "width": 64, "seed": number}
            store.put(key_of(facts), facts, values)
        tpdyn.runs(folder)  # what is imported first
        start, busy = time.perf_counter(), time.process_time()
        table = tpdyn.runs(folder)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        print(f"1000 runs of 100 modules, {len(table):,} numbers: open in {seconds:.2f} s, {busy:.2f} s of CPU time")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples"))
    import digits_mlp

    compare("digits (SGD)", digits_mlp.train)
    compare("Adam", adam)
    opening()
