"""What must be known of a function of numbers? Its value, slope, parity, growth and behaviour at zero, side by side.

One file a function (or a family of close relatives) in this folder; a new member is a new file that is listed in
`tpdyn.pointwise.FUNCTIONS` and passes the conformance suite `tests/pointwise/test_conformance.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, final

Parity = Literal["odd", "even", "neither"]


@final
@dataclass(frozen=True, slots=True)
class Function:
    """One function `f(x, ...; parameters)` and the facts that the readings need of it.

    value: `value(torch, x, ..., *parameters)`, on tensors of any float type; torch is passed in, so that the facts can
        be read without it.
    arity: how many tensors it takes.
    slope: the name of its derivative, which takes the same arguments and parameters (None: not differentiated, or of
        several arguments).
    parity: under x -> -x ("neither" for functions of several arguments, unless listed).
    degree: for a homogeneous function, its degree d in f(c x) = c^d f(x), c > 0 (relu 1, sign 0, sqrt 1/2, reciprocal
        -1, x^2 2). None for a function with a scale of its own (tanh).
    taylor: for a function that is smooth at 0: which Taylor coefficients c_0 .. c_4 at 0 are not zero. None when it is
        not smooth there.
    growth: for a function with a scale of its own: the exponent g in |f(x)| ~ |x|^g for large |x| (0 bounded, 1 linear;
        None: faster than any power, as exp).
    jumps: whether the function itself is discontinuous (step, sign).
    scale_of_its_own: whether an argument of growing order makes the script unstable (tanh, softmax, exp; not relu).
    """

    name: str
    value: Callable[..., Any]
    arity: int = 1
    slope: str | None = None
    parity: Parity = "neither"
    degree: Fraction | None = None
    taylor: tuple[bool, bool, bool, bool, bool] | None = None
    growth: Fraction | None = Fraction(0)
    jumps: bool = False

    @property
    def scale_of_its_own(self) -> bool:
        """Whether the function knows what 'of order one' means: not homogeneous."""
        return self.degree is None
