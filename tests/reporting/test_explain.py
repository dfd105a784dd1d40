"""Mirrors tpdyn/reporting/explain.py: every word of the verdict has a short text."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from tpdyn.claims.statistics import Agreement
from tpdyn.program.program import Source
from tpdyn.regimes.prediction import Regime
from tpdyn.reporting.explain import ALIASES, TEXTS, explain
from tpdyn.reporting.table import WORDS, Line, _direction


def test_every_regime_and_every_word_of_the_table_is_explained() -> None:
    for regime in Regime:
        assert explain(regime.value)
    for word, _ in WORDS.values():
        assert word in ("no runs", "NaN") or explain(word)
    for order, learns in itertools.product((-1, 0, 1), (True, False)):
        assert explain(_direction(Line("fc1", Fraction(0), Fraction(order), False, Source(), learns=learns)).plain)
    assert set(ALIASES.values()) <= set(TEXTS)
    statuses: tuple[Agreement, ...] = ("not explained",)
    assert all(explain(each) for each in statuses)


def test_texts_are_short() -> None:
    assert all(len(text) < 450 for text in TEXTS.values())


def test_an_unknown_word_gets_the_nearest_one() -> None:
    with pytest.raises(KeyError, match="did you mean 'order'"):
        explain("ordre")
    with pytest.raises(KeyError, match=r"'xyzzy' is not explained\. There are: order, "):
        explain("xyzzy")
