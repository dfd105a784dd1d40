"""Is what the user declares finite checked against the recordings, and named with its remedy where it grows?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.program.program import Program
from tpdyn.recorder.errors import RecordingError


class Attention(nn.Module):
    """Heads and their size as the script wants them."""

    def __init__(self, width: int, n_head: int) -> None:
        super().__init__()
        self.n_head, self.head_dim = n_head, width // n_head
        self.embed, self.qkv, self.out = nn.Linear(5, width), nn.Linear(width, 3 * width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        heads = (self.n_head, self.head_dim)
        q, k, v = (y.unflatten(-1, heads).transpose(1, 2) for y in self.qkv(self.embed(x)).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def recorded(heads: Callable[[int], int], *finite: str) -> Program:
    def train(width: int) -> None:
        model = Attention(width, heads(width))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        F.mse_loss(model(torch.ones(7, 6, 5)), torch.ones(7, 6, 3)).backward()
        optimizer.step()

    return tpdyn.record(train, steps=1, verify=False, finite=finite)


def test_what_stays_is_noted() -> None:
    program = recorded(lambda n: n // 8, "head_dim", "out.weight:0", "embed.weight:1")
    assert program.notes[-3:] == (
        "declared finite, and finite in the recordings: head_dim = 8",
        "declared finite, and finite in the recordings: out.weight:0 (3)",
        "declared finite, and finite in the recordings: embed.weight:1 (5)",
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("head_dim", "head_dim is declared finite, but is 8, 12, 20 at the widths 16, 24, 40: it grows like n/2"),
        ("qkv.weight:0", "the dim qkv.weight:0 is declared finite, but is 8, 12, 20"),
        ("*.bias:0", "the dim embed.bias:0 is declared finite, but is 16, 24, 40"),
        ("n_heads", "keeps a whole number of that name"),
        ("head.weight:0", "no dim of that name; there are embed.weight:0"),
    ],
)
def test_what_grows_or_is_nothing_is_refused(name: str, said: str) -> None:
    with pytest.raises(RecordingError) as caught:
        recorded(lambda n: 2, name)
    assert said in str(caught.value)
