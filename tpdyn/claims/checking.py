"""Does a claim hold? More seeds and wider nets are made until it is certain, or it stays undecided.

The chance of error is spent over the looks, alpha / 2^k at look k (as in `tpdyn.claims.deciding`). It is spent, too,
over the claims that are checked together, alpha / m each (Bonferroni). So of all claims that hold one is called failed
with probability alpha at most.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never, final

import numpy as np

from tpdyn.claims import numbers
from tpdyn.claims.claim import (
    Claim,
    Draw,
    KernelClaim,
    LawClaim,
    LimitClaim,
    OrderClaim,
    RegimeClaim,
    Subject,
    TransferClaim,
    subject_name,
)
from tpdyn.claims.deciding import confidence_of, until_decided
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.statistics import CROSSOVER, FLOOR, GROWING_CROSSOVER, MARGIN, estimate_order, judge
from tpdyn.claims.unseen import ProgramRuns
from tpdyn.exponents import show_order
from tpdyn.measuring.measure import measure, measure_more
from tpdyn.measuring.measurement import Measurement
from tpdyn.program.program import Program
from tpdyn.recorder.record import record
from tpdyn.regimes.predict import predict
from tpdyn.scripts.script import load
from tpdyn.store.identity import identity_of
from tpdyn.store.means import HERE, Means
from tpdyn.store.recordings import recorded
from tpdyn.store.store import Store

if TYPE_CHECKING:
    from tpdyn.tuning.optimum import Transfer

ALPHA = 0.01
LOOKS = 3
"""So often a script is looked at: each time with more seeds, or at larger widths."""


class ClaimFailed(AssertionError):
    """A claim fails, or is undecided. `finding` is what was found."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text())
        self.finding = finding


@final
@dataclass(frozen=True)
class Finding:
    """What became of a claim.

    verdict: "holds", "fails", "undecided". lines: what decides it, with its interval. fix, repeat: what to do, how to see it again.
    evidence: all of it, for a log, where scripts were run: of a regime or a transfer.
    """

    claim: Claim
    verdict: numbers.Verdict
    lines: tuple[str, ...] = ()
    fix: str = ""
    repeat: str = ""
    seconds: float = 0.0
    evidence: Report | Transfer | None = None

    def text(self) -> str:
        """Tell the finding in a few lines for a person."""
        words = {"holds": "holds", "fails": "FAILS", "undecided": "is UNDECIDED"}
        told = [f"{self.claim.name} {words[self.verdict]}", *(f"  {line}" for line in self.lines)]
        told += [f"  fix: {self.fix}"] if self.fix and self.verdict != "holds" else []
        told += [f"  repeat: {self.repeat}"] if self.repeat else []
        return "\n".join(told)


@final
@dataclass
class Bench:
    """Where claims are checked: on which device, at which widths, and what is known already.

    widths: instead of those of each claim. folder: where finished runs and recordings stay between processes; nowhere unless
    given. looks: instead of those of each claim.
    """

    device: str = "auto"
    widths: tuple[int, ...] | None = None
    folder: Path | None = None
    looks: int | None = None
    programs: dict[object, Program] = field(default_factory=dict)
    measured: dict[object, Measurement] = field(default_factory=dict)
    scripts: dict[str, Callable[[int], Any]] = field(default_factory=dict)

    def script(self, subject: Subject) -> Callable[[int], Any]:
        """Return the function of the width. Raises BadTarget for a target that cannot be loaded."""
        if not isinstance(subject, str):
            return subject
        if subject not in self.scripts:
            self.scripts[subject] = load(subject)
        return self.scripts[subject]

    def means(self, subject: Subject) -> Means:
        """Return the means to keep runs of a script. None if its text does not say all of it (a closure)."""
        target = _target_of(subject)
        if self.folder is None or target is None:
            return HERE
        file, function = target
        return Means(Store.under(self.folder), identity_of(file, [function]), subject_name(subject))

    def program(self, claim: RegimeClaim) -> Program:
        """Return the recording of a script. Record it once, or once a process if recordings are not kept in a folder."""
        key = (_key(claim.subject), claim.steps)
        if key not in self.programs:
            train = self.script(claim.subject)
            self.programs[key] = recorded(
                lambda: record(train, steps=claim.steps), self.means(claim.subject), claim.steps
            )
        return self.programs[key]

    def runs(self, claim: RegimeClaim | OrderClaim, widths: tuple[int, ...], seeds: Sequence[int]) -> Measurement:
        """Return the runs at these widths and seeds, together with those made before."""
        key = (_key(claim.subject), claim.steps, widths[: len(claim.widths)])
        train, means, known = self.script(claim.subject), self.means(claim.subject), self.measured.get(key)
        if known is None:
            known = measure(train, widths, seeds=tuple(seeds), steps=claim.steps, device=self.device, means=means)
        elif not (set(widths) <= set(known.widths) and set(seeds) <= set(known.seeds)):
            known = measure_more(train, known, widths, seeds, means=means)
        self.measured[key] = known
        return known


def check(claim: Claim, bench: Bench | None = None, *, alpha: float = ALPHA) -> Finding:
    """Check one claim, at an error rate of alpha over all looks. Errors of recording and measuring pass through.

    Example:
        >>> draw = lambda width, seed: np.random.default_rng([width, seed]).standard_normal(width).std()
        >>> from tpdyn.claims.claim import limit
        >>> check(limit(draw, 1.0)).verdict
        'holds'
    """
    bench, start = bench or Bench(), time.monotonic()
    match claim:
        case RegimeClaim():
            finding = _regime(claim, bench, alpha)
        case OrderClaim():
            finding = _order(claim, bench, alpha)
        case TransferClaim():
            finding = _transfer(claim, bench, alpha)
        case LimitClaim() | KernelClaim() | LawClaim():
            finding = _numbers(claim, bench, alpha)
        case _:
            assert_never(claim)
    return replace(finding, repeat=_repeat(claim, bench), seconds=time.monotonic() - start)


def check_claims(
    claims: Sequence[Claim],
    bench: Bench | None = None,
    *,
    alpha: float = ALPHA,
    expected_failed_claims: Mapping[str, str] | None = None,
    callback: Callable[[Finding], object] | None = None,
) -> tuple[Finding, ...]:
    """Check claims together, each at alpha / m; raise ClaimFailed for the first that does not hold, after all are checked.

    expected_failed_claims: names of claims that may fail, each with its reason. callback: told every finding as it comes.
    """
    bench, findings = bench or Bench(), []
    for claim in claims:
        findings.append(check(claim, bench, alpha=alpha / max(len(claims), 1)))
        if callback is not None:
            callback(findings[-1])
    for finding in findings:
        if finding.verdict != "holds" and finding.claim.name not in (expected_failed_claims or {}):
            raise ClaimFailed(finding)
    return tuple(findings)


def _regime(claim: RegimeClaim, bench: Bench, alpha: float) -> Finding:
    prediction = predict(bench.program(claim))
    because = [f"because {reason.text} [{reason.source}]" for reason in prediction.reasons[:2]]
    file = _target_of(claim.subject)
    fix = f"tpdyn fix {file[0]}:{file[1]} | patch -p0" if file is not None else "tpdyn fix"
    if prediction.outside:
        return Finding(claim, "undecided", (f"outside the theory: {prediction.outside[0].told()}",))
    if prediction.regime is not claim.regime:
        told = f"predicted: {prediction.regime.value}; claimed: {claim.regime.value}"
        return Finding(claim, "fails", (told, *because), fix)
    widths, seeds = bench.widths or claim.widths, tuple(range(claim.seeds))
    runs = bench.runs(claim, widths, seeds)
    unseen = ProgramRuns(prediction, runs, bench.means(claim.subject))
    report = compare(prediction, runs, by_program=unseen.of_values())
    looks = bench.looks or LOOKS
    report = until_decided(report, lambda w, s: bench.runs(claim, w, s), looks=looks, alpha=alpha, program=unseen)
    if report.outcome is Outcome.CONFIRMED:
        return Finding(claim, "holds", _evidence(report, True), evidence=report)
    verdict: numbers.Verdict = "fails" if report.outcome is Outcome.CONTRADICTED else "undecided"
    advice = "" if verdict == "fails" else "more seeds or larger widths: regime(..., seeds=32)"
    lines = (f"predicted: {prediction.regime.value}", *because, *_evidence(report, False))
    return Finding(claim, verdict, lines, advice, evidence=report)


def _evidence(report: Report, confirmed: bool) -> tuple[str, ...]:
    """Return the rows that decide: each with its line of code and its interval."""
    open_ = {name for claim in report.claims for name in (claim.names if confirmed else claim.open)}
    lines: list[str] = []
    for row in report.rows():
        against = row.verdict in ("disagrees", "diverged")
        if against or (row.name in open_ and len(lines) < 6):
            seen = row.measured_change_order or "no order"
            lines.append(
                f"{row.name} [{row.source}]: change predicted {show_order(row.change_order)}, measured {seen}: {row.verdict}"
            )
    return tuple(lines)


def _order(claim: OrderClaim, bench: Bench, alpha: float) -> Finding:
    widths, seeds = bench.widths or claim.widths, claim.seeds
    verdict: numbers.Verdict = "undecided"
    told = ""
    for look in range(1, (bench.looks or LOOKS) + 1):
        runs = bench.runs(claim, widths, range(seeds))
        if claim.module not in runs.names:
            raise ValueError(f"{claim.name}: no module {claim.module!r}; the runs have {', '.join(runs.names)}")
        k, step = runs.index(claim.module), 0 if claim.what == "size" else runs.steps - 1
        values = (runs.size if claim.what == "size" else runs.change)[:, :, step, k]
        floor = FLOOR * runs.epsilon[:, :, step, k] * runs.size[:, :, step, k] if claim.what == "change" else 0.0
        crossover = GROWING_CROSSOVER if claim.order > 0 else CROSSOVER
        confidence = confidence_of(look, alpha)
        estimate = estimate_order(runs.widths, values, floor=floor, confidence=confidence, crossover=crossover)
        agreement = judge(claim.order, estimate)
        verdict = {"agrees": "holds", "disagrees": "fails"}.get(agreement, "undecided")  # type: ignore[assignment]
        told = "no order: zero, below round-off, or not finite in too many runs"
        if estimate is not None:
            told = f"measured {estimate} at {100 * confidence:.4g} %, claimed {show_order(claim.order)} +- {MARGIN}, {seeds} seeds"
        if verdict != "undecided":
            break
        seeds *= 2
    return Finding(claim, verdict, (told,), "more seeds, or larger widths" if verdict == "undecided" else "")


def _transfer(claim: TransferClaim, bench: Bench, alpha: float) -> Finding:
    from tpdyn.tuning.optimum import locate
    from tpdyn.tuning.transfer import transfer

    widths = bench.widths or claim.widths
    swept = transfer(
        bench.script(claim.subject), widths, claim.factors, hyperparameter=claim.hyperparameter, seeds=claim.seeds,
        steps=claim.steps, means=bench.means(claim.subject),
    )  # fmt: skip
    located = locate(swept.sweep, confidence=1 - alpha)  # one look, at this claim's share of the error
    e = located.exponent
    told = [
        f"the best {claim.hyperparameter} moves as n^{e.estimate:+.2f}, in [{e.low:+.2f}, {e.high:+.2f}] at "
        f"{100 * (1 - alpha):.4g} %, claimed to {'move' if claim.moves else 'stay'}"
    ]
    for n, best in zip(widths, located.best, strict=True):
        told.append(f"width {n}: best factor {best.estimate:.3g} in [{best.low:.3g}, {best.high:.3g}]")
    if located.edges:
        told.append(
            f"at widths {', '.join(map(str, located.edges))} the best factor is the end of the grid: give further factors"
        )
    verdict = transferred(located, claim.moves)
    remedies = {
        "undecided": "more seeds, or widths further apart",
        "fails": "tpdyn fix, or tpdyn.derive: a maximal update",
        "holds": "",
    }
    return Finding(claim, verdict, tuple(told), remedies[verdict], evidence=located)


def transferred(located: Transfer, claimed: bool) -> numbers.Verdict:
    """Judge whether an optimum moves with the width, as claimed. One that moves by less than the margin still holds."""
    e = located.exponent
    far = min(abs(e.low), abs(e.high)) > MARGIN and e.low * e.high > 0
    moves = True if far else located.moves if located.moves is False else None
    return "undecided" if moves is None else "holds" if moves is claimed else "fails"


def _numbers(claim: LimitClaim | KernelClaim | LawClaim, bench: Bench, alpha: float) -> Finding:
    widths, drawn = bench.widths or claim.widths, dict[tuple[int, int], Any]()
    seeds, evidence = claim.seeds, numbers.Evidence("undecided", "nothing was drawn")
    for look in range(1, (bench.looks or claim.looks) + 1):
        for width in widths:
            for seed in range(seeds):
                if (width, seed) not in drawn:
                    drawn[width, seed] = np.asarray(claim.draw(width, seed), dtype=np.float64)
        values = np.array([[drawn[width, seed] for seed in range(seeds)] for width in widths])
        evidence = _judged(claim, widths, values, confidence_of(look, alpha))
        if evidence.verdict != "undecided":
            break
        seeds *= 2
    used = len(drawn) // len(widths)
    fix = "more seeds, larger widths, or a wider margin" if evidence.verdict == "undecided" else ""
    told = f"{evidence.worst}, {used} seeds at widths {', '.join(map(str, widths))}"
    return Finding(claim, evidence.verdict, (told,), fix)


def _judged(
    claim: LimitClaim | KernelClaim | LawClaim, widths: Sequence[int], values: Any, confidence: float
) -> numbers.Evidence:
    each = values.shape[2:]
    match claim:
        case LimitClaim(values=wanted):
            _fits(claim, each, wanted.shape)
            flat = values.reshape(*values.shape[:2], -1)
            return numbers.limit(widths, flat, wanted.reshape(-1), claim.margin, confidence)
        case KernelClaim(kernel=wanted):
            _fits(claim, each[:1], wanted.shape[:1])
            return numbers.kernel(widths, values.reshape(*values.shape[:3], -1), wanted, claim.margin, confidence)
        case LawClaim(mean=wanted):
            _fits(claim, each, wanted.shape)
            return numbers.law(widths, values, wanted, claim.covariance, claim.margin, confidence)
    assert_never(claim)


def _fits(claim: Claim, drawn: tuple[int, ...], claimed: tuple[int, ...]) -> None:
    if drawn != claimed:
        raise ValueError(f"{claim.name}: draw(width, seed) has shape {drawn}; expected {claimed}, as the claim has")


def _key(subject: Subject | Draw) -> object:
    return subject if isinstance(subject, str) else id(subject)


def _target_of(subject: Subject) -> tuple[str, str] | None:
    """Return file and name of a script that its text says all of. None for a closure, or without a file."""
    if isinstance(subject, str):
        file, _, name = subject.rpartition(":")
        return (file, name) if file.endswith(".py") else None
    name = getattr(subject, "__qualname__", "<>")
    try:
        source = inspect.getsourcefile(subject)
    except TypeError:
        return None
    plain = source is not None and not ("<" in name or "." in name) and not getattr(subject, "__closure__", None)
    return (source, name) if plain and source is not None and Path(source).is_file() else None


def _repeat(claim: Claim, bench: Bench) -> str:
    widths = ",".join(map(str, bench.widths or claim.widths))
    if isinstance(claim, LimitClaim | KernelClaim | LawClaim):
        return f"draw(width, seed) of {subject_name(claim.draw)} at widths {widths}, seeds from 0"
    target = _target_of(claim.subject)
    if target is None:
        return f"tpdyn.claims.check on {claim.name}"
    if isinstance(claim, TransferClaim):
        return f"tpdyn transfer {target[0]}:{target[1]} --widths {widths} --steps {claim.steps}"
    return f"tpdyn check {target[0]}:{target[1]} --widths {widths} --seeds {claim.seeds} --steps {claim.steps}"
