"""Rows whose norms were told answer as the rows of a dense Gaussian matrix do, in law.

A program of weight norm asks for the norms of all rows first. Products follow with vectors that depend on all answers so far,
four with the matrix and three with its transpose. Statistics are means over seeds of products of answers, of squares, and of
squares with norms. With some 60 of them, five standard errors leave false alarms of 4e-5. The quick profile (100 seeds)
leaves the power out. Measured power, in standard errors:

    seeds                                           150     600
    a component forgets the row's norm              9.9      20
    parts of a sum are orthogonal                   3.9     7.4
    a component along a sum is drawn anew            54      97
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tpdyn.readings.sampled import spheres
from tpdyn.readings.sampled.gaussian import Gaussian
from tpdyn.readings.sampled.normed import with_norms
from tpdyn.readings.sampled.spheres import Spheres

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
SEEDS = {"quick": 100, "thorough": 2000}.get(PROFILE, 600)
ROWS, COLUMNS = 16, 22
ALLOWED = 5.0
F64 = torch.float64
Apply = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of many levels as long as there is room for it, so that little is drawn outright."""
    monkeypatch.setattr(spheres, "BLOCK", 1)
    monkeypatch.setattr(Spheres, "is_small", staticmethod(lambda count, free, told: free < max(2 * told + 3, 3)))


def answers(apply: Apply, transposed: Apply, norms: Tensor) -> Tensor:
    """Numbers made of what a program of weight norm is told. Each of its questions is made of the answers before."""
    g = (norms / COLUMNS).sqrt()
    met, back = [], []

    def forward(x: Tensor) -> Tensor:
        met.append(apply(x / x.norm()))
        return met[-1] / g

    def backward(u: Tensor) -> Tensor:
        back.append(transposed(u / u.norm()))
        return back[-1]

    x = torch.ones(COLUMNS, dtype=F64)
    h = forward(x)
    v = backward(torch.tanh(h) / g + 0.3)
    h2 = forward(v.relu() + 0.1 * x)
    v2 = backward(torch.tanh(h2 + h) * g)
    h3 = forward(v2 + v.abs())
    v3 = backward(torch.tanh(h3 * h))
    forward(v3.abs())
    return told(norms / COLUMNS - 1, met, back)


def told(norms: Tensor, met: list[Tensor], back: list[Tensor]) -> Tensor:
    """Correlations of squares with norms, and of answers with each other."""
    numbers = [(norms * (y.square() - 1)).mean() for y in met]
    squares = [v.square().mean() - 1 for v in back]
    for k in range(len(met)):
        for m in range(k + 1):
            numbers += [(met[k] * met[m]).mean(), ((met[k].square() - 1) * (met[m].square() - 1)).mean()]
    for k in range(len(back)):
        numbers += [squares[k], (back[k] ** 4).mean()]
        numbers += [
            number for m in range(k + 1) for number in (squares[k] * squares[m], (back[k] * back[m]).mean() ** 2)
        ]
    return torch.stack(numbers)


def simulated(seeds: int) -> Tensor:
    found = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        draw = {
            "rows": lambda k, along=None, g=generator: torch.randn(k, ROWS, generator=g, dtype=F64),
            "columns": lambda k, along=None, g=generator: torch.randn(k, COLUMNS, generator=g, dtype=F64),
        }
        before = Gaussian(ROWS, COLUMNS, 1.0, draw, np.random.default_rng(seed))  # type: ignore[arg-type]
        w, norms = with_norms(before, "rows", "W")
        found.append(answers(lambda x, w=w: w.times(x[None])[0], lambda u, w=w: w.times(u[None], "rows")[0], norms))  # type: ignore[misc]
    return torch.stack(found)


@pytest.fixture(scope="module")
def dense() -> Tensor:
    generator, found = torch.Generator().manual_seed(10**6), []
    for _ in range(4 * SEEDS):
        w = torch.randn(ROWS, COLUMNS, generator=generator, dtype=F64)
        found.append(answers(lambda x, w=w: w @ x, lambda u, w=w: u @ w, w.square().sum(1)))  # type: ignore[misc]
    return torch.stack(found)


def largest_z(one: Tensor, two: Tensor) -> float:
    spread = (one.var(0) / len(one) + two.var(0) / len(two)).sqrt()
    return float(((one.mean(0) - two.mean(0)).abs() / spread).max())


def test_rows_with_norms_have_the_law_of_dense_rows(dense: Tensor) -> None:
    found = largest_z(simulated(SEEDS), dense)
    print(f"z = {found:.1f} at {SEEDS} seeds")
    assert found < ALLOWED


# -- power ----------------------------------------------------------------------------------------------------------


def component_without_norms(self: Spheres) -> Tensor:
    whole = COMPONENT(self)
    return torch.randn(whole.shape, generator=GENERATOR, dtype=F64)


def orthogonal_parts(self: Spheres, link: Tensor) -> Tensor:
    grown = GROWN(self, link)
    m = link.shape[2]
    grown[:, :, m] = 0
    grown[:, 0, m, 2 * m] = grown[:, 1, m, 2 * m + 1] = 1
    return grown


def total_drawn_anew(self: Spheres, u: Tensor) -> tuple[float, Tensor]:
    length, components = TOTAL(self, u)
    return length, torch.randn(components.shape, generator=GENERATOR, dtype=F64)


COMPONENT, GROWN, TOTAL = Spheres.component, Spheres._grown, Spheres.total
GENERATOR = torch.Generator().manual_seed(5)


@pytest.mark.skipif(PROFILE == "quick", reason="power needs more seeds")
@pytest.mark.parametrize(
    ("name", "wrong"),
    [("component", component_without_norms), ("_grown", orthogonal_parts), ("total", total_drawn_anew)],
)
def test_a_sabotaged_tree_is_seen(
    name: str, wrong: Callable[..., object], dense: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spheres, name, wrong)
    found = largest_z(simulated(SEEDS), dense)
    print(f"{wrong.__name__}: z = {found:.1f} at {SEEDS} seeds")
    assert found > ALLOWED
