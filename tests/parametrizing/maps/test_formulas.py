"""Are the formulas around a script those of the theorems, true on all of their cell, and wrong beyond it?"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from functools import cache

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.claims.theorems import Abc
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.maps.formulas import FormulaCell, formulas
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import Coordinates
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.testing.perceptrons import mlp_program

ZERO, HALF, ONE = Fraction(0), Fraction(1, 2), Fraction(1)
Values = Mapping[str, Fraction]


@cache
def perceptron() -> Program:
    """With biases, a normalisation and Adam: what recorded scripts have."""

    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(5, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width), nn.Tanh())
        readout = nn.Linear(width, 2)
        parts = nn.ModuleDict({"body": model, "out": readout})
        optimizer = torch.optim.Adam(parts.parameters(), lr=0.01)
        x, y = torch.randn(7, 5), torch.randn(7, 2)
        for _ in range(3):
            optimizer.zero_grad()
            (readout(model(x)) - y).square().mean().backward()
            optimizer.step()

    return tpdyn.record(train, widths=(16, 24, 40), steps=3)


def predicted(program: Program, cell: FormulaCell, values: Values) -> Prediction:
    """The plain prediction at a point: what symbols add to the script's exponents."""
    steps = [values[name] - here for name, here in zip(cell.moves, cell.here, strict=True)]
    exponents = Coordinates(cell.moves).at(steps)
    return predict(Facts.of(program).without_decay[0].program, exponents=exponents, remedy=False)


def inside(cell: FormulaCell, draw: random.Random) -> Values:
    """A random point of the cell, on a ray from the point around which it was read."""
    from tpdyn.exact.linear import nullspace

    size = len(cell.names)
    free = nullspace([c.form.coefficients for c in cell.facets if c.relation == "="], size)
    weights = [Fraction(draw.randint(-5, 5)) for _ in free]
    along = [sum((w * v[k] for w, v in zip(weights, free, strict=True)), Fraction(0)) for k in range(size)]
    reach = Fraction(3)
    for facet in cell.facets:
        slope = sum((c * x for c, x in zip(facet.form.coefficients, along, strict=True)), Fraction(0))
        if slope < 0:
            reach = min(reach, facet.form.at(cell.here) / -slope)
    step = reach * draw.choice([Fraction(9, 10), Fraction(1, 2), Fraction(1, 7)])
    return {name: x + step * v for name, x, v in zip(cell.names, cell.here, along, strict=True)}


def said(prediction: Prediction, cell: FormulaCell) -> list[Fraction | None]:
    return [prediction.order(name, what) for name in cell.table for what in ("size", "change")]  # type: ignore[arg-type]


def foretold(cell: FormulaCell, values: Values) -> list[Fraction | None]:
    found = [cell.order(name, what) for name in cell.table for what in ("size", "change")]  # type: ignore[arg-type]
    return [None if formula is None else formula.at(values) for formula in found]


@pytest.mark.parametrize("symbols", ["parameter", "role", {"up": "out.weight:b,-body.0.weight:b", "c": "c"}])
@pytest.mark.parametrize("seed", [0])
def test_at_random_points_of_the_cell_a_prediction_gives_the_values_of_the_formulas(
    symbols: str | dict[str, str], seed: int
) -> None:
    made = perceptron()
    cell = formulas(made, symbols, "bc")  # type: ignore[arg-type]
    draw = random.Random(seed)
    for _ in range(2):
        values = inside(cell, draw)
        assert cell.contains(values)
        plain = predicted(made, cell, values)
        assert plain.regime is cell.regime
        assert said(plain, cell) == foretold(cell, values)


def test_beyond_a_facet_some_formula_is_wrong() -> None:
    """The property above can fail: formulas are no longer true outside of the cell."""
    made = perceptron()
    cell = formulas(made, {"b": "out.weight:b", "c": "c"})
    wrong = 0
    for b in (-1, 0, 1, 2):
        for c in (Fraction(-1, 3), Fraction(2, 3), Fraction(5, 3)):
            values = {"b": Fraction(b), "c": c}
            if not cell.contains(values):
                wrong += said(predicted(made, cell, values), cell) != foretold(cell, values)
    assert wrong > 5


@pytest.mark.parametrize("readout", [HALF, Fraction(3, 4), Fraction(5, 4)])
def test_with_sgd_features_change_by_r_of_tensor_programs_iv(readout: Fraction) -> None:
    """Theorem 3.3 of arXiv 2011.14522: r = min(a_out + b_out, 2 a_out + c) + c - 1 + min_l [2 a_l + 1(l = 1)]."""
    made = mlp_program(2, "tanh", "sgd", point=Abc((ZERO,) * 3, (ZERO, HALF, readout), (ONE,) * 3))
    cell = formulas(made, {"a": "out:a", "b": "out:b", "c": "c"})
    assert cell.regime is tpdyn.Regime.KERNEL and cell.r is not None
    assert cell.here == (0, readout, ONE)
    draw = random.Random(0)
    for _ in range(5):
        values = inside(cell, draw)
        a, b, c = (values[name] for name in "abc")
        assert cell.r.at(values) == min(a + b, 2 * a + c) + c - 1
        size = cell.order("output", "size")
        assert size is not None and size.at(values) == HALF - a - b


def test_corners_of_a_cell_are_exact_and_lie_on_its_facets() -> None:
    point = Exponents(initial={"out.weight": Fraction(1, 3)}, rate={"out.weight": Fraction(1, 7)})
    cell = formulas(perceptron(), {"b": "out.weight:b", "c": "out.weight:c"}, around=point)
    corners = cell.vertices()
    assert len(corners) >= 3
    for corner in corners:
        tight = [facet for facet in cell.facets if facet.form.at(corner) == 0]
        walls = [x for x in corner if x in (-1, 2)]
        assert len(tight) + len(walls) >= 2
        assert all(facet.form.at(corner) >= 0 for facet in cell.facets)


def test_more_corners_than_can_be_cut_are_refused() -> None:
    cell = FormulaCell(tuple("abcdefghijk"), (), {}, Regime.KERNEL, None, (), {}, {})
    with pytest.raises(ValueError, match="11 symbols: the cell has too many corners; use at most 10 symbols"):
        cell.vertices()


def test_it_is_shown_with_its_facets() -> None:
    shown = formulas(mlp_program(1, "tanh", "sgd"), {"c": "c"}).show()
    assert shown.startswith("unstable\n") and "holds where:" in shown and "here: c = " in shown


def test_what_names_nothing_is_refused() -> None:
    made = mlp_program(1, "tanh", "sgd")
    with pytest.raises(ValueError, match="symbols = 'layer'; expected 'parameter', 'role', or a mapping"):
        formulas(made, "layer")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kinds = 'q'; expected letters of a"):
        formulas(made, "role", "q")
    with pytest.raises(ValueError, match="names no exponent"):
        formulas(made, {"c": "nowhere:c"})
    cell = formulas(made, {"c": "c"})
    with pytest.raises(KeyError, match="no module or parameter 'fc9'; there are:"):
        cell.order("fc9")
    with pytest.raises(KeyError, match="has no step 7; it has: 0"):
        cell.order("out", step=7)
    with pytest.raises(ValueError, match="values for b; expected one for each of c"):
        cell.contains({"b": 1})
