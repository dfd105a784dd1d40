"""What is the mean of f(a) g(b), f and g pointwise functions of the program, a and b Gaussian? Closed form, else quadrature.

The closed forms are facts of the functions (`tpdyn.pointwise.expectations`). `E[a f(b)] = cov(a, b) E[f'(b)]` is Stein's
lemma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from tpdyn.pointwise import lookup
from tpdyn.readings.kernels import quadrature


@final
@dataclass(frozen=True)
class Gaussian:
    """A Gaussian of each sample: its variance, and its mean where that is not zero. Both have the shape of the samples."""

    variance: Tensor
    mean: Tensor | None = None

    @property
    def location(self) -> Tensor:
        """The mean, written out."""
        return torch.zeros_like(self.variance) if self.mean is None else self.mean


@final
@dataclass(frozen=True, slots=True)
class Applied:
    """A pointwise function with its parameters; `Applied(None)` is the identity."""

    name: str | None = None
    parameters: tuple[float, ...] = ()

    @property
    def slope(self) -> Applied | None:
        """Its derivative (None: it has none in the theory)."""
        if self.name is None:
            return None
        slope = lookup(self.name, self.parameters).slope
        return None if slope is None else Applied(slope, self.parameters)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where it is not smooth."""
        if self.name is None:
            return ()
        return lookup(self.name, self.parameters).kinks

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate it."""
        if self.name is None:
            return x
        values = lookup(self.name, self.parameters).value(torch, x, *self.parameters)
        assert isinstance(values, Tensor)
        return values


def mean(f: Applied, a: Gaussian) -> Tensor:
    """Compute `E[f(a)]`, sample by sample."""
    if f.name is None:
        return a.location
    return quadrature.expectation(f, a.location, a.variance, f.kinks)


def second(f: Applied, g: Applied, cov: Tensor, a: Gaussian, b: Gaussian) -> Tensor:
    """Compute `E[f(a) g(b)]`: the variances of a and b broadcast against `cov`, their covariance."""
    closed = closed_form(f) if f == g and a.mean is None and b.mean is None else None
    if closed is not None:
        moment = closed(torch, a.variance, cov, b.variance, *f.parameters)
        assert isinstance(moment, Tensor)
        return moment
    if f.name is None and g.name is None:
        return cov + a.location * b.location
    every = torch.broadcast_tensors(cov, a.location, a.variance, b.location, b.variance)  # type: ignore[no-untyped-call]
    shape, flat = every[0].shape, [each.flatten() for each in every]
    moment = quadrature.pair(f, g, flat[0], (flat[1], flat[2]), (flat[3], flat[4]), (f.kinks, g.kinks))
    return moment.reshape(shape)


def both(f: Applied, cov: Tensor, a: Gaussian, b: Gaussian) -> tuple[Tensor, Tensor] | None:
    """`E[f(a) f(b)]` and `E[f'(a) f'(b)]` at once, where there is a closed form that shares their work (it overwrites none)."""
    if f.name is None or a.mean is not None or b.mean is not None or cov.requires_grad:
        return None
    at_once = lookup(f.name, f.parameters).expected_both
    if at_once is None or torch.broadcast_shapes(a.variance.shape, b.variance.shape) != cov.shape:  # type: ignore[no-untyped-call]
        return None
    moment, slopes = at_once(torch, a.variance, cov, b.variance, *f.parameters)
    return moment, slopes


def closed_form(f: Applied) -> Callable[..., object] | None:
    """Return `E[f(a) f(b)]` for centred a and b, where it is known."""
    return None if f.name is None else lookup(f.name, f.parameters).expected_product
