"""Which functions of numbers may a program apply, and what is known of each? The open family, listed in one file.

`lookup("clamp", (-1.0, 1.0))` gives a `Function` whose facts hold for these parameters. `FUNCTIONS` gives, by name, the facts that
hold for all parameters. This package does not import torch: hand torch to `Function.value`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tpdyn.pointwise import (
    clamp,
    comparisons,
    elu,
    erf,
    exponential,
    gamma,
    gelu,
    hyperbolic,
    mish,
    powers,
    rectifiers,
    rounding,
    sigmoid,
    softmax,
    tanh,
    trigonometric,
)
from tpdyn.pointwise.function import Function, Parity, Sign

FAMILIES = (
    tanh.FAMILY,
    rectifiers.FAMILY,
    gelu.FAMILY,
    sigmoid.FAMILY,
    exponential.FAMILY,
    powers.FAMILY,
    trigonometric.FAMILY,
    erf.FAMILY,
    clamp.FAMILY,
    elu.FAMILY,
    mish.FAMILY,
    comparisons.FAMILY,
    softmax.FAMILY,
    hyperbolic.FAMILY,
    rounding.FAMILY,
    gamma.FAMILY,
)
FUNCTIONS: dict[str, Function] = {function.name: function for family in FAMILIES for function in family}


def lookup(name: str, parameters: Sequence[float] = ()) -> Function:
    """Look up a function, with the facts that hold for these parameters (the degree of a power, say).

    Without parameters, or with a wrong number of them, only facts that hold for all parameters are given. Raises KeyError
    for an unknown name, with the nearest known ones.

    >>> lookup("power", (3.0,)).parity
    'odd'
    """
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, n=3) or sorted(FUNCTIONS)
        raise KeyError(
            f"no pointwise function {name!r}; expected one of tpdyn.pointwise.FUNCTIONS, e.g. {', '.join(near)}"
        )
    function = FUNCTIONS[name]
    if function.resolve is None or len(parameters) != len(function.parameters):
        return function
    return function.resolve(function, *map(float, parameters))


__all__ = ["FAMILIES", "FUNCTIONS", "Function", "Parity", "Sign", "lookup"]
