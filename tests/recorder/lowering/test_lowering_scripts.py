"""Do whole training scripts, recorded and lowered, give the values of the live script?

Scripts run in float64, so that the lowered program must agree to 1e-10 of each tensor's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpdyn.program.instructions import Apply, Combine, Leaf, Operand
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering import LoweringError, lower
from tpdyn.recorder.lowering.evaluate import evaluate, evaluate_some

Optimizer = Callable[[Any], torch.optim.Optimizer]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def lowered_script(train: Callable[[int], object], width: int = 12, steps: int = 2) -> Lowered:
    """Record, lower, and compare every mark and last parameter with the live run."""
    tape = record_tape(train, width, steps, 0)
    lowered = lower(tape)
    assert lowered.steps == steps and lowered.live
    values = evaluate(lowered)
    some = evaluate_some(lowered, lowered.live)
    assert sorted(some) == sorted(lowered.live)
    for position, live in lowered.live.items():
        assert torch.equal(some[position], values[position])
        size = float(live.abs().max())
        assert float((values[position] - live).abs().max()) <= 1e-10 * max(size, 1e-3)
    return lowered


def mlp(width: int, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, 3))


def loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    clip: float | None = None,
    parts: int = 1,
    schedule: bool = False,
) -> None:
    """A classification loop on drawn data."""
    x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10) if schedule else None
    for _ in range(5):
        optimizer.zero_grad()
        for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
            (F.cross_entropy(model(a), b) / parts).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


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


# -- what the statements look like -----------------------------------------------------------------------------------


def adam_script(width: int) -> None:
    model = mlp(width)
    loop(model, torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1))


def test_a_new_parameter_is_one_combine_that_begins_with_the_old_one() -> None:
    lowered = lowered_script(adam_script)
    for parameter in lowered.parameters:
        for old, new in zip(parameter.versions, parameter.versions[1:], strict=False):
            made = lowered.statements[new].instruction
            assert isinstance(made, Combine) and len(made.terms) == 2
            scale, operand = made.terms[0]
            assert operand == Operand(old, tuple(range(len(lowered.statements[old].shape))))
            assert math.isclose(float(scale.constant), 1 - 0.01 * 0.1)


def test_the_epsilon_of_adam_is_marked() -> None:
    lowered = lowered_script(adam_script)
    marked = [s.instruction for s in lowered.statements if isinstance(s.instruction, Combine) and s.instruction.epsilon]
    assert len(marked) == 2 * len(lowered.parameters)
    assert {float(combine.constant.constant) for combine in marked} == {1e-8}


def test_every_leaf_that_is_a_parameter_has_its_name_and_comes_first() -> None:
    lowered = lowered_script(adam_script)
    leaves = [s.instruction for s in lowered.statements if isinstance(s.instruction, Leaf)]
    named = [leaf.name for leaf in leaves if leaf.kind == "parameter"]
    assert sorted(named) == sorted(p.name for p in lowered.parameters)
    assert [leaf.name for leaf in leaves[: len(named)]] == named


def law_of(lowered: Lowered, name: str) -> tuple[str, float, float]:
    for statement in lowered.statements:
        if isinstance(statement.instruction, Leaf) and statement.instruction.name == name:
            law = statement.instruction.law
            return law.kind, float(law.location.constant), float(law.scale.constant)
    raise AssertionError(f"no leaf {name}")


def initialised(init: Callable[[nn.Linear], object], width: int = 16) -> tuple[tuple[str, float, float], Lowered]:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        init(model[0])  # type: ignore[arg-type]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(4, width)
        for _ in range(2):
            model(x).mean().backward()
            optimizer.step()

    lowered = lowered_script(train, width, 1)
    return law_of(lowered, "0.weight"), lowered


@pytest.mark.parametrize("turn", ["flatten", "t", "transpose"])
def test_a_parameter_that_is_a_view_of_the_tensor_that_was_drawn_is_that_tensor(turn: str) -> None:
    """Read through another view it is the same draw, no second one beside it."""

    class Net(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            old = nn.Linear(width, width).weight.detach()
            self.first, self.last = nn.Linear(5, width), nn.Linear(width, 3)
            self.weight = nn.Parameter(
                {"flatten": old.flatten(), "t": old.t(), "transpose": old.transpose(-1, 0)}[turn]
            )

        def forward(self, x: Tensor) -> Tensor:
            x, width = torch.tanh(self.first(x)), self.first.out_features
            weight = self.weight.view(width, width) if turn == "flatten" else self.weight.t()
            return self.last(torch.tanh(x @ weight))

    def train(width: int) -> None:
        model = Net(width)
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1))

    lowered = lowered_script(train)
    leaves = [s.instruction for s in lowered.statements if isinstance(s.instruction, Leaf)]
    assert {leaf.name for leaf in leaves if leaf.law.kind == "uniform"} == {
        "weight", "first.weight", "first.bias", "last.weight", "last.bias",
    }  # fmt: skip


def test_the_law_of_the_default_initialisation_is_read() -> None:
    law, lowered = initialised(lambda layer: None)
    assert law[0] == "uniform" and law[1] == 0 and math.isclose(law[2], 1 / 4)
    assert not lowered.notes


INITS: dict[str, tuple[Callable[[nn.Linear], object], tuple[str, float, float]]] = {
    "kaiming": (lambda layer: nn.init.kaiming_normal_(layer.weight), ("normal", 0, math.sqrt(2 / 16))),
    "xavier": (lambda layer: nn.init.xavier_uniform_(layer.weight), ("uniform", 0, math.sqrt(6 / 32))),
    "normal": (lambda layer: nn.init.normal_(layer.weight, 0.5, 0.1), ("normal", 0.5, 0.1)),
    "zeros": (lambda layer: nn.init.zeros_(layer.weight), ("zero", 0, 0)),
    "constant": (lambda layer: nn.init.constant_(layer.weight, 0.3), ("constant", 0.3, 0)),
    "scaled": (lambda layer: layer.weight.data.normal_().mul_(0.3).div_(2.0), ("normal", 0, 0.15)),
    "copied": (lambda layer: layer.weight.data.copy_(torch.randn(16, 16) * 0.2), ("normal", 0, 0.2)),
    "scaled outside of data": (lambda layer: scale_in_place(layer.weight), ("normal", 0, 0.25)),
    "truncated": (lambda layer: nn.init.trunc_normal_(layer.weight, std=0.02), ("normal", 0, 0.02)),
    "truncated at one": (
        lambda layer: nn.init.trunc_normal_(layer.weight, std=1.0, a=-0.9, b=0.9),
        ("iid", 0, math.sqrt(1 - 1.8 * math.exp(-0.405) / math.sqrt(2 * math.pi) / math.erf(0.9 / math.sqrt(2)))),
    ),
}


def scale_in_place(weight: Tensor) -> None:
    with torch.no_grad():
        weight.normal_()
        weight *= 0.25


@pytest.mark.parametrize("name", INITS)
def test_the_law_of_an_initialisation_is_read(name: str) -> None:
    init, expected = INITS[name]
    law, lowered = initialised(init)
    assert law[0] == expected[0]
    assert math.isclose(law[1], expected[1], abs_tol=1e-12) and math.isclose(law[2], expected[2], rel_tol=1e-6)
    assert not any("measured" in note for note in lowered.notes)


def test_the_law_of_an_orthogonal_initialisation_is_measured_and_says_so() -> None:
    law, lowered = initialised(lambda layer: nn.init.orthogonal_(layer.weight))
    assert law[0] == "iid" and math.isclose(law[2], 1 / 4, rel_tol=0.02)
    assert "law of 0.weight measured, not read" in lowered.notes


def test_a_padding_row_keeps_the_law_and_is_noted() -> None:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Embedding(7, width, padding_idx=0), nn.Linear(width, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        tokens = torch.randint(0, 7, (4, 3))
        for _ in range(2):
            model(tokens).mean().backward()
            optimizer.step()

    lowered = lowered_script(train, steps=1)
    assert law_of(lowered, "0.weight") == ("normal", 0, 1)
    assert any("overwritten" in note for note in lowered.notes)


def test_a_model_built_before_the_recording_has_measured_laws() -> None:
    model = mlp(12)

    def train(width: int) -> None:
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1))

    lowered = lowered_script(train, steps=2)
    assert law_of(lowered, "0.weight")[0] == "iid"
    assert any("measured" in note for note in lowered.notes)


LARGEST: dict[str, Callable[[Tensor], Tensor]] = {
    "amax detached": lambda scores: scores.amax(-1, keepdim=True).detach(),
    "amax": lambda scores: scores.amax(-1, keepdim=True),
    "max": lambda scores: scores.max(-1, keepdim=True).values,
    "max unsqueezed": lambda scores: scores.max(-1)[0].unsqueeze(-1),
}


@pytest.mark.parametrize("name", LARGEST)
def test_softmax_with_its_maximum_subtracted_by_hand_is_recognised(name: str) -> None:
    largest = LARGEST[name]

    class Model(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.q, self.head = nn.Linear(5, width), nn.Linear(width, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.q(x)
            scores = h @ h.transpose(-2, -1) / h.shape[-1]
            weights = torch.exp(scores - largest(scores))
            return self.head(weights / weights.sum(-1, keepdim=True) @ h)  # type: ignore[no-any-return]

    def train(width: int) -> None:
        model = Model(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(4, 3, 5)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    lowered = lowered_script(train, steps=2)
    assert "softmax" in {s.instruction.function for s in lowered.statements if isinstance(s.instruction, Apply)}


def test_a_maximum_that_does_not_cancel_is_computed() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            out = model(torch.randn(4, 5))
            (torch.exp(out - out.amax(-1, keepdim=True)) ** 2).mean().backward()
            optimizer.step()

    lowered_script(train, steps=1)


def test_an_operation_without_a_rule_is_named_with_its_line() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            torch.linalg.qr(model(torch.randn(4, 5)))[1].mean().backward()
            optimizer.step()

    with pytest.raises(LoweringError, match=r"no rule for aten.linalg_qr.default at .*qr"):
        lower(record_tape(train, 12, 1, 0))


def test_a_table_made_of_whole_numbers_is_folded_in_double_precision() -> None:
    torch.set_default_dtype(torch.float32)

    def train(width: int) -> None:
        layer = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            (torch.tanh(layer.weight) * (torch.arange(3) / 7)).sum().backward()
            optimizer.step()

    lowered = lower(record_tape(train, 4, 1, 0))
    tables = [value for value in lowered.leaf_values.values() if value.shape == (3,)]
    assert any(torch.equal(table, torch.arange(3, dtype=torch.float64) / 7) for table in tables)


def test_no_statement_is_left_that_nothing_needs() -> None:
    lowered = lowered_script(adam_script)
    read = {operand.var for s in lowered.statements for operand in getattr(s.instruction, "operands", ())}
    functions = {s.instruction.function for s in lowered.statements if isinstance(s.instruction, Apply)}
    assert read and {"tanh", "tanh'", "softmax", "sqrt", "reciprocal"} <= functions
