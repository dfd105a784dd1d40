"""Recurrences: torch's own, cells stepped by hand, and state-space scans."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.case import Case, fitting, numbers


class Torchs(nn.Module):
    """nn.RNN, nn.LSTM or nn.GRU, and a readout of the last output."""

    def __init__(self, width: int, kind: str, **options: object) -> None:
        super().__init__()
        make = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}[kind]
        self.core = make(4, width, batch_first=True, **options)  # type: ignore[arg-type]
        size = options.get("proj_size") or width
        self.head = nn.Linear(int(size) * (2 if options.get("bidirectional") else 1), 3)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(x)[0][:, -1])  # type: ignore[no-any-return]


class Cells(nn.Module):
    """A cell stepped by hand."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.cell = {"RNNCell": nn.RNNCell, "LSTMCell": nn.LSTMCell, "GRUCell": nn.GRUCell}[kind](4, width)
        self.head, self.width, self.kind = nn.Linear(width, 3), width, kind

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], self.width)
        state = (h, h)
        for t in range(x.shape[1]):
            if self.kind == "LSTMCell":
                state = self.cell(x[:, t], state)
            else:
                h = self.cell(x[:, t], h)
        return self.head(state[0] if self.kind == "LSTMCell" else h)  # type: ignore[no-any-return]


class ByHand(nn.Module):
    """h_t = tanh(W h_(t-1) + U x_t), the states kept in a list and stacked."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.u, self.w, self.head = nn.Linear(4, width), nn.Linear(width, width, bias=False), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, states = torch.zeros(x.shape[0], self.w.in_features), []
        for t in range(x.shape[1]):
            h = torch.tanh(self.u(x[:, t]) + self.w(h))
            states.append(h)
        return self.head(torch.stack(states, 1).mean(1))  # type: ignore[no-any-return]


class Preallocated(ByHand):
    """The same, the states written into a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        states = torch.zeros(x.shape[0], x.shape[1] + 1, self.w.in_features)
        for t in range(x.shape[1]):
            states[:, t + 1] = torch.tanh(self.u(x[:, t]) + self.w(states[:, t].clone()))
        return self.head(states[:, 1:].mean(1))  # type: ignore[no-any-return]


class Gated(nn.Module):
    """A GRU written out, its gates by chunk, with in-place functions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.u, self.w, self.head = nn.Linear(4, 3 * width), nn.Linear(width, 3 * width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], self.head.in_features)
        for t in range(x.shape[1]):
            ux, wh = self.u(x[:, t]).chunk(3, 1), self.w(h).chunk(3, 1)
            r, z = (ux[0] + wh[0]).sigmoid_(), (ux[1] + wh[1]).sigmoid_()
            h = torch.lerp(torch.tanh(ux[2] + r * wh[2]), h, z)
        return self.head(h)  # type: ignore[no-any-return]


class StateSpace(nn.Module):
    """A diagonal state-space layer with input-dependent steps (as in Mamba): `h = exp(dt A) h + dt B x, y = C h + D x`.

    packed: B, C and steps of a rank that grows in one projection (Mamba's `x_proj`).
    """

    def __init__(self, width: int, state: int = 3, parallel: bool = False, packed: bool = False) -> None:
        super().__init__()
        self.inner, self.parallel, self.sizes = nn.Linear(4, 2 * width), parallel, [width // 2, state, state]
        self.log_a = nn.Parameter(torch.log(torch.arange(1, state + 1).float()).repeat(width, 1))
        self.d = nn.Parameter(torch.ones(width))
        self.packed = nn.Linear(width, sum(self.sizes), bias=False) if packed else None
        if not packed:
            self.to_b, self.to_c = nn.Linear(width, state), nn.Linear(width, state)
        self.dt = nn.Linear(width // 2 if packed else width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.inner(x).chunk(2, -1)
        u = F.silu(u)
        dt, b, c = (u, self.to_b(u), self.to_c(u)) if self.packed is None else self.packed(u).split(self.sizes, -1)
        dt = F.softplus(self.dt(dt))
        decay = dt.unsqueeze(-1) * -torch.exp(self.log_a)
        push = (dt * u).unsqueeze(-1) * b.unsqueeze(-2)
        if self.parallel:  # everything at once, by cumulative sums of logarithms
            total = decay.cumsum(1)
            states = torch.exp(total) * (push * torch.exp(-total)).cumsum(1)
            y = torch.einsum("btns,bts->btn", states, c)
        else:
            h, outs = torch.zeros_like(push[:, 0]), []
            for t in range(x.shape[1]):
                h = torch.exp(decay[:, t]) * h + push[:, t]
                outs.append(torch.einsum("bns,bs->bn", h, c[:, t]))
            y = torch.stack(outs, 1)
        return self.head(((y + self.d * u) * F.silu(gate)).mean(1))  # type: ignore[no-any-return]


def cases() -> list[Case]:
    x = numbers(3, 4, 4)
    models = {
        "nn.RNN": lambda n: Torchs(n, "RNN"),
        "nn.RNN, relu": lambda n: Torchs(n, "RNN", nonlinearity="relu"),
        "nn.LSTM": lambda n: Torchs(n, "LSTM"),
        "nn.LSTM, two layers, dropout": lambda n: Torchs(n, "LSTM", num_layers=2, dropout=0.2),
        "nn.LSTM, both directions": lambda n: Torchs(n, "LSTM", bidirectional=True),
        "nn.LSTM, projected": lambda n: Torchs(n, "LSTM", proj_size=n // 2),
        "nn.GRU": lambda n: Torchs(n, "GRU"),
        "nn.GRU, both directions": lambda n: Torchs(n, "GRU", bidirectional=True),
        "nn.RNNCell": lambda n: Cells(n, "RNNCell"),
        "nn.LSTMCell": lambda n: Cells(n, "LSTMCell"),
        "nn.GRUCell": lambda n: Cells(n, "GRUCell"),
        "recurrence by hand": ByHand,
        "recurrence into a tensor": Preallocated,
        "gated recurrence by hand": Gated,
        "state-space scan": StateSpace,
        "state-space, parallel": lambda n: StateSpace(n, parallel=True),
        "state-space, steps of a growing rank": lambda n: StateSpace(n, packed=True),
    }
    return [
        Case("recurrent", name, optimizer, fitting(model, x, optimizer))
        for name, model in models.items()
        for optimizer in ("SGD", "AdamW")
    ]
