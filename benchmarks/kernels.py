"""Are kernels right, and fast? Beside neural-tangents in one run: `python bootstrap.py neural-tangents`.

The environment of that name holds neural-tangents with the versions it still runs on. This file runs in ours, and starts
`neural_tangents_side.py` there. Printed are the largest relative differences of both kernels for several architectures (in
float64), then CPU seconds on one thread:

* NNGP and NTK of a ReLU network with three hidden layers, 2000 points of dim 784, float32. Beside it stand neural-tangents
  (jitted, in steady state) and eager torch. Last comes the largest relative error on the diagonal of the NTK;
* the same for three 3x3 convolutions with global pooling, 16 images of 16x16 pixels;
* the empirical NTK of 32 points and 10 outputs, beside the contraction of Jacobians. The networks are a perceptron
  784-512-512-10 and a small convolutional one.

Seen on two busy cores: all kernels agree to 2e-15, those of attention to 2e-13. Diagonals of ReLU networks agree to 3e-9,
which neural-tangents loses. The first network takes 0.08 s, beside 0.33 s (neural-tangents) and 0.3 s (eager). The second
takes 1.5 s beside 12 s. The empirical NTK takes 7 ms and 0.14 s.

    python benchmarks/numbers.py [--with <python of the environment neural-tangents>] [values | mlp | conv | empirical ...]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tpdyn
from tpdyn.limits.kernels import Evaluated, forward

CASES = ("values", "mlp", "conv", "empirical")
SIDE = Path(__file__).with_name("neural_tangents_side.py")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


class Dense(nn.Module):
    """A dense layer in the NTK parametrization."""

    def __init__(self, inputs: int, outputs: int, std: float = 1.5, bias: float | None = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.randn(outputs)) if bias else None
        self.std, self.level = std, bias or 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of a batch."""
        made = self.std / math.sqrt(self.weight.shape[1]) * (x @ self.weight.T)
        return made if self.bias is None else made + self.level * self.bias


class Conv(nn.Module):
    """A 3x3 convolution in the NTK parametrization."""

    def __init__(self, inputs: int, outputs: int, std: float = 1.5, bias: float | None = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.randn(outputs)) if bias else None
        self.std, self.level = std, bias or 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of a batch."""
        made = self.std / math.sqrt(9 * self.weight.shape[1]) * F.conv2d(x, self.weight, padding=1)
        return made if self.bias is None else made + self.level * self.bias[:, None, None]


class Network(nn.Module):
    """An architecture of `neural_tangents_side.py`, by its name."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.kind, *words = name.split()
        self.f: Callable[[Tensor], Tensor] = {"erf": torch.erf, "gelu": F.gelu}.get((*words, "")[0], torch.relu)
        self.pooled = "pooling" in words
        if self.kind == "conv":
            self.layers = nn.ModuleList([Conv(3, width), Conv(width, width)])
            self.out = Dense(width if self.pooled else 64 * width, 1)
        elif self.kind == "attention":
            self.layers = nn.ModuleList([Dense(3, width, bias=None)])
            self.key, self.value, self.mix = (Dense(width, width, bias=None) for _ in range(3))
            self.out = Dense(5 * width, 1, bias=None)
        else:
            self.layers = nn.ModuleList([Dense(10 if k == 0 else width, width) for k in range(3)])
            self.out = Dense(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of a batch."""
        if self.kind == "attention":
            h = self.layers[0](x)
            key = self.key(h)
            shares = torch.softmax(key @ key.transpose(1, 2) / key.shape[-1], -1)
            return self.out(torch.relu(self.mix(shares @ self.value(h))).flatten(1))
        if self.kind == "residual":
            first, second, third = self.layers
            h = first(x)
            return self.out(torch.relu(h + third(torch.relu(second(torch.relu(h))))))
        for layer in self.layers:
            x = self.f(layer(x))
        if self.kind == "conv":
            x = x.mean((2, 3)) if self.pooled else x.flatten(1)
        return self.out(x)


def values(python: str) -> None:
    """Largest differences, relative to the largest entry, for each architecture."""
    torch.set_default_dtype(torch.float64)
    rows = np.random.RandomState(0)
    shapes = {"rows": (10,), "images": (8, 8, 3), "tokens": (5, 3)}
    data = {f"{kind}{k}": rows.standard_normal((5 - k, *shape)) for kind, shape in shapes.items() for k in (1, 2)}
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/data.npz", f"{folder}/out.npz"
        np.savez(source, **data)  # type: ignore[arg-type]
        subprocess.run([python, "-W", "ignore", str(SIDE), "values", source, target], check=True)
        theirs = dict(np.load(target))
    print(f"{'':<24}{'NNGP':>10}{'NTK':>10}{'NNGP, itself':>14}{'NTK, itself':>14}   (differences, relative)")
    for name in dict.fromkeys(key.split("|")[0] for key in theirs):
        kind = {"conv": "images", "attention": "tokens"}.get(name.split()[0], "rows")
        x1, x2 = (torch.tensor(data[f"{kind}{k}"]) for k in (1, 2))
        if kind == "images":
            x1, x2 = x1.movedim(-1, 1), x2.movedim(-1, 1)
        told = []
        for pair, other in (("12", x2), ("11", None)):
            found = tpdyn.kernels(lambda width, name=name: Network(name, width), x1, other)
            for what, made in (("nngp", found.nngp), ("ntk", found.ntk)):
                assert made is not None
                expected = torch.tensor(theirs[f"{name}|{what}|{pair}"])
                told.append(float((made - expected).abs().max() / expected.abs().max()))
        print(f"{name:<24}" + "".join(f"{x:>{n}.0e}" for x, n in zip(told, (10, 10, 14, 14), strict=True)))
    torch.set_default_dtype(torch.float32)


def seconds(call: Callable[[], object], times: int = 5) -> float:
    """CPU seconds of a call, the least of several."""
    call()
    found = []
    for _ in range(times):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def side(python: str | None, case: str) -> dict[str, float] | None:
    if python is None:
        return None
    environment = {**os.environ, **ONE_THREAD}
    told = subprocess.run(
        [python, str(SIDE), "time", case], check=True, capture_output=True, text=True, env=environment
    )
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def told(name: str, ours: float, others: dict[str, float]) -> None:
    beside = ", ".join(f"{other} {theirs:.3g} s ({theirs / ours:.1f} x)" for other, theirs in others.items())
    print(f"{name}: {ours:.3g} s; {beside}", flush=True)


def mlp(python: str | None) -> None:
    """The dense network: time, memory, diagonals."""
    x = torch.tensor(np.random.RandomState(0).standard_normal((2000, 784)).astype(np.float32))

    def make(width: int) -> nn.Module:
        hidden = [Dense(784 if k == 0 else width, width, 2**0.5, None) for k in range(3)]
        return nn.Sequential(*(m for layer in hidden for m in (layer, nn.ReLU())), Dense(width, 1, 1.0, None))

    network = Evaluated(forward(make, x))
    before = _resident()
    ours = seconds(lambda: network(("second", "tangent"), x))
    memory = _resident() - before
    found = network(("second", "tangent"), x)
    others = {"eager torch": seconds(lambda: eager_relu(x))}
    there = side(python, "mlp")
    if there is not None:
        others["neural-tangents"] = there["cpu"]
    told("NNGP and NTK, three hidden layers, 2000 points", ours, others)
    exact = x.double().square().mean(1) * 4
    assert found.ntk is not None
    print(f"  error of the NTK's diagonal: {float((found.ntk.diagonal() / exact - 1).abs().max()):.0e}", end="")
    if there is not None:
        theirs = (torch.tensor(there["ntk"], dtype=torch.float64) / exact - 1).abs().max()
        print(f" (neural-tangents {float(theirs):.0e}); memory {memory:.0f} MiB (neural-tangents {there['mib']:.0f})")
    else:
        print(f"; memory {memory:.0f} MiB")


def eager_relu(x: Tensor) -> tuple[Tensor, Tensor]:
    """The same recursion as one writes it down in torch."""
    second = 2 * (x @ x.T) / x.shape[1]
    tangent = second.clone()
    for scale in (2.0, 2.0, 1.0):
        norm = second.diagonal().sqrt()
        norms = torch.outer(norm, norm)
        cosine = (second / norms).clamp(-1, 1)
        angle = math.pi - torch.acos(cosine)
        second = scale * norms * ((1 - cosine * cosine).sqrt() + angle * cosine) / (2 * math.pi)
        tangent = second + scale * tangent * angle / (2 * math.pi)
    return second, tangent


class Pooled(nn.Module):
    """Three convolutions and global pooling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Conv(3 if k == 0 else width, width, 2**0.5, None) for k in range(3)])
        self.out = Dense(width, 1, 1.0, None)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of a batch."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.out(x.mean((2, 3)))


def conv(python: str | None) -> None:
    """The convolutional network."""
    x = torch.tensor(np.random.RandomState(0).standard_normal((16, 16, 16, 3)).astype(np.float32)).movedim(-1, 1)
    network = Evaluated(forward(Pooled, x))
    ours = seconds(lambda: network(("second", "tangent"), x), 2)
    there = side(python, "conv")
    told("three convolutions, 16 images of 16x16", ours, {} if there is None else {"neural-tangents": there["cpu"]})


def empirical(_: str | None) -> None:
    """The tangent kernel of networks as they are, with all pairs of ten outputs, beside the contraction of Jacobians."""
    cases = {
        "perceptron 784-512-512-10": (
            nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)),
            torch.randn(32, 784),
        ),
        "small convolutional network": (
            nn.Sequential(
                nn.Conv2d(3, 32, 3, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
                nn.Conv2d(32, 64, 3, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
                nn.Flatten(),
                nn.Linear(64 * 16, 10),
            ),
            torch.randn(32, 3, 16, 16),
        ),
    }
    for name, (model, x) in cases.items():
        ours = seconds(lambda model=model, x=x: tpdyn.empirical_ntk(model, x, outputs="all"))
        theirs = seconds(lambda model=model, x=x: contracted(model, x), 1)
        a, b = tpdyn.empirical_ntk(model, x, outputs="all"), contracted(model, x)
        told(f"empirical NTK, {name}", ours, {"Jacobians": theirs})
        print(f"  largest difference, relative: {float((a - b).abs().max() / b.abs().max()):.0e}")


def contracted(model: nn.Module, x: Tensor) -> Tensor:
    """All Jacobians, written out and contracted."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(given: dict[str, Tensor], sample: Tensor) -> Tensor:
        made: Tensor = torch.func.functional_call(model, given, (sample[None],))
        return made[0]

    jacobians = torch.func.vmap(torch.func.jacrev(one), (None, 0))(parameters, x)
    return torch.stack([torch.einsum("nce,mde->nmcd", j.flatten(2), j.flatten(2)) for j in jacobians.values()]).sum(0)


def _resident() -> float:
    """The largest resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--with", dest="python", help="Python of the environment neural-tangents")
    parser.add_argument("cases", nargs="*", choices=[[], *CASES])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for case in chosen.cases or CASES:
        if case == "values":
            if chosen.python is None:
                print("values: needs --with <python of the environment neural-tangents>", file=sys.stderr)
                continue
            values(chosen.python)
        else:
            {"mlp": mlp, "conv": conv, "empirical": empirical}[case](chosen.python)


if __name__ == "__main__":
    main()
