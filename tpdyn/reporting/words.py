"""What do a regime and its evidence read like? The sentences that terminal, TensorBoard and test messages share."""

from __future__ import annotations

from collections.abc import Sequence

from tpdyn.claims.deciding import shows_from, what_would_decide
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report
from tpdyn.claims.unseen import unseen
from tpdyn.regimes.prediction import Prediction, Regime

SAYS = {
    Outcome.CONFIRMED: "the runs confirm it",
    Outcome.UNDECIDED: "the runs leave it undecided",
    Outcome.CONTRADICTED: "the runs contradict it",
}


def headline(prediction: Prediction) -> tuple[str, str]:
    """Return the regime's name, and what it means in words."""
    match prediction.regime:
        case Regime.UNSTABLE:
            return "UNSTABLE", "values grow without bound as the network gets wider"
        case Regime.TRIVIAL:
            return "TRIVIAL", "stable, but the output stops learning as the network gets wider"
        case Regime.KERNEL:
            name = "OPERATOR REGIME (kernel-like)" if prediction.entrywise else "KERNEL"
            return name, "the output learns, every hidden representation is frozen"
        case Regime.FEATURE_LEARNING:
            learns = {row.name: row.kind for row in prediction.rows() if row.learns}
            learning = [name for name, kind in learns.items() if kind != "output"] or list(learns)
            verb = "do" if len(learning) > 1 else "does"
            return "FEATURE LEARNING", f"stable, the output learns, and so {verb} {listed(learning)}"


def sentence(prediction: Prediction) -> str:
    """Tell the regime in one sentence that stands on its own."""
    name, rest = headline(prediction)
    return f"{name.lower()}: {rest}"


def evidence(report: Report) -> str:
    """Tell what the runs say, with counts: 'the runs confirm it: 3 confirmed, 1 undecided, 0 contradicted'."""
    return f"{SAYS[report.outcome]}: {counted(report)}"


def counted(report: Report) -> str:
    """Write '3 confirmed, 1 undecided, 0 contradicted'; rows that are not explained are named where there are any."""
    counts = report.counts
    odd = f"{counts.not_explained} not explained, " if counts.not_explained else ""
    return f"{counts.confirmed} confirmed, {counts.undecided} undecided, {odd}{counts.contradicted} contradicted"


def missing(report: Report) -> list[str]:
    """List the claims of the regime that are not confirmed, a line each."""
    return [
        f"not confirmed: {claim.what} ({listed(claim.open) if claim.open else 'no measured module shows it'})"
        for claim in report.claims
        if not claim.met
    ]


def advice(report: Report) -> list[str]:
    """Say what would decide an undecided report, and from which width predicted growth shows; empty if it is decided."""
    if report.outcome is not Outcome.UNDECIDED:
        return []
    said = []
    unmeasured = {row.name for row in report.rows() if row.name in unseen(report.prediction) and row.by == "script"}
    plan = what_would_decide(report)
    if plan is not None:
        said.append(
            f"to decide: --seeds {plan.seeds} --widths {','.join(map(str, plan.widths))} would do in {plan.power:.0%} of cases "
            "(if the theory is right). --until-decided does it step by step"
        )
    elif len(report.measurement.seeds) < 2:
        said.append("to decide: runs that differ are needed; one seed shows no spread")
    elif any(set(claim.names) <= unmeasured for claim in report.claims if not claim.met):
        said.append(
            "to decide: the value that decides is not a module's output, and the recorded program was not run. Pass it through an "
            "nn.Identity() module to measure it"
        )
    else:
        said.append("to decide: no affordable number of seeds and widths is sure to do; --until-decided tries")
    for name in dict.fromkeys(name for claim in report.claims for name in claim.open):
        start = shows_from(report, name)
        if start is not None and start > report.measurement.widths[0]:
            said.append(f"the growth of {name or 'the output'} starts to show at a width of about {start:.2g}")
    return said


def listed(names: Sequence[str], most: int = 4) -> str:
    """Join items as 'a, b and c', cut short with a count."""
    if not names:
        return "none"
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def counted_noun(number: int, noun: str) -> str:
    """Write '1 seed', '8 seeds'."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
