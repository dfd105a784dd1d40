"""How fast is a GPU? `python benchmarks/gpu.py`: wide runs by the recorded program, and a simulation at ten million.

Prints the card, then numbers for widths up to 16,384. They are the seconds of a run of the recorded program, and its
largest memory. The program is three steps of a perceptron, beside its base program, in float32. Last comes `tpdyn.simulate`
at 1e7. Without a GPU it says so and makes no figures. The figures of this project were made without one.
"""

from __future__ import annotations

import sys
import time

import torch
from sampling import network

import tpdyn
from tpdyn.measuring.by_program import observed

WIDTHS, SEEDS, STEPS = (1024, 4096, 16_384), 2, 3


def measured(name: str, call: object) -> None:
    """Print seconds and the largest memory of a call."""
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    start = time.perf_counter()
    assert callable(call)
    call()
    torch.cuda.synchronize()
    seconds, gib = time.perf_counter() - start, torch.cuda.max_memory_allocated() / 2**30
    print(f"{name}: {seconds:.2f} s, {gib:.2f} GiB", flush=True)


def main() -> int:
    if not torch.cuda.is_available():
        print("no GPU here: torch.cuda.is_available() is false, so there is nothing to measure", file=sys.stderr)
        return 2
    print(torch.cuda.get_device_name())
    program = tpdyn.record(network(STEPS), widths=(16, 24, 40), steps=STEPS, verify=False)
    for width in WIDTHS:

        def runs(width: int = width) -> None:
            for _ in observed(program, width, range(SEEDS), STEPS, dtype=torch.float32, device="cuda"):
                pass

        runs()
        measured(f"{SEEDS} runs at width {width}", runs)
    measured("simulated at 1e7", lambda: tpdyn.simulate(program, 10_000_000, dtype="float32", device="cuda"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
