"""Where do the named parametrizations lie? The plane through NTP, muP and SP of one network, for SGD and for Adam.

python examples/gallery_phases.py docs/pictures
"""

import sys
from pathlib import Path

import torch
from digits_mlp import batches
from torch import nn
from torch.nn import functional as F

import tpdyn


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(64, width, bias=False)
        self.fc2 = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, 10, bias=False)

    def forward(self, x):
        return self.out(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


def trained_by(optimizer, lr):
    def train(width):
        model = MLP(width)
        steps = optimizer(model.parameters(), lr=lr)
        for pixels, labels in batches(200):
            loss = F.cross_entropy(model(pixels), labels)
            steps.zero_grad()
            loss.backward()
            steps.step()

    return train


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    for name, train in {"sgd": trained_by(torch.optim.SGD, 0.1), "adam": trained_by(torch.optim.Adam, 1e-3)}.items():
        program = tpdyn.record(train, widths=(16, 24, 40), steps=3)
        diagram = tpdyn.phase_diagram(program, through=("NTP", "muP", "SP"))
        diagram.save(folder / f"phases-{name}.svg")
        print(f"{name}: {len(diagram.regions)} regions")


if __name__ == "__main__":
    main()
