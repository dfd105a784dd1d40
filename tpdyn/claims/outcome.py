"""Do the runs confirm the regime, leave it undecided, or contradict it? The rows on which the regime hangs decide.

A regime says "some" or "every" of values. What says "some" needs one confirmed row, what says "every" needs all of them:

* unstable: the value that decides grows, with its predicted order;
* trivial: every output vanishes as predicted;
* kernel: some output changes at order 0, and every hidden representation is frozen as predicted;
* feature learning: some output changes at order 0, and so does some hidden representation.

None of the last three is confirmed beside a row that the runs show to grow, even an undecided one.

One row outside of its interval contradicts the theory, wherever it is. A row that is a function of growing values is
"not explained" there instead. Powers mix in it, so it neither contradicts nor confirms. An upper bound (`at_most`)
confirms only what needs no more than a bound: that something vanishes.

A change at order 0 is confirmed by an interval within the margin of 0, on both sides.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, final

from tpdyn.claims.statistics import Agreement, OrderEstimate, judge
from tpdyn.exponents import ZERO, Order
from tpdyn.facts.facts import Facts
from tpdyn.program.program import Source
from tpdyn.regimes.prediction import Prediction, Regime

SEVERITY: tuple[Agreement, ...] = ("disagrees", "diverged", "not explained", "not measured", "inconclusive", "agrees")
"""Of a row's two verdicts (size, change) the first in this order is the row's."""

AGAINST: tuple[Agreement, ...] = ("disagrees", "diverged")


@final
class Outcome(enum.Enum):
    """What the runs say of the predicted regime; when two apply, the order is: contradicted, undecided, confirmed."""

    CONFIRMED = "confirmed"
    UNDECIDED = "undecided"
    CONTRADICTED = "contradicted"


@final
@dataclass(frozen=True, slots=True)
class ReportRow:
    """One module: predicted and measured order of its output's size (step 0) and change (step `step`).

    A measured order is None where there is none: the value is zero, or not finite, in too many runs. verdict: the worse of
    `size_verdict` and `change_verdict` (see `SEVERITY`). role: whether it is an output, a hidden representation, or another
    value (a product before its multiplier, say). note: why the verdict is what it is, and what to do about an inconclusive
    one. mixed: whether its change is a function of values that grow. by: whether live
    runs of the script measured it, or runs of the recorded program (`tpdyn.claims.unseen`).
    """

    name: str
    size_order: Order
    measured_size_order: OrderEstimate | None
    change_order: Order
    measured_change_order: OrderEstimate | None
    verdict: Agreement
    source: Source
    step: int
    at_most: bool = False
    note: str = ""
    size_verdict: Agreement = "not measured"
    change_verdict: Agreement = "not measured"
    role: Literal["output", "hidden", "other"] = "other"
    mixed: bool = False
    by: Literal["script", "program"] = "script"


@final
@dataclass(frozen=True, slots=True)
class Claim:
    """A part of a regime that rows decide: `some` or every row of `names` must be confirmed.

    met: whether they are. open: the names of the rows that still stand in its way (none if met). what: the claim in words.
    """

    what: str
    names: tuple[str, ...]
    some: bool
    open: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether the claim is confirmed; one without a row never is."""
        return bool(self.names) and not self.open


@final
@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows the runs confirm, leave undecided (not measured ones too), do not explain, and contradict."""

    confirmed: int
    undecided: int
    not_explained: int
    contradicted: int


def outcome_of(rows: Sequence[ReportRow], claims: Sequence[Claim]) -> Outcome:
    """Judge: contradicted by any row that is against; confirmed if all claims are met; else undecided."""
    if any(row.verdict in AGAINST for row in rows):
        return Outcome.CONTRADICTED
    return Outcome.CONFIRMED if claims and all(claim.met for claim in claims) else Outcome.UNDECIDED


def counts_of(rows: Sequence[ReportRow]) -> Counts:
    """Count the evidence, row by row."""
    verdicts = [row.verdict for row in rows]
    return Counts(
        verdicts.count("agrees"),
        verdicts.count("inconclusive") + verdicts.count("not measured"),
        verdicts.count("not explained"),
        sum(verdict in AGAINST for verdict in verdicts),
    )


def claims_of(prediction: Prediction, rows: Sequence[ReportRow], margin: float) -> tuple[Claim, ...]:
    """Return the claims that make up the predicted regime, and which of them the rows confirm."""
    outputs = [row for row in rows if row.role == "output"]
    hidden = [row for row in rows if row.role == "hidden"]

    def exactly(row: ReportRow) -> bool:
        return row.change_verdict == "agrees" and judge(row.change_order, row.measured_change_order, margin=margin) == (
            "agrees"
        )

    def at_most(row: ReportRow) -> bool:
        return row.change_verdict == "agrees"

    facts = Facts.of(prediction.program)
    marks = prediction.program.marks
    behind = {m.name: facts.folded.get(m.view.var, ZERO) for m in marks if m.kind == "output"}
    lengths = {m.name: facts.unit_lengths.get(m.view.var, ZERO) for m in marks}

    def moves(row: ReportRow, more: Fraction = ZERO) -> bool:
        return row.change_order is not None and row.change_order + lengths.get(row.name, ZERO) + more == 0

    moved = [row for row in outputs if moves(row, behind.get(row.name, ZERO))]
    moving = _claim("the output changes at order 0", moved, exactly)
    grows = _seen_to_grow(rows, margin)
    match prediction.regime:
        case Regime.UNSTABLE:
            return (_growth(prediction, rows, margin),)
        case Regime.TRIVIAL:
            return (_claim("every output vanishes as predicted", outputs, at_most, some=False), *grows)
        case Regime.KERNEL:
            frozen = _claim("every hidden representation is frozen", hidden, at_most, some=False)
            return (moving, frozen, *grows)
        case Regime.FEATURE_LEARNING:
            learning = [row for row in hidden if moves(row)]
            return (moving, _claim("some hidden representation changes at order 0", learning, exactly), *grows)


def _seen_to_grow(rows: Sequence[ReportRow], margin: float) -> tuple[Claim, ...]:
    """Claim that nothing grows, where runs of a stable script show something that does.

    A slope that still moves towards its predicted order is undecided. But a stable regime is not confirmed beside it. Without
    this claim, 9 of 372 theories that were wrong by 1/2 in one module were confirmed (proofs_checks/test_false_alarm_and_power.py).
    With it, 2 of 1,648 are that make another regime, both in one of 240 reports.
    """

    def grows(order: Order, measured: OrderEstimate | None) -> bool:
        return order is not None and order <= 0 and measured is not None and measured.low > margin

    seen = [
        row
        for row in rows
        if row.role != "other"
        and (grows(row.size_order, row.measured_size_order) or grows(row.change_order, row.measured_change_order))
    ]
    return (_claim("nothing grows with the width", seen, lambda row: False, some=False),) if seen else ()


def _growth(prediction: Prediction, rows: Sequence[ReportRow], margin: float) -> Claim:
    """Claim the growth of an unstable script: of the deciding row, or of all rows predicted to grow."""

    def grows(row: ReportRow) -> bool:
        size = judge(row.size_order, row.measured_size_order, margin=margin) if _positive(row.size_order) else None
        change = (
            judge(row.change_order, row.measured_change_order, margin=margin) if _positive(row.change_order) else None
        )
        grew = not row.mixed and change == "agrees" == row.change_verdict  # powers that mix may look like any
        return grew or size == "agrees" == row.size_verdict

    values = {row.name for row in prediction.rows() if row.kind == "value"}
    growing = [
        row
        for row in rows
        if (row.role != "other" or row.name in values) and (_positive(row.size_order) or _positive(row.change_order))
    ]
    deciding = values or _deciding_names(prediction)
    own = [row for row in growing if row.name in deciding and row.verdict != "not measured"]
    return _claim("the value that decides grows as predicted", own or growing, grows)


def _deciding_names(prediction: Prediction) -> set[str]:
    """Return the modules whose output is the value named by the first reason, or else the module that makes it."""
    if not prediction.reasons:
        return set()
    reason, program = prediction.reasons[0], prediction.program
    positions = {
        position
        for position, statement in enumerate(program.statements)
        if statement.name == reason.statement and statement.origin.source == reason.source
    }
    return {mark.name for mark in program.marks if positions & set(mark.view.pieces)} or {reason.module}


def _claim(what: str, rows: Sequence[ReportRow], confirmed: Callable[[ReportRow], bool], some: bool = True) -> Claim:
    names = tuple(row.name for row in rows)
    left = tuple(row.name for row in rows if not confirmed(row))
    return Claim(what, names, some, () if some and len(left) < len(names) else left)


def _positive(order: Order) -> bool:
    return order is not None and order > 0
