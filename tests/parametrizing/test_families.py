"""Mirrors tpdyn/parametrizing/families.py: named tables hold what their sources say, and scripts are compared with them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import pytest
import torch
from everett import EVERETT
from torch import nn

import tpdyn
from tpdyn.claims import theorems
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.families import (
    FAMILIES,
    Family,
    between,
    differences,
    families_of,
    grouped,
    optimizer_of,
)
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, read
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.perceptrons import mlp_program

HALF, ZERO = Fraction(1, 2), Fraction(0)
Step = Callable[[], object]
Make = Callable[[nn.Module], Step]


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def bare(width: int) -> nn.Module:
    layers = (nn.Linear(fan_in, fan_out, bias=False) for fan_in, fan_out in ((6, width), (width, width), (width, 3)))
    one, two, out = layers
    return nn.Sequential(one, nn.Tanh(), two, nn.Tanh(), out)


class Tied(nn.Module):
    """One table is embedding and readout; its rows are of size 1, as torch's embeddings are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table, self.body = nn.Parameter(torch.randn(3, width)), nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = torch.arange(len(x)) % 3
        return torch.tanh(self.body(self.table[tokens])) @ self.table.T  # type: ignore[no-any-return]


def sgd(model: nn.Module) -> Step:
    return torch.optim.SGD(model.parameters(), lr=0.1).step


def adam(model: nn.Module) -> Step:
    return torch.optim.Adam(model.parameters(), lr=0.01).step


def scaled(model: nn.Module) -> Step:
    """Adafactor's parameter scaling: each step is in proportion to the root mean square of the parameter."""

    def step() -> None:
        with torch.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                p.sub_(0.01 * p.square().mean().sqrt() * p.grad.sign())

    return step


def muon(model: nn.Module) -> Step:
    hidden = [p for p in model.parameters() if p.ndim == 2 and p.shape[0] == p.shape[1]]
    others = [p for p in model.parameters() if p.ndim != 2 or p.shape[0] != p.shape[1]]
    one, two = torch.optim.Muon(hidden, lr=0.02, weight_decay=0.0), torch.optim.SGD(others, lr=0.1)

    def step() -> None:
        one.step()
        two.step()

    return step


def adamw(model: nn.Module) -> Step:
    return torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1).step


def sgd_inside(model: nn.Module) -> Step:
    """SGD for the hidden matrix, Adam for all else."""
    inside = [p for p in model.parameters() if p.ndim == 2 and p.shape[0] == p.shape[1]]
    others = [p for p in model.parameters() if p.ndim != 2 or p.shape[0] != p.shape[1]]
    one, two = torch.optim.SGD(inside, lr=0.1), torch.optim.Adam(others, lr=0.01)

    def step() -> None:
        one.step()
        two.step()

    return step


def pulled(model: nn.Module) -> Step:
    """Adam, and every weight is pulled to zero by the same amount: that does not move along with a multiplier."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.step()
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(0.001 * p.sign())

    return step


@cache
def recorded(make: Make, build: Callable[[int], nn.Module] = net) -> Program:
    def train(width: int) -> None:
        model = build(width)
        step = make(model)
        x, y = torch.randn(5, 6), torch.randn(5, 3)
        for _ in range(3):
            model.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            step()

    return tpdyn.record(train, widths=(16, 24, 40), steps=3)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (sgd, "sgd"),
        (adam, "entrywise"),
        (adamw, "entrywise"),
        (scaled, "parameter-scaled"),
        (muon, None),
        (sgd_inside, None),
    ],
)
def test_the_optimizer_is_read_off_the_program(make: Make, name: str | None) -> None:
    program = recorded(make)
    assert optimizer_of(program) == name
    assert bool(families_of(program)) == (name is not None)  # no table is about orthogonalised or mixed updates


@pytest.mark.parametrize("build", [bare, Tied])
def test_steps_in_proportion_to_matrices_are_seen_as_such(build: Callable[[int], nn.Module]) -> None:
    """Their norm is taken in two steps: squares with two wide dims, and the mean of these."""
    assert optimizer_of(recorded(scaled, build)) == "parameter-scaled"


@pytest.mark.parametrize("make", [sgd, adam])
def test_an_ordinary_script_is_in_standard_parametrization_whatever_torch_draws_its_biases_from(make: Make) -> None:
    found = differences(recorded(make))
    assert found["SP"] == ()
    assert all(lines for name, lines in found.items() if name != "SP")


def test_what_a_script_lacks_to_mup_is_named_and_its_biases_are_not() -> None:
    lines = differences(recorded(adam))["muP"]
    assert [line.partition(":")[0] for line in lines] == ["2.weight", "4.weight"]
    assert lines[0] == "2.weight: learning rate n^0, in muP n^-1"
    assert lines[1] == "4.weight: initial size n^-1/2, in muP n^-1; learning rate n^0, in muP n^-1"


def test_weight_decay_makes_no_difference_to_what_is_said() -> None:
    """It has no symmetry of multipliers, and moves with the rate (`tpdyn.facts.decay`)."""
    assert differences(recorded(adamw)) == differences(recorded(adam))


def test_where_multipliers_cannot_be_moved_into_initial_entries_they_are_named() -> None:
    """Tensor Programs IVb, Definition 2.4.1, as it is written there: (a, b, c) = (1/2, 0, 1) for hidden weights."""
    assert (
        "2.weight: multiplier n^0, in NTP n^-1/2; initial size n^-1/2, in NTP n^0; learning rate n^0, in NTP n^-1"
    ) in differences(recorded(pulled))["NTP"]


def test_a_parametrized_script_is_in_mup_and_in_mfp_which_is_the_same() -> None:
    def train(width: int) -> None:
        model = net(width)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        tpdyn.parametrize(model, optimizer, derived, base_width=32)
        x, y = torch.randn(5, 6), torch.randn(5, 3)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    derived = tpdyn.derive(recorded(adam))
    found = differences(tpdyn.record(train, widths=(16, 24, 40), steps=3))
    assert found["muP"] == found["MFP"] == ()
    assert found["SP"] and found["NTP"]


def test_what_is_said_of_several_parameters_is_said_once() -> None:
    names = ("h.0.up.weight", "h.1.up.weight", "h.0.down.weight", "h.1.down.weight", "out.weight")
    lines = ("h.0.up.weight: A", "h.1.up.weight: A", "h.0.down.weight: A", "out.weight: B; C", "x as a readout: A")
    assert grouped(lines, names) == ("h.*.up.weight, h.0.down.weight, x as a readout: A", "out.weight: B; C")


class TestInitialSizesThatAreLeftFree:
    """A smaller bias is a member of the family, as long as the order of nothing that counts changes."""

    def test_a_bias_that_is_larger_than_in_the_family_is_a_difference(self) -> None:
        def large(width: int) -> nn.Module:
            model = net(width)
            nn.init.normal_(model[2].bias, std=width**0.5)  # type: ignore[operator, union-attr]
            return model

        assert differences(recorded(sgd, large))["SP"] == ("2.bias: initial size n^+1/2, in SP n^0",)

    def test_a_bias_on_which_a_representation_rests_alone_is_a_difference(self) -> None:
        class Rests(nn.Module):
            """Its weights start at zero: the bias is all there is at the start."""

            def __init__(self, width: int) -> None:
                super().__init__()
                self.body, self.out = nn.Linear(6, width), nn.Linear(width, 3)
                nn.init.zeros_(self.body.weight)
                nn.init.normal_(self.body.bias, std=width**-0.5)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.out(torch.tanh(self.body(x)))  # type: ignore[no-any-return]

        assert "body.bias: initial size n^-1/2, in SP n^0" in differences(recorded(sgd, Rests))["SP"]

    def test_weights_that_are_smaller_than_in_the_family_are_a_difference(self) -> None:
        def small(width: int) -> nn.Module:
            model = net(width)
            nn.init.normal_(model[2].weight, std=1 / width)  # type: ignore[operator, union-attr]
            return model

        assert differences(recorded(sgd, small))["SP"] == ("2.weight: initial size n^-1, in SP n^-1/2",)

    def test_a_bias_whose_updates_are_in_proportion_to_it_is_a_difference(self) -> None:
        """Then its initial size decides how far it moves."""
        assert "2.bias: initial size n^-1/2, in SP n^0" in differences(recorded(scaled))["SP"]


class TestOneWeightThatEmbedsAndReadsOut:
    """It is the embedding of a family, with a multiplier where it reads out."""

    @pytest.mark.parametrize(("optimizer", "make"), [("sgd", sgd), ("entrywise", adam)])
    def test_each_family_is_in_its_regime(self, optimizer: str, make: Make) -> None:
        program = recorded(make, Tied)
        families = families_of(program)
        regimes = {name: predict(program, exponents=extra, remedy=False).regime for name, extra in families.items()}
        assert regimes == {
            "SP": Regime.UNSTABLE,
            "NTP": Regime.KERNEL,
            "MFP": Regime.FEATURE_LEARNING,
            "muP": Regime.FEATURE_LEARNING,
        }

    def test_standard_parametrization_uses_it_as_it_is(self) -> None:
        for make in (sgd, adam, scaled):
            assert not families_of(recorded(make, Tied))["SP"].site
            assert set(families_of(recorded(make, Tied))["muP"].site.values()) == {Fraction(1)}

    def test_a_plane_goes_through_them(self) -> None:
        drawn = tpdyn.phase_diagram(
            recorded(adam, Tied), through=("NTP", "muP", "SP"), x_limits=(0, 1), y_limits=(0, 1)
        )
        assert drawn.marks["SP"] == drawn.marks["this script"] == (0, 1)
        assert drawn.at(1, 0).label == "feature learning"
        assert drawn.at(0, 0).label == "kernel"
        assert drawn.at(0, 1).label == "unstable at initialisation"

    def test_what_the_script_lacks_is_named(self) -> None:
        found = differences(recorded(adam, Tied))
        assert found["SP"] == ()
        assert found["muP"] == (
            "body.weight: learning rate n^0, in muP n^-1",
            "table as a readout: multiplier n^0, in muP n^-1",
        )

    def test_the_derived_parametrization_is_mup(self) -> None:
        program = recorded(adam, Tied)
        derived = tpdyn.derive(program)
        assert derived.maximum is not None and not derived.conflicts
        found = {position: power for position, power in derived.maximum.exponents.site.items() if power}
        assert found == families_of(program)["muP"].site


def on_mlp(family: Family, layers: int) -> tuple[Program, Exponents]:
    """The program of an MLP without biases (one rate, no multipliers) and what the family adds to its exponents."""
    if family.optimizer == "parameter-scaled":
        assert layers == 2
        program = recorded(scaled, bare)
    else:
        program = mlp_program(layers, "tanh", "sgd" if family.optimizer == "sgd" else "sign")
    extra = family.exponents(Facts.of(program).own)
    assert extra is not None
    return program, extra


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "entrywise"])
def test_named_families_are_in_their_regimes(optimizer: str, layers: int) -> None:
    """Tensor Programs IV, Table 1 and Theorem 4.1: SP is stable only at rates of 1/n; IVb, Theorems 2.8.12 and 2.8.19."""
    expected = {
        "SP": Regime.UNSTABLE,
        "NTP": Regime.KERNEL,
        "MFP": Regime.FEATURE_LEARNING,
        "muP": Regime.FEATURE_LEARNING,
    }
    for family in FAMILIES:
        if family.optimizer == optimizer:
            program, extra = on_mlp(family, layers)
            assert predict(program, exponents=extra, remedy=False).regime is expected[family.name], family.name


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "entrywise"])
@pytest.mark.parametrize("s", [Fraction(k, 4) for k in range(5)])
def test_between_ntp_and_mup_features_change_by_the_power_of_minus_half_of_what_is_left(
    s: Fraction, optimizer: Literal["sgd", "entrywise"], layers: int
) -> None:
    program, extra = on_mlp(between(s, optimizer), layers)
    found = predict(program, exponents=extra, remedy=False)
    assert found.order("x1") == -(1 - s) / 2
    assert found.order("output") == 0
    assert found.regime is (Regime.FEATURE_LEARNING if s == 1 else Regime.KERNEL)


@pytest.mark.parametrize("optimizer", ["sgd", "entrywise"])
@pytest.mark.parametrize(("s", "name"), [(0, "NTP"), (1, "muP")])
def test_the_ends_of_the_line_are_ntp_and_mup_up_to_symmetry(
    optimizer: Literal["sgd", "entrywise"], s: int, name: str
) -> None:
    k = 2 if optimizer == "sgd" else 1
    (named,) = [f for f in FAMILIES if (f.name, f.optimizer) == (name, optimizer)]
    for role, (a, b, c) in between(s, optimizer).table.items():
        other = named.table[role]
        if role != "scalar-like":  # what has no width is in no paper's table
            assert (a + b, c + k * a) == (other[0] + other[1], other[2] + k * other[0])


@pytest.mark.parametrize("s", [-1, Fraction(5, 4)])
def test_beyond_the_line_there_is_nothing(s: Fraction) -> None:
    with pytest.raises(ValueError, match="0 \\(NTP\\) to 1 \\(muP\\)"):
        between(s)


@pytest.mark.parametrize("family", EVERETT, ids=lambda f: f"{f.name}, {f.optimizer}")
def test_full_alignment_updates_every_layer_at_order_0_and_where_the_readout_is_large_the_output_grows(
    family: Family,
) -> None:
    """At each layer's own update Everett et al. and the derivation agree. They assume that initial weights stay unaligned
    with the changes of what they read. Of a readout this is wrong (Tensor Programs IV: W_out dx is of order 1 - 1/2 + 0).
    """
    program, extra = on_mlp(family, 2)
    orders = read(program, extra)
    for name in (parameter.name for parameter in program.parameters):
        first = [c.alone for c in orders.contributions if c.parameter == name and c.step == 1 and c.alone is not None]
        assert max(first) == 0
    found = predict(program, exponents=extra, remedy=False)
    if family.name in ("SP", "NTP"):
        assert found.regime is Regime.UNSTABLE and found.order("output", step=1) == HALF
    else:
        assert found.regime is Regime.FEATURE_LEARNING


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_tables_are_those_of_the_theorems_written_layer_by_layer(layers: int) -> None:
    known: dict[tuple[str, str], Any] = {
        ("SP", "sgd"): theorems.standard(layers),
        ("NTP", "sgd"): theorems.neural_tangent(layers),
        ("muP", "sgd"): theorems.maximal_update(layers),
        ("SP", "entrywise"): theorems.standard(layers),
        ("muP", "entrywise"): theorems.maximal_update_adam(layers),
    }
    roles = ("input-like", *("hidden",) * (layers - 1), "output-like")
    for family in FAMILIES:
        point = known.get((family.name, family.optimizer))
        if point is not None:
            assert tuple(family.table[role] for role in roles) == tuple(zip(point.a, point.b, point.c, strict=True))
