"""Does my training script stay in its regime? One call for a test suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.unseen import ProgramRuns
from tpdyn.measuring.measure import measure
from tpdyn.regimes.prediction import Regime


def assert_regime(
    train: Callable[[int], Any],
    regime: Regime,
    widths: Sequence[int] = (64, 128, 256, 512),
    *,
    recorded_widths: Sequence[int] = (16, 24, 40),
    seeds: int | Sequence[int] = 8,
    steps: int = 3,
    device: str = "auto",
) -> Report:
    """Fail unless `train` is predicted to be in `regime` and its runs confirm it; returns the report.

    Raises AssertionError that shows regime, reasons and the table of orders. It does so, too, when the runs leave it
    undecided or the script is outside the theory. Errors of recording and measuring pass through. The rates of false
    alarms and of missed errors are those of `tpdyn.claims.statistics`.

    Example:
        >>> def test_training_learns_features_at_any_width():
        ...     assert_regime(train, tpdyn.Regime.FEATURE_LEARNING)
    """
    from tpdyn.recorder.record import record
    from tpdyn.regimes.predict import predict

    if not isinstance(regime, Regime):
        raise ValueError(f"regime is {regime!r}; expected one of {', '.join(str(each) for each in Regime)}")
    prediction = predict(record(train, widths=tuple(recorded_widths), steps=steps))
    reasons = "".join(f"\n  because {reason.text} [{reason.source}]" for reason in prediction.reasons)
    if prediction.regime is not regime:
        raise AssertionError(f"predicted regime: {prediction.regime.value}; expected: {regime.value}{reasons}")
    if prediction.outside:
        told = "\n  ".join(reason.told() for reason in prediction.outside)
        raise AssertionError(f"no verdict on the regime ({regime.value}) is possible:\n  {told}")
    runs = measure(train, widths, seeds=seeds, steps=steps, device=device)
    report = compare(prediction, runs, by_program=ProgramRuns(prediction, runs).of_values())
    if report.outcome is not Outcome.CONFIRMED:
        what = "contradict" if report.outcome is Outcome.CONTRADICTED else "leave undecided"
        raise AssertionError(f"the runs {what} the predicted regime ({regime.value})\n{report.to_text()}")
    return report
