"""Mirrors tpdyn/claims/deciding.py: what would decide it, and looking again without erring more often."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from tpdyn.claims.deciding import ALPHA, LOOKS, POWER, confidence_of, shows_from, until_decided, what_would_decide
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.statistics import GROWING_CROSSOVER, estimate_order, expected
from tpdyn.measuring.measurement import Measurement
from tpdyn.program.program import Program, Source
from tpdyn.regimes.prediction import Prediction, Reason, Regime, Row

WIDTHS = (64, 128, 256, 512)
ZERO, HALF = Fraction(0), Fraction(1, 2)
PLACE = Source("net.py", 7, "x")


def runs(
    widths: tuple[int, ...] = WIDTHS, seeds: tuple[int, ...] = tuple(range(8)), *, noise: float = 0.4, order: float = 0.0,
    constant: float = 0.0,
) -> Measurement:  # fmt: skip
    """Changes of h (constant + n^order) and of the output (order 0); sizes without noise to speak of."""
    shape = (len(widths), len(seeds), 3, 2)
    change, size = np.zeros(shape), np.ones(shape)
    for s, seed in enumerate(seeds):
        for w, n in enumerate(widths):
            draws = np.random.default_rng((seed, n)).standard_normal((2, 2))
            change[w, s, 1:] = np.array([constant + n**order, 1.0]) * np.exp(noise * draws[0])
            size[w, s] = np.exp(0.02 * draws[1])
    none = np.full((*shape[:3], 0), np.nan)
    return Measurement(
        widths=widths, seeds=seeds, steps=3, names=("h", "output"), parameters=(), size=size, rms=size, change=change,
        change_rms=change, nonfinite=np.zeros(shape), epsilon=np.full(shape, 1e-16), split=np.full((*shape, 4), np.nan),
        parameter_size=none, parameter_change=none, gradient_size=none, loss=np.ones(shape[:3]),
        diverged=np.zeros(shape[:3], dtype=bool), completed=np.ones(shape[:2], dtype=bool),
    )  # fmt: skip


def claim(order: Fraction = ZERO, regime: Regime = Regime.FEATURE_LEARNING) -> Prediction:
    rows = tuple(
        Row(
            "output" if name == "output" else "module",
            name,
            step,
            ZERO,
            None if step == 0 else change,
            PLACE,
            0,
            learns=learns,
        )
        for name, change, learns in (("h", order, True), ("output", ZERO, None))
        for step in range(3)
    )
    return Prediction(Program(()), regime, (Reason("because", "h", "h", PLACE),), rows, (), ())


def undecided(**how: float) -> Report:
    report = compare(claim(), runs(**how))  # type: ignore[arg-type]
    assert report.outcome is Outcome.UNDECIDED
    return report


def test_the_errors_of_all_looks_sum_to_less_than_alpha() -> None:
    assert sum(1 - confidence_of(look) for look in range(1, LOOKS + 1)) < ALPHA
    assert confidence_of(1) == 1 - ALPHA / 2 and confidence_of(2) > confidence_of(1)


@pytest.mark.parametrize("noise", [0.05, 0.4])
@pytest.mark.parametrize("crossover", [1.0, GROWING_CROSSOVER])
def test_the_interval_that_is_expected_is_the_one_that_comes(noise: float, crossover: float) -> None:
    half, deviation = expected(WIDTHS, 8, spread=noise, crossover=crossover)
    found = [
        estimate_order(WIDTHS, np.exp(noise * np.random.default_rng(k).standard_normal((4, 8))), crossover=crossover)
        for k in range(100)
    ]
    halves = [(each.high - each.low) / 2 for each in found if each is not None]
    assert half == pytest.approx(float(np.mean(halves)), rel=0.05)
    assert np.mean([each.spread for each in found if each is not None]) == pytest.approx(noise, rel=0.1)
    assert 0 < deviation < half
    assert expected(WIDTHS, 1, spread=noise) == (math.inf, math.inf)


def test_a_plan_does_decide_it_and_is_no_smaller_than_what_was_run() -> None:
    report = undecided(noise=0.4)
    plan = what_would_decide(report)
    assert plan is not None and plan.seeds >= 8 and set(WIDTHS) <= set(plan.widths)
    assert plan.seeds > 8 or len(plan.widths) > 4
    after = compare(claim(), runs(plan.widths, tuple(range(plan.seeds)), noise=0.4))
    assert after.outcome is Outcome.CONFIRMED


def test_there_is_no_plan_for_what_is_decided_or_cannot_be() -> None:
    assert what_would_decide(compare(claim(), runs(noise=0.02))) is None
    assert what_would_decide(compare(claim(), runs(seeds=(0,)))) is None
    nameless = undecided()
    nameless = replace(nameless, claims=tuple(replace(each, names=(), open=()) for each in nameless.claims))
    assert what_would_decide(nameless) is None


def test_looking_again_adds_runs_until_it_is_decided() -> None:
    asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def more(widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        asked.append((widths, seeds))
        return runs(widths, seeds, noise=0.4)

    found = until_decided(undecided(), more)
    assert found.outcome is Outcome.CONFIRMED and 1 <= len(asked) < LOOKS
    assert asked[0][1][:8] == tuple(range(8))  # what was run is not run again
    assert f"looked {len(asked) + 1} times" in found.notes[-1]
    assert found.confidence == confidence_of(len(asked) + 1)


class Runs:
    """Stands in for runs of the program: notes what it is asked for."""

    def __init__(self, **how: float) -> None:
        self.how, self.asked = how, list[tuple[str, tuple[int, ...], int]]()

    def beside(self, widths: tuple[int, ...], seeds: int) -> Measurement:
        return self._made("beside", widths, seeds)

    def at(self, widths: tuple[int, ...], seeds: int) -> Measurement | None:
        return self._made("far", widths, seeds)

    def part(self, name: str, step: int, seeds: int) -> Measurement | None:
        return None

    def _made(self, what: str, widths: tuple[int, ...], seeds: int) -> Measurement:
        self.asked.append((what, widths, seeds))
        return runs(widths, tuple(range(1000, 1000 + seeds)), **self.how)  # type: ignore[arg-type]


def test_only_the_program_is_run_again_for_a_row_that_it_measures() -> None:
    program = Runs(noise=0.4)
    report = compare(claim(), runs(noise=0.05), by_program={"h": program.beside(WIDTHS, 8)})
    assert report.outcome is Outcome.UNDECIDED

    def more(widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        raise AssertionError("no live run was to be made")

    found = until_decided(report, more, program=program)  # type: ignore[arg-type]
    assert found.outcome is Outcome.CONFIRMED and len(program.asked) >= 2
    assert found.measurement is report.measurement and found.measured("h").seeds[0] == 1000
    assert [row.by for row in found.rows()] == ["program", "script"]


def test_a_row_that_crosses_late_is_judged_at_far_larger_widths() -> None:
    """0.02 + n^-1/2 has slopes from -0.43 to -0.34 at 64 to 512, and -0.08 at 65536. Its order is 0."""
    how = {"noise": 0.01, "order": -0.5, "constant": 0.02}
    program, larger = Runs(**how), list[tuple[int, ...]]()

    def more(widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        larger.append(widths)
        return runs(widths, seeds, **how)  # type: ignore[arg-type]

    report = compare(claim(), runs(**how))  # type: ignore[arg-type]
    assert report.outcome is Outcome.UNDECIDED and what_would_decide(report) is None
    found = until_decided(report, more, program=program)  # type: ignore[arg-type]
    assert larger == [(*WIDTHS, 1024)]  # one look at larger widths comes first
    assert program.asked == [("far", (8192, 16384, 32768, 65536), 8)]
    assert found.outcome is Outcome.CONFIRMED
    assert [row.by for row in found.rows()] == ["program", "script"]
    assert until_decided(report, more).outcome is Outcome.UNDECIDED


def test_it_stops_when_the_time_is_over_and_does_not_start_when_nothing_can_help() -> None:
    def more(widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        raise AssertionError("no run was to be made")

    assert until_decided(undecided(), more, on=lambda: False).outcome is Outcome.UNDECIDED
    assert until_decided(compare(claim(), runs(noise=0.02)), more).outcome is Outcome.CONFIRMED
    assert until_decided(compare(claim(), runs(seeds=(0,))), more).outcome is Outcome.UNDECIDED


def test_the_width_is_told_from_which_growth_shows() -> None:
    """C + sqrt(n) has half of its slope where sqrt(n) = C."""
    report = compare(claim(HALF, Regime.UNSTABLE), runs(noise=0.01, order=0.5, constant=20.0))
    start = shows_from(report, "h")
    assert start == pytest.approx(400, rel=0.2)
    assert shows_from(report, "output") is None
    flat = compare(claim(HALF, Regime.UNSTABLE), runs(noise=0.01, order=-0.5))
    assert shows_from(flat, "h") is None


def test_growth_beyond_any_power_shows_from_no_width() -> None:
    """The exponential of what grows; it was fitted as a power, with a warning of numpy's."""
    report = compare(claim(HALF, Regime.UNSTABLE), runs(noise=0.01, order=0.5))
    rows = tuple(replace(row, change_order=math.inf) for row in report.table)  # type: ignore[arg-type]
    assert shows_from(replace(report, table=rows), "h") is None


def test_a_plan_leaves_room_for_the_luck_of_the_estimate() -> None:
    """An interval of just the margin decides it in half of the cases only. So a plan asks for a narrower one."""
    for noise in (0.2, 0.3, 0.4, 0.5):
        report = compare(claim(), runs(noise=noise))
        plan = what_would_decide(report)
        if plan is None:
            continue
        spread = max(
            each.measured_change_order.spread for each in report.table if each.measured_change_order is not None
        )
        half, deviation = expected(plan.widths, plan.seeds, spread=spread, confidence=report.confidence)
        assert half + float(stats.norm.ppf(0.5 + POWER / 2)) * deviation <= report.margin
