"""Mirrors tpdyn/parametrizing/apply.py: a model that is given the derived parametrization has it, once, and keeps it."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.parametrizing.apply import applied_to, parametrize, plain_name, unwrapped
from tpdyn.parametrizing.derive import derive
from tpdyn.parametrizing.parametrization import Parametrization

BASE = 32


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)


def sgd_with_decay(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def adam_with_decay_in_the_gradient(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)


def fit(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    x, y = torch.randn(5, 6), torch.randn(5, 3)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def script(
    make: Callable[[nn.Module], torch.optim.Optimizer], derived: Parametrization | None = None, **how: Any
) -> Any:
    def train(width: int) -> None:
        model = net(width)
        optimizer = make(model)
        if derived is not None:
            parametrize(model, optimizer, derived, base_width=BASE, **how)
        fit(model, optimizer)

    return train


@pytest.fixture(scope="module")
def mup_sgd() -> Parametrization:
    return derive(tpdyn.record(script(sgd), widths=(16, 24, 40)))


@pytest.fixture(scope="module")
def mup_adam() -> Parametrization:
    return derive(tpdyn.record(script(adam), widths=(16, 24, 40)))


def test_entries_drawn_anew_fill_the_interval_of_their_uniform_law(mup_sgd: Parametrization) -> None:
    """torch draws a weight of fan-in f from [-1/sqrt(f), 1/sqrt(f)]; at the base width it stays there, whatever the seed."""
    model = net(BASE)
    parametrize(model, sgd(model), mup_sgd, base_width=BASE, seed=3)
    for place, fan_in in ((0, 6), (2, BASE), (4, BASE)):
        weight = model.get_parameter(f"{place}.weight").detach()
        assert 0.9 * fan_in**-0.5 < float(weight.abs().max()) <= fan_in**-0.5


@pytest.mark.parametrize("how", [{}, {"seed": 3}])
@pytest.mark.parametrize("make", [sgd, adam])
def test_the_parametrized_script_is_maximal_and_has_nothing_left_to_change(
    make: Any, how: dict[str, Any], request: Any
) -> None:
    derived = request.getfixturevalue(f"mup_{make.__name__}")
    assert derived.maximal and derived.edits()
    program = tpdyn.record(script(make, derived, **how), widths=(16, 24, 40))
    assert tpdyn.predict(program).regime is tpdyn.Regime.FEATURE_LEARNING
    assert derive(program).edits() == ()


@pytest.mark.parametrize(("make", "like"), [(sgd_with_decay, "sgd"), (adam_with_decay_in_the_gradient, "adam")])
def test_weight_decay_changes_no_exponent_and_moves_with_them(make: Any, like: str, request: Any) -> None:
    derived = derive(tpdyn.record(script(make), widths=(16, 24, 40)))
    assert derived.exponents == request.getfixturevalue(f"mup_{like}").exponents
    program = tpdyn.record(script(make, derived), widths=(16, 24, 40))
    assert tpdyn.predict(program).regime is tpdyn.Regime.FEATURE_LEARNING
    assert derive(program).edits() == ()


def test_a_decay_that_stays_behind_is_unstable_or_wins_over_the_gradient() -> None:
    """Why it has to move: SGD's input rate grows as n, and `lr * weight_decay` with it."""
    derived = derive(tpdyn.record(script(sgd_with_decay), widths=(16, 24, 40)))

    def train(width: int) -> None:
        model = net(width)
        optimizer = sgd_with_decay(model)
        parametrize(model, optimizer, derived, base_width=BASE)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.01
        fit(model, optimizer)

    assert tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40))).regime is tpdyn.Regime.UNSTABLE


def test_at_the_base_width_nothing_changes(mup_adam: Parametrization) -> None:
    torch.manual_seed(0)
    model = net(BASE)
    before = copy.deepcopy(model.state_dict())
    optimizer = adam(model)
    groups = parametrize(model, optimizer, mup_adam, base_width=BASE)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert {(group["lr"], group["weight_decay"], group["eps"]) for group in groups} == {(0.01, 0.1, 1e-8)}


def test_rates_follow_the_table_of_tensor_programs_v_for_adam(mup_adam: Parametrization) -> None:
    """arXiv 2203.03466, Table 8, in the form without multipliers: hidden and readout rates fall as 1/width, others stay."""
    model = net(4 * BASE)
    optimizer = adam(model)
    parametrize(model, optimizer, mup_adam, base_width=BASE)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: rates[p] for name, p in model.named_parameters()}
    slow, fast = pytest.approx(0.01 / 4), pytest.approx(0.01)
    assert found == {
        "0.weight": fast,
        "0.bias": fast,
        "2.weight": slow,
        "2.bias": fast,
        "4.weight": slow,
        "4.bias": fast,
    }


def test_the_decay_of_a_step_stays_and_eps_stays_in_proportion(mup_adam: Parametrization) -> None:
    model = net(4 * BASE)
    optimizer = adam(model)
    parametrize(model, optimizer, mup_adam, base_width=BASE)
    assert all(group["lr"] * group["weight_decay"] == pytest.approx(0.001) for group in optimizer.param_groups)
    # Gradients of the readout are of order 0, of its bias too; those of the rest fall as 1/width (hidden: outer products).
    eps = {p: group["eps"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: eps[p] for name, p in model.named_parameters()}
    assert found["4.weight"] == pytest.approx(1e-8) and found["2.weight"] == pytest.approx(1e-8 / 4)


def test_eps_in_proportion_leaves_no_width_at_which_it_matters(mup_adam: Parametrization) -> None:
    plain = tpdyn.predict(tpdyn.record(script(adam), widths=(16, 24, 40)))
    moved = tpdyn.predict(tpdyn.record(script(adam, mup_adam), widths=(16, 24, 40)))
    assert plain.epsilon and not moved.epsilon


def test_applied_twice_it_changes_nothing(mup_sgd: Parametrization) -> None:
    model = net(64)
    optimizer = sgd(model)
    parametrize(model, optimizer, mup_sgd, base_width=BASE)
    entries, groups = copy.deepcopy(model.state_dict()), copy.deepcopy([g["lr"] for g in optimizer.param_groups])
    parametrize(model, optimizer, mup_sgd, base_width=BASE)
    assert all(torch.equal(entries[name], value) for name, value in model.state_dict().items())
    assert groups == [g["lr"] for g in optimizer.param_groups]
    parametrize(model, sgd(model), mup_sgd, base_width=BASE)  # a new optimizer: its groups, the entries once
    assert all(torch.equal(entries[name], value) for name, value in model.state_dict().items())


def test_the_side_table_survives_copies_pickles_and_wrappers(mup_sgd: Parametrization) -> None:
    model = net(64)
    keys = list(model.state_dict())
    parametrize(model, sgd(model), mup_sgd, base_width=BASE)
    assert list(model.state_dict()) == keys
    table = applied_to(model)
    assert table is not None and table.width == 64 and table.base_width == BASE
    wrapped = nn.DataParallel(model)
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        wrapped,
        torch.compile(model, backend="eager"),
    ):
        assert isinstance(other, nn.Module)
        assert applied_to(other) == table
        before = copy.deepcopy(other.state_dict())
        parametrize(other, sgd(other), mup_sgd, base_width=BASE)
        assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_a_wrapped_model_is_parametrized_like_the_model(mup_sgd: Parametrization) -> None:
    torch.manual_seed(0)
    plain = net(64)
    wrapped = nn.DataParallel(copy.deepcopy(plain))
    parametrize(plain, sgd(plain), mup_sgd, base_width=BASE)
    parametrize(wrapped, sgd(wrapped), mup_sgd, base_width=BASE)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True))
    assert plain_name("_orig_mod.blocks.0._checkpoint_wrapped_module.fc.weight") == "blocks.0.fc.weight"
    assert plain_name("module.fc.weight") == "module.fc.weight"  # a user's own child of that name
    assert unwrapped(wrapped) is wrapped.module


def test_a_resumed_run_goes_on_with_the_same_groups_and_entries(mup_sgd: Parametrization) -> None:
    model = net(64)
    optimizer = sgd(model)
    parametrize(model, optimizer, mup_sgd, base_width=BASE)
    fit(model, optimizer)
    saved = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    again = net(64)
    other = sgd(again)
    parametrize(again, other, mup_sgd, base_width=BASE)
    again.load_state_dict(state["model"])
    other.load_state_dict(state["optimizer"])
    parametrize(again, other, mup_sgd, base_width=BASE)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for g in other.param_groups]


def test_groups_are_returned_for_a_constructor(mup_sgd: Parametrization) -> None:
    model = net(64)
    groups = parametrize(model, [{"params": model.parameters(), "lr": 0.1}], mup_sgd, base_width=BASE)
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    assert {p for group in optimizer.param_groups for p in group["params"]} == set(model.parameters())
    assert len({group["lr"] for group in groups}) > 1


def test_named_parameters_keep_their_names(mup_sgd: Parametrization) -> None:
    model = net(64)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    parametrize(model, optimizer, mup_sgd, base_width=BASE)
    of = dict(model.named_parameters())
    for group in optimizer.param_groups:
        assert [of[name] for name in group["param_names"]] == group["params"]


def test_it_is_written_and_read(mup_adam: Parametrization) -> None:
    read = Parametrization.from_dict(json.loads(json.dumps(mup_adam.to_dict())))
    assert read == mup_adam and read.shifts() == mup_adam.shifts() and read.facts == mup_adam.facts
    with pytest.raises(ValueError, match="not a parametrization"):
        Parametrization.from_dict({"parameters": {"w": {}}})


def test_the_gauge_does_not_matter(mup_sgd: Parametrization) -> None:
    assert mup_sgd.in_gauge("same rate").shifts() == mup_sgd.shifts()
    assert mup_sgd.in_gauge("unit initial entries").shifts() == mup_sgd.shifts()


class TestBadInput:
    def test_another_model(self, mup_sgd: Parametrization) -> None:
        model = nn.Sequential(nn.Linear(6, 32), nn.Linear(32, 3))
        with pytest.raises(ValueError, match=r"has no parameter 2\.bias, 2\.weight"):
            parametrize(model, sgd(model), mup_sgd)

    def test_shapes_of_two_widths(self, mup_sgd: Parametrization) -> None:
        model = net(64)
        model[2] = nn.Linear(64, 48)  # type: ignore[operator]
        model[4] = nn.Linear(48, 3)  # type: ignore[operator]
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=r"n = 48 by .*n = 64 by"):
            parametrize(model, sgd(model), mup_sgd)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    def test_another_finite_dim(self, mup_sgd: Parametrization) -> None:
        model = net(64)
        model[0] = nn.Linear(7, 64)  # type: ignore[operator]
        with pytest.raises(ValueError, match=r"0\.weight has shape \(64, 7\), which at no width is \(n, 6\)"):
            parametrize(model, sgd(model), mup_sgd)

    def test_a_scheduler_that_is_there_already(self, mup_sgd: Parametrization) -> None:
        model = net(64)
        optimizer = sgd(model)
        torch.optim.lr_scheduler.ConstantLR(optimizer)
        with pytest.raises(ValueError, match="then make the scheduler"):
            parametrize(model, optimizer, mup_sgd)
        assert applied_to(model) is None

    def test_groups_without_a_rate(self, mup_sgd: Parametrization) -> None:
        model = net(64)
        with pytest.raises(ValueError, match='has no "lr"'):
            parametrize(model, model.parameters(), mup_sgd)

    def test_parameters_of_another_model(self, mup_sgd: Parametrization) -> None:
        with pytest.raises(ValueError, match="not the model's"):
            parametrize(net(64), sgd(net(64)), mup_sgd)

    def test_another_base_width_later(self, mup_sgd: Parametrization) -> None:
        model = net(64)
        parametrize(model, sgd(model), mup_sgd, base_width=BASE)
        with pytest.raises(ValueError, match="was parametrized before"):
            parametrize(model, sgd(model), mup_sgd, base_width=16)

    @pytest.mark.parametrize("base", [0, -4, 2.5, True])
    def test_a_base_width_that_is_none(self, mup_sgd: Parametrization, base: Any) -> None:
        with pytest.raises(ValueError, match="positive whole number"):
            parametrize(net(64), sgd(net(64)), mup_sgd, base_width=base)

    @pytest.mark.parametrize("width", [0, -4, 2.5, True])
    def test_a_width_that_is_none(self, mup_sgd: Parametrization, width: Any) -> None:
        with pytest.raises(ValueError, match=r"^width = .*; expected a positive whole number"):
            parametrize(net(64), sgd(net(64)), mup_sgd, width=width)

    def test_a_multiplier_that_only_the_code_can_apply(self, mup_sgd: Parametrization) -> None:
        model = net(64)
        left = replace(mup_sgd, multipliers={"attention [net.py:3]": Fraction(1, 2)})
        with pytest.raises(ValueError, match=r"multiply the result of attention \[net.py:3\] by n\^-1/2"):
            parametrize(model, sgd(model), left)


# -- complex parameters ------------------------------------------------------------------------------------------------


class Turned(nn.Module):
    """A hidden layer with a complex matrix: a program has two of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, width), nn.Linear(width, 3)
        self.weight = nn.Parameter(torch.randn(width, width, dtype=torch.complex64) / width**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.first(x))
        made = torch.complex(h, torch.zeros_like(h)) @ self.weight
        return self.last(torch.tanh(made.real + made.imag))  # type: ignore[no-any-return]


def test_a_complex_parameter_is_given_what_its_parts_have() -> None:
    def train(width: int) -> None:
        model = Turned(width)
        fit(model, adam(model))

    derived = derive(tpdyn.record(train, widths=(16, 24, 40), steps=2))
    model = Turned(4 * BASE)
    before = model.weight.detach().clone()
    (*_, group) = (
        each
        for each in parametrize(model, adam(model), derived, base_width=BASE)
        if any(p is model.weight for p in each["params"])
    )
    assert group["lr"] == pytest.approx(0.01 / 4) and torch.equal(model.weight, before)
    other = Turned(4 * BASE)
    with pytest.raises(ValueError, match=r"seed: .*weight"):
        parametrize(other, adam(other), derived, base_width=BASE, seed=0)
    moved = {**derived.exponents, "weight.imag": (Fraction(0), Fraction(1), Fraction(1))}
    with pytest.raises(ValueError, match="the parts of weight have exponents of their own"):
        parametrize(other, adam(other), replace(derived, exponents=moved), base_width=BASE)
