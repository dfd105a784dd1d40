"""Mirrors tpdyn/program/base.py: which values the base program reads as initial ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tpdyn
from tests.slopes import slope_of
from tpdyn.exponents import ZERO
from tpdyn.program.base import later_versions
from tpdyn.program.builder import Builder
from tpdyn.regimes.prediction import Regime


def test_later_versions_are_read_as_the_first_and_know_the_one_before() -> None:
    b = Builder()
    first = b.parameter("w", (b.n,))
    still = b.parameter("frozen", (b.n,))
    second = b.update("w", b.combine((0.5, first)))
    b.at(step=2)
    third = b.update("w", b.combine((0.5, second)))
    later = later_versions(b.build())
    assert sorted(later) == [second, third]
    assert [(each.first, each.previous, each.step) for each in later.values()] == [
        (first, first, 1),
        (first, second, 3),
    ]
    assert still not in later and first not in later


# -- what a parameter holds between two counted steps ----------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.hidden, self.out = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(torch.tanh(self.first(x)))))


def samples() -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(7)
    return torch.randn(8, 4, generator=made), torch.randn(8, 1, generator=made)


def written(write: Callable[[Net], None], width: int) -> None:
    """Each step of the optimizer is followed by a write, which the next pass reads."""
    x, y = samples()
    model = Net(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 / width)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        write(model)


def clipped(model: Net) -> None:
    for parameter in model.parameters():
        parameter.data.clamp_(-0.01, 0.01)


def doubled(model: Net) -> None:
    with torch.no_grad():
        model.first.weight.mul_(2)


def projected(model: Net) -> None:
    with torch.no_grad():
        model.first.weight.div_(model.first.weight.norm(dim=1, keepdim=True))


def drawn_anew(model: Net) -> None:
    nn.init.normal_(model.first.weight)


def loaded(model: Net) -> None:
    torch.manual_seed(5)
    model.load_state_dict(Net(model.hidden.in_features).state_dict())


def replaced(model: Net) -> None:
    model.first.weight.data = torch.randn_like(model.first.weight)


def several_steps_for_one(width: int) -> None:
    """The values are trained by an optimizer of their own, three steps for one of the policy's, which are counted."""
    x, y = samples()
    policy, values = nn.Linear(4, 2), Net(width)
    counted = torch.optim.SGD(policy.parameters(), lr=0.1)
    own = torch.optim.Adam(
        [
            {"params": [p for p in values.parameters() if p.dim() < 2 or p.shape[1] == 4]},
            {"params": [p for p in values.parameters() if p.dim() == 2 and p.shape[1] != 4], "lr": 0.01 / width},
        ],
        lr=0.01,
    )
    for _ in range(3):
        counted.zero_grad()
        policy(x).square().mean().backward()
        counted.step()
        for _ in range(3):
            own.zero_grad()
            nn.functional.mse_loss(values(x), y).backward()
            own.step()


@pytest.mark.parametrize("write", [clipped, doubled, projected, drawn_anew, loaded, replaced])
def test_what_a_script_writes_over_a_parameter_before_a_pass_is_a_change_of_it(write: Callable[[Net], None]) -> None:
    def train(width: int) -> None:
        written(write, width)

    rows = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), verify=False), remedy=False).rows()
    assert [row.change for row in rows if row.name == "first" and row.step] == [ZERO, ZERO]
    assert abs(slope_of(train, "first", 1, seeds=1)) < 0.1


def test_weights_that_are_loaded_are_weights_of_a_network() -> None:
    program = tpdyn.record(lambda width: written(loaded, width), widths=(16, 24, 40), verify=False)
    assert tpdyn.predict(program, remedy=False).regime is Regime.FEATURE_LEARNING


def test_a_step_that_is_not_counted_changes_what_the_next_pass_reads() -> None:
    program = tpdyn.record(several_steps_for_one, widths=(16, 24, 40), verify=False)
    rows = {(row.name, row.step): row.change for row in tpdyn.predict(program, remedy=False).rows()}
    assert rows["Net.first#2", 1] == ZERO
    assert abs(slope_of(several_steps_for_one, "Net.first#2", 1, seeds=1)) < 0.1


def test_what_is_taken_back_before_the_step_ends_is_no_version() -> None:
    """A weight is perturbed for a second pass."""
    b = Builder()
    first, x = b.parameter("w", (b.n, 3)), b.data("x", (3,))
    b.at(phase="optimizer")
    by = b.combine((0.1, first))
    perturbed = b.combine((1, first), (1, by))
    b.at(phase="forward")
    b.einsum("ni,i->n", perturbed, x)
    b.at(phase="optimizer")
    back = b.combine((1, perturbed), (-1, by))
    second = b.update("w", b.combine((0.5, back)))
    assert list(later_versions(b.build())) == [second]
