"""Is a selective state space (the core of Mamba) a tensor program? Which scaling makes it learn at any width?

`train` is in torch's standard parametrization, with sixteen states a channel at every width. `train_mup` follows the maximal
update. `train_states` has as many states as channels, which is outside of the theory.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STATES, BASE, STEPS = 16, 64, 1000


class SelectiveScan(nn.Module):
    """`h = exp(dt A) h + dt B u, y = C h + D u` in each channel; dt, B and C depend on the input u."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.log_a = nn.Parameter(torch.log(torch.arange(1, states + 1).float()).repeat(width, 1))
        self.d = nn.Parameter(torch.ones(width))
        self.to_b, self.to_c = nn.Linear(width, states, bias=False), nn.Linear(width, states, bias=False)
        self.dt = nn.Linear(width, width)

    def forward(self, u: Tensor) -> Tensor:
        b, c, dt = self.to_b(u), self.to_c(u), F.softplus(self.dt(u))
        decay = torch.exp(dt.unsqueeze(-1) * -torch.exp(self.log_a))
        push = (dt * u).unsqueeze(-1) * b.unsqueeze(-2)
        h, rows = torch.zeros_like(push[:, 0]), []
        for t in range(u.shape[1]):
            h = decay[:, t] * h + push[:, t]
            rows.append((h * c[:, t].unsqueeze(1)).sum(-1))
        return torch.stack(rows, 1) + self.d * u


class Block(nn.Module):
    """A residual block: norm, scan, gate."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.scan, self.out = SelectiveScan(width, states), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.inner(self.norm(x)).chunk(2, -1)
        return x + self.out(self.scan(F.silu(u)) * F.silu(gate))


def build(width: int, states: int = STATES) -> nn.Module:
    """Two blocks between an embedding and a readout."""
    return nn.Sequential(nn.Linear(4, width), Block(width, states), Block(width, states), nn.Linear(width, 3))


def fit(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Train on a fixed batch, the same at every width and seed."""
    draws = torch.Generator().manual_seed(1)
    x, y = torch.randn(4, 6, 4, generator=draws), torch.randint(3, (24,), generator=draws)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(model(x).flatten(0, 1), y).backward()
        optimizer.step()


def train(width: int) -> None:
    """Train as torch initialises it, with one rate for all."""
    model = build(width)
    fit(model, torch.optim.Adam(model.parameters(), lr=0.003))


def train_states(width: int) -> None:
    """Let the states grow with the channels."""
    model = build(width, states=width)
    fit(model, torch.optim.Adam(model.parameters(), lr=0.003))


def train_mup(width: int) -> None:
    """Matrices that sum over the width have rates 1/n. Those to a fixed size (B, C, readout) start at 1/n, too."""
    model = build(width)
    summing, others = [], []
    for name, parameter in model.named_parameters():
        if name.endswith(("to_b.weight", "to_c.weight", "3.weight")):
            with torch.no_grad():
                parameter *= (BASE / width) ** 0.5
        matrix = name.endswith("weight") and parameter.ndim == 2 and not name.startswith("0.")
        (summing if matrix else others).append(parameter)
    groups = [{"params": summing, "lr": 0.003 * BASE / width}, {"params": others, "lr": 0.003}]
    fit(model, torch.optim.Adam(groups))
