"""Does a replay of the tape give every named value of the live script, bit for bit?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import replay, verify_tape

STEPS = 3


def mlp(width: int, **options: Any) -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, width, **options), nn.Tanh(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )


def classify(model_of: Callable[[int], nn.Module], optimizer_of: Callable[[nn.Module], Any]) -> Callable[[int], None]:
    def train(width: int) -> None:
        inputs, labels = torch.randn(32, 5), torch.randint(0, 3, (32,))
        model = model_of(width)
        optimizer = optimizer_of(model)
        for _ in range(STEPS + 2):
            batch = torch.randint(0, 32, (8,))
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()

    return train


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.fused = heads, fused
        self.register_buffer("mask", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).split(width, dim=2)
        q, k, v = (t.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2) for t in (q, k, v))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            logits = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
            logits = logits.masked_fill(self.mask[:, :, :tokens, :tokens] == 0, float("-inf"))
            y = F.softmax(logits, dim=-1) @ v
        return self.out(y.transpose(1, 2).contiguous().view(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width: int, fused: bool, dropout: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, 4, fused)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, width: int, fused: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(11, width), nn.Embedding(16, width)
        self.blocks = nn.ModuleList([Block(width, fused, dropout) for _ in range(2)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 11, bias=False)
        self.tokens.weight = self.head.weight
        for name, p in self.named_parameters():
            if name.endswith("weight") and p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def gpt(fused: bool = True, dropout: float = 0.0, micro: int = 1, **options: Any) -> Callable[[int], None]:
    def train(width: int) -> None:
        text = torch.randint(0, 11, (200,))
        model = GPT(width, fused, dropout)
        decay = [p for p in model.parameters() if p.dim() >= 2]
        rest = [p for p in model.parameters() if p.dim() < 2]
        optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=1e-3, **options
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        for _ in range(STEPS + 1):
            for _ in range(micro):
                start = torch.randint(0, 180, (3,))
                ids = torch.stack([text[s : s + 8] for s in start])
                targets = torch.stack([text[s + 1 : s + 9] for s in start])
                _, loss = model(ids, targets)
                (loss / micro).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()

    return train


def multihead(width: int) -> None:
    layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True)
    head = nn.Linear(width, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=1e-2)
    x, y = torch.randn(4, 6, width), torch.randn(4, 1)
    while True:
        optimizer.zero_grad()
        nn.MSELoss()(head(layer(x).mean(1)), y).backward()
        optimizer.step()


def sign_by_hand(width: int) -> None:
    model = mlp(width)
    x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))
    while True:
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.01 * p.grad.sign()


def through_data(width: int) -> None:
    w1 = torch.randn(5, width, requires_grad=True)
    w2 = (torch.randn(width, 3) / width).requires_grad_()
    x, y = torch.randn(8, 5), torch.randn(8, 3)
    while True:
        loss = ((torch.tanh(x @ w1) @ w2 - y) ** 2).mean()
        loss.backward()
        for p in (w1, w2):
            p.data.add_(p.grad, alpha=-0.1)
            p.grad.zero_()


def functional_gradients(width: int) -> None:
    params = [torch.randn(5, width, requires_grad=True), torch.zeros(width, 3, requires_grad=True)]
    x, y = torch.randn(8, 5), torch.randn(8, 3)
    for _ in range(STEPS):
        loss = F.mse_loss(torch.relu(x @ params[0]) @ params[1], y)
        grads = torch.autograd.grad(loss, params)
        with torch.no_grad():
            for p, g in zip(params, grads, strict=True):
                p.sub_(0.1 * g)


def views_and_slices(width: int) -> None:
    w = torch.zeros(width, 4)
    w[: width // 2] = torch.randn(width // 2, 4)
    w[:, 1].mul_(2.0)
    w.t()[2] += 1.0
    w.view(-1)[3] = 5.0
    p = nn.Parameter(w)
    optimizer = torch.optim.SGD([p], lr=0.1)
    x = torch.randn(8, width)
    while True:
        optimizer.zero_grad()
        h = x @ p
        h = h.clone()
        h[:, 0] = h[:, 1].clone() * h[:, 2].clone()
        a, b = h.chunk(2, dim=1)
        (a * b + torch.stack(h.unbind(1)[:2], 1)).square().mean().backward()
        optimizer.step()


def writes_into_permuted_memory(width: int) -> None:
    """What is written into has its dims in another order than its memory: autograd addresses its gradient by strides."""
    model = nn.Linear(5, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 3, 5)
    while True:
        optimizer.zero_grad()
        h = model(x).view(4, 3, 2, -1).transpose(1, 2)
        y = torch.empty_like(h)
        assert not y.is_contiguous()
        y[..., ::2] = h[..., 1::2] * 2
        y[..., 1::2] = h[..., ::2].sin()
        y.square().mean().backward()
        optimizer.step()


def mixed_types(width: int) -> None:
    model = mlp(width).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 5)))
    for _ in range(STEPS):
        optimizer.zero_grad()
        out = model(x)
        count = torch.zeros(8, dtype=torch.long)
        count += (out.argmax(1) == 1).long()
        weight = torch.ones(8).mul_(0.5).add_(count)
        (out.square().sum(1) * weight).mean().backward()
        optimizer.step()


def custom_optimizer(width: int) -> None:
    class Sign(torch.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(torch.sign(p.grad), alpha=-group["lr"])

    classify(mlp, lambda m: Sign(m.parameters(), lr=0.01))(width)


def batch_norm(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))


def sgd(**options: Any) -> Callable[[nn.Module], Any]:
    return lambda model: torch.optim.SGD(model.parameters(), lr=0.1, **options)


def adam(kind: Any = torch.optim.Adam, **options: Any) -> Callable[[nn.Module], Any]:
    return lambda model: kind(model.parameters(), lr=0.01, **options)


SCRIPTS: dict[str, Callable[[int], None]] = {
    "sgd": classify(mlp, sgd()),
    "sgd momentum": classify(mlp, sgd(momentum=0.9)),
    "sgd nesterov weight decay": classify(mlp, sgd(momentum=0.9, nesterov=True, weight_decay=0.01)),
    "sgd foreach": classify(mlp, sgd(momentum=0.9, foreach=True, weight_decay=0.1)),
    "sgd maximize dampening": classify(mlp, sgd(momentum=0.9, dampening=0.1, maximize=True, foreach=True)),
    "adam": classify(mlp, adam()),
    "adam foreach": classify(mlp, adam(foreach=True)),
    "adam amsgrad": classify(mlp, adam(foreach=True, amsgrad=True, weight_decay=0.1)),
    "adam capturable": classify(mlp, adam(foreach=False, amsgrad=True)),
    "adamw": classify(mlp, adam(torch.optim.AdamW)),
    "adamw foreach": classify(mlp, adam(torch.optim.AdamW, foreach=True)),
    "rmsprop": classify(mlp, adam(torch.optim.RMSprop, foreach=True, momentum=0.9, centered=True)),
    "adagrad": classify(mlp, adam(torch.optim.Adagrad)),
    "batch norm": classify(batch_norm, sgd()),
    "gpt with fused attention": gpt(),
    "gpt with attention by hand": gpt(fused=False),
    "gpt with dropout": gpt(dropout=0.1),
    "gpt foreach": gpt(foreach=True),
    "gpt accumulating": gpt(micro=2),
    "multihead attention": multihead,
    "sign descent by hand": sign_by_hand,
    "updates through data": through_data,
    "functional gradients": functional_gradients,
    "writes through views": views_and_slices,
    "writes into permuted memory": writes_into_permuted_memory,
    "mixed types": mixed_types,
    "an optimizer of one's own": custom_optimizer,
    "float64": mixed_types,
}
FUSED = {
    "sgd fused": classify(mlp, sgd(momentum=0.9, nesterov=True, weight_decay=0.1, fused=True)),
    "sgd fused plain": classify(mlp, sgd(fused=True)),
    "adam fused": classify(mlp, adam(fused=True, weight_decay=0.1)),
    "adamw fused": classify(mlp, adam(torch.optim.AdamW, fused=True)),
    "adam fused amsgrad": classify(mlp, adam(fused=True, amsgrad=True)),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_named_value_is_replayed_bit_for_bit(name: str) -> None:
    tape = record_tape(SCRIPTS[name], 16, STEPS, seed=1)
    assert tape.steps == STEPS
    assert not any("fused" in note for note in tape.notes)
    assert all(len(p.versions) == STEPS + 1 and len(p.gradients) == STEPS for p in tape.parameters)
    assert {m.step for m in tape.marks if m.kind == "loss"} == set(range(STEPS))
    assert all(p.versions[-1] in tape.live for p in tape.parameters)
    assert all(m.ref in tape.live for m in tape.marks)
    verify_tape(tape)


@pytest.mark.parametrize("name", FUSED)
def test_fused_kernels_are_replayed_up_to_round_off(name: str) -> None:
    tape = record_tape(FUSED[name], 16, STEPS, seed=1)
    assert any("fused" in note for note in tape.notes)
    verify_tape(tape)


@pytest.mark.parametrize("name", ["sgd", "gpt with dropout", "sign descent by hand"])
def test_a_changed_constant_is_noticed(name: str) -> None:
    tape = record_tape(SCRIPTS[name], 16, STEPS, seed=1)
    node = (
        next(n for n in tape.nodes if n.origin.phase == "optimizer" and n.op.startswith("aten.mul"))
        if name != "sgd"
        else next(n for n in tape.nodes if "alpha" in n.kwargs)
    )
    if "alpha" in node.kwargs:
        node.kwargs["alpha"] *= 1.001
    else:
        node.args = (node.args[0], 0.5)
    with pytest.raises(RecordingError, match="does not reproduce"):
        verify_tape(tape)


def test_a_write_through_numpy_is_noticed_and_named() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            model(torch.ones(2, 5)).sum().backward()
            optimizer.step()
            model[0].weight.detach().numpy()[0, 0] += 1.0

    with pytest.raises(RecordingError, match=r"module '0' at step 1[\s\S]*numpy"):
        verify_tape(record_tape(train, 8, 2, seed=0))


def test_a_replay_holds_the_gradients_that_the_steps_used() -> None:
    gradients: list[Tensor] = []

    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(5, width), nn.Linear(width, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(4, 5)).square().sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            gradients.append(model[0].weight.grad.clone())
            optimizer.step()

    tape = record_tape(train, 8, 2, seed=0)
    values = replay(tape)
    weight = next(p for p in tape.parameters if p.name == "0.weight")
    for step in range(2):
        ref = weight.gradients[step]
        assert ref is not None
        assert torch.equal(values[ref], gradients[step])


def test_values_that_nobody_wants_are_let_go_of_and_the_others_are_the_same() -> None:
    tape = record_tape(classify(mlp, lambda m: torch.optim.Adam(m.parameters(), lr=0.01)), 16, STEPS, 0)
    everything = replay(tape)
    wanted = set(tape.live)
    assert wanted < set(everything)
    some = replay(tape, wanted)
    assert set(some) == wanted
    assert all(torch.equal(some[ref], everything[ref]) for ref in wanted)


def test_gradients_are_zeroed_in_a_tensor_of_another_s_shape() -> None:
    def train(width: int) -> None:
        weights = (torch.randn(3, width) / 2).requires_grad_()
        optimizer = torch.optim.SGD([weights], lr=0.1)
        for _ in range(2):
            (torch.randn(4, 3) @ weights).tanh().square().sum().backward()
            optimizer.step()
            assert weights.grad is not None
            data = weights.grad.data
            weights.grad = data.new().resize_as_(data).zero_()

    verify_tape(record_tape(train, 5, 2, 0))
