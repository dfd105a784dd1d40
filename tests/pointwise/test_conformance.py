"""Is every fact that is listed about a pointwise function true? Each is checked against the function's own values."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tpdyn.pointwise import FUNCTIONS, Function, lookup
from tpdyn.pointwise.softmax import ALONG

PARAMETERS: dict[str, list[tuple[float, ...]]] = {
    "leaky_relu": [(0.01,), (0.3,)],
    "leaky_step": [(0.01,), (0.3,)],
    "softplus": [(1.0, 20.0), (2.0, 30.0)],
    "softplus'": [(1.0, 20.0), (2.0, 30.0)],
    "softplus''": [(1.0, 20.0), (2.0, 30.0)],
    "elu": [(1.0, 1.0, 1.0), (1.6732632423543772, 1.0507009873554805, 1.0)],
    "elu'": [(1.0, 1.0, 1.0), (1.6732632423543772, 1.0507009873554805, 1.0)],
    "power": [(3.0,), (2.0,), (-2.0,), (1.5,)],
    "power'": [(3.0,), (2.0,), (-2.0,), (1.5,)],
    "power''": [(3.0,), (2.0,), (-2.0,), (1.5,)],
    "clamp": [(-1.0, 1.0), (0.5, 2.0), (-1.0, math.inf), (0.0, 6.0), (-2.0, 1.0)],
    "inside": [(-1.0, 1.0), (0.5, 2.0), (-1.0, math.inf), (0.0, 6.0), (-2.0, 1.0)],
}
MEMBERS = [(name, parameters) for name in FUNCTIONS for parameters in PARAMETERS.get(name, [()])]
members = pytest.mark.parametrize(("name", "parameters"), MEMBERS, ids=[f"{n}{p or ''}" for n, p in MEMBERS])
# Odd numerators over a power of two times sqrt(2): no point lies on a kink or a jump of any member.
GRID = torch.arange(-63, 64, 2, dtype=torch.float64) / 16 * math.sqrt(2)


def values(function: Function, x: torch.Tensor, parameters: tuple[float, ...]) -> torch.Tensor:
    if function.name in ALONG:
        return function.value(torch, x, -1)
    rows = [x] + [torch.roll(x, 7 * k + 3) for k in range(1, function.arity)]
    if function.name in ("where", "logical_and", "logical_or"):
        rows[0] = (rows[0] > 0).to(x.dtype)
    return function.value(torch, *rows, *parameters)


def slope_is_true(function: Function, slope: Function, parameters: tuple[float, ...]) -> bool:
    x = GRID.clone().requires_grad_()
    y = values(function, x, parameters)
    (expected,) = torch.autograd.grad(y.sum(), x)
    kept = torch.isfinite(y) & torch.isfinite(expected)
    given = values(slope, GRID, parameters)
    assert int(kept.sum()) >= 8
    return torch.allclose(given[kept], expected[kept], rtol=1e-9, atol=1e-11)


def parity_of(function: Function, parameters: tuple[float, ...]) -> str:
    if function.arity > 1 or function.name in ALONG:
        return "neither"
    forth, back = values(function, GRID, parameters), values(function, -GRID, parameters)
    kept = torch.isfinite(forth) & torch.isfinite(back)
    if not bool(kept.any()):
        return "neither"
    forth, back = forth[kept], back[kept]
    if torch.allclose(forth, back, rtol=1e-12, atol=1e-13):
        return "even"
    return "odd" if torch.allclose(forth, -back, rtol=1e-12, atol=1e-13) else "neither"


def has_degree(function: Function, degree: Fraction, parameters: tuple[float, ...]) -> bool:
    for factor in (0.125, 0.7, 3.0, 40.0):
        small, large = values(function, GRID, parameters), values(function, factor * GRID, parameters)
        kept = torch.isfinite(small) & torch.isfinite(large)
        if not torch.allclose(large[kept], factor ** float(degree) * small[kept], rtol=1e-9, atol=1e-12):
            return False
    return True


def taylor_of(function: Function, parameters: tuple[float, ...]) -> tuple[bool, ...]:
    """Which of c_0 .. c_4 are not zero: by autograd where torch has it, else by divided differences."""
    if function.name in ALONG:
        x = torch.tensor([0.3, -1.1, 0.5, 0.9], dtype=torch.float64)
        line = lambda s: values(function, s * x, parameters)[0]  # noqa: E731
    else:
        line = lambda s: values(function, s.reshape(1), parameters)[0]  # noqa: E731
    point = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found, y = [], line(point)
    for order in range(5):
        found.append(abs(float(y.detach())) / math.factorial(order) > 1e-9)
        y = torch.autograd.grad(y, point, create_graph=True, allow_unused=True)[0] if y.requires_grad else None
        if y is None:
            return (*found, *[False] * (4 - order))
    return tuple(found)


def growth_holds(function: Function, growth: Fraction | None, parameters: tuple[float, ...]) -> bool:
    """The ratio f(2^k x) / (2^k)^g stays bounded, and for g > 0 does not vanish on both sides."""
    sides = []
    for sign in (1.0, -1.0):
        far = sign * torch.tensor([2.0**k for k in (5, 6, 7, 8, 9)], dtype=torch.float64) * 1.01
        y = (
            values(function, far, parameters)
            if function.name not in ALONG
            else torch.stack(
                [values(function, s * torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64), parameters)[1] for s in far]
            )
        )
        sides.append((far.abs(), y.abs()))
    finite = [(far, y) for far, y in sides if not bool(torch.isnan(y).any())]
    if growth is None:
        return any(float(y[-1]) > float(far[-1]) ** 6 for far, y in finite) or not finite
    ratios = [y / far ** float(growth) for far, y in finite]
    # a logarithm may still grow by the ratio of the logarithms
    bounded = all(float(ratio[-1]) <= 2 * float(ratio[0]) + 1e-12 for ratio in ratios)
    reached = any(float(ratio[-1]) > 0.4 * float(ratio[0]) > 0 for ratio in ratios) or growth == 0
    return bounded and reached


def name_is_logical(function: Function) -> bool:
    return function.name == "logical_and"


def jump_of(function: Function, parameters: tuple[float, ...]) -> bool:
    """Whether two neighbours at a distance of 1e-9 differ by more than 1e-3 near a place where members break."""
    if function.name in ALONG:
        return False
    places = [0.0, 1.0, -1.0, 3.0, -3.0, 0.5, 2.0, 6.0, *[p for p in parameters if math.isfinite(p)]]
    for place in places:
        pair = torch.tensor([place - 1e-9, place, place + 1e-9], dtype=torch.float64)
        if function.arity == 1:
            y = function.value(torch, pair, *parameters)
        else:
            others = [
                torch.full_like(pair, 1.0 if name_is_logical(function) else place) for _ in range(function.arity - 1)
            ]
            mask_first = function.name == "where"
            y = function.value(torch, *([others[0], pair, others[1]] if mask_first else [pair, *others]), *parameters)
        y = y[torch.isfinite(y)]
        if len(y) and 1e-3 < float(y.max() - y.min()) < 1e3:
            return True
    return False


JUMPS_AT_INFINITY = ("isfinite", "isnan")


@members
def test_the_slope_is_the_derivative(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if function.slope is not None:
        assert slope_is_true(function, lookup(function.slope, parameters), parameters)


@members
def test_the_parity_is_exactly_that_of_the_values(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if name == "softplus''":
        return  # even but for torch's threshold, which cuts one side only
    if name in ("isfinite", "isnan"):
        assert parity_of(function, parameters) == "even"
        return
    assert function.parity == parity_of(function, parameters)


@members
def test_the_degree_of_a_homogeneous_function_is_true(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if function.degree is None:
        for degree in (Fraction(k, 2) for k in range(-6, 7)):
            assert not has_degree(function, degree, parameters)
    else:
        assert has_degree(function, function.degree, parameters)


@members
def test_the_taylor_coefficients_that_vanish_are_those_listed(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if function.taylor is not None:
        assert function.taylor == taylor_of(function, parameters)


@members
def test_the_growth_is_true(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if not name.startswith("erfinv"):
        assert growth_holds(function, function.growth, parameters)


@members
def test_a_function_jumps_exactly_if_it_says_so(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if name not in JUMPS_AT_INFINITY:
        assert function.jumps == jump_of(function, parameters)


@pytest.mark.parametrize(
    ("fact", "wrong"),
    [
        ("parity", {"parity": "even"}),
        ("degree", {"degree": Fraction(1)}),
        ("taylor", {"taylor": (False, True, True, False, False)}),
        ("growth", {"growth": Fraction(1)}),
        ("growth", {"growth": None}),
        ("jumps", {"jumps": True}),
    ],
)
def test_a_wrong_fact_about_tanh_is_caught(fact: str, wrong: dict[str, object]) -> None:
    false = replace(FUNCTIONS["tanh"], **wrong)  # type: ignore[arg-type]
    caught = {
        "parity": lambda: false.parity != parity_of(false, ()),
        "degree": lambda: not has_degree(false, Fraction(1), ()),
        "taylor": lambda: false.taylor != taylor_of(false, ()),
        "growth": lambda: not growth_holds(false, false.growth, ()),
        "jumps": lambda: false.jumps != jump_of(false, ()),
    }
    assert caught[fact]()


def test_a_wrong_slope_is_caught() -> None:
    assert not slope_is_true(FUNCTIONS["gelu"], FUNCTIONS["gelu_tanh'"], ())


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(KeyError, match="tanh"):
        lookup("tanhh")


def test_every_slope_and_name_is_listed() -> None:
    for name, function in FUNCTIONS.items():
        assert name == function.name
        assert function.slope is None or function.slope in FUNCTIONS
