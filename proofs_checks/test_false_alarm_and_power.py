"""How often does the judge reject what is right, and how often does it miss what is wrong?

A *false alarm* is "disagrees" about the right order. A *false acceptance* is "agrees" about an order that is wrong by 1/2.
*Power* is the rate of "agrees" about the right order and of "disagrees" about a wrong one. They are measured twice. Drawn
sizes have a known order, since it was put in. Real training runs of networks have a predicted order.

What is promised. If the sizes follow the model of `tpdyn.claims.statistics`, the interval misses the order with probability
1 - CONFIDENCE. A false alarm or a false acceptance needs an interval that misses by the margin as well. So their rates are
at most 1 - CONFIDENCE there. Drawn sizes also deviate from the model. An adversary who knows the noise chooses finite-width
terms at two standard deviations. Noise is skewed, heavy-tailed or differs between widths, and sums of two powers occur. The
seeds are fixed: a failure is a change of the statistics, not bad luck.

Tolerance. A count of events of probability at most p in N independent trials exceeds `allowed(N, p)` with probability
1e-4. Reports on real runs: the values of one report share their runs, hence count as one trial.

The numbers: `HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/test_false_alarm_and_power.py`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from scipy import stats
from torch import nn

import tpdyn
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, ReportRow, compare
from tpdyn.claims.statistics import (
    CONFIDENCE,
    CROSSOVER,
    FLOOR,
    GROWING_CROSSOVER,
    TERMS,
    Agreement,
    OrderEstimate,
    estimate_order,
    judge,
)
from tpdyn.measuring.measure import measure
from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.testing.kept import kept

HALF = Fraction(1, 2)
MISSES = 1 - CONFIDENCE
EXAMPLES = settings.default.max_examples if settings.default is not None else 100  # 25 quick, 100, 500 thorough
DRAWS = 2 * EXAMPLES
NETWORKS = {25: 5, 500: 60}.get(EXAMPLES, 10)
RUNS = 8 if EXAMPLES == 25 else 16  # seeds at each width of a network
WIDTHS = ((64, 128, 256, 512), (32, 48, 64, 256))
SEEDS = (4, 8)
NOISES = (0.01, 0.05, 0.15, 0.4)
CROSSOVERS = (CROSSOVER, GROWING_CROSSOVER)
KINDS = ("none", "model", "adversary", "few entries", "heavy tails", "louder at small width", "two powers")


def allowed(trials: int, rate: float) -> int:
    """The count that events of this rate exceed with probability 1e-4."""
    return int(stats.binom.ppf(1 - 1e-4, trials, rate))


# -- drawn sizes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One way to draw sizes of order 0."""

    kind: str
    widths: tuple[int, ...]
    seeds: int
    noise: float
    crossover: float

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Sizes by width and seed."""
        n = np.array(self.widths, dtype=np.float64)[:, None]
        shape = (len(self.widths), self.seeds)
        logs = self.noise * rng.standard_normal(shape)
        if self.kind == "few entries":  # log of a mean of k absolute Gaussians: standard deviation about 0.76 / sqrt(k)
            entries = max(1, round((0.76 / self.noise) ** 2)) if self.noise > 0.02 else 1000
            logs = np.log(np.abs(rng.standard_normal((*shape, entries))).mean(axis=-1))
        elif self.kind == "heavy tails":
            logs = self.noise * rng.standard_t(4, shape) / np.sqrt(2)  # variance of t(4): 2
        elif self.kind == "louder at small width":
            logs = logs * (n[0] / n) ** 0.5
        elif self.kind == "model":
            logs = logs + terms(self, n) @ rng.standard_normal(TERMS)[:, None]
        elif self.kind == "adversary":
            logs = logs + terms(self, n) @ worst(self, logs)[:, None]
        elif self.kind == "two powers":  # 1 + c (crossover / n)^(1/2), c as large as the model's typical coefficients
            logs = logs + np.log1p(rng.uniform(-1, 1) * (self.crossover / n) ** 0.5)
        return np.exp(logs + rng.standard_normal(self.seeds))


def terms(cell: Cell, n: NDArray[np.float64]) -> NDArray[np.float64]:
    """The finite-width terms of the model at each width: [width, term]."""
    return np.concatenate([(cell.crossover / n) ** (k / 2) for k in range(1, TERMS + 1)], axis=1)


def worst(cell: Cell, logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of length 2 (two standard deviations) that push the estimate furthest in the way the noise pushes it.

    The estimate is linear in the logarithms, and its weights depend on the noise only.
    """
    n = np.array(cell.widths, dtype=np.float64)[:, None]
    here = estimated(cell, np.exp(logs)).estimate
    slopes = np.array([estimated(cell, np.exp(logs + term[:, None])).estimate - here for term in terms(cell, n).T])
    return np.sign(here) * 2 * slopes / np.linalg.norm(slopes)


def estimated(cell: Cell, values: NDArray[np.float64], crossover: float | None = None) -> OrderEstimate:
    found = estimate_order(cell.widths, values, crossover=cell.crossover if crossover is None else crossover)
    assert found is not None
    return found


@dataclass(frozen=True)
class Rates:
    """Counts over the draws of one cell (or of several)."""

    trials: int
    missed: int
    right: Counter[Agreement]
    wrong: Counter[Agreement]

    def __add__(self, other: Rates) -> Rates:
        return Rates(
            self.trials + other.trials, self.missed + other.missed, self.right + other.right, self.wrong + other.wrong
        )

    def __str__(self) -> str:
        def shares(counts: Counter[Agreement]) -> str:
            names: tuple[Agreement, ...] = ("agrees", "inconclusive", "disagrees")
            return " ".join(f"{name} {counts[name] / max(counts.total(), 1):.3f}" for name in names)

        return (
            f"misses {self.missed / self.trials:.4f} | right: {shares(self.right)} | off by 1/2: {shares(self.wrong)}"
        )


@cache
def rates(cell: Cell) -> Rates:
    rng = np.random.default_rng([KINDS.index(cell.kind), len(cell.widths), cell.widths[0], cell.seeds,
                                 round(100 * cell.noise), round(10 * cell.crossover)])  # fmt: skip
    missed, right, wrong = 0, Counter[Agreement](), Counter[Agreement]()
    for number in range(DRAWS):
        found = estimated(cell, cell.draw(rng))
        missed += not found.low <= 0 <= found.high
        right[judge(Fraction(0), found)] += 1
        wrong[judge(HALF if number % 2 else -HALF, found)] += 1
    return Rates(DRAWS, missed, right, wrong)


def cells(kind: str, crossovers: tuple[float, ...] = CROSSOVERS) -> Iterator[Cell]:
    for widths, seeds, noise, crossover in product(WIDTHS, SEEDS, NOISES, crossovers):
        yield Cell(kind, widths, seeds, noise, crossover)


def total(several: Iterator[Cell]) -> Rates:
    first, *others = map(rates, several)
    return sum(others, first)


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_order_is_rejected_and_a_wrong_one_accepted_no_oftener_than_promised(kind: str) -> None:
    for crossover in CROSSOVERS:
        found = total(cells(kind, (crossover,)))
        print(f"\n{kind}, crossover {crossover}: {found}", end="")
        assert found.right["disagrees"] <= allowed(found.trials, MISSES)
        assert found.wrong["agrees"] <= allowed(found.trials, MISSES)
    for cell in cells(kind):
        assert rates(cell).right["disagrees"] <= allowed(DRAWS, MISSES), cell
        assert rates(cell).wrong["agrees"] <= allowed(DRAWS, MISSES), cell


@pytest.mark.parametrize("kind", ["none", "model", "few entries", "two powers"])
def test_the_interval_misses_the_order_no_oftener_than_promised(kind: str) -> None:
    found = total(cells(kind))
    assert found.missed <= allowed(found.trials, MISSES), found


def test_with_the_default_widths_and_seeds_the_judge_decides_up_to_a_noise_of_a_tenth() -> None:
    """The power at 8 seeds and widths 64 to 512, by noise: the numbers beside the constants in `statistics`."""
    for noise in NOISES:
        print(f"\nnoise {noise}: {rates(Cell('model', WIDTHS[0], 8, noise, CROSSOVER))}", end="")
    quiet = sum((rates(Cell("model", WIDTHS[0], 8, noise, CROSSOVER)) for noise in NOISES[1:2]),
                rates(Cell("model", WIDTHS[0], 8, NOISES[0], CROSSOVER)))  # fmt: skip
    assert quiet.right["agrees"] >= quiet.trials - allowed(quiet.trials, MISSES)
    assert quiet.wrong["disagrees"] >= quiet.trials - allowed(quiet.trials, MISSES)
    louder = rates(Cell("model", WIDTHS[0], 8, 0.15, CROSSOVER))
    assert louder.right["agrees"] >= 0.8 * louder.trials
    assert louder.wrong["disagrees"] >= 0.8 * louder.trials


def test_more_noise_gives_open_verdicts_not_wrong_ones() -> None:
    loud = rates(Cell("model", WIDTHS[1], 4, NOISES[-1], GROWING_CROSSOVER))
    assert loud.right["inconclusive"] > 0.9 * loud.trials


def test_without_the_finite_width_term_the_interval_misses_far_oftener() -> None:
    for crossover in CROSSOVERS:
        cell = Cell("model", WIDTHS[0], 8, 0.01, crossover)
        rng = np.random.default_rng(0)
        sizes = [cell.draw(rng) for _ in range(DRAWS)]
        blind = [estimated(cell, values, crossover=1e-9) for values in sizes]
        seeing = [estimated(cell, values) for values in sizes]
        assert sum(not found.low <= 0 <= found.high for found in blind) > 5 * allowed(DRAWS, MISSES)
        assert sum(not found.low <= 0 <= found.high for found in seeing) <= allowed(DRAWS, MISSES)


def test_what_the_terms_of_the_model_leave_over_is_covered_without_any_noise() -> None:
    """Twice as many terms as the model has: `MODEL_ERROR` must make up for the others, also where the crossover is large."""
    for widths, crossover in product(WIDTHS, CROSSOVERS):
        rng = np.random.default_rng(0)
        n = np.array(widths, dtype=np.float64)
        missed = 0
        for _ in range(DRAWS):
            logs = sum(rng.standard_normal() * (crossover / n) ** (k / 2) for k in range(1, 2 * TERMS + 1))
            values = np.exp(logs[:, None] + 1e-6 * rng.standard_normal((len(n), 8)))
            found = estimate_order(widths, values, crossover=crossover)
            assert found is not None
            missed += not found.low <= 0 <= found.high
        print(f"\nno noise, six terms, crossover {crossover}, {widths}: misses {missed / DRAWS:.4f}", end="")
        assert missed <= allowed(DRAWS, MISSES)


def test_a_change_above_the_floor_is_measured_in_single_precision_to_a_tenth() -> None:
    """The change of tanh(W x) when x moves by a few epsilon, in float32 against float64."""
    epsilon = 2.0**-23
    for width, draw in product((64, 512, 4096), range(3)):
        generator = torch.Generator().manual_seed(draw)
        weight = torch.randn(min(width, 512), width, generator=generator) / width**0.5
        x = torch.randn(width, 4, generator=generator)
        step = 1.3 * FLOOR * epsilon * torch.randn(width, 4, generator=generator)

        def change(weight: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> float:
            return float((torch.tanh(weight @ after) - torch.tanh(weight @ before)).abs().mean())

        exact = change(weight.double(), x.double(), x.double() + step.double())
        assert exact > FLOOR * epsilon * float(torch.tanh(weight @ x).abs().mean())
        assert abs(change(weight, x, x + step) / exact - 1) < 0.1


def late(constant: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Sizes n + constant, with a tenth of noise: what grows overtakes the rest at the width `constant`."""
    n = np.array(WIDTHS[0], dtype=np.float64)[:, None]
    return (n + constant) * np.exp(0.1 * rng.standard_normal((len(n), 8)))


def test_growth_that_overtakes_late_is_rejected_without_the_larger_crossover() -> None:
    for constant in (10.0, 30.0, 100.0, 200.0, 400.0):
        rng = np.random.default_rng(0)
        blind, seeing = Counter[Agreement](), Counter[Agreement]()
        for _ in range(EXAMPLES):
            values = late(constant, rng)
            for crossover, counts in ((CROSSOVER, blind), (GROWING_CROSSOVER, seeing)):
                found = estimate_order(WIDTHS[0], values, crossover=crossover)
                counts[judge(Fraction(1), found)] += 1
        print(f"\nn + {constant:g}: crossover {CROSSOVER}: {dict(blind)}; {GROWING_CROSSOVER}: {dict(seeing)}", end="")
        if constant <= 200:
            assert seeing["disagrees"] <= allowed(EXAMPLES, MISSES)
        if constant >= 200:
            assert blind["disagrees"] > 0.5 * EXAMPLES


# -- real training runs -------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """`multiplier * x W^T (+ bias)`, the entries of W of the given standard deviation."""

    def __init__(self, inputs: int, outputs: int, std: float, multiplier: float, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.multiplier = multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features last."""
        h = self.multiplier * (x @ self.weight.T)
        return h if self.bias is None else h + self.bias


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron and how it is trained. rate: the constant of the learning rate (at width 16)."""

    parametrization: str
    layers: int
    function: type[nn.Module]
    batch: int
    inputs: int
    outputs: int
    rate: float
    bias: bool
    data: int

    def layer(self, width: int, position: int) -> tuple[float, float, float, float]:
        """Standard deviation, multiplier, learning rate of the weights and of the bias."""
        first, last = position == 0, position == self.layers
        fan_in, growth, rate = self.inputs if first else width, width / 16, self.rate
        match self.parametrization:
            case "SP, constant rate":
                return fan_in**-0.5, 1.0, rate, rate
            case "SP, rate 1/n":
                return fan_in**-0.5, 1.0, rate / growth, rate / growth
            case "NTK":
                return 1.0, fan_in**-0.5, rate, rate
        std = 1 / width if last else fan_in**-0.5
        if self.parametrization == "muP, SGD":
            return std, 1.0, rate * (growth if first else 1 / growth if last else 1), rate * (1 if last else growth)
        assert self.parametrization == "muP, Adam"
        return std, 1.0, rate / 10 * (1 if first else 1 / growth), rate / 10

    def train(self, width: int) -> None:
        """The training script."""
        data = torch.Generator().manual_seed(self.data)
        x, y = (torch.randn(self.batch, size, generator=data) for size in (self.inputs, self.outputs))
        sizes = [self.inputs, *[width] * self.layers, self.outputs]
        modules: list[nn.Module] = []
        groups = []
        for position, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            std, multiplier, rate, bias_rate = self.layer(width, position)
            layer = Layer(fan_in, fan_out, std, multiplier, self.bias)
            modules += [layer, self.function()]
            groups.append({"params": [layer.weight], "lr": rate})
            if layer.bias is not None:
                groups.append({"params": [layer.bias], "lr": bias_rate})
        model = nn.Sequential(*modules[:-1])
        optimizer = (torch.optim.Adam if "Adam" in self.parametrization else torch.optim.SGD)(groups, lr=0.1)
        while True:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()


PARAMETRIZATIONS = ("SP, rate 1/n", "NTK", "muP, SGD", "muP, Adam", "SP, constant rate")
ALL_WIDTHS = tuple(sorted({width for widths in WIDTHS for width in widths}))


def networks(count: int) -> Iterator[Network]:
    rng = np.random.default_rng(0)
    for number in range(count):
        function = (nn.Tanh, nn.GELU, nn.ReLU)[int(rng.integers(3))]
        yield Network(
            PARAMETRIZATIONS[number % len(PARAMETRIZATIONS)], int(rng.integers(1, 4)), function,
            int(rng.choice([4, 16, 32])), int(rng.choice([5, 10, 20])), int(rng.choice([1, 4, 10])),
            float(rng.choice([0.05, 0.2, 0.5])), bool(rng.integers(2)), int(rng.integers(1000)),
        )  # fmt: skip


@cache
def runs() -> tuple[tuple[Network, Prediction, Measurement], ...]:
    """Every network with its prediction, and its runs at all widths and `RUNS` seeds."""
    return tuple(
        (
            network,
            tpdyn.predict(tpdyn.record(network.train, widths=(16, 24, 40), steps=3)),
            measure(network.train, ALL_WIDTHS, seeds=RUNS, steps=3, device="script", means=kept(__file__, network)),
        )
        for network in networks(NETWORKS)
    )


def part(measurement: Measurement, widths: tuple[int, ...], seeds: slice) -> Measurement:
    """Those widths and seeds of a measurement."""
    rows = [measurement.widths.index(width) for width in widths]
    arrays = {each.name: getattr(measurement, each.name) for each in fields(measurement)}
    cut = {name: value[rows][:, seeds] for name, value in arrays.items() if isinstance(value, np.ndarray)}
    return replace(measurement, widths=widths, seeds=measurement.seeds[seeds], **cut)


def shifted(prediction: Prediction, by: Fraction) -> Prediction:
    """The same prediction with every change wrong by that much."""
    table = tuple(replace(row, change=None if row.change is None else row.change + by) for row in prediction.table)
    return replace(prediction, table=table)


def verdicts(prediction: Prediction, measurement: Measurement) -> Counter[Agreement]:
    """How often each verdict falls on the module rows (the output repeats the last module: left out)."""
    return Counter(row.verdict for row in module_rows(prediction, measurement))


def module_rows(prediction: Prediction, measurement: Measurement) -> list[ReportRow]:
    report = compare(prediction, measurement)
    return [row for row in report.rows() if row.name != "output" and row.change_order is not None]


def missed(prediction: Prediction, measurement: Measurement) -> Counter[bool]:
    """How often the interval of a change does not hold the predicted order."""
    pairs = [(row.change_order, row.measured_change_order) for row in module_rows(prediction, measurement)]
    return Counter(not found.low <= order <= found.high for order, found in pairs if order is not None and found)


def test_real_runs_of_right_predictions_agree_and_of_wrong_ones_do_not() -> None:
    counts: dict[tuple[str, tuple[int, ...], int, str], Counter[Agreement]] = {}
    intervals: dict[str, Counter[bool]] = {}
    reports = 0
    for network, prediction, measurement in runs():
        for widths, seeds in product(WIDTHS, SEEDS):
            for start in range(0, RUNS, seeds):
                seen = part(measurement, widths, slice(start, start + seeds))
                reports += 1
                kind = network.parametrization
                intervals[kind] = intervals.get(kind, Counter()) + missed(prediction, seen)
                for by in (Fraction(0), HALF, -HALF):
                    key = kind, widths, seeds, "off by 1/2" if by else "right"
                    counts[key] = counts.get(key, Counter()) + verdicts(shifted(prediction, by), seen)
    for kind, misses in intervals.items():
        print(f"\n{kind}: {misses[True] / misses.total():.3f} of the intervals of changes miss the order", end="")
    for key in sorted(counts):
        print(
            f"\n{key}: { {name: round(count / counts[key].total(), 3) for name, count in counts[key].items()} }", end=""
        )

    def pooled(claim: str, kinds: tuple[str, ...] = PARAMETRIZATIONS) -> Counter[Agreement]:
        return sum(
            (found for key, found in counts.items() if key[3] == claim and key[0] in kinds), Counter[Agreement]()
        )

    right, wrong = pooled("right"), pooled("off by 1/2")
    print(f"\nall: right {dict(right)}, off by 1/2 {dict(wrong)}, {reports} reports", end="")
    most = allowed(reports, MISSES) / reports
    assert right["disagrees"] + right["diverged"] <= most * right.total()
    assert wrong["agrees"] <= most * wrong.total()
    stable = PARAMETRIZATIONS[:4]
    assert pooled("right", stable)["agrees"] > 0.5 * pooled("right", stable).total()
    assert pooled("off by 1/2", stable)["disagrees"] > 0.5 * pooled("off by 1/2", stable).total()


def as_one(measurement: Measurement, name: str) -> set[str]:
    """The names of a module's change: the output may be that of the last module."""
    own = measurement.change[..., measurement.names.index(name)]
    columns = zip(measurement.names, np.moveaxis(measurement.change, -1, 0), strict=True)
    return {other for other, change in columns if np.array_equal(change, own, equal_nan=True)}


def planted(measurement: Measurement, names: set[str], by: float) -> Measurement:
    """The runs as they would have to be if these changes were n^by larger."""
    factor = (np.array(measurement.widths) / measurement.widths[0])[:, None, None] ** by
    made = {field: getattr(measurement, field).copy() for field in ("change", "change_rms")}
    for values, name in product(made.values(), names):
        values[..., measurement.names.index(name)] *= factor
    return replace(measurement, **made)


def is_decisive(report: Report, row: ReportRow, names: set[str], by: float) -> bool:
    """Whether the regime is another one if this change is n^by larger. It grows then, or a claim is wrong."""
    grows = report.prediction.regime is not Regime.UNSTABLE and float(row.change_order or 0) + by > 0
    alone = [claim for claim in report.claims if not claim.some or len(claim.names) == 1]
    return grows or any(names & set(claim.names) for claim in alone)


def test_a_theory_that_is_wrong_by_a_half_in_one_module_is_not_confirmed() -> None:
    """Nor is the module's row, where the regime is the same without it. The modules of a report share its runs: one trial.

    Once 108 of 320 such reports agreed. With the profile thorough, 1 of 240 is falsely confirmed (2 of 1,648 wrong modules).
    None accepts the wrong row.
    """
    counts = {True: Counter[Outcome](), False: Counter[Outcome]()}
    reports, confirmed, accepted = 0, 0, 0
    for _, prediction, measurement in runs():
        for widths, seeds in product(WIDTHS, SEEDS):
            seen = part(measurement, widths, slice(seeds))
            right, reports, wrong = compare(prediction, seen), reports + 1, [False, False]
            for row, by in product(module_rows(prediction, seen), (0.5, -0.5)):
                names = as_one(seen, row.name)
                report, decisive = compare(prediction, planted(seen, names, by)), is_decisive(right, row, names, by)
                counts[decisive][report.outcome] += 1
                wrong[0] |= decisive and report.outcome is Outcome.CONFIRMED
                wrong[1] |= next(each for each in report.rows() if each.name == row.name).verdict == "agrees"
            confirmed, accepted = confirmed + wrong[0], accepted + wrong[1]
    for decisive, found in counts.items():
        told = "that makes another regime" if decisive else "besides"
        print(f"\none module off by 1/2, {told}: { {each.value: found[each] for each in Outcome} }", end="")
    print(f"\n{reports} reports: {confirmed} falsely confirmed, {accepted} with the wrong row accepted", end="")
    assert confirmed <= allowed(reports, MISSES)
    assert accepted <= allowed(reports, MISSES)
