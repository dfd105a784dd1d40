"""Mirrors tpdyn/claims/report.py: true claims agree, claims that are wrong by 1/2 do not, and nothing crashes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.statistics import CROSSOVER, GROWING_CROSSOVER, estimate_order
from tpdyn.exponents import Order
from tpdyn.measuring.measure import Measurement, measure
from tpdyn.program.program import Program, Source
from tpdyn.regimes.prediction import Prediction, Reason, Regime, Row

WIDTHS = (64, 128, 256, 512)
HALF, ZERO = Fraction(1, 2), Fraction(0)
Table = dict[str, tuple[Order, tuple[Order, ...]]]


class Layer(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, std: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(fan_out, fan_in))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * (x @ self.weight.T)


def mlp(width: int, parametrization: str) -> None:
    """NTK parametrization or muP of two hidden layers (Tensor Programs IV, table 1), by hand."""
    ntk = parametrization == "ntk"
    x, y = torch.randn(16, 10), torch.randn(16, 4)
    shapes = ((10, width), (width, width), (width, 4))
    stds = (1.0, 1.0, 1.0) if ntk else (10**-0.5, width**-0.5, 1 / width)
    layers = [Layer(*shape, std, shape[0] ** -0.5 if ntk else 1) for shape, std in zip(shapes, stds, strict=True)]
    model = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])
    rates = (0.5, 0.5, 0.5) if ntk else (0.5 * width, 0.5, 0.5 / width)
    groups = [{"params": [layer.weight], "lr": lr} for layer, lr in zip(layers, rates, strict=True)]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    for _ in range(9):
        optimizer.zero_grad()
        functional.mse_loss(model(x), y).backward()
        optimizer.step()


def prediction(regime: Regime, table: Table) -> Prediction:
    """Rows of that table; modules but the last linear one ("2") are hidden representations."""
    rows = tuple(
        Row(
            "output" if name == "output" else "module",
            name,
            step,
            size,
            change,
            Source("net.py", 7, "x"),
            0,
            learns=None if name in ("output", "2") else change is not None and change >= 0,
        )
        for name, (size, changes) in table.items()
        for step, change in enumerate(changes)
    )
    reason = Reason("because", "h1", "0", Source("net.py", 7, "x"), "change it")
    return Prediction(Program(()), regime, (reason,), rows, (), ())


NTK: Table = {
    "0": (ZERO, (None, -HALF, -HALF)),
    "1": (ZERO, (None, -HALF, -HALF)),
    "2": (ZERO, (None, -HALF, -HALF)),
    "output": (ZERO, (None, ZERO, ZERO)),
}
MUP: Table = {
    "0": (ZERO, (None, ZERO, ZERO)),
    "1": (ZERO, (None, ZERO, ZERO)),
    "2": (ZERO, (None, ZERO, ZERO)),
    "output": (-HALF, (None, ZERO, ZERO)),
}


@pytest.fixture(scope="module")
def ntk() -> Measurement:
    return measure(lambda width: mlp(width, "ntk"), WIDTHS, seeds=8)


@pytest.fixture(scope="module")
def mup() -> Measurement:
    return measure(lambda width: mlp(width, "mup"), WIDTHS, seeds=8)


def verdicts(report: Report) -> dict[str, str]:
    return {row.name: row.verdict for row in report.rows()}


def test_true_claims_agree(ntk: Measurement, mup: Measurement) -> None:
    for regime, table, runs in ((Regime.KERNEL, NTK, ntk), (Regime.FEATURE_LEARNING, MUP, mup)):
        report = compare(prediction(regime, table), runs)
        assert report.agrees, report.to_text()
        assert set(verdicts(report).values()) == {"agrees"}, report.to_text()
        assert report.step == 2


def test_claims_that_are_wrong_by_a_half_disagree(ntk: Measurement, mup: Measurement) -> None:
    report = compare(prediction(Regime.FEATURE_LEARNING, MUP), ntk)
    assert not report.agrees
    assert {"0", "1", "2"} <= {name for name, verdict in verdicts(report).items() if verdict == "disagrees"}
    assert "predicted 0, measured -0.5" in report.to_text()
    report = compare(prediction(Regime.KERNEL, NTK), mup)
    assert not report.agrees
    assert set(verdicts(report).values()) == {"disagrees"}


def test_the_dictionary_is_json_with_orders_as_strings(ntk: Measurement) -> None:
    table = NTK | {"0": (None, (None, None, None))}
    data = json.loads(json.dumps(compare(prediction(Regime.KERNEL, table), ntk).to_dict(), allow_nan=False))
    assert set(data) == {"regime", "outcome", "agrees", "counts", "claims", "step", "modules", "reasons", "limit"}
    assert (data["regime"], data["outcome"], data["agrees"]) == ("kernel", "contradicted", False)
    assert data["counts"] == {"confirmed": 3, "undecided": 0, "not_explained": 0, "contradicted": 1}
    assert data["claims"][1]["what"] == "every hidden representation is frozen"
    assert data["claims"][1]["open"] == ["0"] and data["claims"][1]["met"] is False
    first, second = data["modules"][:2]
    assert (first["size_order"], first["change_order"], first["verdict"]) == (None, None, "disagrees")
    assert (second["size_order"], second["change_order"], second["verdict"]) == ("0", "-1/2", "agrees")
    assert second["source"] == "net.py:7"
    found = second["measured_change_order"]
    assert found["low"] < found["estimate"] < found["high"]
    assert "change it" in data["reasons"][0]


def synthetic(change: Callable[[float, int], float], names: tuple[str, ...] = ("0", "output")) -> Measurement:
    """A measurement whose changes are `change(width, step)` up to 5 % of noise, sizes 1, at 6 seeds."""
    shape = (len(WIDTHS), 6, 3, len(names))
    noise = np.exp(0.05 * np.random.default_rng(0).standard_normal(shape))
    values = np.array([[change(n, t) for t in range(3)] for n in WIDTHS])[:, None, :, None] * noise
    ones, none = noise.copy(), np.full((*shape[:3], 0), np.nan)
    return Measurement(
        widths=WIDTHS, seeds=tuple(range(6)), steps=3, names=names, parameters=(),
        size=ones, rms=ones, change=values, change_rms=values, nonfinite=np.zeros(shape),
        epsilon=np.full(shape, 2.0**-23), split=np.full((*shape, 4), np.nan),
        parameter_size=none, parameter_change=none, gradient_size=none,
        loss=np.ones(shape[:3]), diverged=~np.isfinite(values).all(axis=-1), completed=np.ones(shape[:2], dtype=bool),
    )  # fmt: skip


def claim(*changes: Order, regime: Regime = Regime.FEATURE_LEARNING, at_most: bool = False) -> Prediction:
    made = prediction(regime, {"0": (ZERO, changes), "output": (ZERO, changes)})
    return replace(made, table=tuple(replace(row, at_most=at_most) for row in made.table))


def test_growth_is_compared_at_the_first_step_that_has_it() -> None:
    runs = synthetic(lambda n, t: (0.0, n**0.5, n**0.1)[t])  # saturated at the last step
    report = compare(claim(None, HALF, Fraction(3, 2), regime=Regime.UNSTABLE), runs)
    assert report.step == 1
    assert not {"disagrees", "diverged"} & set(verdicts(report).values())
    assert report.rows()[0].measured_change_order is not None
    assert report.rows()[0].measured_change_order.estimate == pytest.approx(0.5, abs=0.2)


def test_a_zero_change_must_be_zero_up_to_round_off() -> None:
    zero = claim(None, None, None, regime=Regime.TRIVIAL)
    assert compare(zero, synthetic(lambda n, t: 0.0)).agrees
    assert compare(zero, synthetic(lambda n, t: 3e-7)).agrees  # a few epsilon of float32
    report = compare(zero, synthetic(lambda n, t: 1e-4))
    assert set(verdicts(report).values()) == {"disagrees"}
    assert "predicted to be zero" in report.to_text()


def test_a_change_that_is_exactly_zero_contradicts_an_order() -> None:
    report = compare(claim(None, -HALF, -HALF), synthetic(lambda n, t: 0.0))
    assert set(verdicts(report).values()) == {"disagrees"}
    assert "exactly zero in every run" in report.to_text()
    bound = compare(claim(None, -HALF, -HALF, at_most=True), synthetic(lambda n, t: 0.0))
    assert set(verdicts(bound).values()) == {"agrees"}


def test_a_change_below_round_off_is_inconclusive() -> None:
    report = compare(claim(None, -HALF, -HALF), synthetic(lambda n, t: 1e-7 * n**-0.5))
    assert set(verdicts(report).values()) == {"inconclusive"}
    assert not report.agrees
    assert "float64" in report.to_text()


def test_divergence_never_confirms_and_contradicts_what_is_predicted_to_be_stable() -> None:
    runs = synthetic(lambda n, t: np.nan if n > 64 and t == 2 else float(t > 0) * n)
    stable = compare(claim(None, ZERO, ZERO), runs)
    assert set(verdicts(stable).values()) == {"diverged"}
    assert not stable.agrees
    assert "at width 128, 256, 512, though no growth is predicted" in stable.to_text()
    runs = synthetic(lambda n, t: np.nan)
    unstable = compare(claim(None, Fraction(1), Fraction(2), regime=Regime.UNSTABLE), runs)
    assert unstable.outcome is Outcome.UNDECIDED
    assert "a power shows only where runs stay finite" in unstable.to_text()
    hopeless = compare(claim(None, ZERO, ZERO), runs)
    assert "learning rate is too large whatever the width" in hopeless.to_text()


def test_modules_that_were_not_measured_or_not_predicted_are_named() -> None:
    made = prediction(Regime.KERNEL, {"0": (ZERO, (None, ZERO, ZERO)), "gone": (ZERO, (None, ZERO, ZERO))})
    report = compare(made, synthetic(lambda n, t: float(t > 0)))
    assert verdicts(report) == {"0": "agrees", "gone": "not measured"}
    assert "measured but not predicted: output" in report.notes
    with pytest.raises(ValueError, match="no module in common"):
        compare(made, synthetic(lambda n, t: 1.0, names=("other",)))


def test_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="steps=2 or more"):
        compare(claim(None), synthetic(lambda n, t: 1.0))


def test_a_wrong_size_at_initialisation_disagrees_though_the_change_is_right() -> None:
    made = prediction(Regime.KERNEL, {"0": (HALF, (None, ZERO, ZERO))})
    report = compare(made, synthetic(lambda n, t: float(t > 0)))
    assert verdicts(report) == {"0": "disagrees"}
    assert "size: predicted +1/2" in report.to_text()


def test_what_depends_on_growing_values_is_not_explained_but_the_growing_value_can_disagree() -> None:
    made = claim(None, ZERO, ZERO, regime=Regime.UNSTABLE)
    mixed = replace(made, table=tuple(replace(row, mixed=row.name == "output") for row in made.table))
    report = compare(mixed, synthetic(lambda n, t: float(t > 0) * n))
    assert verdicts(report) == {"0": "disagrees", "output": "not explained"}
    assert "a function of values that grow" in report.to_text()
    assert verdicts(compare(mixed, synthetic(lambda n, t: float(t > 0)))) == {"0": "agrees", "output": "agrees"}


def test_a_value_without_wide_axis_is_as_large_as_its_root_mean_square() -> None:
    """Logits under tied embeddings: one of 30 of order 0, the others of order -1/2."""
    n = np.array(WIDTHS, dtype=float)[:, None, None, None]
    runs = synthetic(lambda n, t: float(t > 0))
    runs = replace(runs, size=runs.size * (1 / 30 + n**-0.5), rms=runs.rms * np.sqrt(1 / 30 + 1 / n))
    made = claim(None, ZERO, ZERO)
    finite = replace(made, table=tuple(replace(row, wide=row.name != "output") for row in made.table))
    assert verdicts(compare(finite, runs)) == {"0": "disagrees", "output": "agrees"}


def test_a_bare_product_before_its_multiplier_does_not_set_the_step() -> None:
    made = claim(None, Fraction(1), Fraction(1))  # stable: nothing that counts grows
    assert compare(made, synthetic(lambda n, t: float(t > 0) * n)).step == 2


def test_what_is_predicted_to_grow_has_its_own_crossover() -> None:
    runs = synthetic(lambda n, t: float(t > 0) * n**0.5)
    for order, crossover in ((HALF, GROWING_CROSSOVER), (ZERO, CROSSOVER)):
        row = compare(claim(None, order, order, regime=Regime.UNSTABLE), runs).rows()[0]
        assert row.measured_change_order == estimate_order(WIDTHS, runs.change[:, :, 1, 0], crossover=crossover)


def test_a_size_that_is_predicted_to_grow_has_its_own_crossover() -> None:
    runs = synthetic(lambda n, t: float(t > 0) * n**0.5)
    for order, crossover in ((HALF, GROWING_CROSSOVER), (ZERO, CROSSOVER)):
        made = prediction(Regime.UNSTABLE, {"0": (order, (None, HALF, HALF)), "output": (order, (None, HALF, HALF))})
        row = compare(made, runs).rows()[0]
        assert row.measured_size_order == estimate_order(WIDTHS, runs.size[:, :, 0, 0], crossover=crossover)


def test_an_initial_size_that_falls_late_contradicts_nothing_before() -> None:
    made = claim(None, ZERO, ZERO)
    runs = synthetic(lambda n, t: float(t > 0) * n**0.5)
    assert verdicts(compare(made, runs))["0"] == "disagrees"
    for late, verdict in ((min(WIDTHS) / 3, "inconclusive"), (min(WIDTHS) / 5, "disagrees")):
        program = replace(made.program, late={"fc.weight": late})
        report = compare(replace(made, program=program), runs)
        assert verdicts(report)["0"] == verdict
        assert ("the initial size of fc.weight falls only from width" in report.to_text()) == (
            verdict == "inconclusive"
        )
