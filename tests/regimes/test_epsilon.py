"""Is the width right from which an optimizer's epsilon matters?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tpdyn
from tpdyn.program.instructions import Combine
from tpdyn.program.program import Program
from tpdyn.readings.finite import run
from tpdyn.readings.orders.terms import Term, tidy
from tpdyn.regimes.prediction import Regime


def mup(width: int, eps: float = 1e-8) -> None:
    """muP for Adam: the gradients of hidden weights are of order -1."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 5, generator=generator), torch.randn(7, 3, generator=generator)
    model = nn.Sequential(nn.Linear(5, width, bias=False), nn.Tanh(), nn.Linear(width, 3, bias=False))
    nn.init.normal_(model[0].weight)
    nn.init.normal_(model[2].weight, std=1 / width)
    optimizer = torch.optim.Adam(
        [{"params": model[0].weight, "lr": 0.01}, {"params": model[2].weight, "lr": 0.01 / width}], eps=eps
    )
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


@pytest.fixture(scope="module")
def program() -> Program:
    return tpdyn.record(mup, steps=2)


def test_only_parameters_with_vanishing_gradients_are_named(program: Program) -> None:
    assert list(tpdyn.predict(program).epsilon) == ["0.weight"]


def test_what_epsilon_guards_is_measured_and_shrinks_as_predicted(program: Program) -> None:
    """From the verified width (56) to 448, gradients of order -1 shrink by 8. Sizes vary by some 20 % between draws."""
    measured = {}
    for position, statement in enumerate(program.statements):
        if isinstance(statement.instruction, Combine) and statement.instruction.epsilon:
            value = run(program, 448, seed=1, dtype=torch.float64)[position] - 1e-8
            measured[statement.name] = float(value[value > 0].mean())
    assert measured.keys() == program.guarded.keys()
    ratios = sorted(program.guarded[name] / size for name, size in measured.items())
    assert len(ratios) == 4
    assert all(0.5 < ratio < 2 for ratio in ratios[:2])  # the readout's
    assert all(4 < ratio < 16 for ratio in ratios[2:])


def test_the_width_is_where_epsilon_reaches_a_tenth(program: Program) -> None:
    small = min(size for size in program.guarded.values())
    (width,) = tpdyn.predict(program).epsilon.values()
    assert width == pytest.approx(program.verified * small / 10 / 1e-8, rel=0.7)
    larger = tpdyn.predict(tpdyn.record(lambda n: mup(n, eps=1e-6), steps=2)).epsilon
    assert larger["0.weight"] == pytest.approx(width / 100, rel=0.01)


def test_nothing_is_said_without_a_measured_size(program: Program) -> None:
    assert tpdyn.predict(replace(program, verified=None, guarded={})).epsilon == {}


def test_the_verdict_tells_the_width(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    from tpdyn.reporting import terminal

    terminal.show(tpdyn.predict(program))
    assert "epsilon is negligible up to a width of about" in " ".join(capsys.readouterr().out.split())
    terminal.show(tpdyn.predict(replace(program, guarded=dict.fromkeys(program.guarded, 1e-8))))
    assert "epsilon is not negligible even at width 56" in " ".join(capsys.readouterr().out.split())


class Normed(nn.Module):
    """A layer of small output (n^-1/2), normalised: by a module or written out."""

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(5, width, bias=False), nn.Linear(width, 3, bias=False)
        self.norm = nn.BatchNorm1d(width) if how == "batch" else nn.LayerNorm(width)
        nn.init.normal_(self.first.weight, std=width**-0.5)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        if self.how in ("batch", "layer"):
            return self.out(self.norm(h))  # type: ignore[no-any-return]
        if self.how == "root":
            return self.out(h / (h.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6))  # type: ignore[no-any-return]
        return self.out(h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6))  # type: ignore[no-any-return]


@pytest.mark.parametrize("how", ["batch", "layer", "root", "mean of squares"])
def test_the_epsilon_of_a_normalisation_is_negligible_until_it_is_said_to_matter(how: str) -> None:
    def train(width: int) -> None:
        torch.manual_seed(0)
        x, y = torch.randn(7, 5), torch.randn(7, 3)
        model = Normed(width, how)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1 / width)
        for _ in range(2):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    made = tpdyn.record(train, steps=2)
    prediction = tpdyn.predict(made)
    assert prediction.order("first", "size") == Fraction(-1, 2)
    assert prediction.order("out", "size") == 0
    assert prediction.regime is not tpdyn.Regime.UNSTABLE  # 1/sqrt(var) of order 1/2 is no activation
    (place,) = prediction.epsilon
    assert place == "norm" if how in ("batch", "layer") else "test_epsilon.py:" in place
    assert prediction.epsilon[place] > 1000
    assert tpdyn.predict(made, epsilon="as written").order("out", "size") == Fraction(-1, 2)


def test_what_guards_a_division_by_zero_counts() -> None:
    """A layer norm after a layer of zeros: its gradient is 1/sqrt(eps) times that of its output, of order -1/2."""

    def train(width: int) -> None:
        torch.manual_seed(0)
        x, y = torch.randn(7, 5), torch.randn(7, 3)
        model = nn.Sequential(
            nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, 3)
        )
        nn.init.zeros_(model[2].weight)
        nn.init.zeros_(model[2].bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    prediction = tpdyn.predict(tpdyn.record(train, steps=2))
    assert prediction.order("2", "size") is None
    assert prediction.order("2", "change", step=1) == Fraction(1, 2)


@pytest.mark.parametrize(("rate", "mixed"), [(1, True), (-1, False)])
def test_a_normalisation_of_what_changes_by_more_than_its_size_needs_large_widths(rate: int, mixed: bool) -> None:
    def train(width: int) -> None:
        torch.manual_seed(0)
        x, y = torch.randn(7, 5), torch.randn(7, 3)
        model = Normed(width, "layer")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * float(width) ** rate)
        for _ in range(3):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    prediction = tpdyn.predict(tpdyn.record(train, steps=2, verify=False))
    row = next(row for row in prediction.rows() if (row.kind, row.name, row.step) == ("module", "norm", 1))
    assert row.mixed is mixed


def test_a_product_of_what_explodes_and_what_vanishes_as_fast_has_no_order_that_is_known() -> None:
    explodes, vanishes = math.inf, -math.inf
    (term,) = tidy([Term(explodes + vanishes)], 1)  # type: ignore[arg-type]
    assert term.order == math.inf


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.Adamax, torch.optim.Adadelta])
def test_an_epsilon_is_known_beside_a_size_and_under_a_root(kind: Callable[..., torch.optim.Optimizer]) -> None:
    """Adamax adds it to |g|, Adadelta to an average of g^2 and to that of its own updates. muP learns with each of them."""

    def train(width: int) -> None:
        model = nn.Sequential(
            nn.Linear(5, width, bias=False),
            nn.Tanh(),
            nn.Linear(width, width, bias=False),
            nn.Tanh(),
            nn.Linear(width, 3),
        )
        first, second, last = model[0], model[2], model[4]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(second.weight, std=width**-0.5)
        nn.init.normal_(last.weight, std=1 / width)
        groups = [
            {"params": [first.weight, last.bias]},
            {"params": [second.weight, last.weight], "lr": 0.01 / width},
        ]
        optimizer = kind(groups, lr=0.01)
        data = torch.Generator().manual_seed(0)
        x, y = torch.randn(4, 5, generator=data), torch.randn(4, 3, generator=data)
        while True:
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()

    prediction = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), steps=3), remedy=False)
    assert prediction.regime == Regime.FEATURE_LEARNING
    assert {"0.weight", "2.weight"} <= prediction.epsilon.keys()


@pytest.mark.parametrize(
    ("power", "regime"), [(-1, Regime.FEATURE_LEARNING), pytest.param(0, Regime.UNSTABLE, marks=pytest.mark.slow)]
)
def test_step_sizes_of_rprop_fall_as_its_rate_does_until_they_meet_the_smallest(power: int, regime: Regime) -> None:
    """muP has rates of 1/n. The smallest step size, 1e-6, is met at n = 1e4: as written it is all that counts in the end."""

    def train(width: int) -> None:
        torch.manual_seed(width)
        x, y = torch.randn(7, 5), torch.randn(7, 3)
        model = nn.Sequential(
            nn.Linear(5, width),
            nn.Tanh(),
            nn.Linear(width, width, bias=False),
            nn.Tanh(),
            nn.Linear(width, 3, bias=False),
        )
        nn.init.normal_(model[4].weight, std=1 / width)
        groups = [
            {"params": model[0].parameters()},
            {"params": [model[2].weight, model[4].weight], "lr": 0.1 * float(width) ** power},
        ]
        optimizer = torch.optim.Rprop(groups, lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    program = tpdyn.record(train, widths=(16, 24, 40), steps=3)
    prediction = tpdyn.predict(program, remedy=False)
    assert prediction.regime is regime
    assert prediction.order("2", "change", step=1) == 1 + power
    runs = tpdyn.measure(train, widths=(64, 512), seeds=4, steps=2)
    change = runs.change[:, :, 1, runs.names.index("2")].mean(1)
    assert math.log(change[1] / change[0]) / math.log(8) == pytest.approx(1 + power, abs=0.2)
    if power == 0:
        assert prediction.epsilon == {}
    else:
        assert prediction.epsilon.keys() == {"2.weight", "4.weight"}
        assert all(
            2_000 < width < 20_000 for width in prediction.epsilon.values()
        )  # a tenth of 0.1/n is 1e-6 at 10,000
        written = tpdyn.predict(program, remedy=False, epsilon="as written")
        assert written.regime is Regime.UNSTABLE and written.order("2", "change", step=2) == 1
