"""How long does it take to derive a parametrization? `python benchmarks/parametrizations.py [--repeat 3] [--beside CHECKOUT]`

Five things are timed side by side, in one process and one thread. The time is that of the processor, so what else the
machine does counts little. The first is one cell of exponent coordinates: orders on linear forms, its inequalities, the
maximal update's requirements. The next are the whole search for the maximal update (`tpdyn.derive`), and the symmetries
alone. The last are a phase diagram, and all cells of a slice in three symbols. The programs are multilayer perceptrons with
biases and growing depth, hence growing numbers of parameters, with SGD and with Adam. Another is the GPT of examples/gpt.py
with two layers and AdamW. Each has three steps, recorded once. Printed: medians (smallest to largest), the ratio to the
first row, and the time a parameter. Targets: a cell of the MLP with two hidden layers and SGD below 20 ms, the GPT's below
5 s. The GPT's maximal update below 60 s. A phase diagram of that MLP (all rates against the readout's initial size) below 2
s. With Adam it is below 4 s, and all its cells in three symbols below 20 s. A phase diagram of the GPT (around its maximal
update, which is derived on the way) below 30 s.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from beside import asked
from torch import nn

import tpdyn
from tpdyn.exponents import ZERO
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.derive import derive, symmetries
from tpdyn.parametrizing.maps.cover import phase_cells
from tpdyn.parametrizing.maps.diagram import phase_diagram
from tpdyn.program.program import Program
from tpdyn.regimes.cells import every_exponent
from tpdyn.regimes.maximal import look
from tpdyn.scripts.script import load

DEPTHS = (1, 2, 4, 8)
TARGETS = {
    "MLP cell": 0.020,
    "GPT cell": 5.0,
    "GPT derive": 60.0,
    "MLP diagram": 2.0,
    "MLP diagram, Adam": 4.0,
    "MLP, three symbols": 20.0,
    "GPT diagram": 30.0,
}
SYMBOLS = {"c": "c", "b": "4.weight:b", "a": "4.weight:a"}
DIAGRAMS = ("SGD, 2 hidden", "Adam, 2 hidden", "GPT, 2 layers")


def perceptron(layers: int, optimizer: str) -> Program:
    def train(width: int) -> None:
        hidden = [module for _ in range(layers - 1) for module in (nn.Linear(width, width), nn.Tanh())]
        model = nn.Sequential(nn.Linear(6, width), nn.Tanh(), *hidden, nn.Linear(width, 3))
        each: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if optimizer == "Adam":
            each = torch.optim.Adam(model.parameters(), lr=0.01)
        x, y = torch.randn(5, 6), torch.randn(5, 3)
        for _ in range(3):
            each.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            each.step()

    return tpdyn.record(train, widths=(16, 24, 40), steps=3)


def transformer() -> Program:
    script = Path(__file__).parents[1] / "examples" / "gpt.py"
    return tpdyn.record(load(str(script), "--d-model", []), widths=(32, 48, 64), steps=3)


def cell(program: Program, kinds: str) -> Callable[[], object]:
    """One look: at the script's own exponents, those of the kinds given being symbols."""
    facts, _ = Facts.of(program).without_decay
    coordinates = every_exponent(facts.program, tuple(kinds), at=facts.shared_sites)  # type: ignore[arg-type]
    origin = (ZERO,) * len(coordinates.names)
    return lambda: look(facts, coordinates, origin)


def slice_cell(program: Program) -> Callable[[], object]:
    """One look with three symbols: all rates, the first weight's and the readout's initial size (a phase diagram's cell)."""
    facts, _ = Facts.of(program).without_decay
    full = every_exponent(facts.program, ("b", "c"))
    first, last = (name for name in full.names if name.endswith("weight:b") and name in (_ends(facts.program)))
    moves = {"c": {}, first: dict(full.moves[first]), last: dict(full.moves[last])}
    for name, move in full.moves.items():
        if name.endswith(":c"):
            moves["c"] |= move
    coordinates = type(full)(moves)
    return lambda: look(facts, coordinates, (ZERO,) * 3)


def diagram(program: Program, name: str) -> Callable[[], object]:
    """All rates against the initial size of the readout. The GPT is taken around its maximal update, since it starts far
    from it.
    """
    around = "maximal" if name.startswith("GPT") else "script"
    return lambda: phase_diagram(program, "c", around=around)


def _ends(program: Program) -> tuple[str, str]:
    weights = [p.name for p in program.parameters if p.name.endswith("weight")]
    return f"{weights[0]}:b", f"{weights[-1]}:b"


def timed(work: Callable[[], object], repeat: int) -> list[float]:
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    given = asked(parser)
    if given is None:
        return
    repeat = given.repeat
    torch.set_num_threads(1)
    programs = {f"{of}, {layers} hidden": perceptron(layers, of) for of in ("SGD", "Adam") for layers in DEPTHS}
    programs["GPT, 2 layers"] = transformer()
    columns = f"{'what':<22} {'median':>10} {'range':>20} {'ratio':>8} {'a parameter':>12}"
    print(f"{'':<16} {'parameters':>10} {'statements':>10}   {columns}")
    seen: dict[str, float] = {}
    first: dict[str, float] = {}
    for name, program in programs.items():
        work: dict[str, Callable[[], object]] = {
            "cell, three symbols": slice_cell(program),
            "cell, every exponent": cell(program, "bc"),
            "symmetries": lambda program=program: symmetries(program),
            "maximal update": lambda program=program: derive(program),
        }
        if name in DIAGRAMS:
            work["phase diagram"] = diagram(program, name)
        if name == DIAGRAMS[0]:
            work["cells, three symbols"] = lambda program=program: phase_cells(program, SYMBOLS)
        for what, each in work.items():
            once = what in ("phase diagram", "cells, three symbols")  # many readings: they repeat themselves
            if not once:
                each()  # once before: imports, caches
            times = timed(each, 1 if once else repeat)
            middle = statistics.median(times)
            seen[f"{name}: {what}"] = middle
            ratio = middle / first.setdefault(what, middle)
            spread = f"{1e3 * min(times):.0f} to {1e3 * max(times):.0f}"
            print(
                f"{name:<16} {len(program.parameters):>10} {len(program):>10}   {what:<22} {1e3 * middle:>7.0f} ms {spread:>20} "
                f"{ratio:>8.1f} {1e3 * middle / len(program.parameters):>9.1f} ms"
            )
    reached = {
        "MLP cell": seen["SGD, 2 hidden: cell, three symbols"],
        "GPT cell": seen["GPT, 2 layers: cell, every exponent"],
        "GPT derive": seen["GPT, 2 layers: maximal update"],
        "MLP diagram": seen["SGD, 2 hidden: phase diagram"],
        "MLP diagram, Adam": seen["Adam, 2 hidden: phase diagram"],
        "MLP, three symbols": seen["SGD, 2 hidden: cells, three symbols"],
        "GPT diagram": seen["GPT, 2 layers: phase diagram"],
    }
    for name, limit in TARGETS.items():
        print(f"{name}: {reached[name]:.3f} s, target {limit} s: {'reached' if reached[name] < limit else 'MISSED'}")


if __name__ == "__main__":
    main()
