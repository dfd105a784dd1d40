"""Does `Watch` see the steps, modules and parameters of ordinary training loops?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from tpdyn.recorder.live.hooks import Watch, first_float_tensor


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, width)
        self.fc2 = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.tanh(self.fc1(x)))


def events_of(script: Any, limit: int | None = None) -> tuple[Watch, list[tuple[Any, ...]]]:
    events: list[tuple[Any, ...]] = []
    watch = Watch(
        limit=limit,
        on_module_enter=lambda path, *_: events.append(("enter", path)),
        on_module_exit=lambda path, *_: events.append(("exit", path, watch.step)),
        on_step_begin=lambda _: events.append(("begin", watch.step)),
        on_step_end=lambda _: events.append(("end", watch.step)),
        on_output=lambda name, _: events.append(("output", name, watch.step)),
    )
    with watch:
        script()
    return watch, events


def train(optimizer_of: Any, steps: int = 100, micro: int = 1) -> Any:
    def script() -> None:
        torch.manual_seed(0)
        model = Net(4)
        step = optimizer_of(model)
        for _ in range(steps):
            model.zero_grad()
            for _ in range(micro):
                nn.CrossEntropyLoss()(model(torch.ones(5, 3)), torch.zeros(5, dtype=torch.long)).backward()
            step()

    return script


def sgd(model: nn.Module) -> Any:
    return torch.optim.SGD(model.parameters(), lr=0.1).step


def by_hand(model: nn.Module) -> Any:
    def step() -> None:
        with torch.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                p -= 0.1 * p.grad.sign()

    return step


def by_data(model: nn.Module) -> Any:
    def step() -> None:
        for p in model.parameters():
            assert p.grad is not None
            p.data.add_(p.grad, alpha=-0.1)

    return step


@pytest.mark.parametrize("optimizer_of", [sgd, by_hand, by_data])
def test_a_limit_of_three_stops_after_three_steps_with_forwards_at_zero_one_and_two(optimizer_of: Any) -> None:
    watch, events = events_of(train(optimizer_of), limit=3)
    assert watch.step == 3 and watch.stopped
    assert [e for e in events if e[0] == "output"] == [("output", "output", t) for t in range(3)]
    assert [e for e in events if e[0] in ("begin", "end")] == [
        e for t in range(3) for e in (("begin", t), ("end", t + 1))
    ]


@pytest.mark.parametrize("optimizer_of", [sgd, by_hand, by_data])
def test_the_last_step_of_a_script_that_ends_by_itself_is_counted(optimizer_of: Any) -> None:
    watch, _ = events_of(train(optimizer_of, steps=2))
    assert watch.step == 2 and not watch.stopped


def test_modules_are_named_by_their_path_in_the_root() -> None:
    watch, events = events_of(train(sgd), limit=1)
    assert [e[1] for e in events if e[0] == "enter"] == ["", "fc1", "fc2", "CrossEntropyLoss"]
    assert list(watch.parameters()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


def test_a_module_called_again_within_one_step_gets_a_number() -> None:
    _, events = events_of(train(sgd, micro=2), limit=2)
    assert [e[1] for e in events if e[0] == "exit" and "fc2" in e[1]] == ["fc2", "fc2#2"] * 2
    assert [e[1] for e in events if e[0] == "output"] == ["output", "output#2"] * 2


def test_forward_passes_without_gradients_are_no_events() -> None:
    def script() -> None:
        model = Net(4)
        with torch.no_grad():
            model(torch.ones(2, 3))

    _, events = events_of(script)
    assert events == []


def test_a_frozen_teacher_that_is_called_first_is_not_the_network() -> None:
    def script() -> None:
        teacher, student = Net(4).requires_grad_(False), Net(4)
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        (student(torch.ones(2, 3)) - teacher(torch.ones(2, 3))).square().sum().backward()
        optimizer.step()
        (teacher(torch.ones(2, 3)) - student(torch.ones(2, 3))).square().sum().backward()
        optimizer.step()

    watch, events = events_of(script)
    names = [e[1] for e in events if e[0] == "enter"]
    assert names == ["", "fc1", "fc2", *["Net", "Net.fc1", "Net.fc2"] * 2, "", "fc1", "fc2"]
    assert [e for e in events if e[0] == "output"] == [("output", "output", 0), ("output", "output", 1)]
    first, _ = events_of(lambda: [Net(4).requires_grad_(False)(torch.ones(2, 3)), train(sgd, steps=1)()])
    assert "fc1.weight" in watch.parameters() and "Net.fc1.weight" in first.parameters()


@pytest.mark.parametrize(
    "together",
    [
        lambda first, last, x: first(x) + last(x),  # a bias beside a product
        lambda first, last, x: last(first(x)) + first(x),
        lambda first, last, x: first(x).mean() * last(x),
    ],
)
def test_the_last_module_is_no_output_if_others_act_on_the_loss_beside_it(together: Any) -> None:
    def script() -> None:
        first, last = nn.Linear(3, 3), nn.Linear(3, 3)
        optimizer = torch.optim.SGD([*first.parameters(), *last.parameters()], lr=0.1)
        together(first, last, torch.ones(2, 3)).sum().backward()
        optimizer.step()

    _, events = events_of(script)
    assert [e for e in events if e[0] == "output"] == []


def test_the_last_module_is_the_output_if_all_others_act_through_one_of_its_calls() -> None:
    def script() -> None:
        first, last = nn.Linear(3, 3), nn.Linear(3, 3)
        optimizer = torch.optim.SGD([*first.parameters(), *last.parameters()], lr=0.1)
        penalty = first.weight.square().sum()
        (last(first(torch.ones(2, 3))) - last(first(torch.zeros(2, 3)))).square().sum().add(penalty).backward()
        optimizer.step()

    _, events = events_of(script)
    assert [e for e in events if e[0] == "output"] == [("output", "output", 0)]


def test_a_container_that_is_never_called_is_still_the_root() -> None:
    def script() -> None:
        model = nn.ModuleDict({"encoder": nn.Linear(3, 4), "decoder": nn.Linear(4, 3)})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = model["decoder"](model["encoder"](torch.ones(2, 3))).sum()
        loss.backward()
        optimizer.step()

    watch, events = events_of(script)
    assert [e[1] for e in events if e[0] == "enter"] == ["encoder", "decoder"]
    assert [e for e in events if e[0] == "output"] == [("output", "output", 0)]
    assert "encoder.weight" in watch.parameters()


def test_bare_tensors_get_the_name_of_the_variable_that_holds_them() -> None:
    def script() -> None:
        w1 = torch.ones(3, 4, requires_grad=True)
        layers = [torch.ones(4, 4, requires_grad=True), torch.ones(4, 2, requires_grad=True)]
        optimizer = torch.optim.SGD([w1, *layers], lr=0.1)
        (torch.ones(2, 3) @ w1 @ layers[0] @ layers[1]).sum().backward()
        optimizer.step()

    watch, _ = events_of(script)
    assert list(watch.parameters()) == ["w1", "layers[0]", "layers[1]"]


def test_steps_of_functional_loops_without_modules_are_counted() -> None:
    def script() -> None:
        w = torch.ones(3, requires_grad=True)
        for _ in range(10):
            (g,) = torch.autograd.grad((w * w).sum(), w)
            with torch.no_grad():
                w -= 0.1 * g

    watch, _ = events_of(script, limit=4)
    assert watch.step == 4
    assert list(watch.parameters()) == ["w"]


def test_bare_layers_are_named_by_their_variables() -> None:
    def script() -> None:
        fc1, fc2 = nn.Linear(3, 4), nn.Linear(4, 2)
        optimizer = torch.optim.SGD([*fc1.parameters(), *fc2.parameters()], lr=0.1)
        fc2(fc1(torch.ones(2, 3))).sum().backward()
        optimizer.step()

    watch, events = events_of(script)
    assert [e[1] for e in events if e[0] == "enter"] == ["fc1", "fc2"]
    assert list(watch.parameters()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


def test_weights_changed_before_the_first_optimizer_step_are_no_step() -> None:
    def script() -> None:
        model = Net(4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            model(torch.ones(2, 3)).sum().backward()
            with torch.no_grad():
                model.fc1.weight.clamp_(-0.01, 0.01)
            optimizer.step()

    watch, _ = events_of(script)
    assert watch.step == 3


def test_all_optimizers_finish_the_last_step() -> None:
    counts = [0, 0]

    def script() -> None:
        model = Net(4)
        first = torch.optim.SGD(model.fc1.parameters(), lr=0.1)
        second = torch.optim.Adam(model.fc2.parameters(), lr=0.1)
        while True:
            model(torch.ones(2, 3)).sum().backward()
            first.step()
            counts[0] += 1
            second.step()
            counts[1] += 1

    watch, _ = events_of(script, limit=2)
    assert watch.step == 2 and counts == [2, 1]  # the second step of `second` has run; the script's count has not


def test_hooks_are_gone_afterwards_and_errors_of_the_script_come_through() -> None:
    from torch.nn.modules import module

    before = torch.autograd._engine_run_backward  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError), Watch():
        raise ZeroDivisionError
    assert torch.autograd._engine_run_backward is before  # type: ignore[attr-defined]
    assert not module._global_forward_hooks and not module._global_forward_pre_hooks
    assert not module._has_any_global_hook()  # type: ignore[no-untyped-call]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Watch(limit=0)


def test_the_first_float_tensor_is_found_in_nested_outputs() -> None:
    x = torch.ones(2)
    assert first_float_tensor({"a": [torch.ones(2, dtype=torch.long), (None, x)]}) is x
    assert first_float_tensor((torch.tensor(0.5), x)) is x  # the loss, then the logits
    assert first_float_tensor(((loss := torch.tensor(0.5)),)) is loss


def test_a_parametrization_that_is_built_or_asked_for_is_not_the_network() -> None:
    """`spectral_norm(layer)` computes the weight once, before there is a network around the layer."""

    def script() -> None:
        model = nn.Sequential(spectral_norm(nn.Linear(3, 4)), nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        (model(torch.ones(2, 3)).sum() + model[0].weight.sum()).backward()
        optimizer.step()

    watch, events = events_of(script)
    assert list(watch.parameters()) == ["0.bias", "0.parametrizations.weight.original", "1.weight", "1.bias"]
    assert [e[1] for e in events if e[0] == "output"] == ["output"]
