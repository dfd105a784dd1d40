"""Mirrors tpdyn/readings/orders/spectral.py: sizes of eigenvalues and of functions of matrices are what runs show."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.exponents import ZERO, Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Apply, Combine, Contract, Eigenvalues, Law, Leaf, Operand, Spectral
from tpdyn.program.program import Parameter, Program, View
from tpdyn.readings.finite import run
from tpdyn.readings.orders.reading import read
from tpdyn.readings.orders.spectral import function_of, grows_at_zero, vanishes_at_zero
from tpdyn.readings.orders.terms import Term, Value, leading_order
from tpdyn.regimes.predict import predict

ONE, WIDE, NOTHING = Scaling.of(1), Scaling.of(1, 1), Scaling(())
HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)


def low_rank(
    power: Fraction, function: str, parameters: tuple[Scaling, ...] = (), shift: Scaling = NOTHING, guard: bool = False
) -> tuple[Program, dict[str, int]]:
    """x: 2 vectors with entries of order `power`; S = sum x x^T; f(S), and f(S) x."""
    b = Builder()
    x = b.leaf(Leaf("random", "x", Law("normal", NOTHING, Scaling.of(1, power))), (Scaling.of(2), WIDE))
    s = b.add(Contract((Operand(x, (2, 0)), Operand(x, (2, 1)))), (WIDE, WIDE))
    along = b.add(Eigenvalues(Operand(s, (1, 2)), (1,), (2,), 0), (WIDE,))
    clipped = b.add(Apply("relu", (Operand(along, (0,)),)), (WIDE,))  # zeros are negative up to round-off
    moved = b.add(Combine(((ONE, Operand(clipped, (0,))),), shift, guard), (WIDE,))
    weights = b.add(Apply(function, (Operand(moved, (0,)),), parameters), (WIDE,))
    f = b.add(Spectral(Operand(weights, (2,)), Operand(s, (0, 1)), (0,), (1,), 2), (WIDE, WIDE))
    applied = b.add(Contract((Operand(f, (1, 2)), Operand(x, (0, 2)))), (Scaling.of(2), WIDE))
    return b.build(), {"x": x, "eigenvalues": along, "f": f, "f x": applied}


def slope(program: Program, var: int, measure: Callable[[torch.Tensor], float]) -> float:
    """The power of the width in the geometric mean over eight draws; of one draw it varies by 0.1."""
    logs = [sum(math.log(measure(run(program, width, seed=seed)[var])) for seed in range(8)) / 8 for width in (48, 192)]
    return (logs[1] - logs[0]) / math.log(4)


def mean(value: torch.Tensor) -> float:
    return float(value.abs().mean())


@pytest.mark.parametrize("power", [ZERO, -HALF, HALF])
@pytest.mark.parametrize(("function", "exponent"), [("sqrt", HALF), ("power", Fraction(3, 2))])
def test_a_function_that_vanishes_at_zero_has_the_size_that_runs_show(
    power: Fraction, function: str, exponent: Fraction
) -> None:
    parameters = (Scaling.of(1.5),) if function == "power" else ()
    program, at = low_rank(power, function, parameters)
    values = read(program).values
    assert values[at["eigenvalues"]].size == 2 * power + 1
    assert slope(program, at["eigenvalues"], lambda v: float(v[-2:].mean())) == pytest.approx(
        float(2 * power + 1), abs=0.1
    )
    assert values[at["f x"]].size == exponent * (2 * power + 1) + power
    assert values[at["f"]].size == exponent * (2 * power + 1) - 1
    for name in ("f", "f x"):
        predicted = values[at[name]].size
        assert predicted is not None
        assert slope(program, at[name], mean) == pytest.approx(float(predicted), abs=0.15)


@pytest.mark.parametrize("power", [ZERO, -HALF, -1])
@pytest.mark.parametrize("exponent", [-QUARTER, -HALF, Fraction(-1)])
def test_a_negative_power_applied_in_the_range_has_the_size_that_runs_show(power: Fraction, exponent: Fraction) -> None:
    program, at = low_rank(power, "power", (Scaling.of(float(exponent)),), Scaling.of(1e-9), guard=True)
    predicted = exponent * (2 * power + 1) + power
    assert read(program).values[at["f x"]].size == predicted
    assert slope(program, at["f x"], mean) == pytest.approx(float(predicted), abs=0.15)


def test_a_shift_that_is_part_of_the_function_saturates_it() -> None:
    """(S + 1)^-1 x: with eigenvalues of order 1 they win, with eigenvalues of order -1 the shift does."""
    for power, predicted in ((ZERO, Fraction(-1)), (Fraction(-1), Fraction(-1))):
        program, at = low_rank(power, "reciprocal", (), Scaling.of(1))
        assert read(program).values[at["f x"]].size == predicted
        assert slope(program, at["f x"], mean) == pytest.approx(float(predicted), abs=0.15)


def test_a_parameter_in_the_weights_contributes_once_and_at_the_eigenvalues_that_are() -> None:
    """`gain / eigenvalues`: probing what becomes of smaller eigenvalues is no use of the gain."""
    b = Builder()
    x = b.leaf(Leaf("data", "x", Law("normal", NOTHING, ONE)), (Scaling.of(2), WIDE))
    first = b.leaf(Leaf("parameter", "gain", Law("constant", ONE)), ())
    gain = b.add(Combine(((ONE, Operand(first, ())),), ONE), ())
    b.parameters.append(Parameter("gain", (View((first,), ()), View((gain,), ())), (None,)))
    b.at(phase="forward")
    s = b.add(Contract((Operand(x, (2, 0)), Operand(x, (2, 1)))), (WIDE, WIDE))
    along = b.add(Eigenvalues(Operand(s, (1, 2)), (1,), (2,), 0), (WIDE,))
    inverse = b.add(Apply("reciprocal", (Operand(along, (0,)),)), (WIDE,))
    weights = b.add(Contract((Operand(gain, ()), Operand(inverse, (0,)))), (WIDE,))
    f = b.add(Spectral(Operand(weights, (2,)), Operand(s, (0, 1)), (0,), (1,), 2), (WIDE, WIDE))
    b.add(Contract((Operand(f, (1, 2)), Operand(x, (0, 2)))), (Scaling.of(2), WIDE))
    (contribution,) = read(b.build(steps=1)).contributions
    assert (contribution.position, contribution.order) == (weights, -1)


def test_small_changes_change_negative_powers_in_full() -> None:
    """What training adds to S has small eigenvalues. A negative power makes these large; a smooth function does not."""
    matrix = Value((Term(ZERO),), (Term(-HALF),), None, 2)
    inverse = function_of(matrix, Value((Term(-HALF),), (Term(-1 - HALF),)), lambda order: -order / 2, Fraction(1))
    assert leading_order(inverse.base) == leading_order(inverse.change) == -HALF - 1
    smooth = function_of(matrix, Value((Term(ZERO),), (Term(-HALF),)), lambda order: ZERO, Fraction(1))
    assert (leading_order(smooth.base), leading_order(smooth.change)) == (-1, -HALF - 1)
    root = function_of(matrix, Value((Term(HALF),), ()), lambda order: order / 2, Fraction(1))
    assert (leading_order(root.base), leading_order(root.change)) == (-HALF, -HALF - QUARTER)
    still = function_of(Value((Term(ZERO),), (), None, 2), Value((Term(-HALF),)), lambda order: -order / 2, Fraction(1))
    assert still.change == ()


def test_whether_a_function_vanishes_at_zero_is_told_by_smaller_eigenvalues() -> None:
    assert vanishes_at_zero(lambda order: order / 2, ZERO)
    assert grows_at_zero(lambda order: -order / 4, ZERO)
    for check in (vanishes_at_zero, grows_at_zero):
        assert not check(lambda order: ZERO, ZERO)


def shampoo(width: int, stale: bool = False, update: str = "") -> None:
    """Shampoo as a user would write it."""
    model = nn.Sequential(
        nn.Linear(6, width, bias=False), nn.Tanh(), nn.Linear(width, width, bias=False), nn.Tanh(),
        nn.Linear(width, 3, bias=False),
    )  # fmt: skip
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 6, generator=draws), torch.randint(0, 3, (5,), generator=draws)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    squares = {p: [1e-12 * torch.eye(size) for size in p.shape] for p in model.parameters()}
    for step in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p, (left, right) in squares.items():
                g = p.grad
                assert g is not None
                if not (stale and step):
                    left += g @ g.T
                    right += g.T @ g
                p.grad = root(left) @ g @ root(right)
                if update == "trace":
                    p.grad = g / torch.linalg.eigvalsh(left).sum()
                elif update == "sign":
                    p.grad = root(1e-12 * torch.eye(len(g)) + g.sign() @ g.sign().T) @ g.sign()
                elif update == "another":
                    vectors = torch.linalg.eigh(left).eigenvectors
                    weights = torch.linalg.eigvalsh(left + g @ g.T)
                    p.grad = vectors @ torch.diag(weights) @ vectors.T @ g
        optimizer.step()


def root(matrix: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(1e-12) ** -0.25) @ vectors.T


def recorded(**options: object) -> Program:
    def train(width: int) -> None:
        shampoo(width, **options)  # type: ignore[arg-type]

    return tpdyn.record(train, widths=(8, 12), steps=2, verify=False)


def test_updates_of_shampoo_have_spectral_norm_of_order_zero() -> None:
    """Orthogonal factors of gradients of finite rank. Their entries are of order -1 for n x n, and -1/2 for n x 6 and 3 x
    n.
    """
    program = recorded()
    values = read(program).values
    orders = {p.name: values[p.versions[1].var].moved for p in program.parameters}
    assert orders == {"0.weight": -HALF, "2.weight": -1, "4.weight": -HALF}
    prediction = predict(program, remedy=False)
    assert not prediction.entrywise
    assert prediction.order("2", "change", step=1) == 0
    assert prediction.order("4", "change", step=1) == HALF


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"stale": True}, "may lie outside of the matrix's range"),
        ({"update": "trace"}, "a sum over eigenvalues"),
        ({"update": "sign"}, "rank may grow with the width"),
        ({"update": "another"}, "not a function of their own eigenvalues"),
    ],
)
def test_where_orders_are_not_known_the_line_is_named(options: dict[str, object], why: str) -> None:
    with pytest.raises(OutsideTheory, match=why) as outside:
        predict(recorded(**options), remedy=False)
    assert "test_spectral.py" in str(outside.value)
