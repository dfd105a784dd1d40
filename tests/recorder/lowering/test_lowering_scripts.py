"""Do whole training scripts, recorded and lowered, give the values of the live script?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lowered_scripts import loop, lowered_script, mlp
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("double_precision")

Optimizer = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "SGD nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "SGD fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "SGD fused, dampened": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, fused=True),
    "SGD single": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "Adam foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "Adam fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "Adam decay": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "Adam amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "AdamW foreach": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, foreach=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "RMSprop centred": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.9),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_mlp_under_each_optimizer_gives_the_live_values(name: str) -> None:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3))
        loop(model, OPTIMIZERS[name](model.parameters()))

    lowered_script(train, steps=3)


def test_sign_descent_by_hand_gives_the_live_values() -> None:
    def train(width: int) -> None:
        model = mlp(width, nn.ReLU)
        x, y = torch.randn(8, 5), torch.randn(8, 3)
        for _ in range(5):
            loss = ((model(x) - y) ** 2).mean()
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    assert p.grad is not None
                    p -= 0.01 * p.grad.sign()

    lowered_script(train)


def test_clipping_schedule_and_accumulation_give_the_live_values() -> None:
    def train(width: int) -> None:
        model = mlp(width, nn.GELU)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        loop(model, optimizer, clip=0.5, parts=2, schedule=True)

    lowered_script(train)


def test_dropout_and_layer_norm_give_the_live_values() -> None:
    def train(width: int) -> None:
        model = nn.Sequential(
            nn.Linear(5, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(width, width),
            nn.RMSNorm(width),
            nn.SiLU(),
            nn.Linear(width, 3),
        )
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1))

    lowered_script(train)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = (z.view(n, length, self.heads, -1).transpose(1, 2) for z in self.attn(x).split(width, dim=2))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            mask = torch.tril(torch.ones(length, length)).view(1, 1, length, length)
            y = F.softmax(scores.masked_fill(mask == 0, float("-inf")), dim=-1) @ v
        return self.proj(y.transpose(1, 2).contiguous().view(n, length, width))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.ln_1(x))
        return x + self.out(F.gelu(self.fc(self.ln_2(x))))  # type: ignore[no-any-return]


class GPT(nn.Module):
    def __init__(self, width: int, *, heads: int = 2, layers: int = 2, fused: bool = True, tied: bool = True) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(11, width), nn.Embedding(6, width)
        self.blocks = nn.ModuleList(Block(width, heads, fused) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 11, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=width**-0.5)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


def train_gpt(width: int, **options: Any) -> None:
    model = GPT(width, **options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(5):
        tokens = torch.randint(0, 11, (2, 7))
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, 11), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@pytest.mark.parametrize("fused", [False, True])
def test_a_gpt_gives_the_live_values(fused: bool) -> None:
    lowered = lowered_script(lambda width: train_gpt(width, fused=fused, layers=2 if fused else 1))
    names = [p.name for p in lowered.parameters]
    assert "tokens.weight" in names and "head.weight" not in names


def test_an_untied_gpt_gives_the_live_values() -> None:
    lowered_script(lambda width: train_gpt(width, tied=False, layers=1), steps=1)


@pytest.mark.parametrize("need_weights", [False, True])
def test_multihead_attention_in_a_model_gives_the_live_values(need_weights: bool) -> None:
    class Model(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(5, width), nn.Linear(width, 3)
            self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x)
            mixed, _ = self.attention(h, h, h, need_weights=need_weights)
            return self.head((h + mixed).mean(1))  # type: ignore[no-any-return]

    def train(width: int) -> None:
        model = Model(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(4, 3, 5), torch.randint(0, 3, (4,))
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    lowered_script(train)


def test_a_transformer_encoder_layer_gives_the_live_values() -> None:
    def train(width: int) -> None:
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.1, batch_first=True, activation="gelu")
        model = nn.Sequential(nn.Linear(5, width), layer, nn.Linear(width, 3))
        # not Adam: it would blow up the round-off of the key bias, whose gradient is zero
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        x, y = torch.randn(4, 3, 5), torch.randn(4, 3, 3)
        for _ in range(5):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    lowered_script(train)
