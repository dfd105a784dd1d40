"""How do softmax and the losses become instructions?

The gradient of log_softmax uses softmax of the same logits, so that a program shows softmax(z) - y.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch

from tpdyn.program.instructions import Apply
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.summing import reduce
from tpdyn.recorder.lowering.values import Handle, Known, Number, Refusal, Tensor


def _along(function: str) -> Rule:
    """Return a function over dim, as softmax is."""
    return lambda b, x, dim, *_, **__: b.apply(function, b.value(x), along=dim % max(len(b.shape(x)), 1))


def softmax_backward(b: LoweredBuilder, grad: Any, out: Any, dim: int, *_: Any) -> Tensor:
    """Return out * (grad - sum(grad * out))."""
    total = reduce(b, grad, [dim % len(b.shape(out))], True, times=out)
    return b.product(out, b.combine([(1, grad), (-1, total)]))


def log_softmax_backward(b: LoweredBuilder, grad: Any, out: Any, dim: int, *_: Any) -> Tensor:
    """Return grad - softmax(x) * sum(grad); without x at hand, exp(out) for softmax(x)."""
    dim = dim % len(b.shape(out))
    if isinstance(grad, Handle) and grad.var in b.scattered and b.is_whole(grad):
        total = b.scattered[grad.var]  # the gradient of a loss has one entry a row
    else:
        total = reduce(b, grad, [dim], True)
    instruction = b.instruction(out) if isinstance(out, Handle) else None
    if isinstance(instruction, Apply) and instruction.function == "log_softmax" and instruction.along is not None:
        again = b.again("softmax", instruction, b.statements[out.var].shape)
        chances = Handle(again.var, out.axes, out.shape)
    else:
        chances = b.apply("exp", out)
    return b.combine([(1, grad), (-1, b.product(chances, total))])


MEAN, SUM = 1, 2  # at::Reduction


NONE_IGNORED = -100
"""torch's default: a script that gives another label to be ignored may have such labels at some widths only."""


def _labels(b: LoweredBuilder, target: Any, ignored: int) -> tuple[Known, torch.Tensor]:
    """Return the labels, those ignored replaced by class 0, and which count."""
    if not isinstance(target, Known):
        raise Refusal("class labels that depend on parameters")
    counts = target.tensor != ignored
    if ignored == NONE_IGNORED and bool(counts.all()):
        return target, counts
    key = ("labels", target, ignored)
    if key not in b.indices:
        b.indices[key] = Known(torch.where(counts, target.tensor, 0), target.kind, None, target.name)
    return b.indices[key], counts


def _weights(weight: Any, target: Known, counts: torch.Tensor, ignored: int, reduction: int) -> Known | None:
    """Return what each label's loss is multiplied with, its share of the mean included; None if all labels count alike.

    How many labels count is data, as the labels are: it may differ between widths.
    """
    if weight is None:
        if ignored == NONE_IGNORED and bool(counts.all()):
            return None
        each, name = counts.to(torch.float64), "counted"
    elif isinstance(weight, Known):
        each, name = weight.tensor.to(torch.float64)[target.tensor] * counts, "weights"
    else:
        raise Refusal("class weights that depend on parameters")
    return Known(each / each.sum() if reduction == MEAN else each, "data", None, name)


def nll_loss(
    b: LoweredBuilder, logs: Any, target: Any, weight: Any, reduction: int, ignored: int
) -> tuple[Tensor, Tensor]:
    """Return -sum_b w_b logs[b, y_b] over the weights' sum; and that sum. Further dims (tokens) follow the classes."""
    labels, counts = _labels(b, target, ignored)
    weights = _weights(weight, labels, counts, ignored, reduction)
    batch = [k for k in range(len(b.shape(logs))) if k != _class_dim(b, logs)]
    letters = list(range(len(b.shape(logs))))
    letters[_class_dim(b, logs)] = "class"  # type: ignore[call-overload]
    picked = b.gather(logs, letters, labels, batch, "class", batch)
    if reduction in (MEAN, SUM):
        loss = reduce(b, picked, range(len(batch)), scale=_sign_and_share(labels, weights, reduction), times=weights)
    else:
        loss = b.combine([(-1, picked if weights is None else b.product(picked, weights))])
    return loss, Known.full((), float(counts.sum()))  # only the gradient reads the second, and counts anew


def _sign_and_share(labels: Known, weights: Known | None, reduction: int) -> Number:
    return Fraction(-1, labels.tensor.numel()) if reduction == MEAN and weights is None else -1


def _class_dim(b: LoweredBuilder, logs: Any) -> int:
    return 0 if len(b.shape(logs)) == 1 else 1


def nll_loss_backward(
    b: LoweredBuilder, grad: Any, logs: Any, target: Any, weight: Any, reduction: int, ignored: int, total_weight: Any
) -> Tensor:
    """Return -grad * w_b / total at the label of each row, zeros elsewhere."""
    labels, counts = _labels(b, target, ignored)
    weights = _weights(weight, labels, counts, ignored, reduction)
    shape, dim = b.shape(logs), _class_dim(b, logs)
    one = b.combine([(_sign_and_share(labels, weights, reduction), grad)])
    if weights is not None:
        one = b.product(one, weights)
    batch = [k for k in range(len(shape)) if k != dim]
    spread = b.expand(one, tuple(shape[k] for k in batch))
    rows = Handle(b.position(spread), tuple(range(len(batch))), b.shape(spread))
    gradient = b.scatter(rows, batch, labels, batch, dim, list(range(len(shape))), shape[dim])
    number = b.number(spread)
    kept = tuple(1 if k == dim else size for k, size in enumerate(shape))
    b.scattered[gradient.var] = b.unsqueeze(spread, dim) if number is None else Known.full(kept, number)
    return gradient


def _reduced(b: LoweredBuilder, x: Tensor, reduction: int, times: Any = None) -> Tensor:
    """Reduce x * times: mean, sum or nothing."""
    if reduction not in (MEAN, SUM):
        return x if times is None else b.product(x, times)
    scale = (
        Fraction(1, math.prod(b.broadcast(x, times) if times is not None else b.shape(x))) if reduction == MEAN else 1
    )
    return reduce(b, x, range(len(b.shape(x))), scale=scale, times=times)


def _share(b: LoweredBuilder, x: Any, reduction: int) -> Number:
    return Fraction(1, math.prod(b.shape(x))) if reduction == MEAN else 1


def mse_loss(b: LoweredBuilder, x: Any, y: Any, reduction: int = MEAN) -> Tensor:
    """Return the mean of (x - y)^2."""
    error = b.combine([(1, x), (-1, y)], share=True)
    return _reduced(b, error, reduction, times=error)


def mse_loss_backward(b: LoweredBuilder, grad: Any, x: Any, y: Any, reduction: int) -> Tensor:
    """Return 2/N * grad * (x - y)."""
    error = b.combine([(1, x), (-1, y)], share=True)
    return b.product(grad, error, scale=2 * _share(b, error, reduction))


def bce_with_logits(
    b: LoweredBuilder, x: Any, y: Any, weight: Any = None, pos_weight: Any = None, reduction: int = MEAN
) -> Tensor:
    """Return the mean of w ((1 - y) x - (1 + (p - 1) y) log sigmoid(x)), p weighing the positive ones."""
    first = b.product(b.combine([(-1, y)], 1.0), x)
    second: Tensor = b.apply("log_sigmoid", x)
    if pos_weight is not None:
        second = b.product(b.combine([(1, b.product(b.combine([(1, pos_weight)], -1.0), y))], 1.0), second)
    each = b.combine([(1, first), (-1, second)])
    return _reduced(b, each if weight is None else b.product(each, weight), reduction)


SMALLEST_LOG = -100.0  # torch's, where a chance is 0
LEAST_SPREAD = 1e-12


def bce(b: LoweredBuilder, x: Any, y: Any, weight: Any = None, reduction: int = MEAN) -> Tensor:
    """Return the mean of -w (y log x + (1 - y) log(1 - x))."""
    no = b.combine([(-1, x)], 1.0)
    logs = [b.apply("maximum", b.apply("log", chance), SMALLEST_LOG) for chance in (x, no)]
    each = b.combine([(-1, b.product(y, logs[0])), (-1, b.product(b.combine([(-1, y)], 1.0), logs[1]))])
    return _reduced(b, each if weight is None else b.product(each, weight), reduction)


def bce_backward(b: LoweredBuilder, grad: Any, x: Any, y: Any, weight: Any = None, reduction: int = MEAN) -> Tensor:
    """Return w (x - y) / (x (1 - x)) * grad."""
    error = b.combine([(1, x), (-1, y)])
    spread = b.apply("maximum", b.combine([(1, x), (-1, b.product(x, x))]), LEAST_SPREAD)
    slope = b.product(error, b.apply("reciprocal", spread))
    if weight is not None:
        slope = b.product(slope, weight)
    return b.product(grad, slope, scale=_share(b, error, reduction))


def soft_margin(b: LoweredBuilder, x: Any, y: Any, reduction: int = MEAN) -> Tensor:
    """Return the mean of log(1 + exp(-y x))."""
    return _reduced(b, b.combine([(-1, b.apply("log_sigmoid", b.product(y, x)))]), reduction)


def soft_margin_backward(b: LoweredBuilder, grad: Any, x: Any, y: Any, reduction: int = MEAN) -> Tensor:
    """Return -y sigmoid(-y x) * grad."""
    slope = b.product(y, b.apply("log_sigmoid'", b.product(y, x)), scale=-1)
    return b.product(grad, slope, scale=_share(b, slope, reduction))


def _margins(
    b: LoweredBuilder, x: Any, target: Any, weight: Any, power: Number, margin: Number
) -> tuple[Handle, Tensor, Known]:
    """Return max(0, margin - x_y + x_j), x with rows, the weights of the other classes, and the labels one-hot."""
    if power not in (1, 2):
        raise Refusal(f"multi_margin_loss with p={power}; expected 1 or 2")
    if not isinstance(target, Known):
        raise Refusal("class labels that depend on parameters")
    rows = b.value(x) if len(b.shape(x)) == 2 else b.unsqueeze(x, 0)
    hot = torch.nn.functional.one_hot(target.tensor.reshape(-1), rows.shape[1]).to(torch.float64)
    own = reduce(b, rows, [1], True, times=Known(hot, "data", None, "hot"))
    others = 1 - hot
    if weight is not None:
        if not isinstance(weight, Known):
            raise Refusal("class weights that depend on parameters")
        others = others * weight.tensor.to(torch.float64)[target.tensor.reshape(-1), None]
    over = b.apply("relu", b.combine([(1, rows), (-1, own)], margin))
    return over, b.value(Known(others, "data", None, "others")), Known(hot, "data", None, "hot")


def multi_margin(
    b: LoweredBuilder,
    x: Any,
    target: Any,
    power: Number = 1,
    margin: Number = 1,
    weight: Any = None,
    reduction: int = MEAN,
) -> Tensor:
    """Return the mean over rows of sum_j w_y max(0, margin - x_y + x_j)^p / classes, j another class than y."""
    over, others, _ = _margins(b, x, target, weight, power, margin)
    rows, classes = over.shape
    each = over if power == 1 else b.product(over, over)
    scale = Fraction(1, classes * rows) if reduction == MEAN else Fraction(1, classes)
    return reduce(b, each, [0, 1] if reduction in (MEAN, SUM) else [1], scale=scale, times=others)


def multi_margin_backward(
    b: LoweredBuilder,
    grad: Any,
    x: Any,
    target: Any,
    power: Number,
    margin: Number,
    weight: Any = None,
    reduction: int = MEAN,
) -> Tensor:
    """Push each class above the margin down, the label's up by all of them."""
    over, others, hot = _margins(b, x, target, weight, power, margin)
    rows, classes = over.shape
    scale = Fraction(1, classes * rows) if reduction == MEAN else Fraction(1, classes)
    pushed = b.apply("step", over) if power == 1 else b.combine([(2, over)])
    down = b.product(b.product(pushed, others), b.reshape(grad, (-1, 1)), scale=scale)
    up = b.product(reduce(b, down, [1], True), hot)
    return b.reshape(b.combine([(1, down), (-1, up)]), b.shape(x))


def huber_loss(b: LoweredBuilder, x: Any, y: Any, reduction: int = MEAN, delta: Number = 1.0) -> Tensor:
    """Return the delta-Huber loss: e c - c^2/2 with e = |x - y| and c = min(e, delta)."""
    error = b.apply("abs", b.combine([(1, x), (-1, y)], share=True))
    inner = b.apply("clamp", error, parameters=[0.0, delta])
    return _reduced(b, b.combine([(1, b.product(error, inner)), (-0.5, b.product(inner, inner))]), reduction)


def huber_loss_backward(b: LoweredBuilder, grad: Any, x: Any, y: Any, reduction: int, delta: Number) -> Tensor:
    """Return clamp(x - y, -delta, delta) * grad."""
    error = b.combine([(1, x), (-1, y)], share=True)
    return b.product(grad, b.apply("clamp", error, parameters=[-delta, delta]), scale=_share(b, error, reduction))


def smooth_l1_loss(b: LoweredBuilder, x: Any, y: Any, reduction: int = MEAN, beta: Number = 1.0) -> Tensor:
    """Return huber / beta."""
    return b.combine([(1 / beta, huber_loss(b, x, y, reduction, beta))])


def smooth_l1_loss_backward(b: LoweredBuilder, grad: Any, x: Any, y: Any, reduction: int, beta: Number) -> Tensor:
    """Return huber' / beta."""
    return b.combine([(1 / beta, huber_loss_backward(b, grad, x, y, reduction, beta))])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("_softmax", "_safe_softmax"), _along("softmax")),
    "_log_softmax": _along("log_softmax"),
    "_softmax_backward_data": softmax_backward,
    "_log_softmax_backward_data": log_softmax_backward,
    **dict.fromkeys(("nll_loss_forward", "nll_loss2d_forward"), nll_loss),
    **dict.fromkeys(("nll_loss_backward", "nll_loss2d_backward"), nll_loss_backward),
    "mse_loss": mse_loss,
    "mse_loss_backward": mse_loss_backward,
    "binary_cross_entropy_with_logits": bce_with_logits,
    "binary_cross_entropy": bce,
    "binary_cross_entropy_backward": bce_backward,
    "soft_margin_loss": soft_margin,
    "soft_margin_loss_backward": soft_margin_backward,
    "multi_margin_loss": multi_margin,
    "multi_margin_loss_backward": multi_margin_backward,
    "huber_loss": huber_loss,
    "huber_loss_backward": huber_loss_backward,
    "smooth_l1_loss": smooth_l1_loss,
    "smooth_l1_loss_backward": smooth_l1_loss_backward,
}
