"""Mirrors tpdyn/claims/outcome.py: what the runs say of a regime hangs on the rows that the regime is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import pytest

from tpdyn.claims.outcome import (
    SEVERITY,
    Counts,
    Outcome,
    ReportRow,
    claims_of,
    counts_of,
    outcome_of,
)
from tpdyn.claims.statistics import MARGIN, Agreement, OrderEstimate
from tpdyn.exponents import Order, Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Contract, Law, Leaf, Operand
from tpdyn.program.program import Mark, Origin, Program, Source, View
from tpdyn.regimes.prediction import Prediction, Reason, Regime

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
PLACE = Source("net.py", 7, "h = fc(x)")
Role = Literal["output", "hidden", "other"]


def row(
    name: str,
    order: Order,
    measured: float | None,
    verdict: Agreement = "agrees",
    *,
    role: Role = "hidden",
    half: float = 0.1,
    at_most: bool = False,
) -> ReportRow:
    """A row whose change has that order, measured at `measured` +- half."""
    found = None if measured is None else OrderEstimate(measured, measured - half, measured + half, 4, 8, 0.01, 0.01)
    at_start = OrderEstimate(0.0, -half, half, 4, 8, 0.01, 0.01)
    return ReportRow(
        name, ZERO, at_start, order, found, verdict, PLACE, 2, at_most, "", "agrees", verdict, role
    )  # fmt: skip


EMPTY = Program(())


def said(regime: Regime, rows: Iterable[ReportRow], program: Program = EMPTY) -> Outcome:
    rows = tuple(rows)
    made = Prediction(program, regime, (Reason("because", "h", "fc", PLACE),), (), (), ())
    return outcome_of(rows, claims_of(made, rows, MARGIN))


OUT = row("output", ZERO, 0.0, role="output")


def test_features_are_learned_if_the_output_and_one_representation_are_confirmed() -> None:
    learning, open_ = row("fc1", ZERO, 0.0), row("fc2", ZERO, 0.2, "inconclusive")
    assert said(Regime.FEATURE_LEARNING, [learning, open_, OUT]) is Outcome.CONFIRMED
    assert said(Regime.FEATURE_LEARNING, [open_, OUT]) is Outcome.UNDECIDED
    assert said(
        Regime.FEATURE_LEARNING, [learning, replace(OUT, verdict="inconclusive", change_verdict="inconclusive")]
    ) is (Outcome.UNDECIDED)
    frozen = row("fc1", -HALF, -0.5)  # confirmed, but it is not what the regime says "some" of
    assert said(Regime.FEATURE_LEARNING, [frozen, open_, OUT]) is Outcome.UNDECIDED


def test_the_kernel_regime_needs_every_representation() -> None:
    frozen, open_ = row("fc1", -HALF, -0.5), row("fc2", -HALF, -0.3, "inconclusive")
    never = row("fc0", None, None)
    assert said(Regime.KERNEL, [never, frozen, OUT]) is Outcome.CONFIRMED
    assert said(Regime.KERNEL, [frozen, open_, OUT]) is Outcome.UNDECIDED
    assert said(Regime.KERNEL, [OUT]) is Outcome.UNDECIDED  # nothing is known of any representation
    other = row("fc2", ZERO, 0.2, "inconclusive", role="other")
    assert said(Regime.KERNEL, [frozen, other, OUT]) is Outcome.CONFIRMED


def test_a_trivial_script_needs_its_outputs_only() -> None:
    vanishing = row("output", -HALF, -0.5, role="output")
    assert said(Regime.TRIVIAL, [row("fc1", -ONE, -0.8, "inconclusive"), vanishing]) is Outcome.CONFIRMED
    second = row("output#2", -HALF, -0.3, "inconclusive", role="output")
    assert said(Regime.TRIVIAL, [vanishing, second]) is Outcome.UNDECIDED


def test_an_unstable_script_needs_a_row_that_grows_as_predicted() -> None:
    """The router of a Mixtral: rows that stay are confirmed, the rows that grow are not."""
    stays = [row(f"fc{k}", ZERO, 0.0) for k in range(9)]
    grows = row("router", HALF, 0.02, "inconclusive", half=0.25)
    assert said(Regime.UNSTABLE, [*stays, grows, OUT]) is Outcome.UNDECIDED
    assert said(Regime.UNSTABLE, [*stays, row("router", HALF, 0.5)]) is Outcome.CONFIRMED
    assert said(Regime.UNSTABLE, [*stays, row("product", HALF, 0.5, role="other")]) is Outcome.UNDECIDED
    nan = row("router", HALF, None, "inconclusive")
    assert said(Regime.UNSTABLE, [*stays, nan]) is Outcome.UNDECIDED


def test_a_size_that_grows_at_initialisation_decides_too() -> None:
    grown = replace(
        row("fc2", None, None), size_order=HALF, measured_size_order=OrderEstimate(0.5, 0.4, 0.6, 4, 8, 0, 0)
    )
    assert said(Regime.UNSTABLE, [grown]) is Outcome.CONFIRMED
    assert said(Regime.UNSTABLE, [replace(grown, size_verdict="inconclusive")]) is Outcome.UNDECIDED


def test_if_the_deciding_value_is_a_modules_output_no_other_row_stands_in_for_it() -> None:
    build = Builder()
    build.origin = Origin(0, "forward", "fc", PLACE)
    x = build.leaf(Leaf("data", "x", Law("data")), (Scaling.of(1, 1),))
    h = build.add(Contract((Operand(x, (0,)),)), (), name="h")
    build.marks.append(Mark("module", "fc", 0, View((h,), ())))
    program = build.build(steps=1)
    deciding, other = row("fc", HALF, 0.3, "inconclusive"), row("later", HALF, 0.5)
    assert said(Regime.UNSTABLE, [deciding, other], program) is Outcome.UNDECIDED
    assert said(Regime.UNSTABLE, [deciding, other]) is Outcome.UNDECIDED  # it is made in this module
    assert said(Regime.UNSTABLE, [replace(deciding, name="fc0"), other]) is Outcome.CONFIRMED  # no module shows it
    assert said(Regime.UNSTABLE, [row("fc", HALF, 0.5), replace(other, verdict="inconclusive")], program) is (
        Outcome.CONFIRMED
    )


@pytest.mark.parametrize("verdict", ["disagrees", "diverged"])
def test_one_row_against_contradicts_whatever_is_confirmed(verdict: Agreement) -> None:
    against = row("other", ZERO, 0.5, verdict, role="other")
    assert said(Regime.FEATURE_LEARNING, [row("fc1", ZERO, 0.0), OUT, against]) is Outcome.CONTRADICTED


def test_a_row_that_is_not_explained_is_counted_and_cannot_confirm() -> None:
    odd = row("fc1", HALF, 0.0, "not explained")
    assert said(Regime.UNSTABLE, [odd]) is Outcome.UNDECIDED
    assert counts_of([odd, OUT, row("x", ZERO, 0.5, "diverged"), row("y", ZERO, None, "not measured")]) == Counts(
        1, 1, 1, 1
    )


def test_an_upper_bound_confirms_that_something_vanishes_and_not_that_something_stays() -> None:
    """The bound 0 holds for a change that is measured to vanish, but then nothing has learned."""
    bound = row("fc1", ZERO, -0.5, at_most=True)
    assert said(Regime.FEATURE_LEARNING, [bound, OUT]) is Outcome.UNDECIDED
    assert said(Regime.KERNEL, [row("fc1", -HALF, -1.0, at_most=True), OUT]) is Outcome.CONFIRMED
    moved = row("output", ZERO, -0.5, at_most=True, role="output")
    assert said(Regime.FEATURE_LEARNING, [row("fc1", ZERO, 0.0), moved]) is Outcome.UNDECIDED


def test_the_worst_of_two_verdicts_is_what_stands_against_first() -> None:
    assert SEVERITY[:3] == ("disagrees", "diverged", "not explained") and SEVERITY[-1] == "agrees"


def test_growth_of_a_mixture_of_powers_confirms_nothing() -> None:
    """Behind values that grow, orders 1/2 and 3/2 may look like 1."""
    grows = row("fc", ONE, 1.0)
    assert said(Regime.UNSTABLE, (grows, OUT)) is Outcome.CONFIRMED
    assert said(Regime.UNSTABLE, (replace(grows, mixed=True), OUT)) is Outcome.UNDECIDED
    first = OrderEstimate(1.0, 0.9, 1.1, 4, 8, 0.01, 0.01)
    at_start = replace(grows, mixed=True, size_order=ONE, measured_size_order=first)
    assert said(Regime.UNSTABLE, (at_start, OUT)) is Outcome.CONFIRMED  # its size is no mixture


def test_rows_that_agree_confirm_nothing_where_nothing_is_claimed() -> None:
    assert outcome_of((OUT,), ()) is Outcome.UNDECIDED


@pytest.mark.parametrize("regime", [Regime.FEATURE_LEARNING, Regime.KERNEL, Regime.TRIVIAL])
def test_what_is_seen_to_grow_leaves_a_stable_regime_undecided(regime: Regime) -> None:
    """Its slope may still move towards the predicted order, so that it is not contradicted yet."""
    order = ZERO if regime is Regime.FEATURE_LEARNING else -HALF
    output = row("output", -HALF, -0.5, role="output") if regime is Regime.TRIVIAL else OUT
    rows = [output, row("fc1", order, float(order))]
    assert said(regime, rows) is Outcome.CONFIRMED
    grows = row("fc2", order, 0.5, "inconclusive")
    assert said(regime, [*rows, grows]) is Outcome.UNDECIDED
    learning = Prediction(EMPTY, regime, (), (), (), ())
    last = claims_of(learning, (*rows, grows), MARGIN)[-1]
    assert (last.what, last.open) == ("nothing grows with the width", ("fc2",))
