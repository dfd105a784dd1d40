"""Which random architectures should a statement about initialisation be tried on? Blocks of every kind, in any order.

A `Wide` is what is drawn, as data, and `Wide.make(width)` is the network. Three tokens of four features go in, one number
comes out. It is in the NTK parametrization (entries of variance 1, multipliers 1/sqrt(fan-in)) or has the readout of muP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

TOKENS, FEATURES = 3, 4
BLOCKS = {"dense": 1, "residual": 1, "convolution": 2, "recurrent": 2, "gated": 3, "norm": 0, "attention": 4}
"""Kinds of blocks, and how many square matrices each has."""
FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "gelu": nn.functional.gelu, "erf": torch.erf}


@final
@dataclass(frozen=True)
class Wide:
    """What is drawn.

    blocks: from `BLOCKS`, after a first dense layer. function: of all of them. variance: of weights times fan-in. bias: standard
    deviation of biases. mean: the readout takes the mean over tokens, else the last one. power: the readout's multiplier is
    n^-power: 1/2 for NTK parametrization, 1 for muP.
    """

    blocks: tuple[str, ...]
    function: str = "tanh"
    variance: float = 1.0
    bias: float = 0.0
    mean: bool = False
    power: float = 0.5

    def make(self, width: int) -> nn.Module:
        """Make the network: "samples tokens features" to "samples 1"."""
        return Network(self, width)


def inputs(samples: int, seed: int = 0) -> Tensor:
    """Draw random inputs, "samples tokens features", in the default float type."""
    return torch.randn(
        samples, TOKENS, FEATURES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(torch.get_default_dtype())


def networks(blocks: tuple[str, ...] = tuple(BLOCKS), most: int = 3) -> st.SearchStrategy[Wide]:
    """Draw random architectures of at most so many blocks. Shrinks to one dense tanh layer and a readout, without biases."""
    return st.builds(
        Wide,
        blocks=st.lists(st.sampled_from(blocks), max_size=most).map(tuple),
        function=st.sampled_from(sorted(FUNCTIONS, key=lambda name: name != "tanh")),
        variance=st.sampled_from([1.0, 1.5, 2.0]),
        bias=st.sampled_from([0.0, 0.3]),
        mean=st.booleans(),
    )


@final
class Dense(nn.Module):
    """`multiplier x W^T + std b` with unit Gaussians W and b."""

    def __init__(self, wide: Wide, inputs: int, outputs: int, multiplier: float | None = None) -> None:
        super().__init__()
        self.multiplier = math.sqrt(wide.variance / inputs) if multiplier is None else multiplier
        self.std = wide.bias
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.randn(outputs)) if wide.bias and outputs > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply along the last dim."""
        product = self.multiplier * (x @ self.weight.T)
        return product if self.bias is None else product + self.std * self.bias


@final
class Block(nn.Module):
    """One block of the kind that its name says, "samples tokens width" to the same: values between blocks are Gaussian."""

    def __init__(self, wide: Wide, kind: str, width: int) -> None:
        super().__init__()
        self.kind, self.f = kind, FUNCTIONS[wide.function]
        self.layers = nn.ModuleList([Dense(wide, width, width) for _ in range(BLOCKS[kind])])

    def forward(self, x: Tensor) -> Tensor:
        """Apply by kind."""
        f, w = self.f, self.layers
        match self.kind:
            case "norm":
                return nn.functional.layer_norm(x, x.shape[-1:])
            case "dense":
                return w[0](f(x))  # type: ignore[no-any-return]
            case "residual":
                return x + w[0](f(x))  # type: ignore[no-any-return]
            case "gated":
                return w[2](torch.sigmoid(w[0](f(x))) * w[1](f(x)))  # type: ignore[no-any-return]
            case "convolution":  # each token with the one before it, in a circle
                y = f(x)
                return w[0](y) + w[1](torch.cat([y[:, -1:], y[:, :-1]], 1))  # type: ignore[no-any-return]
            case "recurrent":
                states = [w[0](f(x[:, 0]))]
                for t in range(1, x.shape[1]):
                    states.append(w[0](f(x[:, t])) + w[1](f(states[-1])))
                return torch.stack(states, 1)
            case _:  # attention of one head, logits divided by the width
                weights = torch.softmax(w[0](x) @ w[1](x).transpose(1, 2) / x.shape[-1], -1)
                return x + w[3](weights @ w[2](x))  # type: ignore[no-any-return]


@final
class Network(nn.Module):
    """The network that a `Wide` describes. `features` is what the readout takes."""

    def __init__(self, wide: Wide, width: int) -> None:
        super().__init__()
        self.first, self.f = Dense(wide, FEATURES, width), FUNCTIONS[wide.function]
        self.blocks = nn.Sequential(*(Block(wide, kind, width) for kind in wide.blocks))
        self.out = Dense(wide, width, 1, math.sqrt(wide.variance) * width**-wide.power)
        self.mean = wide.mean

    def features(self, x: Tensor) -> Tensor:
        """Return features of each sample, "samples width"."""
        h = self.f(self.blocks(self.first(x)))
        return h.mean(1) if self.mean else h[:, -1]

    def forward(self, x: Tensor) -> Tensor:
        """Return one output a sample, "samples 1"."""
        return self.out(self.features(x))  # type: ignore[no-any-return]
