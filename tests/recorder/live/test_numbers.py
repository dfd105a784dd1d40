"""Are numbers that leave the tensors through .item() followed, to where they come back as rates and factors?"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from tpdyn.recorder.fitting.widths import FitError
from tpdyn.recorder.live.numbers import TracedNumber
from tpdyn.recorder.live.recorder import Recorder, record_tape
from tpdyn.recorder.live.replay import verify_tape
from tpdyn.recorder.live.tape import Ref, Tape
from tpdyn.recorder.record import record
from tpdyn.regimes.predict import predict

Rule = Callable[[nn.Parameter], None]


def trained_by(rule: Rule) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
        x = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.1, -1.0]])
        for _ in range(3):
            model.zero_grad()
            model(x).square().sum().backward()
            with torch.no_grad():
                for p in model.parameters():
                    rule(p)

    return train


def as_numbers(p: nn.Parameter) -> None:
    ratio = p.norm().item() / (p.grad.norm().item() + 1e-8)  # type: ignore[union-attr]
    p.add_(p.grad, alpha=-0.01 * ratio)  # type: ignore[arg-type]


def as_tensors(p: nn.Parameter) -> None:
    ratio = p.norm() / (p.grad.norm() + 1e-8)  # type: ignore[union-attr]
    p.add_(p.grad * (-0.01 * ratio))  # type: ignore[operator]


def numbers_given(tape: Tape) -> int:
    items = [item for node in tape.nodes for item in (*node.args, *node.kwargs.values())]
    return sum(isinstance(item, Ref) and item.number for item in items)


def test_a_rate_made_of_numbers_is_replayed_bit_for_bit_and_has_the_orders_of_one_made_of_tensors() -> None:
    tape = record_tape(trained_by(as_numbers), 8, 2, seed=0)
    verify_tape(tape)
    assert numbers_given(tape) == 2 * len(tape.parameters)
    numbers, tensors = (
        predict(record(trained_by(rule), widths=(8, 12), steps=2, verify=False), remedy=False)
        for rule in (as_numbers, as_tensors)
    )
    assert numbers.regime is tensors.regime
    for name in ("0", "2", "4"):
        assert numbers.order(name, "change") == tensors.order(name, "change")


def test_a_recorded_run_ends_with_the_weights_of_an_unrecorded_one() -> None:
    def final(recorded: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Linear(3, 5)

        def train() -> None:
            for _ in range(3):
                model.zero_grad()
                model(torch.ones(2, 3)).square().sum().backward()
                with torch.no_grad():
                    for p in model.parameters():
                        as_numbers(p)

        if recorded:
            with Recorder(5):
                train()
        else:
            train()
        return [p.detach().clone() for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(final(True), final(False), strict=True))


OPERATIONS: dict[str, Callable[[float], float]] = {
    "sums": lambda x: 3.7 + (x + 1.25) - (2 - x) - 0.3,
    "products": lambda x: -(2 * x * 0.7) / 3 + 1 / x,
    "powers": lambda x: x**0.5 + x**3 + 2.0**x,
    "size": lambda x: abs(-x) + (+x),
    "with itself": lambda x: x * x / (x + x) - x,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic_on_numbers_is_on_the_tape_as_python_computes_it(name: str) -> None:
    rate = OPERATIONS[name]

    def rule(p: nn.Parameter) -> None:
        number = p.square().sum().item() + 0.1
        assert isinstance(number, TracedNumber)
        made = rate(number)
        assert made == rate(float(number))
        assert isinstance(made, TracedNumber)
        p.mul_(1 - 1e-3 * made)

    verify_tape(record_tape(trained_by(rule), 8, 2, seed=0))


def test_a_number_is_a_float_to_everyone_else() -> None:
    seen: list[object] = []

    def rule(p: nn.Parameter) -> None:
        x = p.norm().item()
        assert isinstance(x, float)
        assert json.loads(json.dumps({"x": x})) == {"x": float(x)}
        seen.extend([pickle.loads(pickle.dumps(x)), copy.deepcopy(x), float(x), round(x, 2), x // 1, f"{x:.3f}"])
        assert sorted([x, 0.0]) == [0.0, x]
        assert hash(x) == hash(float(x))
        p.sub_(p.grad, alpha=0.1)  # type: ignore[arg-type]

    record_tape(trained_by(rule), 8, 1, seed=0)
    assert {type(item) for item in seen} == {float, str}


def test_whole_numbers_truth_values_and_counters_stay_what_they_are() -> None:
    def rule(p: nn.Parameter) -> None:
        counter = torch.tensor(3.0) + 1
        assert type(counter.item()) is float
        assert type((p > 0).sum().item()) is int
        assert type((p > 0).any().item()) is bool
        p.sub_(p.grad, alpha=0.1 / counter.item())  # type: ignore[arg-type]

    assert numbers_given(record_tape(trained_by(rule), 8, 1, seed=0)) == 0


def test_items_are_plain_again_after_a_recording_also_one_that_fails() -> None:
    def rule(p: nn.Parameter) -> None:
        raise ValueError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        record_tape(trained_by(rule), 8, 1, seed=0)
    assert type(torch.ones(1).mul(0.3).item()) is float
    assert not hasattr(torch.optim._adafactor, "max")


def test_numbers_that_outlive_their_recording_are_plain_in_what_follows() -> None:
    losses: list[float] = []

    def rule(p: nn.Parameter) -> None:
        losses.append(p.norm().item())
        p.sub_(p.grad, alpha=0.1)  # type: ignore[arg-type]

    tape = record_tape(trained_by(rule), 8, 1, seed=0)
    assert type(losses[0]) is TracedNumber
    count = len(tape.nodes)
    assert type(sum(losses) / len(losses)) is float
    assert len(tape.nodes) == count


def test_a_number_that_numpy_computed_is_refused_with_the_line() -> None:
    def rule(p: nn.Parameter) -> None:
        p.sub_(p.grad, alpha=0.1 / (float(p.grad.norm()) + 1.1))  # type: ignore[arg-type, union-attr]

    with pytest.raises(FitError, match=r"\.item\(\)") as error:
        record(trained_by(rule), widths=(8, 12), steps=1, verify=False)
    assert "float(p.grad.norm())" in str(error.value)


def test_an_eps_with_the_bits_of_a_rate_is_no_rate() -> None:
    """0.001 * 0.01 == 1e-05: the rate of a bias that is zero, and the eps of LayerNorm."""

    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(5, width), nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, 3))
        for layer in (model[0], model[3]):
            nn.init.zeros_(layer.bias)
        optimizer = torch.optim.Adafactor(model.parameters())
        x = torch.randn(4, 5)
        while True:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    tape = record_tape(train, 8, 3, 0)
    norms = [node for node in tape.nodes if "native_layer_norm" in node.op]
    assert norms and not any(isinstance(x, Ref) and x.number for node in norms for x in node.args)
    prediction = predict(record(train, widths=(8, 12), steps=2, verify=False), remedy=False)
    assert [prediction.order(name, "size") for name in ("0", "1", "3")] == [0, 0, 0]  # -1/2, once


def test_a_short_number_is_known_where_a_call_is_given_it_and_only_there() -> None:
    def train(width: int) -> None:
        model = nn.Linear(width, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(4, width)
        while True:
            rate = (x * 0 + 0.1).double().mul(1).max().round(decimals=1).item()
            optimizer.zero_grad()
            (model(x).square().mean() * 0.1 + model(x).mean() * rate).backward()
            optimizer.step()

    nodes = record_tape(train, 8, 1, 0).nodes
    factors = [node.args[1] for node in nodes if node.op == "aten.mul.Tensor" and node.origin.phase != "optimizer"]
    given = [x for x in factors if isinstance(x, Ref) and x.number]
    assert factors.count(0.1) == len(given) == 2  # each once forward and once backward


def test_modes_of_the_script_begin_and_end_in_their_own_order_around_numbers_that_are_followed() -> None:
    """The default device is torch's own mode, and must stay the lowest. A mode that handles a call is off the stack."""

    class Shows(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.Tensor.norm:
                args[0].sum().item()
            return func(*args, **(kwargs or {}))

    def rule(p: nn.Parameter) -> None:
        with torch.device("cpu"):
            f"{p.norm():.3f}"
            with Shows():
                as_numbers(p)
                f"{p.norm():.3f}"
            as_numbers(p)

    tape = record_tape(trained_by(rule), 8, 1, seed=0)
    verify_tape(tape)
    assert numbers_given(tape) == 2 * len(tape.parameters)
    assert not _get_current_function_mode_stack()


def test_a_script_that_gets_no_numbers_runs_without_a_mode() -> None:
    stacks = []
    record_tape(trained_by(lambda p: stacks.append(_get_current_function_mode_stack()) or as_tensors(p)), 8, 1, seed=0)
    assert not any(stacks)
