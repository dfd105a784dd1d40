"""Mirrors tpdyn/reporting/words.py: the sentences that terminal, TensorBoard and test messages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tpdyn.claims.report import Report
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.reporting.words import counted, counted_noun, evidence, headline, listed, sentence


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "none"),
        (["a"], "a"),
        (["a", "b", "c", "d"], "a, b, c and d"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_a_list_is_cut_short_with_a_count(names: list[str], text: str) -> None:
    assert listed(names) == text


def test_a_noun_has_its_number() -> None:
    assert [counted_noun(k, "seed") for k in (0, 1, 8)] == ["0 seeds", "1 seed", "8 seeds"]


def test_each_regime_has_a_sentence(predicted: Callable[..., Prediction]) -> None:
    told = {regime: sentence(predicted(regime)) for regime in Regime}
    assert told[Regime.UNSTABLE] == "unstable: values grow without bound as the network gets wider"
    assert told[Regime.KERNEL] == "kernel: the output learns, every hidden representation is frozen"
    assert len(set(told.values())) == len(Regime)
    assert headline(replace(predicted(Regime.KERNEL), entrywise=True))[0] == "OPERATOR REGIME (kernel-like)"


def test_feature_learning_names_those_that_learn(predicted: Callable[..., Prediction]) -> None:
    from fractions import Fraction

    one = predicted(Regime.FEATURE_LEARNING, fc1=Fraction(0))
    assert sentence(one) == "feature learning: stable, the output learns, and so does fc1"
    both = predicted(Regime.FEATURE_LEARNING, fc1=Fraction(0), fc2=Fraction(0))
    assert sentence(both).endswith("so do fc1 and fc2")
    returned = tuple(replace(row, kind="output") if row.name == "fc2" else row for row in both.table)
    assert sentence(replace(both, table=returned)).endswith("so does fc1")


def test_the_evidence_counts_every_kind(report: Report) -> None:
    counts = report.counts
    assert counted(report).startswith(f"{counts.confirmed} confirmed, {counts.undecided} undecided, ")
    assert ("not explained" in counted(report)) == bool(counts.not_explained)
    assert evidence(report).startswith("the runs ") and evidence(report).endswith(counted(report))
