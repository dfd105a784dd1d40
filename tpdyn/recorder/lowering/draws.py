"""Which law were a tensor's entries drawn from? A standard law, and the pointwise steps after it.

Mean and std come from the law itself, by quadrature where steps are not affine. They never come from the sample that was
drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Law
from tpdyn.program.law import NOTHING
from tpdyn.recorder.live.tape import Node, base_name


@final
@dataclass(frozen=True, slots=True)
class Draw:
    """Independent draws from `base` (a standard law), then pointwise `steps`.

    quantile: the base law's quantile function, float64 tensor in (0, 1) -> tensor. law: the exact law, when the steps
    are affine; None once they are not.
    """

    quantile: Callable[[torch.Tensor], torch.Tensor]
    law: Law | None
    steps: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = ()
    parent: Law | None = None  # of a truncated draw: the law before

    def to_law(self) -> Law:
        """Return the law of the entries: exact, or "iid" with mean and std by tanh-sinh quadrature over the quantiles."""
        if self.law is not None:
            return self.law
        u, weight = _quantiles()
        sample = self.quantile(u)
        for step in self.steps:
            sample = step(sample)
        kept = torch.isfinite(sample)
        sample, weight = sample[kept], weight[kept] / weight[kept].sum()
        mean = float((weight * sample).sum())
        std = math.sqrt(float((weight * (sample - mean) ** 2).sum()))
        mean = 0.0 if abs(mean) < 1e-9 * std else mean
        return Law("iid", Scaling.of(mean), Scaling.of(std))


_CACHE: list[tuple[torch.Tensor, torch.Tensor]] = []


def _quantiles() -> tuple[torch.Tensor, torch.Tensor]:
    """Return nodes in (0, 1) and weights of the tanh-sinh rule: exact to about 1e-12 despite the ends."""
    if not _CACHE:
        t = torch.linspace(-3.2, 3.2, 4097, dtype=torch.float64)
        y = math.pi / 2 * torch.sinh(t)
        u = torch.sigmoid(2 * y)
        weight = math.pi / 2 * torch.cosh(t) / torch.cosh(y) ** 2
        _CACHE.append((u, weight / weight.sum()))
    return _CACHE[0]


def uniform_draw(low: float, high: float) -> Draw:
    """Return the draw that is uniform on [low, high)."""
    return Draw(
        lambda u: low + (high - low) * u,
        Law("uniform", Scaling.of((low + high) / 2), Scaling.of((high - low) / 2)),
    )


def normal_draw(mean: float, std: float) -> Draw:
    """Describe a normal draw."""
    return Draw(lambda u: mean + std * torch.special.ndtri(u), Law("normal", Scaling.of(mean), Scaling.of(std)))


def bernoulli_draw(p: float) -> Draw:
    """Return the draw that is one with probability p, else zero."""
    return Draw(lambda u: (u > 1 - p).to(u.dtype), Law("bernoulli", Scaling.of(p)))


def _exponential_draw(rate: float) -> Draw:
    return Draw(lambda u: -torch.log1p(-u) / rate, Law("iid", Scaling.of(1 / rate), Scaling.of(1 / rate)))


def _log_normal_draw(mean: float, std: float) -> Draw:
    m = math.exp(mean + std * std / 2)
    law = Law("iid", Scaling.of(m), Scaling.of(m * math.sqrt(math.expm1(std * std))))
    return Draw(lambda u: torch.exp(mean + std * torch.special.ndtri(u)), law)


def argument(node: Node, position: int, name: str, default: Any) -> Any:
    """Return one argument of a node, by position or by name."""
    if name in node.kwargs:
        return node.kwargs[name]
    return node.args[position] if len(node.args) > position else default


def draw_of(node: Node) -> Draw | None:
    """Return the law of a random operation's outputs; None when it is not one of independent entries (a permutation)."""
    name = base_name(node.op)
    if name in ("randn", "randn_like", "normal_functional", "normal"):
        if name.startswith("randn"):
            return normal_draw(0.0, 1.0)
        mean, std = argument(node, 0 if node.op.endswith("float_float") else 1, "mean", 0.0), None
        std = argument(node, 1 if node.op.endswith("float_float") else 2, "std", 1.0)
        return normal_draw(float(mean), float(std)) if _numbers(mean, std) else None
    if name in ("rand", "rand_like"):
        return uniform_draw(0.0, 1.0)
    if name == "uniform":
        low, high = argument(node, 1, "from", 0.0), argument(node, 2, "to", 1.0)
        return uniform_draw(float(low), float(high))
    if name == "bernoulli":
        p = argument(node, 1, "p", None)
        return bernoulli_draw(float(p)) if _numbers(p) else None
    if name == "exponential":
        return _exponential_draw(float(argument(node, 1, "lambd", 1.0)))
    if name == "log_normal":
        return _log_normal_draw(float(argument(node, 1, "mean", 1.0)), float(argument(node, 2, "std", 2.0)))
    return None


def _numbers(*items: Any) -> bool:
    return all(isinstance(item, (int, float)) for item in items)


def measured_law(tensor: torch.Tensor) -> Law:
    """Fit an orthogonal law where the entries show one; else mean and std of the live entries."""
    wide = tensor.detach().to(torch.float64)
    if _is_haar(wide):
        return Law("orthogonal", NOTHING, Scaling.of(float(wide.square().mean().sqrt())))
    std = float(wide.std(correction=0))
    return Law("iid", Scaling.of(float(wide.mean())), Scaling.of(std))


def _is_haar(matrix: torch.Tensor) -> bool:
    """Tell whether rows or columns are orthogonal, of one length, and nothing else is seen in the entries.

    Rows are the first axis (as `nn.init.orthogonal_` has them). The identity, permutations, reflections, Fourier and
    Hadamard matrices are orthogonal, too. But their entries are zeros or repeat themselves, where random ones never do.
    """
    if matrix.ndim < 2 or not bool(torch.isfinite(matrix).all()):
        return False
    matrix = matrix.flatten(1)
    if min(matrix.shape) < 2:
        return False
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = matrix @ matrix.T
    length = float(gram.diagonal().mean())
    if length <= 0 or float((gram / length - torch.eye(len(gram), dtype=gram.dtype)).abs().max()) > 1e-5:
        return False
    sizes = matrix.abs().flatten().sort().values
    gaps = sizes.diff() > 1e-9 * sizes[-1]
    return bool(sizes[0] > 1e-12 * sizes[-1]) and int(gaps.sum()) + 1 > 3 * len(sizes) // 4
