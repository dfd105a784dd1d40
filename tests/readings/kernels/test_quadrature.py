"""Mirrors tpdyn/readings/kernels/quadrature.py: what has a closed form is found without it, for all correlations and sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tpdyn.pointwise import lookup
from tpdyn.readings.kernels import gaussian, quadrature
from tpdyn.readings.kernels.gaussian import Applied, Gaussian

CASES: list[tuple[str, tuple[float, ...]]] = [
    ("relu", ()),
    ("leaky_relu", (0.1,)),
    ("abs", ()),
    ("erf", ()),
    ("erf'", ()),
    ("gelu", ()),
    ("gelu'", ()),
    ("sin", ()),
    ("cos", ()),
    ("exp", ()),
]


def moments(largest: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    v, w = (torch.rand(40, generator=generator, dtype=torch.float64) * largest + 0.01 for _ in range(2))
    rho = torch.rand(40, generator=generator, dtype=torch.float64) * 2 - 1
    rho[:6] = torch.tensor([1.0, -1.0, 0.9999, 1 - 1e-9, 0.99, 0.0])
    return v, rho * (v * w).sqrt(), w


@pytest.mark.parametrize(("name", "parameters"), CASES, ids=[name for name, _ in CASES])
def test_the_series_gives_what_the_closed_form_gives(name: str, parameters: tuple[float, ...]) -> None:
    v, c, w = moments(1.0 if name == "exp" else 20.0)
    f, zero = Applied(name, parameters), torch.zeros_like(v)
    closed: Callable[..., Any] | None = lookup(name, parameters).expected_product
    assert closed is not None
    found = quadrature.pair(f, f, c, (zero, v), (zero, w), (f.kinks, f.kinks))
    scale = (closed(torch, v, v, v, *parameters) * closed(torch, w, w, w, *parameters)).abs().sqrt()
    assert float(((found - closed(torch, v, c, w, *parameters)) / scale).abs().max()) < 2e-11


def test_a_mean_that_is_not_zero_shifts_the_function() -> None:
    v, c, w = moments(4.0)
    half = torch.full_like(v, torch.pi / 2)
    shifted = gaussian.second(Applied("sin"), Applied("sin"), c, Gaussian(v, half), Gaussian(w, half))
    torch.testing.assert_close(shifted, gaussian.second(Applied("cos"), Applied("cos"), c, Gaussian(v), Gaussian(w)))


def test_steins_lemma_holds_between_a_function_and_the_identity() -> None:
    v, c, w = moments(3.0)
    product = gaussian.second(Applied(), Applied("tanh"), c, Gaussian(v), Gaussian(w))
    torch.testing.assert_close(product, c * gaussian.mean(Applied("tanh'"), Gaussian(w)), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("name", "parameters"), CASES, ids=[name for name, _ in CASES])
def test_prices_theorem_holds_between_a_function_and_its_slope(name: str, parameters: tuple[float, ...]) -> None:
    """`d/dc E[f(a) f(b)] = E[f'(a) f'(b)]`, by automatic differentiation of the closed form."""
    slope = Applied(name, parameters).slope
    closed = lookup(name, parameters).expected_product
    if slope is None or closed is None:
        pytest.skip("it has no slope in the theory")
    v = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    c = torch.tensor([0.2, -0.6, 0.9], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(closed(torch, v, c, v, *parameters).sum(), c)
    expected = gaussian.second(slope, slope, c.detach(), Gaussian(v), Gaussian(v))
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-9)


def test_two_functions_do_not_pass_for_one() -> None:
    """`E[relu(a) |b|] = E[|a| |b|] / 2`: the closed form of relu with itself is another number."""
    v, c, w = moments(3.0)
    mixed = gaussian.second(Applied("relu"), Applied("abs"), c, Gaussian(v), Gaussian(w))
    same = gaussian.second(Applied("abs"), Applied("abs"), c, Gaussian(v), Gaussian(w))
    torch.testing.assert_close(mixed, same / 2, rtol=1e-8, atol=1e-9)


def test_means_multiply_in_the_product_of_two_values_as_they_are() -> None:
    v, c, w = moments(3.0)
    found = gaussian.second(Applied(), Applied(), c, Gaussian(v, torch.full_like(v, 2.0)), Gaussian(w, 3 * w))
    torch.testing.assert_close(found, c + 6 * w)
