"""muP is the only parametrization, up to symmetry, that updates every layer as much as it can without blowing up.

Statement. W_l = n^-a_l w_l, w_l ~ N(0, n^-2 b_l), rate n^-c_l for layer l, tanh in between. Call a point maximal if it is
stable, no hidden layer vanishes at initialisation, and two orders are 0. One is that of every weight's update in what its
layer returns (`dW x`). The other is that of what the initial readout makes of changed features. Then the maximal points are
muP and its images under

    (a_l, b_l, c_l) -> (a_l + s_l, b_l - s_l, c_l - k s_l),       k = 2 for SGD, 1 for Adam and sign descent, any s_l.

Source: Tensor Programs IV (arXiv 2011.14522), Definition 5.1, derived as the one that is maximally updated and initialised.
IVb (2308.01814) for entrywise optimizers.

Exact: at random points. Half lie on the orbit, the others off it by multiples of 1/4 in one to three exponents. The orders
of the written program say whether a point is maximal. Arithmetic says whether it lies on the orbit. No sampling: no false
alarms. It can fail: the two disagree at a named point with k = 1 in the symmetry of SGD. They disagree, too, with the
readout's initial size left free, or if layers may vanish. See the last test.
"""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tpdyn.claims import theorems
from tpdyn.claims.theorems import Abc
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import read
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_program

Optimizer = Literal["sgd", "sign", "adam"]
EXAMPLES = {"quick": 12, "thorough": 500}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 60)
ZERO, FAR = Fraction(0), Fraction(10)
Offset = tuple[tuple[Fraction, Fraction, Fraction], ...]
"""What is added to (a, b, c), layer by layer."""


@cache
def program(layers: int, optimizer: Optimizer) -> Program:
    return mlp_program(layers, "tanh", optimizer)


def moved(layers: int, optimizer: Optimizer, offset: Offset) -> Abc:
    mup = theorems.maximal_update(layers) if optimizer == "sgd" else theorems.maximal_update_adam(layers)
    a, b, c = ([x + by[k] for x, by in zip(each, offset, strict=True)] for k, each in enumerate((mup.a, mup.b, mup.c)))
    return Abc(tuple(a), tuple(b), tuple(c))


def maximal(layers: int, optimizer: Optimizer, point: Abc, readout: bool = True, starts: bool = True) -> bool:
    """By the orders of the program. readout, starts: whether the readout's initial size and vanishing layers count."""
    made, names = program(layers, optimizer), layer_names(layers)
    found = predict(made, exponents=exponents(point, names), remedy=False)
    if found.regime is Regime.UNSTABLE:
        return False
    if starts and any(found.order(f"h{layer + 1}", "size") != 0 for layer in range(layers)):
        return False
    contributions = read(made, exponents(point, names)).contributions
    for name in names:
        orders = [c.order for c in contributions if c.parameter == name and c.step == made.steps - 1]
        if max((order for order in orders if order is not None), default=None) != 0:
            return False
    if not readout:
        return True
    frozen = replace(point, c=(*point.c[:-1], point.c[-1] + FAR))  # only the initial readout is left
    return predict(made, exponents=exponents(frozen, names), remedy=False).order("output") == 0


def symmetric(offset: Offset, k: int) -> bool:
    return all(b == -a and c == -k * a for a, b, c in offset)


@st.composite
def offsets(draw: st.DrawFn, layers: int, k: int) -> Offset:
    """A shift along the symmetry in each layer, then, half of the time, other changes of one to three exponents."""
    shift = st.integers(-4, 4).map(lambda q: Fraction(q, 4))
    made = [[s, -s, -k * s] for s in draw(st.lists(shift, min_size=layers + 1, max_size=layers + 1))]
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            made[draw(st.integers(0, layers))][draw(st.integers(0, 2))] += draw(shift)
    return tuple((a, b, c) for a, b, c in made)


@pytest.mark.parametrize("optimizer", ["sgd", "sign", "adam"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_a_point_is_maximal_exactly_if_it_is_mup_up_to_symmetry(
    optimizer: Optimizer, layers: int, data: st.DataObject
) -> None:
    k = 2 if optimizer == "sgd" else 1
    offset = data.draw(offsets(layers, k))
    assert maximal(layers, optimizer, moved(layers, optimizer, offset)) == symmetric(offset, k)


@given(offset=offsets(2, 2))
@example(offset=((ZERO,) * 3,) * 3)
@settings(max_examples=EXAMPLES)
def test_maximal_points_learn_in_every_layer(offset: Offset) -> None:
    point = moved(2, "sgd", offset)
    if maximal(2, "sgd", point):
        found = predict(program(2, "sgd"), exponents=exponents(point, layer_names(2)), remedy=False)
        assert found.regime is Regime.FEATURE_LEARNING
        assert [found.order(name) for name in ("h1", "h2", "output")] == [0, 0, 0]


def test_the_wrong_symmetry_or_a_requirement_left_out_is_noticed() -> None:
    half = Fraction(1, 2)
    once = ((half, -half, -half), (ZERO,) * 3, (ZERO,) * 3)  # k = 1: the rate of SGD does not follow
    assert symmetric(once, 1) and not maximal(2, "sgd", moved(2, "sgd", once))
    smaller = ((ZERO,) * 3, (ZERO,) * 3, (ZERO, half, ZERO))  # a readout that begins smaller
    assert not symmetric(smaller, 1)
    assert maximal(2, "adam", moved(2, "adam", smaller), readout=False)
    assert not maximal(2, "adam", moved(2, "adam", smaller))
    vanishing = ((ZERO,) * 3, (ZERO, half, ZERO), (ZERO,) * 3)  # a hidden layer that begins small
    assert not maximal(2, "adam", moved(2, "adam", vanishing))
