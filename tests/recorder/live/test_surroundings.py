"""Mirrors tpdyn/recorder/live/surroundings.py: a recording leaves the process as it was, whatever the script switches."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module
from torch.optim import optimizer
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from tpdyn import measure, record, recording
from tpdyn.recorder.live.hooks import Watch
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.surroundings import foreseeable, seed_everything


def train(width: int) -> None:
    model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 5)
    while True:
        optimizer.zero_grad()
        # a type is named nowhere: it is the default's
        (model(x) * (torch.arange(3) / 7 + torch.full((3,), 1 / 3))).square().mean().backward()
        optimizer.step()


def patched() -> tuple[object, ...]:
    """What a recording patches, and the hooks it sets."""
    hooks = module._global_forward_hooks, module._global_forward_pre_hooks, optimizer._global_optimizer_pre_hooks
    return (
        torch.compile,
        torch.Tensor.item,
        torch.autograd._engine_run_backward,  # type: ignore[attr-defined]
        vars(torch.optim._adafactor).get("max"),
        *(len(each) for each in hooks),
    )


def drawn() -> tuple[float, float]:
    """Not of random, from which annotations are checked in this process."""
    return float(torch.rand(1)), float(np.random.rand())  # noqa: NPY002


def test_generators_draw_on_from_where_they_were() -> None:
    seed_everything(7)
    expected = drawn()
    seed_everything(7)
    record_tape(train, 8, 1, 0)
    assert drawn() == expected


def test_generators_that_the_script_leaves_unseeded_draw_the_same_in_each_recording() -> None:
    def unseeded() -> list[float]:
        sequence = np.random.SeedSequence()
        assert isinstance(sequence, np.random.SeedSequence)
        assert isinstance(np.random.RandomState(3), np.random.RandomState)
        assert np.random.SeedSequence(5).entropy == np.random.SeedSequence(entropy=5).entropy == 5
        made = np.random.RandomState(), np.random.default_rng(), np.random.Generator(np.random.PCG64(sequence))
        return [float(pickle.loads(pickle.dumps(generator)).uniform()) for generator in made]

    before = np.random.SeedSequence, np.random.RandomState, np.random.default_rng
    with foreseeable(0):
        once = unseeded()
        assert unseeded() != once
    with foreseeable(0):
        assert unseeded() == once
    with foreseeable(1):
        assert not set(unseeded()) & set(once)
    assert (np.random.SeedSequence, np.random.RandomState, np.random.default_rng) == before


def test_what_the_script_switches_is_switched_back() -> None:
    def switching(width: int) -> None:
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(2)
        torch.backends.cudnn.benchmark = True
        train(width)

    record(switching, steps=1)
    assert torch.get_default_dtype() == torch.float32
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1
    assert not torch.backends.cudnn.benchmark


def test_what_a_script_records_and_measures_itself_is_no_part_of_it() -> None:
    def itself(width: int) -> None:
        assert record(train, widths=(4, 6, 10), steps=1).verified is not None
        measure(train, widths=(4, 8), seeds=1, steps=1)
        train(width)

    tapes = [record_tape(script, 8, 2, 0) for script in (itself, train)]
    assert len(tapes[0].nodes) == len(tapes[1].nodes)
    assert [mark.name for mark in tapes[0].marks] == [mark.name for mark in tapes[1].marks]


def test_a_recording_inside_of_a_recorded_script_leaves_nothing_patched() -> None:
    before = patched()

    def nested(width: int) -> None:
        with recording(steps=1):
            train(width)
        train(width)

    assert record(nested, steps=1).steps == 1
    assert before == patched()
    record_tape(train, 8, 1, 0)


def test_recordings_that_overlap_leave_nothing_patched_and_the_inner_one_ends_with_the_outer() -> None:
    def some(steps: int) -> None:
        model = nn.Linear(5, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(2, 5)).square().mean().backward()
            optimizer.step()

    before = patched()
    outer, inner = recording(), recording()
    outer.__enter__()
    inner.__enter__()
    some(2)
    outer.__exit__(None, None, None)
    assert patched() == before
    some(3)
    inner.__exit__(None, None, None)
    assert patched() == before and not _get_current_dispatch_mode_stack()
    assert (outer.tape.steps, inner.tape.steps) == (2, 2)
    assert any("ended with one around it" in note for note in inner.tape.notes)
    first, second = Watch(), Watch()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    some(1)
    second.__exit__(None, None, None)
    assert patched() == before and (first.step, first.backwards) == (0, 0) and (second.step, second.backwards) == (1, 1)


def test_a_script_that_records_its_own_loop_is_recorded_as_any_other() -> None:
    """Whether it wants more steps or fewer: what stops the script is not taken for the end of its block."""

    def itself(steps: int) -> Callable[[int], None]:
        def script(width: int) -> None:
            with recording(steps=steps) as own:
                train(width)
            assert own.tape.steps == steps

        return script

    plain = record_tape(train, 8, 2, 0)
    for steps in (2, 3):
        found = record_tape(itself(steps), 8, 2, 0)
        assert (found.steps, len(found.nodes)) == (2, len(plain.nodes))
    assert record_tape(itself(1), 8, 2, 0).steps == 1


def test_filters_of_warnings_are_put_back() -> None:
    def strict(width: int) -> None:
        warnings.simplefilter("ignore")
        train(width)

    before = list(warnings.filters)
    record_tape(strict, 8, 1, 0)
    assert list(warnings.filters) == before
