"""What do a regime and its evidence read like? The sentences that terminal, TensorBoard and test messages share."""

from __future__ import annotations

from collections.abc import Sequence

from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report
from tpdyn.regimes.prediction import Prediction, Regime

SAYS = {
    Outcome.CONFIRMED: "the runs confirm it",
    Outcome.UNDECIDED: "the runs leave it undecided",
    Outcome.CONTRADICTED: "the runs contradict it",
}


def headline(prediction: Prediction) -> tuple[str, str]:
    """The regime's name, and what it means in words."""
    match prediction.regime:
        case Regime.UNSTABLE:
            return "UNSTABLE", "values grow without bound as the network gets wider"
        case Regime.TRIVIAL:
            return "TRIVIAL", "stable, but the output stops learning as the network gets wider"
        case Regime.KERNEL:
            name = "OPERATOR REGIME (kernel-like)" if prediction.entrywise else "KERNEL"
            return name, "the output learns, every hidden representation is frozen"
        case Regime.FEATURE_LEARNING:
            learning = list(dict.fromkeys(row.name for row in prediction.rows() if row.learns))
            verb = "do" if len(learning) > 1 else "does"
            return "FEATURE LEARNING", f"stable, the output learns, and so {verb} {listed(learning)}"


def sentence(prediction: Prediction) -> str:
    """The regime as one sentence that stands on its own."""
    name, rest = headline(prediction)
    return f"{name.lower()}: {rest}"


def evidence(report: Report) -> str:
    """What the runs say, with counts: 'the runs confirm it: 3 confirmed, 1 undecided, 0 contradicted'."""
    return f"{SAYS[report.outcome]}: {counted(report)}"


def counted(report: Report) -> str:
    """'3 confirmed, 1 undecided, 0 contradicted'; rows that are not explained are named where there are any."""
    counts = report.counts
    odd = f"{counts.not_explained} not explained, " if counts.not_explained else ""
    return f"{counts.confirmed} confirmed, {counts.undecided} undecided, {odd}{counts.contradicted} contradicted"


def missing(report: Report) -> list[str]:
    """What of the regime is not confirmed, a line each."""
    return [
        f"not confirmed: {claim.what} ({listed(claim.open) if claim.open else 'no measured module shows it'})"
        for claim in report.claims
        if not claim.met
    ]


def listed(names: Sequence[str], most: int = 4) -> str:
    """'a, b and c', cut short with a count."""
    if not names:
        return "none"
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def counted_noun(number: int, noun: str) -> str:
    """'1 seed', '8 seeds'."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
