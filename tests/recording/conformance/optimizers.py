"""Optimizers: all of torch.optim that step densely, in each of their forms, and some as users write them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.case import Case, Train, fitting, labels, numbers

Make = Callable[[Any], Any]


class Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.three(F.relu(self.two(F.relu(self.one(x)))))  # type: ignore[no-any-return]


class Written(torch.optim.Optimizer):
    """An optimizer of a user: one rule for each parameter, its state in a dict."""

    def __init__(self, params: Iterable[Tensor], rule: Callable[[Tensor, Tensor, dict[str, Any]], Tensor], lr: float):
        super().__init__(params, {"lr": lr})
        self.rule = rule

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(self.rule(p, p.grad, self.state[p]), alpha=-group["lr"])


def _kept(state: dict[str, Any], name: str, like: Tensor) -> Tensor:
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]  # type: ignore[no-any-return]


def lion(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    m = _kept(state, "m", p)
    update = torch.sign(0.9 * m + 0.1 * g)
    m.lerp_(g, 0.01)
    return update + 0.01 * p


def sign_descent(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    return g.sign()


def lamb(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    """Adam's update, scaled by |p| / |update| layer by layer."""
    m, v = _kept(state, "m", p), _kept(state, "v", p)
    m.lerp_(g, 0.1)
    v.lerp_(g * g, 0.001)
    update = m / (v.sqrt() + 1e-6) + 0.01 * p
    return update * (p.norm() / update.norm())


def lars(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    return g * (p.norm() / (g.norm() + 1e-6))


def lars_by_numbers(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    """The trust ratio as Python's numbers."""
    return g * (p.norm().item() / (g.norm().item() + 1e-6))


def normalised(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    return g / (g.norm() + 1e-8)


def newton_schulz(g: Tensor) -> Tensor:
    """Nearly the orthogonal factor of g (Muon's five steps)."""
    x = g / (g.norm() + 1e-7)
    if g.shape[0] > g.shape[1]:
        x = x.T
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def muon(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    if p.ndim != 2:
        return g
    m = _kept(state, "m", p)
    m.mul_(0.95).add_(g)
    return newton_schulz(m) * math.sqrt(max(1.0, p.shape[0] / p.shape[1]))


def shampoo(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    """L^(-1/4) G R^(-1/4), by eigenvalues."""
    if p.ndim != 2:
        return g
    made = g
    for side in (0, 1):
        size = p.shape[side]
        square = state.setdefault(side, 1e-4 * torch.eye(size))
        square.add_(g @ g.T if side == 0 else g.T @ g)
        values, vectors = torch.linalg.eigh(square)
        root = vectors @ torch.diag(values.clamp_min(1e-6) ** -0.25) @ vectors.T
        made = root @ made if side == 0 else made @ root
    return made


def _as(rule: Callable[..., Tensor], lr: float) -> Make:
    return lambda p: Written(p, rule, lr)


def _torch(name: str, **options: Any) -> Make:
    return lambda p: getattr(torch.optim, name)(p, **options)


FORMS = {"for-loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
ONE: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "Adam": {"lr": 0.01},
    "AdamW": {"lr": 0.01},
    "Adagrad": {"lr": 0.01},
    "RMSprop": {"lr": 0.01},
    "Adadelta": {"lr": 1.0},
    "NAdam": {"lr": 0.01},
    "RAdam": {"lr": 0.01},
    "Adamax": {"lr": 0.01},
    "ASGD": {"lr": 0.01},
    "Rprop": {"lr": 0.01},
    "Adafactor": {"lr": 0.01},
}
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")

OPTIONS: dict[str, Make] = {
    "SGD, Nesterov, weight decay": _torch("SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "SGD, dampening, maximize": _torch("SGD", lr=0.1, momentum=0.9, dampening=0.1, maximize=True),
    "Adam, amsgrad": _torch("Adam", lr=0.01, amsgrad=True),
    "Adam, decay in the gradient": _torch("Adam", lr=0.01, weight_decay=0.1),
    "Adam, rate a tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
    "Adam, capturable": _torch("Adam", lr=0.01, foreach=False, betas=(0.5, 0.9)),
    "RMSprop, centered, momentum": _torch("RMSprop", lr=0.01, centered=True, momentum=0.9),
    "NAdam, decoupled decay": _torch("NAdam", lr=0.01, decoupled_weight_decay=True, weight_decay=0.1),
    "Lion by hand": _as(lion, 0.01),
    "sign descent by hand": _as(sign_descent, 0.01),
    "LAMB by hand": _as(lamb, 0.01),
    "LARS by hand": _as(lars, 0.01),
    "LARS by hand, in numbers": _as(lars_by_numbers, 0.01),
    "normalised gradient by hand": _as(normalised, 0.01),
    "Muon by hand": _as(muon, 0.01),
    "Shampoo by hand": _as(shampoo, 0.01),
}
del OPTIONS["Adam, capturable"]


def torch_muon(width: int) -> None:
    """torch's Muon takes matrices only: the biases and the readout go to AdamW."""
    model, x, y = Perceptron(width), numbers(3, 4), labels(3, 3)
    matrices = [model.one.weight, model.two.weight]
    others = [p for p in model.parameters() if all(p is not m for m in matrices)]
    steps = [torch.optim.Muon(matrices, lr=0.01), torch.optim.AdamW(others, lr=0.01)]
    for _ in range(5):
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for step in steps:
            step.step()


def sharpness_aware(width: int) -> None:
    """SAM: the gradient at the point that is a step of length rho uphill."""
    model, x, y = Perceptron(width), numbers(3, 4), labels(3, 3)
    base = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        F.cross_entropy(model(x), y).backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.stack([g.norm() for g in grads]).norm()
        with torch.no_grad():
            moves = [0.05 * g / (norm + 1e-12) for g in grads]
            for p, move in zip(model.parameters(), moves, strict=True):
                p.add_(move)
        base.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p, move in zip(model.parameters(), moves, strict=True):
                p.sub_(move)
        base.step()
        base.zero_grad()


def by_closure(make: Make) -> Train:
    def train(width: int) -> None:
        model, x, y = Perceptron(width), numbers(3, 4), labels(3, 3)
        step_by = make(model.parameters())

        def closure() -> Tensor:
            step_by.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        for _ in range(5):
            step_by.step(closure)

    return train


def cases() -> list[Case]:
    x = numbers(3, 4)
    made: dict[str, Make] = {}
    for name, options in ONE.items():
        for form, choice in FORMS.items():
            if form != "fused" or name in FUSED:
                made[f"{name}, {form}"] = _torch(name, **options, **choice)
    made |= OPTIONS
    found = [Case("optimizers", "MLP", name, fitting(Perceptron, x, make)) for name, make in made.items()]
    return [
        *found,
        Case("optimizers", "MLP", "Muon and AdamW of torch", torch_muon, steps=2),
        Case("optimizers", "MLP", "SAM", sharpness_aware),
        Case("optimizers", "MLP", "SGD by closure", by_closure(_torch("SGD", lr=0.1))),
        Case("optimizers", "MLP", "LBFGS", by_closure(_torch("LBFGS", lr=0.1, max_iter=4)), outside="."),
    ]
