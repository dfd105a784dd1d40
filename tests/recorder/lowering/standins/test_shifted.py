"""Mirrors tpdyn/recorder/lowering/standins/shifted.py: the maximum of a softmax by hand cancels, or is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from aten_tapes import check, draw
from lowered_scripts import lowered_script, mlp
from torch import Tensor, nn

from tpdyn.program.instructions import Apply


def functions(lowered: Any) -> list[str]:
    return [getattr(s.instruction, "function", "") for s in lowered.statements]


def by_hand(x: torch.Tensor) -> torch.Tensor:
    weights = torch.exp(x - x.amax(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True)


def test_a_maximum_that_cancels_leaves_no_trace() -> None:
    assert "greater" not in functions(check(by_hand, [draw(3, 4)]))


def test_a_log_of_summed_exponentials_gets_its_maximum_back() -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        top = x.amax(-1, keepdim=True)
        return torch.log(torch.exp(x - top).sum(-1, keepdim=True)) + top

    assert "greater" not in functions(check(run, [draw(3, 4)]))


@pytest.mark.parametrize("read", [lambda top, x: top * x, lambda top, x: torch.tanh(top) + x, lambda top, x: 2 * top])
def test_a_maximum_that_anything_else_reads_is_computed_by_ranks(read: Callable[..., Any]) -> None:
    assert "greater" in functions(check(lambda x: read(x.amax(-1, keepdim=True), x), [draw(3, 4)]))


ROUTES: dict[str, Callable[[Tensor], Tensor]] = {
    "the tokens of one expert": lambda x: torch.eq(x.softmax(-1).max(-1)[1], 1).to(x.dtype)[:, None] * x,
    "those of another": lambda x: (x.max(-1, keepdim=True).indices != 2).to(x.dtype) * x,
    "a mask of the largest": lambda x: (x == x.amax(-1, keepdim=True)).to(x.dtype) * x.exp(),
    "a largest entry that is another's": lambda x: (x.amax(-1, keepdim=True) == x.flip(0)).to(x.dtype) * x,
    "a largest entry that is infinite": lambda x: (x.amax(-1, keepdim=True) == float("inf")).to(x.dtype) * x + x,
}


@pytest.mark.parametrize("name", ROUTES)
def test_what_a_forward_pass_does_with_the_place_of_a_maximum_is_computed(name: str) -> None:
    """A router by `max` sent its tokens nowhere: only gradients through a maximum are zero where it cancels."""
    check(ROUTES[name], [draw(3, 4)])


def test_what_reads_only_the_shape_of_a_maximum_does_not_compute_it() -> None:
    lowered = check(lambda x: torch.zeros_like(x.amax(-1)) + x[:, 0], [draw(3, 4)])
    assert "greater" not in functions(lowered)


LARGEST: dict[str, Callable[[Tensor], Tensor]] = {
    "amax detached": lambda scores: scores.amax(-1, keepdim=True).detach(),
    "amax": lambda scores: scores.amax(-1, keepdim=True),
    "max": lambda scores: scores.max(-1, keepdim=True).values,
    "max unsqueezed": lambda scores: scores.max(-1)[0].unsqueeze(-1),
}


@pytest.mark.parametrize("name", LARGEST)
@pytest.mark.usefixtures("double_precision")
def test_softmax_with_its_maximum_subtracted_by_hand_is_recognised(name: str) -> None:
    largest = LARGEST[name]

    class Model(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.q, self.head = nn.Linear(5, width), nn.Linear(width, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.q(x)
            scores = h @ h.transpose(-2, -1) / h.shape[-1]
            weights = torch.exp(scores - largest(scores))
            return self.head(weights / weights.sum(-1, keepdim=True) @ h)  # type: ignore[no-any-return]

    def train(width: int) -> None:
        model = Model(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(4, 3, 5)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    lowered = lowered_script(train, steps=2)
    assert "softmax" in {s.instruction.function for s in lowered.statements if isinstance(s.instruction, Apply)}


@pytest.mark.usefixtures("double_precision")
def test_a_maximum_that_does_not_cancel_is_computed() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            out = model(torch.randn(4, 5))
            (torch.exp(out - out.amax(-1, keepdim=True)) ** 2).mean().backward()
            optimizer.step()

    lowered_script(train, steps=1)


@pytest.mark.usefixtures("double_precision")
def test_a_router_by_the_place_of_a_maximum_gives_the_live_values() -> None:
    def train(width: int) -> None:
        torch.manual_seed(0)
        inp, router, out = nn.Linear(3, width), nn.Linear(width, 3), nn.Linear(width, 2)
        experts = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        model = nn.ModuleList([inp, router, experts, out])
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        x, y = torch.randn(8, 3), torch.randn(8, 2)
        for _ in range(4):
            h = inp(x)
            best, routes = router(h).softmax(-1).max(-1)
            made = sum(torch.eq(routes, i).to(h.dtype)[:, None] * expert(h) for i, expert in enumerate(experts))
            optimizer.zero_grad()
            (out(made * best[:, None]) - y).square().mean().backward()
            optimizer.step()

    lowered_script(train)
