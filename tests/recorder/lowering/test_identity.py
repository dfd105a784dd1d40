"""Mirrors tpdyn/recorder/lowering/identity.py: equal draws are one leaf, and what is nearly one is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tpdyn.program.instructions import Leaf
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering import LoweringError, lower
from tpdyn.recorder.record import record


class Net(nn.Module):
    def __init__(self, width: int, prepare: Callable[[nn.Linear, nn.Linear], object]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, width), nn.Linear(width, 3)
        self.one, self.other = (nn.Linear(width, width, bias=False) for _ in range(2))
        prepare(self.one, self.other)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(torch.tanh(self.first(x))))
        return self.last(torch.tanh(self.other(h)))  # type: ignore[no-any-return]


def trained(prepare: Callable[[nn.Linear, nn.Linear], object]) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = Net(width, prepare)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(4, 5)
        while True:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    return train


def on_batches(batch: Callable[[Tensor, int], Tensor]) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))
        data, optimizer = torch.randn(40, width), torch.optim.SGD(model.parameters(), lr=0.1)
        step = 0
        while True:
            optimizer.zero_grad()
            model(batch(data, step)).square().mean().backward()
            optimizer.step()
            step += 1

    return train


def leaves(lowered: Lowered, kind: str) -> list[Leaf]:
    found = [statement.instruction for statement in lowered.statements]
    return [leaf for leaf in found if isinstance(leaf, Leaf) and leaf.kind == kind]


def seeded_alike(one: nn.Linear, other: nn.Linear) -> None:
    for layer in (one, other):
        torch.manual_seed(1)
        layer.reset_parameters()
    torch.manual_seed(2)


def test_two_layers_from_one_seed_start_as_one_leaf() -> None:
    lowered = lower(record_tape(trained(seeded_alike), 8, 2, 0))
    versions = {parameter.name: parameter.versions for parameter in lowered.parameters}
    assert versions["one.weight"][0] == versions["other.weight"][0]
    assert versions["one.weight"][1] != versions["other.weight"][1]
    assert "other.weight" not in {leaf.name for leaf in leaves(lowered, "parameter")}


def test_layers_drawn_one_after_the_other_are_different_leaves() -> None:
    lowered = lower(record_tape(trained(lambda one, other: None), 8, 1, 0))
    assert {"one.weight", "other.weight"} <= {leaf.name for leaf in leaves(lowered, "parameter")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weight: 2 * weight, "starts as 2 times one.weight"),
        (lambda weight: weight.t(), "starts as the transpose of one.weight"),
        (lambda weight: -0.5 * weight.t(), "starts as -0.5 times the transpose of one.weight"),
    ],
)
def test_a_multiple_or_a_transpose_of_another_layer_is_refused(change: Callable[[Tensor], Tensor], words: str) -> None:
    def prepare(one: nn.Linear, other: nn.Linear) -> None:
        with torch.no_grad():
            other.weight.copy_(change(one.weight))

    with pytest.raises(LoweringError, match=f"outside the theory, for now: other.weight {words}"):
        lower(record_tape(trained(prepare), 8, 1, 0))


def again(data: Tensor, step: int) -> Tensor:
    torch.manual_seed(5)
    return torch.randn(4, data.shape[1])


def test_a_batch_that_is_drawn_again_is_one_leaf() -> None:
    assert len(leaves(lower(record_tape(on_batches(again), 8, 3, 0)), "data")) == 1
    assert (
        len(leaves(lower(record_tape(on_batches(lambda data, step: torch.randn(4, data.shape[1])), 8, 3, 0)), "data"))
        == 3
    )


def test_slices_that_overlap_are_data_without_a_law_of_their_own() -> None:
    lowered = lower(record_tape(on_batches(lambda data, step: data[2 * step : 2 * step + 4]), 8, 3, 0))
    assert {leaf.law.kind for leaf in leaves(lowered, "data")} == {"data"}
    assert any("shares rows" in note for note in lowered.notes)
    apart = lower(record_tape(on_batches(lambda data, step: data[4 * step : 4 * step + 4]), 8, 3, 0))
    assert {leaf.law.kind for leaf in leaves(apart, "data")} == {"normal"}


def test_multiples_of_a_batch_are_data_without_a_law_of_their_own() -> None:
    """Batches `data`, `2 data`, ... were independent draws, and outputs were read as changing by n^-1/2. They change at order 0."""
    lowered = lower(record_tape(on_batches(lambda data, step: data[:4] * (1 - 3 * step)), 8, 3, 0))
    assert {leaf.law.kind for leaf in leaves(lowered, "data")} == {"data"}
    assert any("shares rows" in note for note in lowered.notes)


def test_rows_that_meet_again_at_some_widths_only_are_joined() -> None:
    """Batches are drawn after the model, so that other rows meet at each width."""
    program = record(on_batches(lambda data, step: data[torch.randint(40, (3,))]), steps=3, verify=False)
    assert program.steps == 3
