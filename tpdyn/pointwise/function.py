"""What must be known of a function of numbers? Everything that a reading asks, side by side in one `Function`.

One file a function (or a family of close relatives) in this folder. A new member is a new file that is listed in
`tpdyn.pointwise.FAMILIES`. `tests/pointwise/test_conformance.py` checks each fact against the values, and names what is
forgotten. Readings keep no list of functions of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, final

Parity = Literal["odd", "even", "neither"]
Sign = Literal["always", "kept", "no"]

ODD, EVEN = (False, True, False, True, False), (True, False, True, False, True)
"""Which Taylor coefficients c_0 .. c_4 at 0 are not zero: of most odd functions, and of most even ones."""


def of_torch(name: str) -> Callable[..., Any]:
    """Return a value that is torch's own function of that name. What has parameters is written out, since it names them."""
    return lambda torch, *arguments: getattr(torch, name)(*arguments)


@final
@dataclass(frozen=True, slots=True)
class Function:
    """One function `f(x, ...; parameters)` and the facts that the readings need of it.

    Facts hold for all parameters, unless `resolve` gives those of given ones.

    value: `value(torch, x, ..., *parameters)`, on tensors of any float type; torch is passed in, so that the facts can
        be read without it. A function along an axis takes the axis after its parameters.
    arity: how many tensors it takes.
    slope: the name of its derivative, which takes the same arguments and parameters (None: not differentiated, or of
        several arguments).
    parity: under x -> -x ("neither" for functions of several arguments, unless listed).
    degree: for a homogeneous function, its degree d in f(c x) = c^d f(x), c > 0. For instance: relu 1, sign 0, sqrt 1/2,
        reciprocal -1, x^2 2. None for a function with a scale of its own (tanh).
    taylor: for a function that is smooth at 0: which Taylor coefficients c_0 .. c_4 at 0 are not zero. None when it is
        not smooth there.
    near_zero: for a function with a scale of its own that is not smooth at 0. It is the exponent d in |f(x)| ~ |x|^d for
        small |x|, the larger of both sides (elu 1).
    growth: for a function with a scale of its own, the exponent g in |f(x)| ~ |x|^g for large |x|. 0 is bounded or slower
        than any power, 1 is linear, None is faster than any power (exp).
    jumps: whether the function itself is discontinuous (step, sign).
    breaks: the parity of what jumps or has a kink, up to a smooth function (relu(x) = x/2 + |x|/2: "even"). None: as `parity`.
    nonnegative: "always" if f >= 0 wherever it is defined; "kept" if f >= 0 where its arguments are; else "no".
    bounded: whether |f| stays below one number wherever f is defined (tanh; not log, which is merely slow).
    normalising: whether it takes size out of its argument but leaves the sign. An optimizer that applies it normalises
        entry by entry. It is homogeneous of a degree below 1, with f(x) of the sign of x (sign, sqrt, 1/x).
    logarithmic: whether f(c x) - f(x) depends on c only: a growing argument then adds a number of order log n.
    chooses: for a function whose value is one of its arguments, which one. It is the "largest", the "smallest", or the
        second or third by a mask. The mask (0 or 1) is the first argument ("masked").
    along: for a function that needs an axis: "shares" of a total, which sum to one along it, or the "logarithms" of those.
    parameters: the names of its parameters; `examples`: values of them at which the conformance suite checks the facts.
    resolve: `resolve(function, *parameters)`, the same function with the facts that hold for these parameters.
    expected_product: E[f(x) f(y)] in closed form for x, y Gaussian with mean 0. It is
        `expected_product(torch, xx, xy, yy, *parameters)` of their variances xx, yy and covariance xy (tensors of one
        shape). The slope is a function of its own, so its own entry is E[f'(x) f'(y)]. None: there is no closed form, or
        nobody has entered it.
    expected_both: that product and the one of the slope at once, as a pair, where the two share work.
    kinks: where it is not smooth on its domain, for integrals that must not step over it.
    """

    name: str
    value: Callable[..., Any]
    arity: int = 1
    slope: str | None = None
    parity: Parity = "neither"
    degree: Fraction | None = None
    taylor: tuple[bool, bool, bool, bool, bool] | None = None
    near_zero: Fraction = Fraction(0)
    growth: Fraction | None = Fraction(0)
    jumps: bool = False
    breaks: Parity | None = None
    nonnegative: Sign = "no"
    bounded: bool = False
    normalising: bool = False
    logarithmic: bool = False
    chooses: Literal["largest", "smallest", "masked"] | None = None
    along: Literal["shares", "logarithms"] | None = None
    parameters: tuple[str, ...] = ()
    examples: tuple[tuple[float, ...], ...] = ((),)
    resolve: Callable[..., Function] | None = None
    expected_product: Callable[..., Any] | None = None
    expected_both: Callable[..., tuple[Any, Any]] | None = None
    kinks: tuple[float, ...] = ()

    @property
    def scale_of_its_own(self) -> bool:
        """Whether an argument of growing order makes the script unstable (tanh, softmax, exp; not relu, nor log)."""
        return self.degree is None and not self.logarithmic
