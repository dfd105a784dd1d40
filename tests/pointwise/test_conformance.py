"""Is every fact that is listed about a pointwise function true, and none forgotten? Each is checked against the values.

A new function needs one file and one line in `FAMILIES`. Everything here is then asked of it, and each fact has to be what
the values say. A fact that is left out is a fact that is wrong.
"""

from __future__ import annotations

import inspect
import itertools
import math
import pkgutil
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import torch

import tpdyn.pointwise
from tpdyn.pointwise import FAMILIES, FUNCTIONS, Function, lookup

MEMBERS = [(name, parameters) for name, function in FUNCTIONS.items() for parameters in function.examples]
members = pytest.mark.parametrize(("name", "parameters"), MEMBERS, ids=[f"{n}{p or ''}" for n, p in MEMBERS])
# Odd numerators over a power of two times sqrt(2): no point lies on a kink or a jump of any member.
GRID = torch.arange(-63, 64, 2, dtype=torch.float64) / 16 * math.sqrt(2)


def values(function: Function, x: torch.Tensor, parameters: tuple[float, ...]) -> torch.Tensor:
    if function.along:
        return function.value(torch, x, -1)
    rows = [x] + [torch.roll(x, 7 * k + 3) for k in range(1, function.arity)]
    if function.chooses == "masked" or function.name in ("logical_and", "logical_or"):
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
    if function.arity > 1 or function.along:
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
    if function.along:
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
            if not function.along
            else torch.stack(
                [values(function, s * torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64), parameters)[1] for s in far]
            )
        )
        sides.append((far.abs(), y.abs()))
    finite = [(far, y) for far, y in sides if not bool(torch.isnan(y).any())]
    if growth is None:
        return any(float(y[-1]) > float(far[-1]) ** 6 for far, y in finite) or not finite
    ratios = [y / far ** float(growth) for far, y in finite]
    # a logarithm may still grow by the ratio of the logarithms (x log x - x by 2.12 times x)
    bounded = all(float(ratio[-1]) <= 2.2 * float(ratio[0]) + 1e-12 for ratio in ratios)
    reached = any(float(ratio[-1]) > 0.4 * float(ratio[0]) > 0 for ratio in ratios) or growth == 0
    return bounded and reached


def name_is_logical(function: Function) -> bool:
    return function.name == "logical_and"


def jump_of(function: Function, parameters: tuple[float, ...]) -> bool:
    """Whether two neighbours at a distance of 1e-9 differ by more than 1e-3 near a place where members break."""
    if function.along:
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
            mask_first = function.chooses == "masked"
            y = function.value(torch, *([others[0], pair, others[1]] if mask_first else [pair, *others]), *parameters)
        y = y[torch.isfinite(y)]
        if len(y) and 1e-3 < float(y.max() - y.min()) < 1e3:
            return True
    return False


# What signs and bounds are read off: small, moderate and huge arguments of both signs, and zero.
SIZES = [1e-300, 1e-8, 1e-3, 0.03, 0.2, 0.5, 0.9, 1.0, 1.4, 1.9, 2.5, 3.5, 6.0, 11.0, 40.0, 1e3, 1e8, 1e300]
POINTS = torch.tensor([0.0, *SIZES, *(-size for size in SIZES)], dtype=torch.float64)


def anywhere(function: Function, points: torch.Tensor, parameters: tuple[float, ...]) -> tuple[torch.Tensor, ...]:
    """Arguments in every combination (the mask of a choice is 0 or 1), and the values there. Not a number is outside of the
    domain.
    """
    if function.along:
        rows = torch.cartesian_prod(points, points, points)
        return rows, function.value(torch, rows, -1)
    axes = [points] * function.arity
    if function.chooses == "masked":
        axes[0] = torch.tensor([0.0, 1.0], dtype=torch.float64)
    grids = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([grid.flatten() for grid in grids], -1), function.value(torch, *grids, *parameters).flatten()


def sign_of(function: Function, parameters: tuple[float, ...]) -> str:
    arguments, y = anywhere(function, POINTS, parameters)
    if bool((y[~torch.isnan(y)] >= 0).all()):
        return "always"
    y = y[(arguments >= 0).all(-1)]
    return "kept" if bool((y[~torch.isnan(y)] >= 0).all()) else "no"


def is_bounded(function: Function, parameters: tuple[float, ...]) -> bool:
    """Huge, tiny and border arguments give nothing that is larger than moderate ones do."""
    moderate = POINTS[(POINTS.abs() < 1e3) & (POINTS.abs() > 1e-3)]
    largest = [
        float(y[~torch.isnan(y)].abs().max())
        for y in (anywhere(function, points, parameters)[1] for points in (moderate, POINTS))
    ]
    return math.isfinite(largest[1]) and largest[1] <= 1.5 * max(largest[0], 1.0)


def is_normalising(function: Function, parameters: tuple[float, ...]) -> bool:
    if function.degree is None or function.degree >= 1 or function.arity > 1:
        return False
    x = GRID[GRID.abs() < 0.99]
    y = values(function, x, parameters)
    return bool((x * y)[~torch.isnan(y)].gt(0).all())


def is_logarithmic(function: Function, parameters: tuple[float, ...]) -> bool:
    if function.along or function.arity > 1:
        return False
    x = torch.tensor([0.1, 0.7, 3.0, 17.0], dtype=torch.float64)
    gaps = values(function, 5 * x, parameters) - values(function, x, parameters)
    return bool(abs(gaps[0]) > 0.1) and torch.allclose(gaps, gaps[:1].expand(4), rtol=1e-9)


def choice_of(function: Function, parameters: tuple[float, ...]) -> str | None:
    if function.arity == 1:
        return None
    points = POINTS[POINTS.abs() < 100]
    arguments, y = anywhere(function, points, parameters)
    if torch.equal(y, arguments.amax(-1)):
        return "largest"
    if torch.equal(y, arguments.amin(-1)):
        return "smallest"
    chosen = arguments[:, 0] * arguments[:, 1] + (1 - arguments[:, 0]) * arguments[:, -1]
    return "masked" if function.arity == 3 and torch.equal(y, chosen) else None


def is_smooth_at_zero(function: Function, parameters: tuple[float, ...]) -> bool:
    """Whether value and four derivatives are finite and the same on both sides of zero."""
    x = torch.tensor([-1e-10, 1e-10], dtype=torch.float64, requires_grad=True)
    y = values(function, x, parameters)
    for _ in range(5):
        if not bool(torch.isfinite(y).all()) or abs(float((y[0] - y[1]).detach())) > 1e-6:
            return False
        if not y.requires_grad:
            return True
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True)
    return True


def near_zero_of(function: Function, parameters: tuple[float, ...]) -> Fraction:
    """The smaller of the exponents on both sides: which side is larger as x vanishes."""
    found = []
    for sign in (1.0, -1.0):
        large, small = (
            values(function, torch.tensor([sign * x], dtype=torch.float64), parameters) for x in (1e-4, 1e-7)
        )
        if float(small.abs()):
            found.append(math.log10(abs(float(large / small))) / 3)
    return Fraction(min(found)).limit_denominator(4)


def smooth_without_breaks(function: Function, parameters: tuple[float, ...]) -> bool:
    """Whether the part of the other symmetry is continuous (with its slope, if f is continuous) wherever members break."""
    breaks = function.breaks or function.parity
    if breaks == "neither":
        return True
    sign = 1.0 if breaks == "odd" else -1.0
    for place in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0, *[abs(p) for p in parameters if math.isfinite(p)]]:
        x = torch.tensor([place - 1e-7, place + 1e-7], dtype=torch.float64, requires_grad=True)
        other = (values(function, x, parameters) + sign * values(function, -x, parameters)) / 2
        if not bool(torch.isfinite(other).all()):
            continue
        slope = torch.zeros(2) if not other.requires_grad else torch.autograd.grad(other.sum(), x)[0]
        other = other.detach()
        if abs(float(other[0] - other[1])) > 1e-3 or (not function.jumps and abs(float(slope[0] - slope[1])) > 1e-3):
            return False
    return True


def mean_of_product(function: Function, parameters: tuple[float, ...], xx: float, xy: float, yy: float) -> float:
    """E[f(x) f(y)] by quadrature in the polar coordinates of the plane, cut along the lines x = 0 and y = 0."""
    slope, rest = xy / math.sqrt(xx), math.sqrt(max(yy - xy * xy / xx, 0.0))
    lines = (math.pi / 2, math.atan2(-slope, rest))
    edges = sorted({(line + math.pi * k) % (2 * math.pi) for line in lines for k in (0, 1)})
    nodes, weights = torch.tensor(LEGENDRE[0]), torch.tensor(LEGENDRE[1])
    r = (nodes + 1) * 20
    radial = weights * 20 * r * torch.exp(-r * r / 2) / (2 * math.pi)
    total = 0.0
    for low, high in itertools.pairwise([*edges, edges[0] + 2 * math.pi]):
        angle = (low + high) / 2 + (high - low) / 2 * nodes
        u, v = r[:, None] * torch.cos(angle), r[:, None] * torch.sin(angle)
        x, y = math.sqrt(xx) * u, slope * u + rest * v
        product = function.value(torch, x, *parameters) * function.value(torch, y, *parameters)
        total += float((radial[:, None] * weights * (high - low) / 2 * product).sum())
    return total


LEGENDRE = np.polynomial.legendre.leggauss(240)


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
def test_a_function_with_a_kink_at_zero_says_how_it_vanishes_there(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if function.arity == 1 and not function.along and function.degree is None and function.taylor is None:
        if name not in ("log", "isfinite", "isnan"):
            assert function.near_zero == near_zero_of(function, parameters)


@members
def test_what_breaks_has_the_symmetry_that_is_listed(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if function.arity == 1 and not function.along and name not in JUMPS_AT_INFINITY:
        assert smooth_without_breaks(function, parameters)


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


@members
def test_a_function_that_is_smooth_at_zero_lists_its_taylor_coefficients(
    name: str, parameters: tuple[float, ...]
) -> None:
    function = lookup(name, parameters)
    if function.arity == 1 and not function.along and not function.jumps:
        assert (function.taylor is not None) == is_smooth_at_zero(function, parameters)


@members
def test_the_sign_is_that_of_the_values(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    assert function.nonnegative == sign_of(function, parameters)


@members
def test_a_function_is_bounded_exactly_if_it_says_so(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    assert function.bounded == is_bounded(function, parameters)
    assert not function.bounded or function.growth is None or function.growth <= 0 or function.degree == 0


@members
def test_a_function_normalises_exactly_if_it_says_so(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    assert function.normalising == is_normalising(function, parameters)


@members
def test_a_function_is_logarithmic_exactly_if_it_says_so(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    assert function.logarithmic == is_logarithmic(function, parameters)


@members
def test_a_function_chooses_among_its_arguments_as_it_says(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    assert function.chooses == choice_of(function, parameters)


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if function.along])
def test_shares_sum_to_one_along_their_axis_and_logarithms_are_those_of_shares(name: str) -> None:
    function = FUNCTIONS[name]
    y = function.value(torch, GRID.reshape(8, 8), 0)
    shares = y if function.along == "shares" else y.exp()
    assert torch.allclose(shares.sum(0), torch.ones(8, dtype=torch.float64))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_arguments_of_a_function_are_those_listed_and_it_has_examples(name: str) -> None:
    function = FUNCTIONS[name]
    arguments = list(inspect.signature(function.value).parameters)
    expected = [*function.parameters, *(["dim"] if function.along else [])]
    assert arguments[0] == "torch" and arguments[1 + function.arity :] == expected
    assert function.examples and all(len(example) == len(function.parameters) for example in function.examples)
    if function.slope is not None:
        assert FUNCTIONS[function.slope].parameters in (function.parameters, ())


@members
def test_a_function_of_one_argument_lists_its_derivative(name: str, parameters: tuple[float, ...]) -> None:
    function = lookup(name, parameters)
    if "'" not in name and function.arity == 1 and not function.along and not function.jumps:
        assert function.slope is not None


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if function.expected_product])
@pytest.mark.parametrize(("xx", "xy", "yy"), [(1.0, 0.5, 1.0), (2.0, -0.3, 0.5), (0.7, 0.0, 1.3), (1.0, 1.0, 1.0)])
def test_the_expected_product_is_that_of_quadrature(name: str, xx: float, xy: float, yy: float) -> None:
    for parameters in FUNCTIONS[name].examples:
        assert expected_product_holds(lookup(name, parameters), parameters, xx, xy, yy)


def expected_product_holds(function: Function, parameters: tuple[float, ...], xx: float, xy: float, yy: float) -> bool:
    assert function.expected_product is not None
    moments = (torch.tensor([moment], dtype=torch.float64) for moment in (xx, xy, yy))
    given = function.expected_product(torch, *moments, *parameters)
    expected = mean_of_product(function, parameters, xx, xy, yy)
    return math.isclose(float(given[0]), expected, rel_tol=1e-9, abs_tol=1e-11)


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if function.expected_both])
@pytest.mark.parametrize(("xx", "xy", "yy"), [(1.0, 0.5, 1.0), (2.0, -0.3, 0.5), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)])
def test_both_expected_products_at_once_are_those_of_the_function_and_its_slope(
    name: str, xx: float, xy: float, yy: float
) -> None:
    moments = [torch.tensor([moment], dtype=torch.float64) for moment in (xx, xy, yy)]
    for parameters in FUNCTIONS[name].examples:
        function = lookup(name, parameters)
        assert function.expected_both is not None and function.expected_product is not None and function.slope
        slope = lookup(function.slope, parameters).expected_product
        assert slope is not None
        given = function.expected_both(torch, *(moment.clone() for moment in moments), *parameters)
        expected = [product(torch, *moments, *parameters) for product in (function.expected_product, slope)]
        for one, other in zip(given, expected, strict=True):
            assert math.isclose(float(one), float(other), rel_tol=1e-14, abs_tol=1e-150)


def test_every_file_of_the_folder_is_listed() -> None:
    modules: list[ModuleType] = [
        import_module(f"tpdyn.pointwise.{module.name}") for module in pkgutil.iter_modules(tpdyn.pointwise.__path__)
    ]
    families = {module.__name__: module.FAMILY for module in modules if hasattr(module, "FAMILY")}
    unlisted = [name for name, family in families.items() if not any(family is listed for listed in FAMILIES)]
    assert not unlisted, f"add to tpdyn.pointwise.FAMILIES: {unlisted}"
    assert len(FUNCTIONS) == sum(len(family) for family in FAMILIES), "two functions have one name"


@pytest.mark.parametrize(
    ("fact", "wrong"),
    [
        ("parity", {"parity": "even"}),
        ("degree", {"degree": Fraction(1)}),
        ("taylor", {"taylor": (False, True, True, False, False)}),
        ("growth", {"growth": Fraction(1)}),
        ("growth", {"growth": None}),
        ("jumps", {"jumps": True}),
        ("breaks", {"value": lambda torch, x: torch.relu(x), "breaks": "odd"}),
        ("nonnegative", {"nonnegative": "always"}),
        ("nonnegative", {"nonnegative": "no"}),
        ("bounded", {"bounded": False}),
        ("normalising", {"normalising": True}),
        ("logarithmic", {"logarithmic": True}),
        ("chooses", {"chooses": "largest"}),
        ("product", {"expected_product": lambda torch, xx, xy, yy: xy}),
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
        "breaks": lambda: not smooth_without_breaks(false, ()),
        "nonnegative": lambda: false.nonnegative != sign_of(false, ()),
        "bounded": lambda: false.bounded != is_bounded(false, ()),
        "normalising": lambda: false.normalising != is_normalising(false, ()),
        "logarithmic": lambda: false.logarithmic != is_logarithmic(false, ()),
        "chooses": lambda: false.chooses != choice_of(false, ()),
        "product": lambda: not expected_product_holds(false, (), 1.0, 0.5, 1.0),
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
