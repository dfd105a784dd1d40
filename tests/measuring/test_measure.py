"""Mirrors tpdyn/measuring/measure.py: ensembles, failures, divergence."""

# ruff: noqa: NPY002 (the global generator is what scripts use)

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tpdyn.measuring.measure import Measurement, MeasuringError, measure, measure_more


def train(width: int, *, lr: float = 0.1, iterations: int = 100) -> None:
    print("noise that nobody wants to read")
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    x = torch.randn(5, 3)
    for _ in range(iterations):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def test_arrays_have_one_entry_for_each_width_seed_step_and_name(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    found = measure(train, widths=(16, 8), seeds=3, steps=2, progress=lambda done, total: seen.append((done, total)))
    assert found.widths == (8, 16)
    assert found.names == ("0", "1", "2", "output")
    assert found.parameters == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert found.size.shape == found.change.shape == found.rms.shape == (2, 3, 2, 4)
    assert found.split.shape == (2, 3, 2, 4, 4)
    assert (found.change[:, :, 0] == 0).all()
    assert (found.change[:, :, 1] > 0).all()
    assert (found.rms >= found.size).all()
    assert np.isfinite(found.loss).all()
    assert not found.diverged.any()
    assert seen == [(k, 6) for k in range(1, 7)]
    assert found.parameter_size.shape == found.parameter_change.shape == found.gradient_size.shape == (2, 3, 2, 4)
    assert capsys.readouterr().out == ""


def test_the_same_seed_gives_the_same_numbers_and_the_callers_random_state_stays() -> None:
    np.random.seed(7)
    torch.manual_seed(7)
    expected = torch.randn(1), np.random.rand()
    np.random.seed(7)
    torch.manual_seed(7)
    first = measure(train, widths=(8, 16), seeds=(4, 5), steps=2)
    assert (torch.randn(1), np.random.rand()) == expected
    second = measure(train, widths=(8, 16), seeds=(5, 4), steps=2)
    assert np.array_equal(first.change, second.change[:, ::-1])


def test_a_script_that_raises_is_named_with_width_seed_and_line_and_finished_runs_are_kept() -> None:
    def broken(width: int) -> None:
        if width == 16:
            raise RuntimeError("my own mistake")
        train(width)

    with pytest.raises(
        MeasuringError, match=r"width 16, seed 0: RuntimeError: my own mistake .*test_measure.py:\d+"
    ) as e:
        measure(broken, widths=(8, 16), seeds=2, steps=2)
    assert e.value.partial is not None
    assert e.value.partial.completed.tolist() == [[True, True], [False, False]]
    assert isinstance(e.value.__cause__, RuntimeError)


def test_ctrl_c_passes_through() -> None:
    def interrupted(width: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(interrupted, widths=(8, 16), seeds=1)
    assert not torch.nn.modules.module._global_forward_hooks


def test_a_script_without_enough_steps_is_refused() -> None:
    with pytest.raises(MeasuringError, match=r"ended after 0 optimizer steps.*training loop\?"):
        measure(lambda width: None, widths=(8, 16))
    with pytest.raises(MeasuringError, match=r"ended after 2 optimizer steps at width 8.*fewer steps"):
        measure(lambda width: train(width, iterations=2), widths=(8, 16), steps=3)


def test_a_model_whose_width_does_not_change_is_refused() -> None:
    with pytest.raises(MeasuringError, match=r"does not depend on the width.*0.weight \[8, 3\]"):
        measure(lambda width: train(8), widths=(8, 16), seeds=1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"widths": (8,)}, "at least two different"),
        ({"widths": (8, 8)}, "8 is given twice"),
        ({"widths": (8, 0)}, "whole numbers >= 1"),
        ({"seeds": 0}, "at least one"),
        ({"seeds": (1, 1)}, "no seed twice"),
        ({"steps": 0}, "steps is 0"),
        ({"device": "gpu"}, "device is 'gpu', which cannot be used here"),
    ],
)
def test_bad_arguments_are_refused_at_the_door(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        measure(train, **arguments)  # type: ignore[arg-type]


def test_diverging_runs_are_data() -> None:
    found = measure(lambda width: train(width, lr=1e30), widths=(8, 16), seeds=2, steps=3)
    assert found.diverged[:, :, 2].all()
    assert not found.diverged[:, :, 0].any()
    assert found.completed.all()


def test_a_script_that_gives_up_on_nan_is_data_too() -> None:
    def careful(width: int) -> None:
        model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
        for _ in range(10):
            optimizer.zero_grad()
            loss = model(torch.ones(2, 3)).square().mean()
            loss.backward()
            if not torch.isfinite(loss):
                raise FloatingPointError("loss is not finite")
            optimizer.step()

    found = measure(careful, widths=(8, 16), seeds=1, steps=3)
    assert found.diverged[:, :, 2].all()
    assert any("gave up on NaN or Inf: FloatingPointError" in note for note in found.notes)


def test_a_chain_of_bare_layers_says_why_no_change_is_known() -> None:
    def bare(width: int) -> None:
        first, second = nn.Linear(3, width), nn.Linear(width, 2)
        optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            second(torch.tanh(first(torch.ones(2, 3)))).square().mean().backward()
            optimizer.step()

    found = measure(bare, widths=(8, 16), seeds=1, steps=2)
    assert isinstance(found, Measurement)
    assert np.isfinite(found.change[:, :, 1, found.index("second")]).all() or any("second" in n for n in found.notes)


def seeded(width: int) -> None:
    """As nanoGPT and makemore do it."""
    torch.manual_seed(1337)
    train(width)


def test_a_script_that_seeds_itself_makes_runs_that_differ_and_seed_zero_is_the_script_as_it_is() -> None:
    found = measure(seeded, widths=(8, 16), seeds=4, steps=2)
    assert found.seeds == (0, 1, 2, 3)
    assert len(set(found.size[0, :, 0, 0])) == 4
    torch.manual_seed(1337)
    plain = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    assert found.size[0, 0, 0, 0] == pytest.approx(plain[0](torch.randn(5, 3)).double().abs().mean().item(), rel=1e-12)
    (note,) = [note for note in found.notes if "seeds its random numbers itself" in note]
    assert "(test_measure.py)" in note


def test_runs_that_are_the_same_bit_for_bit_count_once_and_it_is_said() -> None:
    def constant(width: int) -> None:
        model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.01)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(5, 3)).square().mean().backward()
            optimizer.step()

    found = measure(constant, widths=(8, 16), seeds=5, steps=2)
    assert found.seeds == (0,) and found.completed.all()
    assert "all seeds gave the same run" in found.notes[0]


def test_a_script_that_leaves_is_an_error_of_the_script() -> None:
    def leaves(width: int) -> None:
        raise SystemExit(0)

    with pytest.raises(MeasuringError, match="SystemExit"):
        measure(leaves, widths=(8, 16), seeds=1)


def test_more_runs_are_added_and_none_is_made_twice() -> None:
    calls: list[int] = []

    def counted(width: int) -> None:
        calls.append(width)
        train(width)

    known = measure(counted, widths=(8, 16), seeds=2, steps=2)
    calls.clear()
    more = measure_more(counted, known, (8, 16, 32), (0, 1, 2))
    assert sorted(calls) == [8, 16, 32, 32, 32]
    whole = measure(train, widths=(8, 16, 32), seeds=3, steps=2)
    assert np.array_equal(more.change, whole.change) and more.completed.all()
    assert measure_more(counted, known, (8, 16, 32), (0, 1, 2), on=lambda: False) is known
