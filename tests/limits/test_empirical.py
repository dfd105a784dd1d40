"""Mirrors tpdyn/limits/empirical.py: the kernel of this network is that of its Jacobian, however its layers are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tpdyn.limits import empirical
from tpdyn.limits.empirical import empirical_ntk


def by_jacobian(model: nn.Module, x1: Tensor, x2: Tensor) -> Tensor:
    """The plain definition."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def output(given: dict[str, Tensor], sample: Tensor) -> Tensor:
        return torch.func.functional_call(model, given, (sample[None],)).reshape(-1)

    def jacobian(x: Tensor) -> Tensor:
        found = torch.func.vmap(torch.func.jacrev(output), (None, 0))(parameters, x)
        return torch.cat([each.flatten(2) for each in found.values()], 2)

    return torch.einsum("nce,mde->nmcd", jacobian(x1), jacobian(x2))


class Tied(nn.Module):
    """One layer called twice, whose weight is used transposed as well, and a gain."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gain, self.out = nn.Linear(5, 5), nn.Parameter(torch.randn(5)), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(torch.tanh(self.a(x))))
        return self.out((h * self.gain) @ self.a.weight)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.out = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(torch.relu(self.a(x))).mean(1))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3)), (7,)),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.Flatten(), nn.Linear(36, 3)
        ),
        (3, 8, 8),
    ),
    "same padding": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, (3, 5), padding="same"), nn.Flatten(), nn.Linear(108, 2)),
        (2, 6, 6),
    ),
    "weight used elsewhere": (Tied, (5,)),
    "tokens": (Tokens, (3, 4)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("entries", [2**26, 8], ids=["at once", "in blocks"])
def test_the_kernel_is_that_of_the_jacobian(name: str, entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    make, shape = MODELS[name]
    monkeypatch.setattr(empirical, "ENTRIES", entries)
    model, x = make().double(), torch.randn(4, *shape, dtype=torch.float64)
    expected = by_jacobian(model, x, x[:2])
    torch.testing.assert_close(empirical_ntk(model, x, x[:2], outputs="all"), expected)
    torch.testing.assert_close(empirical_ntk(model, x, x[:2]), expected.diagonal(dim1=2, dim2=3).mean(-1))
    torch.testing.assert_close(empirical_ntk(model, x), by_jacobian(model, x, x).diagonal(dim1=2, dim2=3).mean(-1))


def test_a_batch_norm_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.eval"):
        empirical_ntk(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), torch.zeros(2, 3))
