"""Runs at small widths do not contradict a right verdict, even where another power of the width still rules there.

Examples are tied logits of a GPT in muP, a diffusion model, a GRU, and Adam with L2. Such scripts, and one head of
attention, were contradicted once at widths 32 to 256, though larger ones agreed. Now a finite-width term of the fit covers
the crossing, or the row is undecided. Gates behind an RNN and a batch norm were once read as
growing.

Beside each verdict stands a slope of live runs at larger widths, 256 to 1024 (quick: 64 to 256). No change outgrows its order
there by more than `TOLERANCE` = 0.5. That is three standard deviations of a slope, as logarithms scatter by 0.4.
So orders that are too small by 1 are rejected. Left out is what lies behind a saturated function of growing values.
"""

import math
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import compare

QUICK = os.environ.get("HYPOTHESIS_PROFILE") == "quick"
SMALL, SEEDS, STEPS = (32, 64, 128, 256), 4, 3
LARGE, MANY = (64, 256) if QUICK else (256, 1024), 6
TOLERANCE = 3 * 0.4 * math.sqrt(2 / MANY) / math.log(LARGE[1] / LARGE[0])


def batch(*shape: int) -> Tensor:
    """Inputs that are the same in all runs: seeds of the script itself are mixed with those of a run."""
    count = math.prod(shape)
    return torch.sin(torch.arange(1.0, count + 1) ** 2).view(shape)


def fit(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


class TiedGPT(nn.Module):
    """One block of attention; the embedding reads out, too, by 1/width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.embed, self.norm, self.last = nn.Embedding(11, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.project = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits."""
        x = self.embed(tokens)
        h = self.norm(x)
        heads = [f(h).unflatten(-1, (2, -1)).transpose(1, 2) for f in (self.q, self.k, self.v)]
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True, scale=8 / self.width)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return F.linear(self.last(x), self.embed.weight) / self.width


def tied_gpt(width: int) -> None:
    """Adam in muP: rates of hidden matrices are divided by the width."""
    net = TiedGPT(width)
    hidden = [p for name, p in net.named_parameters() if p.dim() == 2 and name != "embed.weight"]
    other = [p for name, p in net.named_parameters() if p.dim() != 2 or name == "embed.weight"]
    tokens = torch.tensor([[1, 4, 2, 4, 7, 3, 1, 9], [5, 5, 2, 10, 0, 8, 6, 2]])
    groups = [{"params": hidden, "lr": 0.1 / width}, {"params": other, "lr": 0.01}]
    fit(lambda: F.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()), torch.optim.Adam(groups))


class Denoiser(nn.Module):
    """Residual blocks on a point of the plane and a time, as in small diffusion models."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2 + 8, width), nn.Linear(width, 2)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The noise."""
        times = t[:, None] * 2.0 ** torch.arange(4)
        x = F.gelu(self.first(torch.cat([x, times.sin(), times.cos()], -1)))
        for block in self.blocks:
            x = x + F.gelu(block(x))
        return self.last(x)  # type: ignore[no-any-return]


def diffusion(width: int) -> None:
    net, x, noise, t = Denoiser(width), batch(16, 2), batch(17, 2)[1:], torch.linspace(0.1, 1.0, 16)
    fit(
        lambda: F.mse_loss(net((1 - t[:, None]) * x + t[:, None] * noise, t), noise),
        torch.optim.AdamW(net.parameters(), lr=1e-3),
    )


class Recurrent(nn.Module):
    """A recurrent layer whose last state is read out; normed: behind a batch norm, with a gate."""

    def __init__(self, kind: type[nn.Module], width: int, normed: bool) -> None:
        super().__init__()
        self.cell = kind(3, width, batch_first=True)
        self.norm, self.gate = (nn.BatchNorm1d(width), nn.Linear(width, width)) if normed else (None, None)
        self.out = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs."""
        h = self.cell(x)[0][:, -1]
        if self.norm is not None and self.gate is not None:
            h = self.norm(h)
            h = h * torch.sigmoid(self.gate(h))
        return self.out(h)  # type: ignore[no-any-return]


def gru(width: int) -> None:
    net, x, y = Recurrent(nn.GRU, width, normed=False), batch(8, 4, 3), batch(8, 2)
    fit(lambda: F.mse_loss(net(x), y), torch.optim.SGD(net.parameters(), lr=0.1))


def gate_behind_a_batch_norm(width: int) -> None:
    net, x, y = Recurrent(nn.RNN, width, normed=True), batch(8, 4, 3), batch(8, 2)
    fit(lambda: F.mse_loss(net(x), y), torch.optim.SGD(net.parameters(), lr=1 / width))


def adam_with_l2(width: int) -> None:
    net = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
    x, y = batch(8, 6), batch(8, 2)
    fit(lambda: F.mse_loss(net(x), y), torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=0.1))


class OneHead(nn.Module):
    """Self-attention with one head; the mean over tokens is read out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(6, width), nn.Linear(width, 5)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        x = self.embed(x)
        return self.out(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)).mean(1))  # type: ignore[no-any-return]


def one_head(width: int) -> None:
    net, x, y = OneHead(width), batch(8, 4, 6), torch.arange(8) % 5
    fit(lambda: F.cross_entropy(net(x), y), torch.optim.SGD(net.parameters(), lr=10 / width))


SCRIPTS = (tied_gpt, diffusion, gru, gate_behind_a_batch_norm, adam_with_l2, one_head)


@pytest.mark.parametrize("train", SCRIPTS[-2:] if QUICK else SCRIPTS, ids=lambda train: train.__name__)
def test_a_right_verdict_is_not_contradicted(train: Callable[[int], None]) -> None:
    prediction = tpdyn.predict(tpdyn.record(train, steps=STEPS), remedy=False)
    report = compare(prediction, tpdyn.measure(train, widths=SMALL, seeds=SEEDS, steps=STEPS))
    assert report.outcome is not Outcome.CONTRADICTED, report.to_text()
    large = tpdyn.measure(train, widths=LARGE, seeds=MANY, steps=2)
    told = []
    for row in prediction.rows():
        if row.kind != "module" or row.step != 1 or row.change is None or row.mixed or row.name not in large.names:
            continue
        change = torch.as_tensor(large.change_rms[:, :, 1, large.names.index(row.name)]).log().mean(1)
        slope = float(change[1] - change[0]) / math.log(LARGE[1] / LARGE[0])
        told.append(f"{row.name or 'output'} {slope:+.2f} ({row.change})")
        assert not slope > row.change + TOLERANCE, told
    print(f"{train.__name__}: {report.outcome.value}; slopes (theory): {', '.join(told)}")
