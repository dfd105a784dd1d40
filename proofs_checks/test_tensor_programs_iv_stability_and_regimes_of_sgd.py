"""Tensor Programs IV: which abc-parametrizations are stable, nontrivial, and which learn features, under SGD.

The program of each MLP is recorded once from a PyTorch loop; the exponents are arguments of the reading. At every random
rational point the verdict and each exponent r_l must be those of the theorem, exactly. Source: arXiv 2011.14522.
It can fail: the theorem for entrywise optimizers is found to differ. So are exponents of SGD that are off by 1/2 in one
layer.
"""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tpdyn
from tpdyn.claims import theorems
from tpdyn.program.program import Program
from tpdyn.regimes.predict import predict
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_script
from tpdyn.testing.strategies import abc_parametrizations

EXAMPLES = settings.default.max_examples if settings.default else 100
POINTS = 64 if EXAMPLES == 25 else 4 * EXAMPLES  # 64 quick, 400, 2000 thorough


@cache
def recorded(layers: int, function: str) -> tuple[Program, tuple[str, ...]]:
    program = tpdyn.record(mlp_script(layers, function), widths=(16, 24, 40), steps=3, seed=0)
    return program, tuple(f"{name}.weight" for name in layer_names(layers))


def differences(layers: int, function: str, point: theorems.Abc) -> list[str]:
    """All in which the reading and the theorem differ at a point. It is empty if both are right."""
    program, names = recorded(layers, function)
    expected = theorems.sgd(point)
    found = predict(program, exponents=exponents(point, names), remedy=False)
    differing = []
    if found.regime != expected.regime and not point.vanishing:
        differing.append(f"regime {found.regime.value}, expected {expected.regime.value}: {found.reasons[0].text}")
    if point.vanishing:
        size = found.order(layer_names(layers)[point.vanishing[0]], "size")
        if expected.stable or not (size is None or size < 0 or found.regime == expected.regime):
            differing.append(f"size {size} of a layer that vanishes, stable: {expected.stable}")
    elif expected.stable:
        changes = tuple(found.order(name) for name in layer_names(layers)[:-1])
        if changes != expected.changes:
            differing.append(f"changes {changes}, expected {expected.changes}")
    return differing


@pytest.mark.parametrize("function", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@given(data=st.data())
@settings(max_examples=POINTS // 8)
def test_regime_and_exponents_of_sgd_are_those_of_the_theorem(layers: int, function: str, data: st.DataObject) -> None:
    point = data.draw(abc_parametrizations(layers, "sgd"))
    assert differences(layers, function, point) == []


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_named_parametrizations_lie_where_the_paper_puts_them(layers: int) -> None:
    for point, regime in (
        (theorems.standard(layers), tpdyn.Regime.UNSTABLE),
        (theorems.standard(layers, rate=1), tpdyn.Regime.KERNEL),
        (theorems.neural_tangent(layers), tpdyn.Regime.KERNEL),
        (theorems.maximal_update(layers), tpdyn.Regime.FEATURE_LEARNING),
    ):
        assert theorems.sgd(point).regime == regime
        assert differences(layers, "tanh", point) == []


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_another_theorem_and_a_wrong_exponent_are_found_to_differ(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    point, right = theorems.maximal_update(layers), theorems.sgd
    monkeypatch.setattr(theorems, "sgd", theorems.entrywise)
    assert differences(layers, "tanh", point) != []
    wrong = replace(right(point), changes=(*right(point).changes[:-1], right(point).changes[-1] - Fraction(1, 2)))
    monkeypatch.setattr(theorems, "sgd", lambda _: wrong)
    assert differences(layers, "tanh", point) != []
