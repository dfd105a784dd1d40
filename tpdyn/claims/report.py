"""Do the runs agree with the theory? Module by module, predicted orders beside measured ones.

What the rows say of the regime is decided in `tpdyn.claims.outcome`.

Which step is compared. Sizes at step 0. Changes are compared at the last step that was measured and predicted, unless
something is predicted to blow up before. From then on values saturate, overflow and mix powers, and finite widths do not
show an exponent. So when a module's change is predicted to have a positive order, the first step with one is compared. When
only something unnamed is unstable (attention logits, say), it is the first step at which anything changes. A positive order
that is predicted means that NaN and Inf are expected, not wrong. Functions of values that grow (in that same step,
`Row.mixed`) are not held against the theory. Outside of its interval such a row is "not explained".

Which mean is compared. The order of a value is that of its typical entry: the mean absolute entry along the width. A value
without entries along the width (the output) is as large as its largest entries. There the root mean square is compared.
With tied embeddings such an entry is the logit of the current token, one in a vocabulary.

A value predicted to be identically zero must be zero in every run, up to round-off (`statistics.FLOOR`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from tpdyn.claims.beside import Beside, beside, counted, distances
from tpdyn.claims.beside import to_dict as beside_to_dict
from tpdyn.claims.outcome import SEVERITY, Claim, Counts, Outcome, ReportRow, claims_of, counts_of, outcome_of
from tpdyn.claims.parts import SMALL, known_part, leading_of, share
from tpdyn.claims.slower import slower_change, slower_size
from tpdyn.claims.split import leading_later
from tpdyn.claims.statistics import (
    CONFIDENCE,
    CROSSOVER,
    FLOOR,
    GROWING_CROSSOVER,
    MARGIN,
    SLOW_CROSSOVER,
    Agreement,
    OrderEstimate,
    Part,
    estimate_order,
    judge,
    still_bends_towards,
)
from tpdyn.claims.unseen import ALONE
from tpdyn.exponents import Order, direction, show_order
from tpdyn.facts.facts import Facts
from tpdyn.limits.comparison import Approach
from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import COMPARED, Prediction, Regime, Row

WIDEST = 256
"""The largest width at which the share of parts is measured: it falls with the width."""


@final
@dataclass(frozen=True, eq=False)
class Report:
    """A prediction, a measurement, and what the runs say of the theory (`compare` makes it).

    step: at which changes are compared. claims: what the regime hangs on, and which of it is confirmed. by_program: the runs of
    the recorded program by which rows of these names are judged (`tpdyn.claims.unseen`). approach: runs beside the limit of
    infinite width, if that was asked for; beside: what they say of it (`tpdyn.claims.beside`). The outcome does not depend on
    those two.
    """

    prediction: Prediction
    measurement: Measurement
    table: tuple[ReportRow, ...] = field(repr=False)
    step: int
    confidence: float = CONFIDENCE
    margin: float = MARGIN
    notes: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    approach: Approach | None = field(default=None, repr=False)
    beside: tuple[Beside, ...] = field(default=(), repr=False)
    by_program: Mapping[str, Measurement] = field(default_factory=dict, repr=False)

    def measured(self, name: str) -> Measurement:
        """Return the runs by which a row is judged: live ones, or those of the recorded program."""
        return self.by_program.get(name, self.measurement)

    def rows(self) -> tuple[ReportRow, ...]:
        """Return one row a module, in the order of the forward pass."""
        return self.table

    @cached_property
    def outcome(self) -> Outcome:
        """Whether the runs confirm the regime, leave it undecided, or contradict the theory."""
        return outcome_of(self.table, self.claims)

    @cached_property
    def counts(self) -> Counts:
        """How many rows the runs confirm, leave undecided, do not explain, and contradict."""
        return counts_of(self.table)

    @property
    def agrees(self) -> bool:
        """Whether the runs confirm the regime."""
        return self.outcome is Outcome.CONFIRMED

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON data; orders are strings such as "-1/2", null for identically zero."""
        return {
            "regime": self.prediction.regime.value,
            "outcome": self.outcome.value,
            "agrees": self.agrees,
            "counts": asdict(self.counts),
            "claims": [asdict(claim) | {"met": claim.met} for claim in self.claims],
            "step": self.step,
            "modules": [row_to_dict(row) for row in self.table],
            "reasons": [reason.told() for reason in (*self.prediction.reasons, *self.prediction.outside)],
            "limit": None if self.approach is None else beside_to_dict(self.approach, self.beside),
        }

    def show(self) -> None:
        """Print the verdict and the table."""
        import tpdyn

        tpdyn._show(self)

    def _repr_html_(self) -> str:
        from tpdyn.notebook import card, table

        rows, tones = [], []
        for row in self.table:
            order = f"{'<= ' if row.at_most else ''}{show_order(row.change_order)}"
            rows.append(
                (
                    row.name or "(root)",
                    show_order(row.size_order),
                    str(row.measured_change_order or "(none)"),
                    row.verdict,
                    order,
                )
            )
            tones.append(direction(row.change_order))
        told = [reason.told() for reason in (*self.prediction.outside, *self.prediction.reasons)][:1]
        heads = ("module", "size", "measured change", "verdict", f"change at step {self.step}")
        return card(
            f"{self.prediction.regime.value}: {self.outcome.value} by the runs", told, table(heads, rows, tones)
        )

    def to_text(self) -> str:
        """Return the table as plain text, one line a module (for assertion messages and logs)."""
        lines = [f"regime: {self.prediction.regime.value}, {self.outcome.value}; changes compared at step {self.step}"]
        for claim in self.claims:
            if not claim.met:
                lines.append(f"not confirmed: {claim.what} ({', '.join(claim.open) or 'no row shows it'})")
        for row in self.table:
            lines.append(
                f"{row.name or '(root)'}: size {show_order(row.size_order)} {row.measured_size_order or '(none)'}, "
                "change "
                f"{'<= ' if row.at_most else ''}{show_order(row.change_order)} {row.measured_change_order or '(none)'}: "
                f"{row.verdict}{f' ({row.note})' if row.note else ''}"
            )
        if self.approach is not None:
            lines += [distances(self.approach), counted(self.beside)]
        return "\n".join([*lines, *self.notes])


def compare(
    prediction: Prediction,
    measurement: Measurement,
    *,
    confidence: float = CONFIDENCE,
    margin: float = MARGIN,
    approach: Approach | None = None,
    by_program: Mapping[str, Measurement] | None = None,
) -> Report:
    """Compare each module's predicted orders with the measured ones.

    confidence: of each interval. margin: within which a measured order equals the predicted one. approach: runs beside the
    limit (`tpdyn.approach`); the report then has claims about it. by_program: runs of the recorded program, by the names of the
    rows that are judged by them instead (`tpdyn.claims.unseen`). Raises ValueError when the two have no module in common, or
    too few steps to see a change.

    Example:
        >>> report = compare(predict(record(train)), measure(train))  # doctest: +SKIP
        >>> report.agrees  # doctest: +SKIP
        True
    """
    rows = [row for row in prediction.rows() if row.kind in COMPARED]
    steps = min(max((row.step for row in rows), default=0) + 1, measurement.steps)
    names = list(dict.fromkeys(row.name for row in rows))
    common = [name for name in names if name in measurement.names]
    if not common:
        raise ValueError(
            f"prediction and measurement have no module in common (predicted: {', '.join(names) or 'none'}; measured: "
            f"{', '.join(measurement.names) or 'none'}); were they made from the same script?"
        )
    if steps < 2:
        raise ValueError(
            "no step in common at which anything has changed: predict and measure with steps=2 or more (3 is best)"
        )
    step = comparison_step(prediction, rows, steps)
    by_program = by_program or {}
    table = tuple(
        _row(
            name, [row for row in rows if row.name == name], prediction, by_program.get(name, measurement), step, confidence,
            margin, by="program" if name in by_program else "script",
        )
        for name in names
    )  # fmt: skip
    notes = list(measurement.notes)
    if not measurement.completed.all():
        notes.append(f"only {int(measurement.completed.sum())} of {measurement.completed.size} runs were made")
    unpredicted = [name for name in measurement.names if name not in names]
    if unpredicted:
        notes.append(f"measured but not predicted: {', '.join(unpredicted)}")
    if step != steps - 1:
        notes.append(f"changes are compared at step {step}, the first at which something grows with the width")
    lengths = Facts.of(prediction.program).unit_lengths
    units = dict.fromkeys(m.name for m in prediction.program.marks if m.view.var in lengths and m.name in names)
    if units:
        notes.append(f"of length 1, so that its direction counts, which is n^1/2 times as large: {', '.join(units)}")
    claims = claims_of(prediction, table, margin)
    report = Report(
        prediction, measurement, table, step, confidence, margin, tuple(notes), claims, by_program=by_program
    )
    return report if approach is None else with_limit(report, approach)


def with_limit(report: Report, approach: Approach) -> Report:
    """Return the report with runs beside the limit, and what they say of it."""
    return replace(report, approach=approach, beside=beside(approach, confidence=report.confidence))


def expected_rows(prediction: Prediction) -> tuple[ReportRow, ...]:
    """Return one row a module without runs: its size at first, and the largest change of all steps."""
    rows = [row for row in prediction.rows() if row.kind in COMPARED]
    expected = []
    for name in dict.fromkeys(row.name for row in rows):
        mine = [row for row in rows if row.name == name]
        first, largest = mine[0], max((row.change for row in mine if row.change is not None), default=None)
        at_most = any(row.at_most for row in mine if row.change == largest)
        expected.append(
            ReportRow(
                name,
                first.size,
                None,
                largest,
                None,
                "not measured",
                first.source,
                mine[-1].step,
                at_most,
                role=_role(mine, Facts.of(prediction.program).outputs),
            )
        )
    return tuple(expected)


def row_to_dict(row: ReportRow) -> dict[str, Any]:
    """Return a row of the verdict as JSON data."""
    return {
        "name": row.name,
        "role": row.role,
        "size_order": _json_order(row.size_order),
        "measured_size_order": _json_estimate(row.measured_size_order),
        "change_order": _json_order(row.change_order),
        "at_most": row.at_most,
        "measured_change_order": _json_estimate(row.measured_change_order),
        "verdict": row.verdict,
        "by": row.by,
        "note": row.note,
        "source": str(row.source),
    }


def comparison_step(prediction: Prediction, rows: list[Row], steps: int) -> int:
    """Return the step at which changes are compared: see the module docstring."""
    if prediction.regime is not Regime.UNSTABLE:
        return steps - 1
    seen = [row for row in rows if row.change is not None and row.step < steps]
    growing = [row.step for row in seen if row.change is not None and row.change > 0]
    if seen:
        return min(growing, default=min(row.step for row in seen))
    return steps - 1


def _role(rows: list[Row], outputs: Collection[int]) -> Literal["output", "hidden", "other"]:
    """Tell what a row is for the regime; a representation that the network returns is one all the same."""
    if any(row.learns is not None for row in rows):
        return "hidden"
    return "output" if rows[0].kind == "output" or rows[0].position in outputs else "other"


def _row(
    name: str,
    rows: list[Row],
    prediction: Prediction,
    measurement: Measurement,
    step: int,
    confidence: float,
    margin: float,
    by: Literal["script", "program"],
) -> ReportRow:
    blows_up = prediction.regime is Regime.UNSTABLE
    first = min(rows, key=lambda row: row.step)
    row = next((row for row in rows if row.step == step), None)
    size_order = first.size
    role = _role(rows, Facts.of(prediction.program).outputs)
    if row is None or name not in measurement.names:
        why = f"not called in step {step}" if row is None else "the runs have no module of this name"
        if first.kind == "value":
            why = "it is not a module's output, and the recorded program was not run"
        row = row or first
        return ReportRow(
            name, size_order, None, row.change, None, "not measured", row.source, step, row.at_most, why, role=role
        )
    k = measurement.index(name)
    sizes, changes = (measurement.size, measurement.change) if row.wide else (measurement.rms, measurement.change_rms)
    size_verdict, size_note, size = _Value(
        "size", size_order, sizes[:, :, first.step, k], 0.0, measurement, first.step, confidence, margin,
        _hides(size_order), at_most=False, may_diverge=size_order is not None and size_order > 0, mixed=first.mixed,
    ).judged()  # fmt: skip
    floor = FLOOR * measurement.epsilon[:, :, step, k] * sizes[:, :, step, k]
    verdict, note, change = _Value(
        "change", row.change, changes[:, :, step, k], floor, measurement, step, confidence, margin,
        _hides_in_change(prediction, row, min(measurement.widths)), at_most=row.at_most, may_diverge=blows_up, mixed=row.mixed,
    ).judged()  # fmt: skip
    if size_verdict == "disagrees" and _is_below(size, size_order):
        why = _hidden("size", size_order, slower_size(prediction, first), size, margin)
        size_verdict, size_note = ("inconclusive", why) if why else (size_verdict, size_note)
    if verdict == "disagrees" and _is_below(change, row.change):
        hides = known_part(prediction, row, min(measurement.widths)) is None
        why = _hidden("change", row.change, slower_change(prediction, row) if hides else None, change, margin)
        why = why or leading_later(measurement, name, step, row.change, confidence, margin)
        verdict, note = ("inconclusive", why) if why else (verdict, note)
    if by == "program" and verdict == "agrees" and row.kind == "value" and _is_behind(prediction, row, measurement):
        text = "parts of lower order make most of it at these widths; --until-decided judges the leading part alone"
        verdict, note = "inconclusive", f"change: {text}"
    if late := _falls_late(prediction, min(measurement.widths)):
        size_verdict, size_note = ("inconclusive", late) if size_verdict == "disagrees" else (size_verdict, size_note)
        verdict, note = ("inconclusive", late) if verdict == "disagrees" else (verdict, note)
    worst = min((size_verdict, verdict), key=SEVERITY.index)
    return ReportRow(
        name, size_order, size, row.change, change, worst, row.source, step, row.at_most,
        "; ".join(text for text in (_by(measurement) if by == "program" else "", size_note, note) if text), size_verdict,
        verdict, role, row.mixed, by,
    )  # fmt: skip


def _is_behind(prediction: Prediction, row: Row, measurement: Measurement) -> bool:
    """Tell whether the leading part of a change is small at these widths. Then the whole says nothing of its order.

    Without this rule, 7 of 8 planted theories of `one_head` (benchmarks/headline.py) were confirmed.
    """
    alone = any(note.startswith(ALONE) for note in measurement.notes)
    if alone or not leading_of(prediction, row):
        return False
    rest = share(prediction, row, min(WIDEST, max(measurement.widths)))
    return rest is not None and rest >= SMALL


def _by(measurement: Measurement) -> str:
    """Tell by which runs of the recorded program a row was measured."""
    widths, simulated = measurement.widths, any("was simulated" in note for note in measurement.notes)
    how = "simulated runs" if simulated else "runs"
    alone = next((f" ({note} alone)" for note in measurement.notes if note.startswith(ALONE)), "")
    seeds = len(measurement.seeds)
    return f"by {how} of the recorded program{alone}, {seeds} at each width, {widths[0]} to {widths[-1]}"


@final
@dataclass(frozen=True, slots=True)
class _Value:
    """A value at one step: what was measured of it, and what is predicted. hides: of finite widths, see `_hides_in_change`."""

    what: Literal["size", "change"]
    predicted: Order
    values: Float[NDArray[np.float64], "width seed"]
    floor: Float[NDArray[np.float64], "width seed"] | float
    measurement: Measurement
    step: int
    confidence: float
    margin: float
    hides: tuple[_Hides, _Hides]
    at_most: bool
    may_diverge: bool
    mixed: bool

    def judged(self) -> tuple[Agreement, str, OrderEstimate | None]:
        """Return the agreement, why, and the measured order."""
        completed = self.measurement.completed
        diverged = completed & self.measurement.diverged[:, :, self.step] & ~np.isfinite(self.values)
        values = np.where(completed, self.values, np.nan)
        estimate, slow = (
            estimate_order(
                self.measurement.widths, values, floor=self.floor, confidence=self.confidence, crossover=each.crossover,
                part=each.part,
            )
            for each in self.hides
        )  # fmt: skip
        verdict, why = self._without_order(values, diverged) or self._by_order(estimate, slow, bool(diverged.any()))
        return verdict, why and f"{self.what}: {why}", None if verdict == "diverged" else estimate

    def _without_order(self, values: NDArray[np.float64], diverged: NDArray[np.bool_]) -> tuple[Agreement, str] | None:
        """Judge a value that is nowhere finite, or zero, or predicted to be zero. None for any other."""
        finite = np.isfinite(values)
        if diverged.any() and not self.may_diverge:
            return "diverged", f"{int(diverged.sum())} runs gave NaN or Inf {self._where(diverged)}"
        if not finite.any() and diverged.any():
            text = "every run gave NaN or Inf; growth is predicted, but a power shows only where runs stay finite"
            return "inconclusive", f"{text}: lower the learning rate"
        if not finite.any():
            return "not measured", "no run has a value"
        if self.predicted is None:
            above = values[finite & (values > self.floor)]
            return (
                ("disagrees", f"predicted to be zero, but it is up to {above.max():.2g}")
                if above.size
                else ("agrees", "")
            )
        if (values[finite] == 0).all():
            if self.at_most:
                return "agrees", "exactly zero"
            return "disagrees", f"exactly zero in every run, predicted order {show_order(self.predicted)}"
        return None

    def _where(self, diverged: NDArray[np.bool_]) -> str:
        """Say at which widths a value was not finite, and what that hints at."""
        widths = [str(n) for n, bad in zip(self.measurement.widths, diverged) if bad.any()]
        if self.what == "size":
            return "already in the first forward pass: are the data and the initial values finite?"
        if len(widths) == len(self.measurement.widths):
            return "at every width: the learning rate is too large whatever the width"
        return f"at width {', '.join(widths)}, though no growth is predicted"

    def _by_order(
        self, estimate: OrderEstimate | None, slow: OrderEstimate | None, diverged: bool
    ) -> tuple[Agreement, str]:
        """Judge a value by its measured order. slow: the order before a predicted growth that is not seen contradicts."""
        if estimate is None and diverged:
            text = "too many runs gave NaN or Inf to see an order; growth is predicted"
            return "inconclusive", f"{text}: lower the learning rate, or measure at smaller widths"
        if estimate is None and self.at_most:
            return "agrees", "below round-off"
        if estimate is None:
            return "inconclusive", "below round-off of its dtype at most widths; measure in float64"
        predicted, also = self.predicted, f"; {estimate.note}" if estimate.note else ""
        verdict = judge(predicted, estimate, at_most=self.at_most, margin=self.margin)
        if verdict == "agrees":
            return verdict, estimate.note
        if self.mixed:
            text = "a function of values that grow; its order shows at widths where those are large"
            if verdict == "disagrees":
                return "not explained", f"{estimate} is not explained: {text}"
            return "inconclusive", text
        if verdict == "inconclusive":
            return verdict, f"the interval is too wide; {estimate.remedy()}{also}"
        if _is_below(slow, predicted) and judge(predicted, slow, margin=self.margin) != verdict:
            return "inconclusive", f"{estimate}: growth with a small constant shows at larger widths only"
        assert predicted is not None
        if self.hides[0].part is None and still_bends_towards(predicted, estimate, self.margin):
            at = f"{estimate.steepest:+.2f} at width {max(self.measurement.widths)}"
            text = f"its slope still moves towards {show_order(predicted)} ({at})"
            return "inconclusive", f"{text}; measure at larger widths"
        return verdict, f"predicted {show_order(predicted)}, measured {estimate} at {100 * self.confidence:.4g} %{also}"


@final
@dataclass(frozen=True, slots=True)
class _Hides:
    """What finite widths may hide: see `statistics`."""

    crossover: float
    part: Part | None = None


def _hides(order: Order) -> tuple[_Hides, _Hides]:
    hidden = _Hides(GROWING_CROSSOVER if order is not None and order > 0 else CROSSOVER)
    return hidden, hidden


def _hides_in_change(prediction: Prediction, row: Row, width: int) -> tuple[_Hides, _Hides]:
    """Return what finite widths may hide of a change, and what contradicts the theory before an unseen growth.

    Of what grows, its parts of lower order are measured, where the program can be run at the smallest width.
    """
    if row.change is None or row.change <= 0 or row.change == math.inf:
        return _hides(row.change)
    part = None if row.mixed else known_part(prediction, row, width)
    late = SLOW_CROSSOVER if prediction.regime is Regime.UNSTABLE and part is None else GROWING_CROSSOVER
    return _Hides(GROWING_CROSSOVER) if part is None else _Hides(CROSSOVER, part), _Hides(late)


def _is_below(estimate: OrderEstimate | None, order: Order) -> bool:
    return estimate is not None and order is not None and estimate.estimate < order


def _hidden(what: str, order: Order, slower: Order, estimate: OrderEstimate | None, margin: float) -> str:
    """Explain why an order measured below the predicted one may still become it. Empty if no part of the value explains it."""
    if slower is None or estimate is None or estimate.high < slower - margin:
        return ""
    return (
        f"{what}: {estimate} may be a part of order {show_order(slower)} with a larger constant. Behind it "
        f"the part of order {show_order(order)} does not show yet; measure at widths that are 16 times larger"
    )


def _falls_late(prediction: Prediction, width: int) -> str:
    """Say which initial sizes are not yet powers at the smallest width: (1 + w/n)^-1/2 has a slope below 1/10 from 4 w on."""
    late = prediction.program.late
    if not late or 4 * max(late.values()) <= width:
        return ""
    name = max(late, key=lambda each: late[each])
    return f"the initial size of {name} falls only from width {late[name]:.0f} on; measure at widths above {4 * late[name]:.0f}"


def _json_order(order: Order) -> str | None:
    return None if order is None else str(order)


def _json_estimate(estimate: OrderEstimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    values = {"estimate": estimate.estimate, "low": estimate.low, "high": estimate.high}
    return {key: value if math.isfinite(value) else None for key, value in values.items()}
