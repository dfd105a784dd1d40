"""What is the mean of f(a) f(b) for Gaussian a and b? Closed forms, for the kernels of wide networks.

`(a, b)` is centred with variances v, w and covariance c. Each function takes `(torch, v, c, w, *parameters)` and returns
`E[f(a) f(b)]`. Angles are written `atan(c / sqrt(vw - c^2))`: digits are kept where a and b are nearly the same. Functions
named `..._both` return `E[f'(a) f'(b)]` beside it and share what the two have in common, in place. The kernels of a network
ask for both at every layer.

By Price's theorem `d/dc E[f(a) f(b)] = E[f'(a) f'(b)]`, which the
conformance suite checks for every closed form.

Sources: arc-cosine kernels, Cho and Saul (NIPS 2009), equations 3 to 6; erf, Williams (NIPS 1996), equation 11. The form for
GELU follows from integration by parts, spelled out at `gelu`.
"""

from __future__ import annotations

import math
from typing import Any

PI = math.pi


def _rest(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """`sqrt(vw - c^2)`, the smallest positive number where round-off makes it zero or negative."""
    return (v * w - c * c).clamp(min=torch.finfo(c.dtype).tiny).sqrt()


def _angle(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return the arc sine of the correlation: `atan` of a quotient takes half the time of `atan2`."""
    return torch.atan(c / _rest(torch, v, c, w))


def _arc(torch: Any, v: Any, c: Any, w: Any) -> tuple[Any, Any]:
    """Return the arc sine of the correlation and `sqrt(vw - c^2)`, in new tensors that may be overwritten."""
    rest = v * w
    rest.addcmul_(c, c, value=-1).clamp_(min=torch.finfo(c.dtype).tiny).sqrt_()
    return (c / rest).atan_(), rest


def absolute(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = |x|."""
    rest = _rest(torch, v, c, w)
    return (torch.atan(c / rest) * c + rest) * (2 / PI)


def absolute_both(torch: Any, v: Any, c: Any, w: Any) -> tuple[Any, Any]:
    """Return both means of |x| (see the top of the page)."""
    angle, rest = _arc(torch, v, c, w)
    return rest.addcmul_(angle, c).mul_(2 / PI), angle.mul_(2 / PI)


def relu(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = max(x, 0) = (x + |x|) / 2; an odd and an even part are uncorrelated."""
    rest = _rest(torch, v, c, w)
    return ((torch.atan(c / rest) + PI / 2) * c + rest) / (2 * PI)


def relu_both(torch: Any, v: Any, c: Any, w: Any) -> tuple[Any, Any]:
    """Return both means of max(x, 0)."""
    angle, rest = _arc(torch, v, c, w)
    angle.add_(PI / 2)
    return rest.addcmul_(angle, c).mul_(1 / (2 * PI)), angle.mul_(1 / (2 * PI))


def step(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = 1 at x > 0, else 0."""
    return _angle(torch, v, c, w) / (2 * PI) + 0.25


def sign(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = sign(x)."""
    return _angle(torch, v, c, w) * (2 / PI)


def leaky_relu(torch: Any, v: Any, c: Any, w: Any, slope: float) -> Any:
    """Return E[f(a) f(b)] for f(x) = x at x > 0, else slope x: `(1+slope)/2 x + (1-slope)/2 |x|`."""
    return c * ((1 + slope) / 2) ** 2 + absolute(torch, v, c, w) * ((1 - slope) / 2) ** 2


def leaky_relu_both(torch: Any, v: Any, c: Any, w: Any, slope: float) -> tuple[Any, Any]:
    """Return both means of the leaky ReLU."""
    second, first = absolute_both(torch, v, c, w)
    even, odd = ((1 - slope) / 2) ** 2, ((1 + slope) / 2) ** 2
    return second.mul_(even).add_(c, alpha=odd), first.mul_(even).add_(odd)


def leaky_step(torch: Any, v: Any, c: Any, w: Any, slope: float) -> Any:
    """Return E[f(a) f(b)] for f(x) = 1 at x > 0, else slope."""
    return sign(torch, v, c, w) * ((1 - slope) / 2) ** 2 + ((1 + slope) / 2) ** 2


def erf(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return the error function."""
    return torch.atan(2 * c * ((1 + 2 * v) * (1 + 2 * w) - 4 * c * c).rsqrt()) * (2 / PI)


def erf_slope(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = 2/sqrt(pi) exp(-x^2)."""
    return (4 / PI) * ((1 + 2 * v) * (1 + 2 * w) - 4 * c * c).rsqrt()


def erf_both(torch: Any, v: Any, c: Any, w: Any) -> tuple[Any, Any]:
    """Return the error function, and its derivative: the arc tangent and the factor share a root."""
    root = (1 + 2 * v) * (1 + 2 * w)
    root.addcmul_(c, c, value=-4).rsqrt_()
    return (c * root).mul_(2).atan_().mul_(2 / PI), root.mul_(4 / PI)


def _gelu_parts(torch: Any, v: Any, c: Any, w: Any) -> tuple[Any, Any, Any]:
    """Return `E[Phi(a) Phi(b)]`, `D = (1+v)(1+w) - c^2`, and what stands over `2 pi sqrt(D)` in GELU's second moment."""
    determinant = (1 + v) * (1 + w) - c * c
    both = torch.atan(c * determinant.rsqrt()) / (2 * PI) + 0.25
    return both, determinant, v * w - c * c + c * c / (1 + v) + c * c / (1 + w)


def gelu(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = x Phi(x).

    By parts in a, `E[a Phi(a) b Phi(b)] = v E[phi(a) b Phi(b)] + c E[Phi(a) Phi(b)] + c E[Phi(a) b phi(b)]`; a factor
    phi tilts the Gaussian to another, in which the remaining means are elementary.
    """
    both, determinant, numerator = _gelu_parts(torch, v, c, w)
    return c * both + numerator * determinant.rsqrt() / (2 * PI)


def gelu_slope(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f the slope of GELU: the derivative of `gelu` with respect to c (Price's theorem)."""
    both, determinant, numerator = _gelu_parts(torch, v, c, w)
    inner = 2 * c / (1 + v) + 2 * c / (1 + w) - c + numerator * c / determinant
    return both + inner * determinant.rsqrt() / (2 * PI)


def gelu_both(torch: Any, v: Any, c: Any, w: Any) -> tuple[Any, Any]:
    """Return both means of GELU."""
    both, determinant, numerator = _gelu_parts(torch, v, c, w)
    root = determinant.rsqrt().mul_(1 / (2 * PI))
    inner = 2 * c / (1 + v) + 2 * c / (1 + w) - c + numerator * c / determinant
    return numerator.mul_(root).addcmul_(c, both), inner.mul_(root).add_(both)


def sin(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = sin(x): half the difference of the means of `cos(a - b)` and `cos(a + b)`."""
    half = (v + w) / 2
    return ((c - half).exp() - (-c - half).exp()) / 2


def cos(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = cos(x)."""
    half = (v + w) / 2
    return ((c - half).exp() + (-c - half).exp()) / 2


def exp(torch: Any, v: Any, c: Any, w: Any) -> Any:
    """Return E[f(a) f(b)] for f(x) = exp(x)."""
    return ((v + w) / 2 + c).exp()
