"""Mirrors tpdyn/tuning/transfer.py: refused at the door before anything runs; the theory's bound only for learning rates."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from tpdyn.tuning import transfer as module
from tpdyn.tuning.transfer import FACTORS

transfer: Any = inspect.unwrap(module.transfer)  # what stands in for a result here is none


@dataclass(frozen=True)
class Found:
    swept: Any
    stable: Fraction | None = None


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(module, "record", lambda train, widths: done.append(f"record {widths}"))
    monkeypatch.setattr(module, "stable_rate", lambda program: Fraction(-1))
    monkeypatch.setattr(module, "sweep", lambda *args, **kwargs: done.append("sweep") or kwargs["hyperparameter"])
    monkeypatch.setattr(module, "locate", Found)
    return done


def nothing(width: int) -> None: ...


def test_a_learning_rate_has_the_bound_of_the_theory(calls: list[str]) -> None:
    found = transfer(nothing, (8, 16), (0.5, 1.0, 2.0), record_widths=(4, 6))
    assert (found.stable, calls) == (Fraction(-1), ["record (4, 6)", "sweep"])


def test_another_number_has_none_and_nothing_is_recorded(calls: list[str]) -> None:
    assert transfer(nothing, (8, 16), (0.5, 1.0, 2.0), hyperparameter="weight_decay").stable is None
    assert calls == ["sweep"]


def test_what_cannot_be_swept_is_refused_before_anything_runs(calls: list[str]) -> None:
    with pytest.raises(ValueError):
        transfer(nothing, (8,), (0.5, 1.0, 2.0), seeds=0)
    assert calls == []


def test_the_factors_are_powers_of_two_around_one() -> None:
    assert 1.0 in FACTORS and all(b == 2 * a for a, b in itertools.pairwise(FACTORS))
