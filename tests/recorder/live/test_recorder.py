"""Does the recorder write down what the script does, where it does it, and refuse what it cannot?"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.recorder import Recorder, record_tape
from tpdyn.recorder.live.replay import verify_tape


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, width)
        self.fc2 = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.tanh(self.fc1(x)))


def train(width: int, steps: int = 100, before: Any = None) -> list[float]:
    inputs, labels = torch.randn(16, 3), torch.randint(0, 2, (16,))
    model = Net(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(F.dropout(model(inputs), 0.1), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def by_hand(width: int) -> None:
    model = Net(width)
    x = torch.randn(4, 3)
    while True:
        for p in model.parameters():
            p.grad = None
        model(x).square().mean().backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * torch.sign(p.grad)


def test_parameters_have_one_version_more_than_steps() -> None:
    tape = record_tape(train, 8, 3, seed=0)
    assert [p.name for p in tape.parameters] == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert all(len(set(p.versions)) == 4 and len(set(p.gradients)) == 3 for p in tape.parameters)


def test_marks_name_modules_the_output_and_the_loss_at_each_step() -> None:
    tape = record_tape(train, 8, 2, seed=0)
    assert [(m.kind, m.name, m.step) for m in tape.marks] == [
        (kind, name, step)
        for step in range(2)
        for kind, name in [("module", "fc1"), ("module", "fc2"), ("output", "output"), ("loss", "loss")]
    ]


def test_initialisation_is_recorded_as_the_random_draws_that_it_is() -> None:
    tape = record_tape(train, 16, 1, seed=0)
    (weight,) = [p for p in tape.parameters if p.name == "fc2.weight"]
    node = tape.nodes[weight.versions[0].node]
    assert (node.op, node.random, node.origin.phase) == ("aten.uniform.default", True, "initialization")
    assert node.args[1:] == pytest.approx((-0.25, 0.25))
    assert "Linear(width, 2)" in node.origin.source.text


@pytest.mark.parametrize("script", [train, by_hand])
def test_each_phase_is_known(script: Any) -> None:
    tape = record_tape(script, 8, 2, seed=0)
    phases = {(n.op.split(".")[1], n.origin.phase) for n in tape.nodes if n.origin.step == 1}
    assert ("tanh", "forward") in phases
    assert ("tanh_backward", "backward") in phases
    assert ("randn", "data") in {(n.op.split(".")[1], n.origin.phase) for n in tape.nodes}
    updates = {node.origin.phase for p in tape.parameters for node in [tape.nodes[p.versions[2].node]]}
    assert updates == {"optimizer"}
    assert all(phase == "optimizer" for op, phase in phases if op in ("sign", "sub"))


def test_backward_operations_belong_to_the_module_and_line_of_their_forward() -> None:
    tape = record_tape(train, 8, 1, seed=0)
    (node,) = [n for n in tape.nodes if n.op == "aten.tanh_backward.default"]
    assert "torch.tanh(self.fc1(x))" in node.origin.source.text
    products = [n.origin.module for n in tape.nodes if n.op == "aten.mm.default" and n.origin.phase == "backward"]
    assert sorted(products) == ["fc1", "fc2", "fc2"]


def test_forward_and_backward_share_their_sequence_number() -> None:
    tape = record_tape(train, 8, 1, seed=0)
    numbers = {n.op: n.sequence for n in tape.nodes if "tanh" in n.op}
    assert numbers["aten.tanh.default"] == numbers["aten.tanh_backward.default"] >= 0


@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_by_hand_counts_like_any_other(steps: int) -> None:
    tape = record_tape(by_hand, 8, steps, seed=0)
    assert tape.steps == steps
    assert {m.step for m in tape.marks} == set(range(steps))
    assert all(None not in p.gradients and len(p.versions) == steps + 1 for p in tape.parameters)
    verify_tape(tape)


def test_the_script_computes_what_it_would_compute_without_us() -> None:
    def plain(width: int) -> list[float]:
        return train(width, 4)

    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    expected, then = plain(8), torch.rand(3)
    found: list[Any] = []

    def recorded(width: int) -> None:
        found.append(plain(width))
        found.append(torch.rand(3))

    record_tape(recorded, 8, 10, seed=3)
    assert found[0] == expected
    assert torch.equal(found[1], then)


def test_operations_that_nothing_named_depends_on_are_dropped() -> None:
    def script(width: int) -> None:
        model = Net(width)
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(2):
            out = model(torch.ones(4, 3))
            out.square().sum().backward()
            optimizer.step()
            (out.argmax(1) == 1).float().mean().item()

    tape = record_tape(script, 8, 2, seed=0)
    assert not any("argmax" in n.op or "empty_like" in n.op for n in tape.nodes)


def test_numbers_that_leave_through_item_are_noted_with_their_line() -> None:
    tape = record_tape(train, 8, 2, seed=0)
    assert any(".item() at test_recorder.py:" in note and "losses.append" in note for note in tape.notes)


def test_tied_weights_are_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, width)
            self.head = nn.Linear(width, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.embed(ids))

    def script(width: int) -> None:
        model = Tied(width)
        optimizer = torch.optim.AdamW(model.parameters())
        F.cross_entropy(model(torch.tensor([1, 2, 3])), torch.tensor([2, 3, 4])).backward()
        optimizer.step()

    tape = record_tape(script, 8, 1, seed=0)
    assert [p.name for p in tape.parameters] == ["embed.weight"]
    assert sorted(n.input_kind or "" for n in tape.nodes if n.op == "input") == ["data", "data"]
    verify_tape(tape)


def test_a_model_built_before_is_an_input_by_its_names() -> None:
    model = Net(8)
    model.register_buffer("shift", torch.ones(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = torch.randn(4, 3)
    recorder = Recorder(8)
    with recorder:
        for _ in range(2):
            optimizer.zero_grad()
            model(batch + model.shift).square().mean().backward()
            optimizer.step()
    tape = recorder.tape
    kinds = {(n.name, n.input_kind) for n in tape.nodes if n.op == "input"}
    assert kinds == {
        *((name, "parameter") for name, _ in model.named_parameters()), ("shift", "buffer"), ("batch", "data"),
    }  # fmt: skip
    assert tape.steps == 2
    verify_tape(tape)


def test_a_recorder_with_a_limit_ends_the_block() -> None:
    with Recorder(8, steps=2) as recorder:
        train(8)
        pytest.fail("the block should have ended")
    assert recorder.tape.steps == 2


def test_several_optimizers_each_give_their_parameters_a_version_a_step() -> None:
    def script(width: int) -> None:
        model = Net(width)
        first = torch.optim.SGD(model.fc1.parameters(), lr=0.1)
        second = torch.optim.Adam(model.fc2.parameters(), lr=0.1)
        while True:
            model.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            first.step()
            second.step()

    tape = record_tape(script, 8, 3, seed=0)
    assert all(len(set(p.versions)) == 4 and None not in p.gradients for p in tape.parameters)
    assert any("several optimizers" in note for note in tape.notes)
    for p in tape.parameters:
        assert [tape.nodes[v.node].origin.step for v in p.versions[1:]] == [0, 1, 2]
    verify_tape(tape)


def test_a_script_that_ends_early_is_recorded_as_far_as_it_goes() -> None:
    tape = record_tape(lambda width: train(width, 2), 8, 5, seed=0)
    assert tape.steps == 2
    assert any("5 were wanted" in note for note in tape.notes)


def test_evaluation_under_no_grad_leaves_no_marks() -> None:
    def script(width: int) -> None:
        model = Net(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.ones(2, 3)
        for _ in range(2):
            model(x).sum().backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                model(x)
            model.train()

    tape = record_tape(script, 8, 2, seed=0)
    assert not any("#" in mark.name for mark in tape.marks)


def raising(width: int) -> None:
    raise KeyError("lost")


def test_an_error_of_the_script_is_shown_with_its_line() -> None:
    with pytest.raises(RecordingError, match=r"raised KeyError at width 8[\s\S]*raise KeyError") as caught:
        record_tape(raising, 8, 2, seed=0)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_script_that_exits_with_a_failure_is_refused() -> None:
    def script(width: int) -> None:
        raise SystemExit(2)

    with pytest.raises(RecordingError, match="exit status 2"):
        record_tape(script, 8, 2, seed=0)


def test_a_script_without_any_training_is_refused() -> None:
    with pytest.raises(RecordingError, match="no backward pass and completed no optimizer step"):
        record_tape(lambda width: Net(width)(torch.ones(2, 3)), 8, 2, seed=0)


def test_a_script_that_never_steps_is_refused() -> None:
    with pytest.raises(RecordingError, match="1 backward passes and completed no optimizer step"):
        record_tape(lambda width: Net(width)(torch.ones(2, 3)).sum().backward(), 8, 2, seed=0)


def test_sparse_gradients_are_refused() -> None:
    def script(width: int) -> None:
        layer = nn.Embedding(5, width, sparse=True)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        layer(torch.tensor([1, 2])).sum().backward()
        optimizer.step()

    with pytest.raises(RecordingError, match="sparse"):
        record_tape(script, 8, 1, seed=0)


def test_closures_that_are_evaluated_again_are_refused() -> None:
    def script(width: int) -> None:
        model = Net(width)
        optimizer = torch.optim.LBFGS(model.parameters())

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = model(torch.ones(2, 3)).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    with pytest.raises(RecordingError, match=r"LBFGS[\s\S]*optimizer.step\(closure\)"):
        record_tape(script, 8, 1, seed=0)


def test_the_tape_is_only_there_after_the_block() -> None:
    with pytest.raises(RecordingError, match="not finished"), Recorder(8) as recorder:
        _ = recorder.tape


def test_everything_is_put_back_after_an_error() -> None:
    before = torch.compile
    with pytest.raises(RecordingError):
        record_tape(raising, 8, 1, seed=0)
    assert torch.compile is before
    assert torch.ones(1).add_(1).item() == 2.0


def test_live_values_outlast_writes_to_their_memory_inside_and_after_the_block() -> None:
    """They are copied only when something is about to write to them; replay compares bit for bit."""
    model = Net(4)
    x = torch.randn(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder() as recorder:
        hidden = model.fc1(x)
        out = model.fc2(hidden.relu())
        with torch.no_grad():
            hidden.view(-1)[3:].mul_(7.0)  # through a view; autograd saved the result of relu, not this
        out.square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        for value in (hidden, out, *model.parameters()):
            value.zero_()
    verify_tape(recorder.tape)
    assert all(float(value.abs().sum()) > 0 for value in recorder.tape.live.values())


def projecting(width: int) -> None:
    """Weights are clamped between the backward pass and the step of the optimizer that holds them."""
    layer = nn.Linear(3, width)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.ones(2, 3)).square().sum().backward()
        with torch.no_grad():
            layer.weight.clamp_(-0.2, 0.2)
        optimizer.step()


def test_weights_that_an_optimizer_holds_are_not_stepped_by_hand_when_they_are_written() -> None:
    tape = record_tape(projecting, 8, 2, seed=0)
    assert tape.steps == 2
    versions = {p.name: p.versions for p in tape.parameters}["weight"]
    assert len(versions) == 3
    assert versions[0] is not None and "uniform" in tape.nodes[versions[0].node].op  # what the first pass read


def test_a_weight_that_is_perturbed_and_restored_before_its_first_step_begins_as_it_was_drawn() -> None:
    """Sharpness-aware minimisation: the perturbed weight is a function of the parameter, and no data."""

    def train(width: int) -> None:
        layer = nn.Linear(3, width, bias=False)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        while True:
            layer(torch.ones(2, 3)).square().sum().backward()
            with torch.no_grad():
                layer.weight.add_(0.1)
            layer(torch.ones(2, 3)).square().sum().backward()
            with torch.no_grad():
                layer.weight.sub_(0.1)
            optimizer.step()

    tape = record_tape(train, 8, 2, seed=0)
    versions = {p.name: p.versions for p in tape.parameters}["weight"]
    assert versions[0] is not None and "uniform" in tape.nodes[versions[0].node].op


def test_living_objects_are_searched_for_optimizers_only_where_weights_are_written_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def held(tensors: Iterable[Tensor]) -> set[int]:
        asked.append(len(list(tensors)))
        return set()

    monkeypatch.setattr("tpdyn.recorder.live.recorder.held_by_an_optimizer", held)

    def plain(width: int) -> None:
        layer = nn.Linear(3, width)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(3):
            layer(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()

    record_tape(plain, 8, 2, seed=0)
    assert asked == []
    record_tape(projecting, 8, 2, seed=0)
    assert asked == [2]


def test_another_thread_is_refused_while_one_records_and_nothing_stays_patched() -> None:
    before = torch.compile, nn.Module.__call__, Tensor.backward
    inside, done, errors = threading.Event(), threading.Event(), []

    def first(width: int) -> None:
        inside.set()
        done.wait(10)
        train(width)

    def second() -> None:
        inside.wait(10)
        try:
            record_tape(train, 8, 1, seed=0)
        except RecordingError as error:
            errors.append(str(error))
        done.set()

    def train(width: int) -> None:
        net = nn.Linear(width, 2)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(torch.ones(2, width)).sum().backward()
        optimizer.step()

    other = threading.Thread(target=second)
    other.start()
    assert record_tape(first, 8, 1, seed=0).steps == 1
    other.join()
    assert len(errors) == 1
    assert "another thread is recording; expected one recording at a time" in errors[0]
    assert before == (torch.compile, nn.Module.__call__, Tensor.backward)
    assert record_tape(train, 8, 1, seed=0).steps == 1


def test_training_in_another_thread_and_a_loop_that_is_only_returned_are_told() -> None:
    def trained(width: int) -> None:
        net = nn.Linear(width, 2)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(torch.ones(2, width)).sum().backward()
        optimizer.step()

    def aside(width: int) -> None:
        def quiet() -> None:
            with contextlib.suppress(RecordingError):  # a script may catch it
                trained(width)

        thread = threading.Thread(target=quiet)
        thread.start()
        thread.join()

    def steps(width: int) -> Iterator[None]:
        trained(width)
        yield

    with pytest.raises(RecordingError, match="an optimizer steps in another thread"):
        record_tape(aside, 8, 1, seed=0)
    with pytest.raises(RecordingError, match="returned a generator at width 8, of which nothing has run"):
        record_tape(steps, 8, 1, seed=0)


def test_in_inference_mode_the_operations_are_those_that_torch_makes_of_composite_ones() -> None:
    def train(width: int) -> None:
        model, teacher = nn.Linear(3, width), nn.Linear(3, width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(5, 3)
        with torch.inference_mode():
            target = torch.cat(teacher(x).reshape(5, 2, -1).chunk(2, 1), 1).flatten(1).square()
        (model(x) - target.clone()).square().mean().backward()
        optimizer.step()

    tape = record_tape(train, 4, 1, seed=0, evaluations=True)
    verify_tape(tape)
    assert not {"aten.linear.default", "aten.reshape.default", "aten.square.default"} & {node.op for node in tape.nodes}
