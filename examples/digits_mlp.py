"""An MLP on scikit-learn's digits, in three parametrizations; ordinary PyTorch, nothing of tpdyn in it.

tpdyn check examples/digits_mlp.py:train --widths 64,128,256,512
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

BATCH = 48
CLASSES = 10


def batches(steps: int):
    """Batches of (pixels, labels), the same for every run; a picture has a norm of about one."""
    digits = load_digits()
    pixels = torch.tensor(digits.data, dtype=torch.float32) / 64 - 0.125
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    for step in range(steps):
        rows = order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        yield pixels[rows], labels[rows]


class MLP(nn.Module):
    """Three layers whose initial weights have a variance of one over the fan-in: the standard parametrization."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(64, width)
        self.fc2 = nn.Linear(width, width)
        self.out = nn.Linear(width, CLASSES)
        nn.init.normal_(self.fc1.weight, std=1)
        nn.init.normal_(self.fc2.weight, std=width**-0.5)
        nn.init.normal_(self.out.weight, std=width**-0.5)

    def forward(self, pixels):
        hidden = torch.tanh(self.fc1(pixels))
        hidden = torch.tanh(self.fc2(hidden))
        return self.out(hidden)


class NTKLinear(nn.Module):
    """Weights of size 1, scaled where they are used: by the root of the fan-in, if that is a width."""

    def __init__(self, fan_in: int, fan_out: int, scale: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in))
        self.scale = scale

    def forward(self, x):
        return F.linear(x, self.weight) * self.scale


class NTKMLP(nn.Module):
    """The same network in the NTK parametrization."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = NTKLinear(64, width, 1.0)
        self.fc2 = NTKLinear(width, width, width**-0.5)
        self.out = NTKLinear(width, CLASSES, width**-0.5)

    def forward(self, pixels):
        hidden = torch.tanh(self.fc1(pixels))
        hidden = torch.tanh(self.fc2(hidden))
        return self.out(hidden)


def fit(model, optimizer, steps: int = 200):
    """The loop, the same for all three."""
    for pixels, labels in batches(steps):
        loss = F.cross_entropy(model(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def train(width: int):
    """Standard parametrization, one learning rate for all: unstable as the width grows."""
    model = MLP(width)
    return fit(model, torch.optim.SGD(model.parameters(), lr=0.5))


def train_ntk(width: int):
    """NTK parametrization: stable, but a kernel machine in the limit."""
    model = NTKMLP(width)
    return fit(model, torch.optim.SGD(model.parameters(), lr=1.0))


def train_mup(width: int):
    """The maximal update parametrization for SGD: stable, every layer learns features."""
    model = MLP(width)
    nn.init.normal_(model.out.weight, std=1 / width)
    nn.init.zeros_(model.out.bias)
    rate = 0.2
    groups = [
        {"params": [*model.fc1.parameters(), model.fc2.bias], "lr": rate * width},
        {"params": [model.fc2.weight, model.out.bias], "lr": rate},
        {"params": [model.out.weight], "lr": rate / width},
    ]
    return fit(model, torch.optim.SGD(groups))


if __name__ == "__main__":
    train(256)
