"""How do entrywise aten operations become instructions? Sums are Combine, products Contract, functions Apply."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tpdyn.program.instructions import Apply, Combine, Contract
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.values import Handle, Known, Number, Refusal, Tensor

Rule = Callable[..., Any]

SAME_NAME = (
    "tanh relu sigmoid silu mish exp expm1 log log1p sqrt rsqrt reciprocal abs sign erf erfinv sin cos sinh cosh atan asinh "
    "lgamma digamma hardswish hardsigmoid round floor ceil isnan logical_not maximum minimum logical_and logical_or atan2"
)
FUNCTIONS = {
    **{name: name for name in SAME_NAME.split()},
    "sgn": "sign",
    "bitwise_not": "logical_not",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "fmax": "maximum",
    "fmin": "minimum",
    "eq": "equal",
    "ne": "not_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "lt": "less",
    "le": "less_equal",
}
"""Operations that apply one function of one or two tensors, and which."""


def _function(name: str) -> Rule:
    return lambda b, *args, **_: b.apply(name, *args)


def _slope(function: str) -> Rule:
    """Return grad * function(x), the numbers that follow x being parameters."""
    return lambda b, grad, x, *parameters: b.product(grad, b.apply(function, x, parameters=parameters))


def add(b: LoweredBuilder, x: Any, y: Any, *, alpha: Number = 1, **_: Any) -> Tensor:
    """Return x + alpha*y; marks a constant that guards a denominator: an optimizer's, or that of a normalisation written out."""
    shape = b.broadcast(x, y)
    for value, other in ((x, y), (y, x)):
        if is_guard(b, value, b.number(other)):
            weights = (1, alpha) if value is x else (alpha, 1)
            return b.combine([(weights[0], value), (weights[1], other)], shape=shape, epsilon=True)
    return b.combine([(1, x), (alpha, y)], shape=shape)


LARGEST_GUARD = 1e-3
"""Suppose a number above this is added to a size in a forward pass. It is part of the function, not a guard."""


def is_guard(b: LoweredBuilder, value: Any, number: Number | None) -> bool:
    """Tell whether adding the number only guards a division: it is added to a root or a mean of squares."""
    if number is None:
        return False
    if b.origin.phase == "optimizer":
        return is_scaled_root(b, value) or (0 < number <= LARGEST_GUARD and is_size(b, value))
    return 0 < number <= LARGEST_GUARD and (is_scaled_root(b, value) or is_mean_of_squares(b, value))


def is_mean_of_squares(b: LoweredBuilder, x: Any) -> bool:
    """Tell whether x is a sum of squares over some dims, times numbers."""
    if not isinstance(x, Handle):
        return False
    match b.instruction(x):
        case Contract(operands=(one, other)):
            return one == other
        case Contract(operands=(one,)):
            factor = b.statements[one.var].instruction
            square = (
                isinstance(factor, Contract) and len(factor.operands) == 2 and factor.operands[0] == factor.operands[1]
            )
            return square or (isinstance(factor, Apply) and factor.function == "square")
        case Combine(terms=((_, inner),), constant=constant) if constant.is_zero:
            return is_mean_of_squares(b, Handle(inner.var, (), ()))
    return False


def is_scaled_root(b: LoweredBuilder, x: Any) -> bool:
    """Tell whether x is a square root times numbers (or the largest of several)."""
    if not isinstance(x, Handle):
        return False
    match b.instruction(x):
        case Apply(function="sqrt"):
            return True
        case Combine(terms=((_, inner),), constant=constant) if constant.is_zero:
            return is_scaled_root(b, Handle(inner.var, (), ()))
    return False


def is_size(b: LoweredBuilder, x: Any) -> bool:
    """Tell whether x is made of sizes and squares, entry by entry: |g| (Adamax), or an average of g^2 (Adadelta)."""
    if not isinstance(x, Handle):
        return False
    match b.instruction(x):
        case Apply(function="abs"):
            return True
        case Contract(operands=(one, other)):
            return one == other
        case Combine(terms=terms, constant=constant) if terms and constant.is_zero:
            return all(float(scale.at(1)) > 0 and is_size(b, Handle(inner.var, (), ())) for scale, inner in terms)
    return False


def sub(b: LoweredBuilder, x: Any, y: Any, *, alpha: Number = 1, **_: Any) -> Tensor:
    """Return x - alpha*y."""
    return b.combine([(1, x), (-alpha, y)])


def rsub(b: LoweredBuilder, x: Any, y: Any, alpha: Number = 1, **_: Any) -> Tensor:
    """Return y - alpha*x."""
    return b.combine([(-alpha, x), (1, y)])


def mul(b: LoweredBuilder, x: Any, y: Any, **_: Any) -> Tensor:
    """Return x * y."""
    return b.product(x, y)


def div(b: LoweredBuilder, x: Any, y: Any, *, rounding_mode: str | None = None, **_: Any) -> Tensor:
    """Return x / y: a number divides as its inverse, a tensor through its reciprocal."""
    if rounding_mode is not None:
        raise Refusal(f"rounding_mode={rounding_mode!r} of values that depend on parameters")
    number = b.number(y)
    if number is not None:
        inverse = 1 / number if number != 0 else math.copysign(math.inf, float(number))
        return b.combine([(inverse, x)], shape=b.broadcast(x, y))
    if isinstance(x, Handle) and isinstance(y, Handle):
        softmax = _normalised_exponential(b, x, y)
        if softmax is not None:
            return softmax
    return b.product(x, b.apply("reciprocal", y))


def _normalised_exponential(b: LoweredBuilder, x: Handle, y: Handle) -> Handle | None:
    """Return softmax, where x = exp(z) and y is its sum along one dim (kept with size 1)."""
    exponential, total = b.instruction(x), b.instruction(y)
    if not (
        isinstance(exponential, Apply)
        and exponential.function == "exp"
        and isinstance(total, Contract)
        and b.is_whole(x)
    ):
        return None
    if len(total.operands) != 1 or total.operands[0].var != x.var or total.scale.constant != 1:
        return None
    labels, rank = total.operands[0].axes, len(x.shape)
    summed = [axis for axis, label in enumerate(labels) if label >= len(b.statements[y.var].shape)]
    kept = [axis for axis in range(rank) if axis not in summed]
    if len(summed) != 1 or len(y.shape) != rank or y.shape[summed[0]] != 1:
        return None
    if [y.axes[labels[axis]] for axis in kept] != kept:
        return None
    (operand,) = exponential.operands
    z = Handle(operand.var, tuple(range(rank)), x.shape)
    return b.apply("softmax", z, along=summed[0])


def neg(b: LoweredBuilder, x: Any, **_: Any) -> Tensor:
    """Return -x."""
    return b.combine([(-1, x)])


def power(b: LoweredBuilder, x: Any, exponent: Any, **_: Any) -> Tensor:
    """Return x^p for a number p; c^x for a number c; x^y = exp(y log x), for x > 0 only."""
    p = b.number(exponent)
    if p is not None:
        if p == 2:
            return b.product(x, x)
        if p == 1:
            return b.combine([(1, x)])
        if p == 0:
            return Known.full(b.shape(x), 1.0)
        named = {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}.get(float(p))
        return b.apply(named, x) if named else b.apply("power", x, parameters=[float(p)])
    c = b.number(x)
    if c is not None and c > 0:
        return b.apply("exp", b.combine([(math.log(c), exponent)]))
    return b.apply("exp", b.product(exponent, b.apply("log", x)))


def addcmul(b: LoweredBuilder, x: Any, y: Any, z: Any, *, value: Number = 1) -> Tensor:
    """Return x + value*y*z."""
    return b.combine([(1, x), (value, b.product(y, z))])


def addcdiv(b: LoweredBuilder, x: Any, y: Any, z: Any, *, value: Number = 1) -> Tensor:
    """Return x + value*y/z."""
    return b.combine([(1, x), (value, div(b, y, z))])


def lerp(b: LoweredBuilder, start: Any, end: Any, weight: Any) -> Tensor:
    """Return start + weight*(end - start)."""
    w = b.number(weight)
    if w is not None:
        return b.combine([(1 - w, start), (w, end)])
    return b.combine([(1, start), (1, b.product(weight, b.combine([(1, end), (-1, start)])))])


def where(b: LoweredBuilder, mask: Any, x: Any, y: Any) -> Tensor:
    """Return x where the mask holds, else y."""
    if isinstance(mask, Known) and mask.is_discrete:
        if not bool(mask.tensor.any()):
            return b.combine([(1, y)], shape=b.broadcast(mask, x, y))
        if bool(mask.tensor.all()):
            return b.combine([(1, x)], shape=b.broadcast(mask, x, y))
    return b.apply("where", mask, x, y)


def masked_fill(b: LoweredBuilder, x: Any, mask: Any, number: Any) -> Tensor:
    """Return a number (or a tensor without dims) where the mask holds, else x."""
    return where(b, mask, number, x)


def clamp(b: LoweredBuilder, x: Any, low: Any = None, high: Any = None) -> Tensor:
    """Clamp between low and high. One end alone is a maximum or minimum (and relu, when that end is the number 0)."""
    if b.number(low) is not None and b.number(high) is not None:
        return b.apply("clamp", x, parameters=[float(b.number(low)), float(b.number(high))])  # type: ignore[arg-type]
    if low is not None:
        x = b.apply("relu", x) if isinstance(low, (int, float)) and low == 0 else b.apply("maximum", x, low)
    return x if high is None else b.apply("minimum", x, high)


def gelu(b: LoweredBuilder, x: Any, *, approximate: str = "none") -> Tensor:
    """Return GELU, exact or by tanh."""
    return b.apply("gelu" if approximate == "none" else "gelu_tanh", x)


def gelu_backward(b: LoweredBuilder, grad: Any, x: Any, *, approximate: str = "none") -> Tensor:
    """Return grad * gelu'(x)."""
    return b.product(grad, b.apply("gelu'" if approximate == "none" else "gelu_tanh'", x))


def argument_of(b: LoweredBuilder, out: Any, function: str) -> tuple[Handle, Apply] | None:
    """Return x (seen as out is seen) and the instruction, if out = function(x)."""
    if isinstance(out, Handle):
        instruction = b.instruction(out)
        if (
            isinstance(instruction, Apply)
            and instruction.function == function
            and len(instruction.operands) == 1
            and instruction.along is None
        ):
            return Handle(instruction.operands[0].var, out.axes, out.shape), instruction
    return None


def _slope_of_result(function: str, of_result: Callable[[LoweredBuilder, Any], Tensor]) -> Rule:
    """Return grad * function'(x); from the result where its argument is not known."""

    def rule(b: LoweredBuilder, grad: Any, out: Any) -> Tensor:
        argument = argument_of(b, out, function)
        return b.product(grad, b.apply(f"{function}'", argument[0]) if argument else of_result(b, out))

    return rule


def threshold_backward(b: LoweredBuilder, grad: Any, out: Any, threshold: Number) -> Tensor:
    """Return grad where out > threshold; out = relu(x) > 0 exactly where x > 0."""
    argument = argument_of(b, out, "relu")
    if threshold == 0:
        return b.product(grad, b.apply("step", argument[0] if argument else out))
    return b.product(grad, b.apply("step", b.combine([(1, out)], -threshold)))


def threshold(b: LoweredBuilder, x: Any, limit: Number, value: Number) -> Tensor:
    """Return x where x > limit, else value."""
    if limit == 0 and value == 0:
        return b.apply("relu", x)
    return b.apply("where", b.apply("greater", x, limit), x, value)


def elu_backward(
    b: LoweredBuilder, grad: Any, alpha: Number, scale: Number, input_scale: Number, is_result: bool, x: Any
) -> Tensor:
    """Return grad * elu'(x); when only the result was kept, its argument is looked up."""
    if is_result:
        argument = argument_of(b, x, "elu")
        if argument is None:
            raise Refusal("the backward of an in-place ELU whose argument is not known")
        x = argument[0]
    return b.product(grad, b.apply("elu'", x, parameters=[alpha, scale, input_scale]))


SAME = "clone detach alias _conj lift_fresh_copy lift_fresh"


def same(b: LoweredBuilder, x: Any, *_: Any, **__: Any) -> Tensor:
    """Return x itself."""
    return x if isinstance(x, Known) else b.value(x)


def convert(b: LoweredBuilder, x: Any, *args: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """Return x in another type: of float, the same value."""
    if dtype is not None and not dtype.is_floating_point:
        if dtype == torch.bool:
            return b.apply("not_equal", x, 0)
        raise Refusal(f"a value that depends on parameters is rounded to {dtype}")
    return same(b, x)


def copy(b: LoweredBuilder, x: Any, source: Any, *_: Any) -> Tensor:
    """Return the source, in the shape of x."""
    return b.expand(source, b.shape(x))


def full_like(b: LoweredBuilder, x: Any, number: Any, **_: Any) -> Tensor:
    """Return a constant tensor of x's shape."""
    value = b.number(number)
    return Known.full(b.shape(x), value) if value is not None else b.expand(number, b.shape(x))


def _filled(number: float) -> Rule:
    """Return a constant tensor of x's shape, or of the size given."""
    return lambda b, x, size=None, **_: Known.full(b.shape(x) if size is None else tuple(size), number)


def nan_to_num(
    b: LoweredBuilder, x: Any, nan: Number | None = None, posinf: Number | None = None, neginf: Number | None = None
) -> Tensor:
    """Return numbers in place of nan (what is infinite stays)."""
    return b.apply("where", b.apply("isnan", x), nan or 0.0, x)


# operations that read a tensor for its shape and type only
SHAPE_ONLY = frozenset(
    "full_like zeros_like ones_like empty_like new_zeros new_empty new_ones new_full new_empty_strided rand_like randn_like".split()
)

RULES: dict[str, Rule] = {
    **{name: _function(function) for name, function in FUNCTIONS.items()},
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": div,
    **dict.fromkeys(("neg", "_neg_view"), neg),
    "clamp": clamp,
    **dict.fromkeys(SAME.split(), same),
    **dict.fromkeys(("full_like", "fill"), full_like),
    **dict.fromkeys(("zeros_like", "empty_like", "new_zeros", "new_empty", "new_empty_strided"), _filled(0.0)),
    **dict.fromkeys(("ones_like", "new_ones"), _filled(1.0)),
    "new_full": lambda b, x, size, number, **_: Known.full(tuple(size), number),
    "rsub": rsub,
    "pow": power,
    "addcmul": addcmul,
    "addcdiv": addcdiv,
    "lerp": lerp,
    "where": where,
    "masked_fill": masked_fill,
    "clamp_min": lambda b, x, low: clamp(b, x, low, None),
    "clamp_max": lambda b, x, high: clamp(b, x, None, high),
    "hardtanh": lambda b, x, low=-1, high=1: b.apply("clamp", x, parameters=[low, high]),
    "hardtanh_backward": _slope("inside"),
    "gelu": gelu,
    "gelu_backward": gelu_backward,
    "tanh_backward": _slope_of_result("tanh", lambda b, out: b.combine([(-1, b.product(out, out))], 1.0)),
    "sigmoid_backward": _slope_of_result("sigmoid", lambda b, out: b.combine([(1, out), (-1, b.product(out, out))])),
    "threshold": threshold,
    "threshold_backward": threshold_backward,
    "leaky_relu": lambda b, x, negative=0.01: b.apply("leaky_relu", x, parameters=[negative]),
    "leaky_relu_backward": lambda b, grad, x, negative, _: b.product(
        grad, b.apply("leaky_step", x, parameters=[negative])
    ),
    "elu": lambda b, x, alpha=1, scale=1, input_scale=1: b.apply("elu", x, parameters=[alpha, scale, input_scale]),
    "celu": lambda b, x, alpha=1: b.apply("elu", x, parameters=[alpha, 1, 1 / alpha]),
    "elu_backward": elu_backward,
    "softplus": lambda b, x, beta=1, threshold=20: b.apply("softplus", x, parameters=[beta, threshold]),
    "softplus_backward": _slope("softplus'"),
    **{f"{name}_backward": _slope(f"{name}'") for name in ("silu", "mish", "hardswish", "hardsigmoid")},
    "log_sigmoid_forward": lambda b, x: (b.apply("log_sigmoid", x), None),  # nothing needs the kernel's buffer
    "log_sigmoid_backward": lambda b, grad, x, buffer: b.product(grad, b.apply("log_sigmoid'", x)),
    "_to_copy": convert,
    "copy": copy,
    "nan_to_num": nan_to_num,
}
