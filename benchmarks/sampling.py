"""How long, and in how much memory, are numbers had at any width? `nice python benchmarks/sampling.py [name ...]`

Each case runs in a process of its own, on one thread. Printed are CPU seconds and the largest resident memory beyond what
the process held before. Torch and the program itself take about 0.35 GiB. `mlp` is a tanh network with one hidden matrix,
batch 8, ten steps. `adam` is the same network in five steps. `gpt` has one block and 16 tokens. `limit` is six steps of the
muP network, with the error that it reports. `ensemble` tells what networks would cost
for the same error as the limit. Without names all cases are run; `dense` is the finite reading beside `mlp 4096`.

Seen on two quiet cores: 4096: 0.13 s beside 3.3 s dense; 1e4: 0.3 s; 1e5: 3.1 s, 0.7 GiB; 1e6: 45 s, 4.0 GiB, in float32
19 s, 3.3 GiB; GPT at 1e5: 14 s, 2.3 GiB; Adam at 1e4: 18 s. On busy ones CPU seconds swing by a factor of two.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import tpdyn
from tpdyn.program.program import Program

CASES = {
    "mlp 4096": ("mlp", 4096, "float64"),
    "dense 4096": ("dense", 4096, "float64"),
    "mlp 1e4": ("mlp", 10_000, "float64"),
    "mlp 1e5": ("mlp", 100_000, "float64"),
    "mlp 1e6": ("mlp", 1_000_000, "float64"),
    "mlp 1e6 float32": ("mlp", 1_000_000, "float32"),
    "gpt 1e5": ("gpt", 100_000, "float64"),
    "adam 1e4 float32": ("adam", 10_000, "float32"),
    "limit 2^14": ("limit", 2**14, "float64"),
    "limit 2^16": ("limit", 2**16, "float64"),
}


def network(steps: int, adam: bool = False) -> Callable[[int], None]:
    """A tanh network with one hidden matrix, in muP."""
    data = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 10, generator=data), torch.randn(8, 1, generator=data)

    def train(width: int) -> None:
        layers = [nn.Linear(a, b, bias=False) for a, b in ((10, width), (width, width), (width, 1))]
        for layer, std in zip(layers, (10**-0.5, width**-0.5, 1 / width), strict=True):
            nn.init.normal_(layer.weight, 0, std)
        rates = (1e-2, 1e-2 / width, 1e-2 / width) if adam else (0.1 * width, 0.1, 0.1 / width)
        groups = [{"params": layer.parameters(), "lr": lr} for layer, lr in zip(layers, rates, strict=True)]
        optimizer = torch.optim.Adam(groups) if adam else torch.optim.SGD(groups)
        first, hidden, out = layers
        for _ in range(steps):
            loss = (out(torch.tanh(hidden(torch.tanh(first(x))))) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def gpt(steps: int) -> Callable[[int], None]:
    """One block of examples/gpt.py in muP, by SGD, on two rows of eight tokens."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    from gpt import GPT

    tokens = torch.randint(27, (2, 9), generator=torch.Generator().manual_seed(0))

    def train(width: int) -> None:
        model = GPT(27, 8, width, heads=4, layers=1, mup=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def recorded(kind: str) -> Program:
    """The program of a case."""
    steps = {"mlp": 10, "dense": 10, "adam": 5, "gpt": 3, "limit": 6}[kind]
    train = gpt(steps) if kind == "gpt" else network(steps, adam=kind == "adam")
    return tpdyn.record(train, widths=(16, 24, 40), steps=steps, verify=False)


def measured(name: str) -> dict[str, float | str]:
    """One case, in this process. Short ones are run three times, since a first run has more to do: the median counts."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kind, width, dtype = CASES[name]
    program = recorded(kind)
    before, error = _resident(), 0.0
    seconds = []
    for _ in range(3 if width <= 4096 else 1):
        start = time.process_time()
        error = _run(program, kind, width, dtype)
        seconds.append(time.process_time() - start)
    return {"name": name, "seconds": sorted(seconds)[len(seconds) // 2], "gib": _resident() - before, "error": error}


def _run(program: Program, kind: str, width: int, dtype: str) -> float:
    """Run a case once. Return the error that a limit reports, else 0."""
    if kind == "limit":
        found = tpdyn.limit(program, width, 8)
        return max(float(estimate.error.max()) for estimate in found.outputs)
    if kind == "dense":
        from tpdyn.readings import finite

        finite.run(program, width, vars={mark.view.var for mark in program.marks})
    else:
        tpdyn.simulate(program, width, dtype="float32" if dtype == "float32" else "float64")
    return 0.0


def _resident() -> float:
    """The largest resident memory so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def dense(width: int, nets: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Train networks of one width, many at once (the six steps of `limit`): outputs and losses, "nets steps ..."."""
    data = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 10, generator=data), torch.randn(8, 1, generator=data)
    generator = torch.Generator().manual_seed(seed)
    shapes = {(10, width): 10**-0.5, (width, width): width**-0.5, (width, 1): 1 / width}
    weights = [torch.randn(nets, *shape, generator=generator) * std for shape, std in shapes.items()]
    outputs, losses = [], []
    for _ in range(6):
        for weight in weights:
            weight.requires_grad_()
        output = torch.tanh(torch.tanh(x @ weights[0]) @ weights[1]) @ weights[2]
        loss = (output - y).square().mean((1, 2))
        outputs.append(output.detach().squeeze(2).double())
        losses.append(loss.detach().double())
        gradients = torch.autograd.grad(loss.sum(), weights)
        rates = (0.1 * width, 0.1, 0.1 / width)
        weights = [(w - r * g).detach() for w, r, g in zip(weights, rates, gradients, strict=True)]
    return {"outputs": torch.stack(outputs, 1), "losses": torch.stack(losses, 1)}


def ensemble() -> None:
    """What would dense networks cost for the error of the limit? A mean of M networks errs by b/n (bias) and sqrt(a/(n M)).

    a and b are measured at width 32, against the limit. The cost of a network is measured at width 1024, where it is
    proportional to n^2. The cheapest ensemble for an error has the width at which bias and noise share it. Errors are
    standard errors, the largest over steps (and outputs).

    Both compute in float32, networks on one thread. The limit has as many as torch takes, and CPU seconds of all of them count.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    program = recorded("limit")
    width, nets = 32, 2**15
    runs = [dense(width, 2**11, seed) for seed in range(nets // 2**11)]
    start = time.process_time()
    dense(1024, 2)
    one = (time.process_time() - start) / 2 / 1024**2
    torch.set_num_threads(threads)
    for scrambles, points in ((8, 2**14), (11, 2**16), (8, 2**17)):
        start = time.process_time()
        found = tpdyn.limit(program, points, scrambles, dtype="float32")
        seconds = time.process_time() - start
        clock = f"{found.seconds:.1f} s on {threads} threads"
        print(f"the limit from {scrambles} times {points} points: {seconds:.1f} CPU s, {clock}", flush=True)
        for what, estimates in (("outputs", found.outputs), ("losses", found.losses)):
            limit = torch.stack([each.value.squeeze() for each in estimates])
            spreads = torch.stack([each.spread.flatten() for each in estimates])
            error, mean = (float(each) / scrambles**0.5 for each in (spreads.max(), spreads.square().mean().sqrt()))
            each = torch.cat([run[what] for run in runs])
            a, b = width * float(each.var(0).max()), width * float((each.mean(0) - limit).abs().max())
            wide = 2**0.5 * b / error
            cost = 2 * a / error**2 * one * wide
            print(
                f"  {what}: standard error {error:.1e} at most, root mean square {mean:.1e}; networks: variance {a:.2f}/n, "
                f"bias {b:.2f}/n; the cheapest ensemble has {2 * a / error**2 / wide:.0f} of width {wide:.0f}, "
                f"{cost:.0f} CPU s: {cost / seconds:.1f} times the limit's"
            )


def main() -> None:
    if sys.argv[1:] == ["ensemble"]:
        ensemble()
        return
    names = sys.argv[1:] or list(CASES)
    if names[0] == "--one":
        print(json.dumps(measured(names[1])))
        return
    seconds = {}
    print(f"{'':<18}{'CPU s':>9}{'GiB':>8}{'error':>10}")
    for name in names:
        command = [sys.executable, __file__, "--one", name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(told.splitlines()[-1])
        seconds[name] = found["seconds"]
        error = f"{found['error']:.1e}" if found["error"] else ""
        print(f"{name:<18}{found['seconds']:>9.2f}{found['gib']:>8.2f}{error:>10}", flush=True)
    if {"mlp 1e4", "mlp 1e6"} <= set(seconds):
        print(f"exponent of cost, 1e4 to 1e6: {math.log(seconds['mlp 1e6'] / seconds['mlp 1e4']) / math.log(100):.2f}")
    if {"mlp 4096", "dense 4096"} <= set(seconds):
        print(f"at 4096 faster than dense by {seconds['dense 4096'] / seconds['mlp 4096']:.0f} x")


if __name__ == "__main__":
    main()
