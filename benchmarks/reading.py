"""How long does a prediction take? `python benchmarks/reading.py [--beside ANOTHER_CHECKOUT]`

Three steps of the GPT of examples/gpt.py are recorded at three widths, verified at a fourth, and read. Then they are
predicted, with and without the search for a remedy. The other case is one point of abc-space after recording once, for the
multilayer perceptrons of the theorems. Random rational exponents are read and judged. Medians, smallest and largest of
repeated runs in one process.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import torch
from beside import asked

import tpdyn
from tpdyn.claims.theorems import Abc
from tpdyn.readings.orders.reading import read
from tpdyn.regimes.predict import predict
from tpdyn.scripts.script import load
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_script

POINTS = 40


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds of one call."""
    start = clock()
    work()
    return 1e3 * (clock() - start)


def line(what: str, times: list[float]) -> str:
    return f"{what:<58} {statistics.median(times):>9.0f} ms   {min(times):.0f} to {max(times):.0f}"


def transformer() -> None:
    script = Path(__file__).parents[1] / "examples" / "gpt.py"
    train = load(str(script), "--d-model", [])
    start = time.perf_counter()
    program = tpdyn.record(train, widths=(32, 48, 64), steps=3)
    print(line(f"GPT, 3 steps: record ({len(program)} statements)", [1e3 * (time.perf_counter() - start)]))
    print(line("GPT, 3 steps: orders, the first time (CPU)", [timed(lambda: read(program), time.process_time)]))
    again = [timed(lambda: read(program), time.process_time) for _ in range(5)]
    print(line("GPT, 3 steps: orders, once more (CPU)", again))
    print(line("GPT, 3 steps: predict", [timed(lambda: predict(program)) for _ in range(3)]))
    print(line("GPT, 3 steps: predict, no remedy", [timed(lambda: predict(program, remedy=False)) for _ in range(3)]))


def points(layers: int, function: str) -> None:
    program = tpdyn.record(mlp_script(layers, function), widths=(16, 24, 40), steps=3)
    names = tuple(f"{name}.weight" for name in layer_names(layers))
    draw = random.Random(0)

    def some() -> tuple[Fraction, ...]:
        return tuple(Fraction(draw.randint(-8, 8), 4) for _ in names)

    times = []
    for _ in range(POINTS):
        point = exponents(Abc(some(), some(), some()), names)
        times.append(timed(lambda point=point: predict(program, exponents=point, remedy=False)))
    print(line(f"one point of abc-space, {function} MLP, {layers} hidden layers", times))


def main() -> None:
    if asked(argparse.ArgumentParser(description=__doc__)) is None:
        return
    torch.set_num_threads(1)
    transformer()
    for function in ("tanh", "relu"):
        for layers in (1, 2, 3, 4):
            points(layers, function)


if __name__ == "__main__":
    main()
