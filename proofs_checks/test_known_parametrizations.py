"""The parametrizations of the papers come out of the derivation: their tables, as data, against recorded scripts.

Each table is written here as its paper writes it, in powers of the width n. A fan of a hidden layer is n. It is compared
with `tpdyn.derive`, which knows neither names nor kinds of layers. The symmetry of the optimizer moves both to the form
without multipliers. There the learning rates must be equal for every parameter, and initial sizes wherever the optimum is
unique. Where it is not (a bias, a readout), the table's point has to be optimal. Every requirement of the maximal update
holds there.

Where a paper and the derivation differ:

* Tensor Programs IVb, Remark 2.2.7 says that SP with Adam at its largest stable rate, 1/n, learns features. Its Theorem
  2.8.12 says that this point is unstable: r = 0 asks for a_out + b_out >= 1, SP has 1/2. So do the derivation and the runs.
  With two hidden layers or more the largest stable rate is n^-3/2, and only the operator regime is left.
  `test_sp_with_adam_at_one_over_n_is_unstable_against_the_remark_of_ivb`.
* Tensor Programs IV, Table 1 has r = 1/2 for SP at the rate 1/n. That is so with two hidden layers or more. With one its
  Definition 3.2 gives 3/2, as the derivation does. There the first layer's update is a rank-one step of size n^-3/2.
* Everett et al. call SP and NTP with the rates of full alignment stable. They take the readout's initial weights as
  unaligned with the changes of its input. `tests/parametrizing/test_families.py` has both sides.
* Tensor Programs V, Table 3 starts every bias at size 1. Smaller ones are as good; torch's n^-1/2 stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest
import torch
from everett import EVERETT
from torch import nn
from torch.nn import functional as F

import tpdyn
from tpdyn.claims import theorems
from tpdyn.claims.statistics import GROWING_CROSSOVER, estimate_order, judge
from tpdyn.claims.theorems import Abc
from tpdyn.parametrizing.derive import symmetries
from tpdyn.parametrizing.parametrization import Parametrization
from tpdyn.program.program import Program
from tpdyn.regimes.maximal import look
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.perceptrons import mlp_script

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
Role = Literal["input-like", "hidden", "output-like"]
Optimizer = Literal["sgd", "adam", "sign", "adafactor"]
Row = tuple[Fraction | int, Fraction | int, Fraction | int]


@dataclass(frozen=True)
class Table:
    """One table of a paper for one optimizer: (a, b, c) of input weights and biases, of hidden and of output weights.

    The paper's multiplier is n^-a, its initial standard deviation n^-b, its learning rate proportional to n^-c.
    """

    source: str
    optimizer: Optimizer
    input: Row
    hidden: Row
    output: Row

    def __str__(self) -> str:
        return f"{self.source}, {self.optimizer}"


_IV = "Tensor Programs IV (2011.14522), Table 1"
_IVB = "Tensor Programs IVb (2308.01814), Definition 2.5.1"
_3 = "Tensor Programs V (2203.03466), Table 3"
_8 = "Tensor Programs V (2203.03466), Table 8"
_9 = "Tensor Programs V (2203.03466), Table 9"
_SPECTRAL = "A Spectral Condition for Feature Learning (2310.17813)"

TABLES = (
    Table(_IV, "sgd", (-HALF, HALF, 0), (0, HALF, 0), (HALF, HALF, 0)),
    Table(_IVB, "adam", (0, 0, 0), (0, HALF, 1), (1, 0, 0)),
    Table(_IVB, "sign", (0, 0, 0), (0, HALF, 1), (1, 0, 0)),
    # Init. var. 1/fan_in, 1/fan_in, 1/fan_in^2; SGD: fan_out, 1, 1/fan_in; Adam: 1, 1/fan_in, 1/fan_in.
    Table(_3, "sgd", (0, 0, -1), (0, HALF, 0), (0, 1, 1)),
    Table(_3, "adam", (0, 0, 0), (0, HALF, 1), (0, 1, 1)),
    # The same with an output multiplier 1/fan_in and init. var. 1; SGD: fan_out, 1, fan_in; Adam: 1, 1/fan_in, 1.
    Table(_8, "sgd", (0, 0, -1), (0, HALF, 0), (1, 0, -1)),
    Table(_8, "adam", (0, 0, 0), (0, HALF, 1), (1, 0, 0)),
    # Multipliers sqrt(fan_out), 1, 1/sqrt(fan_in); init. var. 1/fan_out, 1/fan_in, 1/fan_in; SGD: 1; Adam: 1/sqrt(fan_out),
    # 1/fan_in, 1/sqrt(fan_in).
    Table(_9, "sgd", (-HALF, HALF, 0), (0, HALF, 0), (HALF, HALF, 0)),
    Table(_9, "adam", (-HALF, HALF, HALF), (0, HALF, 1), (HALF, HALF, HALF)),
    # sigma = min(1, sqrt(fan_out / fan_in)) / sqrt(fan_in), rate fan_out / fan_in.
    Table(_SPECTRAL, "sgd", (0, 0, -1), (0, HALF, 0), (0, 1, 1)),
    *(
        Table(
            f"Everett et al. (2407.05872), {family.name} at full alignment",
            {"sgd": "sgd", "entrywise": "adam", "parameter-scaled": "adafactor"}[family.optimizer],  # type: ignore[arg-type]
            *(family.table[role] for role in ("input-like", "hidden", "output-like")),
        )
        for family in EVERETT
        if family.name in ("muP", "MFP")
    ),
)


# -- scripts --------------------------------------------------------------------------------------------------------------


class Perceptron(nn.Module):
    """Two hidden layers with biases, a LayerNorm between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, width), nn.LayerNorm(width), nn.Linear(width, width)
        self.out = nn.Linear(width, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.out(torch.tanh(self.second(self.norm(torch.tanh(self.first(x))))))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Embeddings of tokens and positions, one block (attention by 1/d, an MLP, biases, LayerNorms), a readout of its own."""

    power = 1.0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(7, width), nn.Embedding(4, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        # A bias of the keys moves all logits of a query alike: its gradient is zero up to round-off, which sign would amplify.
        self.k = nn.Linear(width, width, bias=False)
        self.q, self.v, self.proj = (nn.Linear(width, width) for _ in range(3))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.out = nn.Linear(width, 7)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits, all tokens in one dim."""
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        y = self.norm1(x)
        logits = self.q(y) @ self.k(y).transpose(-1, -2) / y.shape[-1] ** self.power
        x = x + self.proj(torch.softmax(logits, -1) @ self.v(y))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.out(self.norm3(x)).flatten(0, 1)  # type: ignore[no-any-return]


class ByTheRoot(Transformer):
    """Attention as usual: logits by the root of the head's size."""

    power = 0.5


QUICK = os.environ.get("HYPOTHESIS_PROFILE") == "quick"
BUILDS = [Perceptron, pytest.param(Transformer, marks=pytest.mark.skipif(QUICK, reason="takes a minute"))]


def stepper(model: nn.Module, optimizer: Optimizer) -> Callable[[], object]:
    if optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).step
    if optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=0.01).step

    def by_hand() -> None:
        with torch.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                scale = p.square().mean().sqrt() if optimizer == "adafactor" else 1.0
                p.sub_(0.01 * scale * p.grad.sign())

    return by_hand


@cache
def recorded(build: type[nn.Module], optimizer: Optimizer) -> Program:
    def train(width: int) -> None:
        model = build(width)
        if optimizer == "adafactor":  # what starts at zero would stay there: steps are in proportion to the parameter
            for name, p in model.named_parameters():
                if name.endswith("bias"):
                    nn.init.normal_(p)
        step = stepper(model, optimizer)
        tokens = torch.randint(7, (3, 4))
        x, y = (torch.randn(12, 6) if build is Perceptron else tokens), tokens.roll(1, 1).flatten()
        for _ in range(3):
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            step()

    return tpdyn.record(train, widths=(16, 24, 40), steps=3)


@cache
def derived(build: type[nn.Module], optimizer: Optimizer) -> Parametrization:
    return tpdyn.derive(recorded(build, optimizer))


def without_multipliers(table: Table, k: Fraction) -> Mapping[str, tuple[Fraction, Fraction]]:
    """By role (b, c) at a = 0: (a, b, c) moved along (a + s, b - s, c - k s)."""
    rows: dict[Role, Row] = {"input-like": table.input, "hidden": table.hidden, "output-like": table.output}
    return {role: (Fraction(b + a), Fraction(c + k * a)) for role, (a, b, c) in rows.items()}


# -- tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("table", TABLES, ids=str)
def test_the_table_is_derived(table: Table, build: type[nn.Module]) -> None:
    found = derived(build, table.optimizer)
    assert found.maximal and not found.multipliers
    k = found.rate_per_multiplier
    assert set(k.values()) == {{"sgd": 2, "adam": 1, "sign": 1, "adafactor": 0}[table.optimizer]}
    expected = without_multipliers(table, Fraction(next(iter(k.values())) or ZERO))
    rates = {name: c for name, (_, _, c) in found.exponents.items() if found.roles[name] != "scalar-like"}
    assert rates == {name: expected[found.roles[name]][1] for name in rates}
    sizes = {name: b for name, (_, b, _) in found.exponents.items() if name.endswith("weight")}
    assert sizes == {name: expected[found.roles[name]][0] for name in sizes}


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_requirement_holds_at_the_table_s_own_point(table: Table, build: type[nn.Module]) -> None:
    """Its initial sizes of biases too, where the derivation leaves the script's own. A rate larger by any power is not optimal."""
    found = derived(build, table.optimizer)
    maximum = found.maximum
    assert maximum is not None
    k = next(iter(found.rate_per_multiplier.values())) or ZERO
    expected = without_multipliers(table, k)

    def unmet(faster: str = "") -> bool:
        values = []
        for symbol in maximum.coordinates.names:
            name, _, kind = symbol.rpartition(":")
            if kind == "p" or found.roles[name] == "scalar-like":
                values.append(ZERO)
                continue
            b, c = expected[found.roles[name]]
            own = found.own[name]
            moved = (ZERO if own.zero else b - own.b) if kind == "b" else c - own.c
            values.append(moved - (Fraction(1, 4) if symbol == f"{faster}:c" else 0))
        return bool(look(maximum.facts, maximum.coordinates, tuple(values)).unmet)

    assert not unmet()
    some = {role: next(name for name in found.roles if found.roles[name] == role) for role in expected}
    for name in some.values():
        assert unmet(name), name


@pytest.mark.skipif(QUICK, reason="takes a minute")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "sign", "adafactor"])
def test_attention_by_one_over_d_is_derived(optimizer: Optimizer) -> None:
    """Tensor Programs V, Definition 4.1: with logits by the root of d, another power 1/2 is what is missing."""
    found = derived(ByTheRoot, optimizer)
    assert found.maximal
    assert list(found.multipliers.values()) == [HALF]
    other = derived(Transformer, optimizer)
    assert found.exponents == other.exponents


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_the_rate_of_muon_is_what_the_spectral_condition_asks_for(adjust: str) -> None:
    """A Spectral Condition for Feature Learning (2310.17813): updates of hidden matrices have spectral norm
    Theta(sqrt(fan_out / fan_in)), here 1. With "original", torch's Muon makes updates of spectral norm max(1, fan_out /
    fan_in)^(1/2): no rate moves. Or it matches AdamW's root mean square, with 0.2 max(fan_out, fan_in)^(1/2): the rate has
    to fall as n^-1/2. Its rates move with multipliers as Adam's do.
    """

    def train(width: int) -> None:
        model = nn.Sequential(
            nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 2 * width), nn.Tanh(), nn.Linear(2 * width, width), nn.Tanh(),
            nn.Linear(width, 3),
        )  # fmt: skip
        matrices = [model[2].weight, model[4].weight]
        others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
        muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0, adjust_lr_fn=adjust)  # type: ignore[arg-type]
        adam = torch.optim.Adam(others, lr=0.01)
        x, y = torch.randn(5, 6), torch.randint(3, (5,))
        for _ in range(3):
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            muon.step()
            adam.step()

    found = tpdyn.derive(tpdyn.record(train, widths=(16, 24, 40), steps=3))
    assert found.maximal
    assert set(found.rate_per_multiplier.values()) == {ONE}
    for name in ("2.weight", "4.weight"):
        assert found.roles[name] == "hidden"
        assert found.exponents[name] == (ZERO, HALF, ZERO)  # with the optimizer's own factor in the rate
        assert found.shifts()[name].rate == (ZERO if adjust == "original" else -HALF)


# -- regimes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """A column of Table 1 of Tensor Programs IV: the point, r, and what the table says of it."""

    name: str
    layers: int
    point: Abc
    r: Fraction
    learns: bool


COLUMNS = tuple(
    Named(name, layers, point, r, learns)
    for layers in (1, 2, 3)
    for name, point, r, learns in (
        ("SP, rate 1/n", theorems.standard(layers, rate=1), HALF if layers > 1 else 3 * HALF, False),
        ("NTP", theorems.neural_tangent(layers), HALF, False),
        ("MFP", Abc((ZERO, ONE), (ZERO, ZERO), (-ONE, -ONE)), ZERO, True),
        ("muP", theorems.maximal_update(layers), ZERO, True),
    )
    if name != "MFP" or layers == 1
)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c.name}, {c.layers} hidden")
def test_the_columns_of_table_1_of_tensor_programs_iv(column: Named) -> None:
    """Stable and nontrivial all of them; the exponent r of the change of the features; which regime."""
    found = tpdyn.predict(tpdyn.record(mlp_script(column.layers, point=column.point), widths=(16, 24, 40), steps=3))
    assert found.order(f"W{column.layers}") == -column.r
    assert found.order("output") == 0
    assert found.regime is (Regime.FEATURE_LEARNING if column.learns else Regime.KERNEL)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("optimizer", ["adam", "sign"])
def test_ntp_and_mup_of_tensor_programs_ivb(optimizer: Literal["adam", "sign"], layers: int) -> None:
    """Definitions 2.4.1 and 2.5.1; Equation 2.23: r = 1/2 and r = 0 in every layer."""
    hidden = layers - 1
    ntp = Abc((ZERO, *(HALF,) * layers), (ZERO,) * (layers + 1), (HALF, *(ONE,) * hidden, HALF))
    for point, r in ((ntp, HALF), (theorems.maximal_update_adam(layers), ZERO)):
        script = mlp_script(layers, "gelu", optimizer, point=point)
        found = tpdyn.predict(tpdyn.record(script, widths=(16, 24, 40), steps=3))
        assert [found.order(f"W{layer + 1}") for layer in range(layers)] == [-r] * layers
        assert found.regime is (Regime.KERNEL if r else Regime.FEATURE_LEARNING)


def test_sp_with_adam_at_one_over_n_is_unstable_against_the_remark_of_ivb() -> None:
    """Remark 2.2.7 of Tensor Programs IVb: "SP's largest stable learning rate is Theta(1/n), ... SP is actually in the feature
    learning regime" for SignSGD and Adam. With two hidden layers r = 0 there, and a_out + b_out + r = 1/2 < 1: unstable by
    Theorem 2.8.12. The output's change grows as n^1/2 in runs. (With one hidden layer r = 1: the operator regime.)"""
    point = theorems.standard(2, rate=1)
    assert not theorems.entrywise(point).stable
    script = mlp_script(2, "tanh", "sign", point=point, rate=1.0)
    found = tpdyn.predict(tpdyn.record(script, widths=(16, 24, 40), steps=3))
    assert found.regime is Regime.UNSTABLE and found.order("output", step=1) == HALF
    widths = (128, 256, 512, 1024)
    measured = tpdyn.measure(script, widths=widths, seeds=6, steps=2)
    sizes = measured.change[:, :, 1, measured.index("output")]
    order = estimate_order(widths, sizes, crossover=GROWING_CROSSOVER)
    assert order is not None
    assert judge(HALF, order) != "disagrees" and judge(ZERO, order) == "disagrees", order
    assert theorems.entrywise(theorems.standard(2, rate=Fraction(3, 2))).regime is Regime.KERNEL
    assert theorems.entrywise(theorems.standard(1, rate=1)).regime is Regime.KERNEL


def test_a_table_with_one_wrong_entry_would_be_noticed() -> None:
    """The comparison can fail: hidden rates of SGD in the place of Adam's."""
    wrong = Table("nobody's", "adam", (0, 0, 0), (0, HALF, 0), (0, 1, 1))
    with pytest.raises(AssertionError):
        test_the_table_is_derived(wrong, Perceptron)
    with pytest.raises(AssertionError):
        test_every_requirement_holds_at_the_table_s_own_point(wrong, Perceptron)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "sign", "adafactor"])
def test_the_symmetry_is_that_of_the_paper_before_and_after(optimizer: Optimizer) -> None:
    """The same at the script's own point (standard parametrization), which is unstable."""
    k = {"sgd": 2, "adam": 1, "sign": 1, "adafactor": 0}[optimizer]
    assert set(symmetries(recorded(Perceptron, optimizer)).values()) == {Fraction(k)}
