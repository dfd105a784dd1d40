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


def shampoo_with_averages(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    """Averages in place of sums, momentum, one exponent for each dim."""
    if p.ndim != 2:
        return g
    m = _kept(state, "m", p)
    m.mul_(0.9).add_(g)
    made = m
    for side in (0, 1):
        square = state.setdefault(side, torch.zeros(p.shape[side], p.shape[side]))
        square.lerp_(torch.tensordot(g, g, dims=([1 - side], [1 - side])), 0.05)
        values, vectors = torch.linalg.eigh(square + 1e-6 * torch.eye(p.shape[side]))
        root = torch.einsum("ik,k,jk->ij", vectors, values.rsqrt().sqrt(), vectors)
        made = torch.tensordot(made, root, dims=([0], [0]))
    return made


def _matrix_power(matrix: Tensor, power: float) -> Tensor:
    u, s, v = torch.svd(matrix)
    return u @ s.pow_(power).diag() @ v.t()


def shampoo_by_svd(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    """One dim after the other, as packages of optimizers write it."""
    order = p.ndim
    if "inverse" not in state:
        state["square"] = {dim: 1e-4 * torch.eye(size) for dim, size in enumerate(p.shape)}
        state["inverse"] = {dim: torch.zeros(size, size) for dim, size in enumerate(p.shape)}
    for dim, size in enumerate(p.shape):
        square, inverse = state["square"][dim], state["inverse"][dim]
        g = g.transpose(0, dim).contiguous()
        turned = g.size()
        g = g.view(size, -1)
        square.add_(g @ g.t())
        inverse.copy_(_matrix_power(square, -1 / order))
        g = inverse @ g
        g = g.view(turned).transpose(0, dim)
    return g


def one_sided(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    """The gradient, divided by its own damped square."""
    if p.ndim != 2:
        return g
    size = p.shape[0]
    return torch.linalg.solve(g @ g.T + 0.01 * torch.eye(size), g)


def soap(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    """Adam in the eigenbasis of Shampoo's matrix."""
    if p.ndim != 2:
        return g
    square = state.setdefault("square", torch.zeros(p.shape[0], p.shape[0]))
    square.lerp_(g @ g.T, 0.05)
    _, vectors = torch.linalg.eigh(square)
    turned = vectors.T @ g
    v = _kept(state, "v", p)
    v.lerp_(turned**2, 0.001)
    return vectors @ (turned / (v.sqrt() + 1e-8))


def polar(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
    """The orthogonal factor of the gradient, exactly."""
    if p.ndim != 2:
        return g
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    return u @ vh


def kronecker_factored(width: int) -> None:
    """K-FAC: each layer's gradient between the damped inverses of its two covariances."""
    model, x, y = Perceptron(width), numbers(3, 4), labels(3, 3)
    layers = [model.one, model.two, model.three]
    seen: dict[nn.Module, dict[str, Tensor]] = {layer: {} for layer in layers}
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, args: seen[layer].update(x=args[0].detach()))
        layer.register_full_backward_hook(lambda layer, _, grads: seen[layer].update(d=grads[0].detach()))
    for _ in range(5):
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for layer in layers:
                a, d = seen[layer]["x"], seen[layer]["d"]
                inner = a.T @ a / len(a) + 0.1 * torch.eye(a.shape[1])
                outer = len(d) * d.T @ d + 0.1 * torch.eye(d.shape[1])
                assert layer.weight.grad is not None
                half = torch.cholesky_solve(layer.weight.grad, torch.linalg.cholesky(outer))
                layer.weight.sub_(half @ torch.linalg.inv(inner), alpha=0.01)


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
    "Shampoo with averages": _as(shampoo_with_averages, 0.01),
    "Shampoo by svd": _as(shampoo_by_svd, 0.01),
    "one-sided inverse": _as(one_sided, 0.01),
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
        Case("optimizers", "MLP", "K-FAC by hand", kronecker_factored),
        Case(
            "optimizers",
            "MLP",
            "SOAP by hand",
            fitting(Perceptron, x, _as(soap, 0.01)),
            outside="eigenbasis of a matrix",
        ),
        Case("optimizers", "MLP", "polar factor", fitting(Perceptron, x, _as(polar, 0.01)), outside="of low rank"),
        Case("optimizers", "MLP", "SGD by closure", by_closure(_torch("SGD", lr=0.1))),
        Case("optimizers", "MLP", "LBFGS", by_closure(_torch("LBFGS", lr=0.1, max_iter=4)), outside="."),
    ]
