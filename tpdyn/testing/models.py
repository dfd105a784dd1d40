"""Which models are random training scripts made of? Embedding, layers of every common kind, a readout, an optimizer.

A `Model` is what is drawn, as data; its method `train` is the training script.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

VOCABULARY, CLASSES, TOKENS, BATCH, HEADS = 11, 7, 3, 6, 2

ACTIVATIONS = ("tanh", "relu", "gelu", "silu")
LAYERS = ("linear", "norm", "residual", "attention", *ACTIVATIONS)
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "SGD with decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


@final
class Attention(nn.Module):
    """Self-attention with `HEADS` heads."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens in the second dim."""
        batch, tokens, width = x.shape
        q, k, v = (
            y.view(batch, tokens, HEADS, width // HEADS).transpose(1, 2) for y in self.qkv(x).split(width, dim=2)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))  # type: ignore[no-any-return]


@final
class Residual(nn.Module):
    """x + linear(tanh(linear(x))), twice as wide inside."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width, bias=bias), nn.Linear(2 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream plus its branch."""
        return x + self.down(torch.tanh(self.up(x)))  # type: ignore[no-any-return]


@final
@dataclass(frozen=True)
class Model:
    """What is drawn: a model and how it is trained."""

    layers: tuple[str, ...]
    bias: bool
    tied: bool
    optimizer: str
    parts: int
    seed: int

    def train(self, width: int) -> None:
        """Train at one width, as a user's script does: tokens in, classes out."""
        torch.manual_seed(self.seed)
        network = Network(self, width)
        optimizer = OPTIMIZERS[self.optimizer](list(network.parameters()))
        tokens = torch.randint(0, VOCABULARY, (BATCH, TOKENS))
        targets = torch.randint(0, VOCABULARY if self.tied else CLASSES, (BATCH, TOKENS))
        while True:
            optimizer.zero_grad()
            for part, wanted in zip(tokens.chunk(self.parts), targets.chunk(self.parts), strict=True):
                logits = network(part)
                (nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()) / self.parts).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@final
class Network(nn.Module):
    """Embedding, the drawn layers, readout (tied to the embedding or not)."""

    def __init__(self, model: Model, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.layers = nn.Sequential(*(layer(kind, width, model.bias) for kind in model.layers))
        self.readout = nn.Linear(width, VOCABULARY if model.tied else CLASSES, bias=model.bias)
        if model.tied:
            self.readout.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of each token."""
        return self.readout(self.layers(self.embedding(tokens)))  # type: ignore[no-any-return]


def layer(kind: str, width: int, bias: bool) -> nn.Module:
    """Make a layer of a kind from `LAYERS`, its weights of that width."""
    if kind in ACTIVATIONS:
        module: nn.Module = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}[kind]()
        return module
    if kind == "linear":
        return nn.Linear(width, width, bias=bias)
    if kind == "norm":
        return nn.LayerNorm(width)
    return Residual(width, bias) if kind == "residual" else Attention(width, bias)
