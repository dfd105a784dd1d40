"""Mirrors tpdyn/measuring/observe.py: a measured run is the unmeasured run, and the base is what it says."""

# ruff: noqa: NPY002 (the global generator is what scripts use)

from __future__ import annotations

import copy
import random
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tpdyn.measuring.observe import FIELDS, PARTS, Observation, Observer

STEPS = 3


class Everything(nn.Module):
    """Dropout, BatchNorm, an LSTM, tied weights, numpy randomness, an in-place activation, attributes that change."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.norm = nn.BatchNorm1d(width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.fc = nn.Linear(width, width)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.3)
        self.readout = nn.Linear(width, 7, bias=False)
        self.readout.weight = self.embed.weight
        self.calls = 0
        self.register_buffer("memory", torch.zeros(width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.embed(tokens)
        x = self.norm(x.flatten(0, 1)).view_as(x)
        x = self.lstm(x)[0]
        self.memory = self.memory * 0.9 + x.detach().mean((0, 1))
        x = x + self.drop(self.act(self.fc(x))) * float(np.random.rand()) + self.memory
        return self.readout(x)


def everything(results: list[torch.Tensor], model_out: list[nn.Module]) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    model = Everything(8)
    model_out.append(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    tokens = torch.randint(0, 7, (4, 5))
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(tokens)
        loss = functional.cross_entropy(output.flatten(0, 1), tokens.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        results += [output.detach().clone(), loss.detach().clone(), torch.randn(3)]
        optimizer.step()
    results += [value.clone() for value in model.state_dict().values()]


def observe(train: object, *args: object, steps: int = STEPS) -> Observation:
    observer = Observer(steps)
    with observer.watch:
        train(*args)  # type: ignore[operator]
    return observer.finish()


def test_a_measured_run_is_bitwise_the_unmeasured_run() -> None:
    plain: list[torch.Tensor] = []
    measured: list[torch.Tensor] = []
    models: list[nn.Module] = []
    everything(plain, models)
    observe(everything, measured, models, steps=STEPS + 1)  # one more, so that the script comes to its end
    assert len(plain) == len(measured)
    assert all(torch.equal(a, b) for a, b in zip(plain, measured, strict=True))
    assert models[0].calls == models[1].calls == STEPS  # type: ignore[union-attr]
    assert models[0].memory.equal(models[1].memory)  # type: ignore[union-attr, operator, arg-type]


class Checkpointed(nn.Module):
    """A block that is recomputed in the backward pass, with dropout and a buffer inside."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.drop, self.reentrant = nn.Dropout(0.3), reentrant
        self.register_buffer("calls", torch.zeros(()))

    def block(self, h: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.drop(torch.tanh(self.inner(h)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.first(x))
        if self.reentrant is None:
            return self.last(self.block(h))
        return self.last(checkpoint(self.block, h, use_reentrant=self.reentrant))


def checkpointed(reentrant: bool | None, results: list[torch.Tensor]) -> None:
    torch.manual_seed(5)
    model = Checkpointed(reentrant)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    x, y = torch.randn(4, 5), torch.randint(0, 3, (4,))
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        results += [loss.detach().clone(), torch.randn(3)]
    results += [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("reentrant", [True, False])
def test_under_activation_checkpointing_the_run_is_the_unmeasured_one_and_all_is_seen_as_without(
    reentrant: bool,
) -> None:
    """The backward pass calls modules again: these calls are no forward pass of the script's."""
    plain: list[torch.Tensor] = []
    measured: list[torch.Tensor] = []
    checkpointed(reentrant, plain)
    found = observe(checkpointed, reentrant, measured, steps=STEPS + 1)
    assert all(map(torch.equal, plain, measured)) and len(plain) == len(measured)
    without = observe(checkpointed, None, [], steps=STEPS + 1)
    assert list(found.values) == list(without.values)
    for at, expected in without.values.items():
        if at[2] != "loss":
            np.testing.assert_allclose(found.values[at], expected, rtol=1e-5, atol=1e-7)


def test_at_step_zero_nothing_has_changed_and_later_everything_has() -> None:
    seen = observe(everything, [], [], steps=STEPS)
    names = {name for _, name, what in seen.values if what == "size"}
    assert names == {"embed", "norm", "lstm", "fc", "act", "drop", "readout", "output"}
    for name in names:
        assert seen.values[0, name, "change"] == 0.0
        assert seen.values[1, name, "change"] > 0
        assert seen.values[2, name, "change"] > 0


def test_the_base_is_the_forward_pass_at_the_initial_parameters_on_the_data_and_draws_of_the_step() -> None:
    data = [torch.randn(6, 5, generator=torch.Generator().manual_seed(k)) for k in range(STEPS)]
    by_hand: list[tuple[float, float]] = []

    def train() -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))
        initial = copy.deepcopy(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
        for x in data:
            state = torch.get_rng_state()
            with torch.no_grad():
                base = initial(x)
            torch.set_rng_state(state)
            optimizer.zero_grad()
            output = model(x)
            difference = (output - base).detach().double().abs().mean()
            by_hand.append((float(base.double().abs().mean()), float(difference)))
            output.square().mean().backward()
            optimizer.step()

    seen = observe(train)
    for t in range(STEPS):
        assert seen.values[t, "output", "size"] == pytest.approx(by_hand[t][0], rel=1e-12)
        assert seen.values[t, "output", "change"] == pytest.approx(by_hand[t][1], rel=1e-6, abs=1e-12)
        assert all(seen.values[t, "3", what] == seen.values[t, "output", what] for what in FIELDS)  # the same tensor


def test_the_split_of_a_linear_layer_bounds_and_makes_its_change() -> None:
    def train() -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)).double()  # scalars: the parts add up but for signs
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            (model(torch.ones(1, 1, dtype=torch.double)) - 3).square().mean().backward()
            optimizer.step()

    seen = observe(train)
    for t in (1, 2):
        change, parts = seen.values[t, "1", "change"], [seen.values[t, "1", part] for part in PARTS]
        assert all(part > 0 for part in parts)
        signs = np.array(np.meshgrid(*[(-1, 1)] * 4)).reshape(4, -1)
        assert np.abs(np.abs(np.array(parts) @ signs) - change).min() < 1e-12
    assert seen.values[2, "0", PARTS[0]] == 0.0  # the input of the first layer is data: W0 dx = 0


def test_gradient_sizes_are_those_after_clipping_and_parameters_change_from_their_initial_values() -> None:
    kept: list[float] = []

    def train() -> None:
        torch.manual_seed(0)
        model = nn.Linear(4, 4, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).square().sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            assert model.weight.grad is not None
            kept.append(float(model.weight.grad.double().abs().mean()))
            optimizer.step()

    seen = observe(train)
    assert [seen.values[t, "weight", "gradient size"] for t in range(STEPS)] == pytest.approx(kept)
    assert seen.values[0, "weight", "parameter change"] == 0.0
    assert seen.values[1, "weight", "parameter change"] == pytest.approx(kept[0], rel=1e-4)


def test_both_parts_of_complex_numbers_count() -> None:
    """The imaginary part was left out, and torch warned of it."""

    def train() -> None:
        weight = torch.full((3, 3), 1 + 3j, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.5)
        for _ in range(STEPS):
            optimizer.zero_grad()
            weight.imag.sum().backward()
            optimizer.step()

    seen = observe(train)
    assert [seen.values[t, "weight", "gradient size"] for t in range(STEPS)] == [0.5] * STEPS
    assert [seen.values[t, "weight", "parameter size"] for t in range(STEPS)] == [2.0] * STEPS
    assert [seen.values[t, "weight", "parameter change"] for t in range(STEPS)] == [0.0, 0.25, 0.5]


def test_a_loop_without_modules_or_optimizer_has_parameters_and_losses_only() -> None:
    def train() -> None:
        torch.manual_seed(0)
        weight = torch.randn(3, 3, requires_grad=True)
        for _ in range(STEPS + 1):
            loss = (torch.ones(2, 3) @ weight).square().mean()
            loss.backward()
            with torch.no_grad():
                assert weight.grad is not None
                weight -= 0.1 * weight.grad
                weight.grad = None

    seen = observe(train)
    assert not any(what in FIELDS for _, _, what in seen.values)
    assert seen.steps == STEPS
    assert seen.values[0, "", "loss"] > seen.values[1, "", "loss"] > seen.values[2, "", "loss"]
    assert seen.values[0, "weight", "parameter change"] == 0.0
    assert seen.values[2, "weight", "parameter change"] > seen.values[1, "weight", "parameter change"] > 0


def test_a_second_module_is_fed_with_the_base_of_the_first() -> None:
    def train() -> None:
        torch.manual_seed(0)
        encoder, decoder = nn.Sequential(nn.Linear(4, 6)), nn.Sequential(nn.Linear(6, 4))
        optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)  # the decoder is frozen
        for _ in range(STEPS):
            optimizer.zero_grad()
            criterion = nn.MSELoss()
            criterion(decoder(encoder(torch.ones(2, 4))), torch.zeros(2, 4)).backward()
            optimizer.step()

    seen = observe(train)
    assert seen.unknown_base == []
    assert seen.values[1, "Sequential.0", "change"] > 0  # only through its input
    assert seen.values[1, "MSELoss", "change"] > 0


def test_a_module_called_twice_has_two_names() -> None:
    def train() -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            (model(torch.ones(2, 4)) + model(torch.zeros(2, 4))).square().mean().backward()
            optimizer.step()

    seen = observe(train)
    assert {name for _, name, what in seen.values if what == "size"} == {"0", "output", "0#2", "output#2"}
    assert seen.values[0, "output#2", "change"] == 0.0
    assert seen.values[2, "output#2", "change"] > 0


def test_autocast_does_not_hand_the_trained_weights_to_the_base() -> None:
    def train() -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(STEPS):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model(torch.ones(2, 16))
            output.float().square().mean().backward()
            optimizer.step()

    seen = observe(train)
    assert seen.values[2, "0", "epsilon"] == torch.finfo(torch.bfloat16).eps
    assert seen.values[0, "output", "change"] == 0.0
    assert seen.values[1, "0", "change"] > 0


class Disturbed(nn.Module):
    """A module that keeps things in every way a second forward pass could spoil."""

    history: list[float]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(4, width)
        self.out = nn.Linear(width, 1)
        self.auxiliary: list[torch.Tensor] = []
        self.seen = {"calls": 0, "inner": [0]}
        self.running = torch.zeros(width)
        self.noise = torch.Generator().manual_seed(5)
        self.numbers = np.random.default_rng(5)
        self.old = np.random.RandomState(5)
        self.python = random.Random(5)
        self.carried = torch.zeros(2, width)
        self.notes = Notes()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        GLOBAL.append(len(GLOBAL))
        self.seen["calls"] += 1  # type: ignore[operator]
        self.seen["inner"][0] += 1  # type: ignore[index]
        self.notes.lines.append("called")
        h = torch.tanh(self.fc(x)) + 0.1 * self.carried
        h = h * (0.5 + torch.rand(h.shape, generator=self.noise))
        h = h * float(self.numbers.random() + self.old.rand() + self.python.random())
        self.auxiliary.append(h.square().mean())
        self.running.mul_(0.9).add_(h.detach().mean(0))
        self.carried = h.detach()
        return self.out(h * (1 + self.running))


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []


GLOBAL: list[int] = []


def disturbed(results: list[object], models: list[Disturbed]) -> None:
    torch.manual_seed(3)
    GLOBAL.clear()
    model = Disturbed(8)
    models.append(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x = torch.randn(2, 4)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(x).square().mean() + 0.1 * torch.stack(model.auxiliary).sum()
        model.auxiliary.clear()
        loss.backward()
        optimizer.step()
        results += [loss.item(), len(GLOBAL), len(model.notes.lines), model.seen["calls"], list(model.seen["inner"])]  # type: ignore[call-overload]
    results += [value.tolist() for value in (*model.parameters(), model.running, model.carried)]


def test_lists_tensors_generators_and_objects_of_modules_are_put_back() -> None:
    plain: list[object] = []
    measured: list[object] = []
    disturbed(plain, [])
    seen = observe(disturbed, measured, [], steps=STEPS + 1)
    assert plain == measured
    assert seen.values[0, "output", "change"] == 0.0  # the base drew the same numbers from the module's own generators


def test_a_tensor_attribute_that_backward_still_needs_is_not_touched() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 8)
            self.mask = torch.ones(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.mask[0] += 1
            return (self.fc(x) * self.mask).sum()

    def train() -> None:
        torch.manual_seed(0)
        model = Scaled()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        view = model.mask[:1]
        for step in range(STEPS):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).backward()
            assert float(view) == step + 2  # views of it see it still
            optimizer.step()

    assert observe(train).values[1, "output", "change"] > 0


def test_an_input_that_is_changed_in_place_is_given_to_the_base_as_it_was() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.mul_(3)
            return self.fc(x)

    def train() -> None:
        torch.manual_seed(0)
        model = InPlace()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).square().mean().backward()
            optimizer.step()

    assert observe(train).values[0, "output", "change"] == 0.0


def test_a_base_that_draws_fewer_numbers_leaves_the_random_states_of_the_run() -> None:
    drawn: list[float] = []

    class Draws(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 8)
            self.start = self.fc.weight.detach().clone()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.equal(self.fc.weight, self.start):  # the base has its initial weights
                x = x + torch.rand(()) + np.random.rand()
            return self.fc(x)

    def train() -> None:
        torch.manual_seed(0)
        np.random.seed(0)
        model = Draws()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).square().mean().backward()
            drawn.extend((float(torch.rand(())), float(np.random.rand())))
            optimizer.step()

    train()
    observe(train)
    assert drawn[: 2 * STEPS] == drawn[2 * STEPS :]


def test_a_base_belongs_to_its_tensor_and_not_to_a_later_one_at_the_same_address() -> None:
    observer = Observer(1)
    gone, here = torch.zeros(2), torch.ones(2)
    observer._bases[id(here)] = (weakref.ref(gone), torch.full((2,), 5.0))
    (found,), known = observer._base_of((here,))
    assert found is here and known
    observer._bases[id(here)] = (weakref.ref(here), torch.full((2,), 5.0))
    (found,), known = observer._base_of((here,))
    assert found is not here and float(found[0]) == 5.0


def test_entries_that_are_infinite_in_the_base_too_do_not_change() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x).masked_fill(torch.eye(4, dtype=torch.bool), float("-inf"))

    def train() -> None:
        torch.manual_seed(0)
        model = Masked()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(torch.ones(4, 4)).softmax(-1)[:, 0].sum().backward()
            optimizer.step()

    seen = observe(train)
    assert 0 < seen.values[1, "output", "change"] < np.inf
    assert not seen.broken_by(STEPS)


def test_the_base_is_what_the_first_update_finds_and_not_what_a_dry_run_found() -> None:
    observer = Observer(2)
    with observer.watch:
        model, x = nn.Linear(3, 4, bias=False), torch.ones(2, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        model(x)
        nn.init.constant_(model.weight, 2.0)
        for _ in range(2):
            model(x).sum().backward()
            optimizer.step()
    seen = observer.finish().values
    assert seen[0, "output#2", "size"] == seen[1, "output", "size"] == 6
    assert seen[0, "output#2", "change"] == seen[1, "output", "change"] == 0
