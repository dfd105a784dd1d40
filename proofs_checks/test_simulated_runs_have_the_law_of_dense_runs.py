"""A simulated run has the law of a dense run. That is the law of outputs, kernels, losses, and the dense matrices that its
answers imply.

Statistics are means over seeds of outputs, losses, kernels, their squares and products. There are 2,000 seeds in the
thorough profile, 1,000 otherwise, 300 in the quick one. Of these, the largest difference between simulated and dense runs
is at most 5 standard errors. With some 60 statistics, false alarms are 4e-5. Measured power, in standard errors:

    seeds                       300   2,000
    the dot is dropped           57     139
    no projection                27      70
    std too large by 5 %        6.3      16
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from implied import implied
from torch import Tensor

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.program import Program
from tpdyn.readings import finite
from tpdyn.readings.sampled import gaussian
from tpdyn.readings.sampled.gaussian import Gaussian, Side, other

SEEDS = {"quick": 300, "thorough": 2000}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 1000)
WIDTH = 6
ALLOWED = 5.0
Fresh = Callable[[Gaussian, Tensor, Side, Tensor], Tensor]


def program() -> Program:
    """Three steps of a tanh network with one hidden matrix and large rates, on two examples."""
    b, n = Builder(), Builder.n
    x, y = b.data("x", (2, 2)), b.data("y", (2,))
    b.parameter("U", (n, 2))
    b.parameter("W", (n, n), std=Scaling.of(1, "-1/2"))
    b.parameter("v", (n,), std=Scaling.of(1, "-1/2"))
    rates = {"U": Scaling.of(-0.3, 1), "W": Scaling.of(-0.3), "v": Scaling.of(-0.3, -1)}
    for step in range(3):
        b.at(step=step, phase="forward")
        a = b.apply("tanh", b.einsum("bi,ni->bn", x, b.now("U")))
        z = b.apply("tanh", b.einsum("bn,mn->bm", a, b.now("W")))
        b.mark("module", "kernel", b.einsum("bm,cm->bc", z, z, scale=Scaling.of(1, -1)))
        f = b.mark("output", "f", b.einsum("bm,m->b", z, b.now("v")))
        r = b.combine((1, f), (-1, y))
        b.mark("loss", "loss", b.einsum("b,b->", r, r, scale=0.5))
        b.at(step=step, phase="backward")
        dz = b.einsum("b,m->bm", r, b.now("v"))
        dg = b.einsum("bm,bm->bm", dz, b.combine((-1, b.einsum("bm,bm->bm", z, z)), constant=1))
        da = b.einsum("bm,mn->bn", dg, b.now("W"))
        dh = b.einsum("bn,bn->bn", da, b.combine((-1, b.einsum("bn,bn->bn", a, a)), constant=1))
        b.mark("module", "gradient", b.einsum("bn,cn->bc", dh, dh))
        gradients = {
            "U": b.einsum("bn,bi->ni", dh, x),
            "W": b.einsum("bm,bn->mn", dg, a),
            "v": b.einsum("b,bm->m", r, z),
        }
        b.at(step=step, phase="optimizer")
        for name, gradient in gradients.items():
            b.update(name, b.combine((1, b.now(name)), (rates[name], gradient)))
    data = {"x": np.array([[1.0, -0.5], [0.7, 1.2]]), "y": np.array([1.0, -1.0])}
    return b.build(arrays=data, widths=(16, 24))


def named(made: Program) -> list[int]:
    return [mark.view.var for mark in made.marks]


def told(values: dict[int, Tensor], w: Tensor) -> np.ndarray:  # type: ignore[type-arg]
    """Numbers of one run: every named value, and moments of the leaf W beside what it met."""
    numbers = torch.cat([values[var].flatten() for var in values])
    gram = w @ w.T
    moments = torch.stack([w.sum(), w.square().sum(), w.square().sum() ** 2, (w**4).sum(), gram.square().sum()])
    mixed = numbers[-3:, None] * moments[None, 1:2]
    return torch.cat([numbers, numbers.square(), moments, mixed.flatten()]).numpy()


def simulated(made: Program, seeds: int) -> np.ndarray:  # type: ignore[type-arg]
    found = []
    for seed in range(seeds):
        values, leaves = implied(made, WIDTH, 10**6 + seed, vars=named(made))
        found.append(told(values, leaves["W"]))
    return np.array(found)


@pytest.fixture(scope="module")
def dense() -> np.ndarray:  # type: ignore[type-arg]
    made, found = program(), []
    weight = next(k for k, statement in enumerate(made.statements) if statement.name == "W")
    for seed in range(2 * SEEDS):
        values = finite.run(made, WIDTH, vars={*named(made), weight}, seed=seed)
        found.append(told({var: values[var] for var in sorted(named(made))}, values[weight]))
    return np.array(found)


def largest_z(one: np.ndarray, two: np.ndarray) -> float:  # type: ignore[type-arg]
    spread = np.sqrt(one.var(0) / len(one) + two.var(0) / len(two))
    return float((np.abs(one.mean(0) - two.mean(0)) / spread)[spread > 1e-12].max())


def test_a_simulated_run_has_the_law_of_a_dense_run(dense: np.ndarray) -> None:  # type: ignore[type-arg]
    assert largest_z(simulated(program(), SEEDS), dense) < ALLOWED


# -- power ----------------------------------------------------------------------------------------------------------


def hat(operator: Gaussian, new: Tensor, side: Side, projected: bool = True) -> Tensor:
    answers = operator.draw[other(side)](new.shape[0]) * operator.std
    known = operator.asked[other(side)]
    return known.add_to(answers, known.inner(answers), -1.0) if projected else answers


def dot(operator: Gaussian, answers: Tensor, new: Tensor, side: Side) -> Tensor:
    return operator.asked[other(side)].add_to(answers, operator.answers[other(side)].inner(new), 1.0)


def without_dot(operator: Gaussian, new: Tensor, side: Side, along: Tensor) -> Tensor:
    return hat(operator, new, side)


def without_projection(operator: Gaussian, new: Tensor, side: Side, along: Tensor) -> Tensor:
    return dot(operator, hat(operator, new, side, projected=False), new, side)


def too_wide(operator: Gaussian, new: Tensor, side: Side, along: Tensor) -> Tensor:
    return dot(operator, 1.05 * hat(operator, new, side), new, side)


@pytest.mark.parametrize("fresh", [without_dot, without_projection, too_wide])
def test_a_sabotaged_operator_is_seen(fresh: Fresh, dense: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[type-arg]
    monkeypatch.setattr(gaussian.Gaussian, "_fresh", fresh)
    found = largest_z(simulated(program(), SEEDS), dense)
    print(f"{fresh.__name__} at {SEEDS} seeds: z = {found:.1f}")
    assert found > ALLOWED
