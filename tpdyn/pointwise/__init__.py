"""Which functions of numbers may a program apply, and what is known of each? The open family, listed in one place.

`lookup("clamp", (-1.0, 1.0))` gives a `Function` whose facts hold for those parameters; `FUNCTIONS` holds, by name, what
holds for all parameters. No torch here: a `Function` is handed torch when it is asked for a value.
"""

from __future__ import annotations

import difflib

from tpdyn.pointwise import (
    clamp,
    comparisons,
    elu,
    erf,
    exponential,
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
from tpdyn.pointwise.function import Function, Parity

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for family in (
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
    )
    for function in family
}


def lookup(name: str, parameters: tuple[float, ...] = ()) -> Function:
    """The function of that name, with the facts that hold for these parameters (the degree of a power, say).

    Raises KeyError, with the nearest names there are, for an unknown name.

    >>> lookup("power", (3.0,)).parity
    'odd'
    """
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, n=3) or sorted(FUNCTIONS)
        raise KeyError(
            f"no pointwise function {name!r}; expected one of tpdyn.pointwise.FUNCTIONS, e.g. {', '.join(near)}"
        )
    function = FUNCTIONS[name]
    if function in powers.FAMILY and name.startswith("power") and parameters:
        return powers.resolve(function, float(parameters[0]))
    if function in clamp.FAMILY and len(parameters) == 2:
        return clamp.resolve(function, float(parameters[0]), float(parameters[1]))
    if function in elu.FAMILY and len(parameters) == 3:
        return elu.resolve(function, *map(float, parameters))
    return function


__all__ = ["FUNCTIONS", "Function", "Parity", "lookup"]
