"""Mirrors tpdyn/claims/assertions.py: the assertion fails with what was predicted, what was expected and what the runs say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tpdyn.claims import assertions
from tpdyn.claims.assertions import assert_regime
from tpdyn.claims.outcome import Outcome
from tpdyn.program.program import Source
from tpdyn.regimes.prediction import Reason, Regime

REASON = Reason("h is frozen.", "h", "fc", Source("", 0, ""))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What recording, prediction, runs and comparison say; changed by the tests."""
    says: dict[str, Any] = {"regime": Regime.KERNEL, "outside": (), "outcome": Outcome.CONFIRMED, "measured": 0}

    def predict(program: object) -> Any:
        return SimpleNamespace(regime=says["regime"], reasons=(REASON,), outside=says["outside"], rows=tuple)

    def measure(*args: object, **kwargs: object) -> object:
        says["measured"] += 1
        return object()

    monkeypatch.setattr("tpdyn.recorder.record.record", lambda train, widths, steps: (widths, steps))
    monkeypatch.setattr("tpdyn.regimes.predict.predict", predict)
    monkeypatch.setattr(assertions, "measure", measure)
    monkeypatch.setattr(
        assertions, "compare", lambda *_, **__: SimpleNamespace(outcome=says["outcome"], to_text=lambda: "the table")
    )
    return says


def nothing(width: int) -> None: ...


def test_a_confirmed_regime_passes_and_the_report_is_returned(told: dict[str, Any]) -> None:
    assert assert_regime(nothing, Regime.KERNEL).outcome is Outcome.CONFIRMED


def test_another_predicted_regime_fails_before_anything_is_run(told: dict[str, Any]) -> None:
    with pytest.raises(
        AssertionError, match=r"predicted regime: kernel; expected: feature learning\n  because h is frozen"
    ):
        assert_regime(nothing, Regime.FEATURE_LEARNING)
    assert told["measured"] == 0


def test_outside_of_the_theory_nothing_is_asserted(told: dict[str, Any]) -> None:
    told["outside"] = (Reason("outside the theory: x", "h", "", Source("", 0, "")),)
    with pytest.raises(
        AssertionError, match=r"no verdict on the regime \(kernel\) is possible:\n  outside the theory: x"
    ):
        assert_regime(nothing, Regime.KERNEL)


@pytest.mark.parametrize(
    ("outcome", "word"), [(Outcome.CONTRADICTED, "contradict"), (Outcome.UNDECIDED, "leave undecided")]
)
def test_runs_that_do_not_confirm_it_fail_with_the_table(told: dict[str, Any], outcome: Outcome, word: str) -> None:
    told["outcome"] = outcome
    with pytest.raises(AssertionError, match=rf"the runs {word} the predicted regime \(kernel\)\nthe table"):
        assert_regime(nothing, Regime.KERNEL)


def test_a_regime_in_words_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="regime is 'kernel'; expected one of Regime"):
        assert_regime(nothing, "kernel")  # type: ignore[arg-type]
