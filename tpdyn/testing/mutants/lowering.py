"""How could a recorded operation be lowered wrongly? Means that are sums, signs, transpositions, factors of two."""

from __future__ import annotations

from tpdyn.testing.mutants.mutant import of

NORMALISATION = of(
    "lowering",
    "recorder/lowering/rules/normalisation.py",
    [
        (
            "layer norm without its mean",
            "deviation, average = centred(b, x, dims) if centre else (b.value(x), Known.full((), 0.0))\n    spread",
            "deviation, average = (b.value(x), Known.full((), 0.0))\n    spread",
        ),
        (
            "RMS norm takes the mean off",
            "x_hat, _, rstd = normalised(b, x, range(rank - len(shape), rank), eps, centre=False)",
            "x_hat, _, rstd = normalised(b, x, range(rank - len(shape), rank), eps)",
        ),
        (
            "RMS norm has another eps",
            "eps = torch.finfo(torch.get_default_dtype()).eps if eps is None else eps",
            "eps = 1e-5 if eps is None else eps",
        ),
        (
            "eps is no epsilon",
            'rstd = b.apply("rsqrt", b.combine([(1, spread)], eps, epsilon=True, share=True))',
            'rstd = b.apply("rsqrt", b.combine([(1, spread)], eps, share=True))',
        ),
        (
            "the gradient of a norm forgets the mean",
            "        terms.append((-1, mean(b, g, list(dims), True)))",
            "        pass",
        ),
        (
            "the gradient of a norm forgets what lies along x",
            "    terms.append((-1, b.product(x_hat, _mean_of_product(b, g, x_hat, dims))))\n",
            "",
        ),
        (
            "the gradient of a norm forgets the weight",
            "g = grad if weight is None else b.product(grad, weight)\n    terms",
            "g = grad\n    terms",
        ),
        (
            "the variance of batch norm is biased",
            "scale=Fraction(1, size - 1), times=deviation)",
            "scale=Fraction(1, size), times=deviation)",
        ),
        (
            "momentum is the rest",
            "b.combine([(1 - momentum, running_mean), (momentum, average)]),",
            "b.combine([(momentum, running_mean), (1 - momentum, average)]),",
        ),
        (
            "weight norm forgets the norm's own gradient",
            "return b.product(b.combine([(1, grad), (-1, along)]), b.product(g, inverse)), dg",
            "return b.product(b.combine([(1, grad)]), b.product(g, inverse)), dg",
        ),
    ],
)

ATTENTION = of(
    "lowering",
    "recorder/lowering/rules/attention.py",
    [
        (
            "attention is divided by d",
            "return 1 / math.sqrt(b.shape(q)[-1]) if scale is None else scale",
            "return 1 / b.shape(q)[-1] if scale is None else scale",
        ),
        ("the mask is not causal", "    if causal:\n        rows, columns", "    if False:\n        rows, columns"),
        (
            "the mask hides the past",
            "torch.ones(rows, columns, dtype=torch.bool).tril()",
            "torch.ones(rows, columns, dtype=torch.bool).triu()",
        ),
        (
            "the softmax runs over the queries",
            'return b.apply("softmax", scores, along=3)',
            'return b.apply("softmax", scores, along=2)',
        ),
        (
            "the gradient of q forgets the factor",
            'dq = b.contract("bhie", (ds, "bhij"), (keys, "bhje"), scale=factor)',
            'dq = b.contract("bhie", (ds, "bhij"), (keys, "bhje"))',
        ),
        (
            "the gradient of k loses a transposition",
            'dk = b.contract("bhje", (ds, "bhij"), (q, "bhie"), scale=factor)',
            'dk = b.contract("bhje", (ds, "bhji"), (q, "bhie"), scale=factor)',
        ),
        (
            "the gradient of v is that of k",
            'dv = b.contract("bhje", (p, "bhij"), (grad, "bhie"))',
            'dv = b.contract("bhje", (ds, "bhij"), (grad, "bhie"))',
        ),
        (
            "shared heads learn from one query",
            "return reduce(b, b.reshape(grad, (n, own, heads // own, length, size)), [2])",
            "return b.squeeze(b.slice(b.reshape(grad, (n, own, heads // own, length, size)), 2, 0, 1, 1), [2])",
        ),
    ],
)

LOSSES = of(
    "lowering",
    "recorder/lowering/rules/losses.py",
    [
        (
            "the gradient of a softmax forgets its mean",
            "return b.product(out, b.combine([(1, grad), (-1, total)]))",
            "return b.product(out, b.combine([(1, grad)]))",
        ),
        (
            "the gradient of a log-softmax forgets the chances",
            "return b.combine([(1, grad), (-1, b.product(chances, total))])",
            "return b.combine([(1, grad)])",
        ),
        (
            "a mean is a sum",
            "return Fraction(-1, labels.tensor.numel()) if reduction == MEAN and weights is None else -1",
            "return -1",
        ),
        (
            "the likelihood grows",
            "return Fraction(-1, labels.tensor.numel()) if reduction == MEAN and weights is None else -1",
            "return Fraction(1, labels.tensor.numel()) if reduction == MEAN and weights is None else 1",
        ),
        (
            "the gradient of a square has no 2",
            "return b.product(grad, error, scale=2 * _share(b, error, reduction))",
            "return b.product(grad, error, scale=_share(b, error, reduction))",
        ),
        ("class weights do not share", "each / each.sum() if reduction == MEAN else each", "each"),
        (
            "ignored labels count",
            "    counts = target.tensor != ignored\n",
            "    counts = target.tensor == target.tensor\n",
        ),
        ("Huber's loss is a square", "(-0.5, b.product(inner, inner))", "(0.5, b.product(inner, inner))"),
        ("Huber's gradient is not clamped", 'b.apply("clamp", error, parameters=[-delta, delta])', "error"),
        (
            "smooth L1 is Huber's",
            "return b.combine([(1 / beta, huber_loss(b, x, y, reduction, beta))])",
            "return b.combine([(1.0, huber_loss(b, x, y, reduction, beta))])",
        ),
        (
            "binary cross-entropy exchanges the classes",
            "first = b.product(b.combine([(-1, y)], 1.0), x)",
            "first = b.product(y, x)",
        ),
        (
            "the soft margin has no sign",
            'b.combine([(-1, b.apply("log_sigmoid", b.product(y, x)))])',
            'b.combine([(-1, b.apply("log_sigmoid", b.value(x)))])',
        ),
        (
            "the label's margin is not pushed up",
            "return b.reshape(b.combine([(1, down), (-1, up)]), b.shape(x))",
            "return b.reshape(b.combine([(1, down)]), b.shape(x))",
        ),
    ],
)

FUNCTIONS = of(
    "lowering",
    "recorder/lowering/rules/functions.py",
    [
        ("2^x is e^x", "b.combine([(math.log(2), x)])", "b.combine([(1, x)])"),
        (
            "hard shrink shrinks",
            "return b.combine([(1, x), (-1, b.product(x, inside))])",
            "return b.product(x, inside)",
        ),
        (
            "soft shrink clamps",
            'return b.combine([(1, x), (-1, b.apply("clamp", x, parameters=[-limit, limit]))])',
            'return b.apply("clamp", x, parameters=[-limit, limit])',
        ),
        (
            "PReLU has the other sign",
            'return b.combine([(1, b.apply("relu", x)), (-1, b.product(slope, left))])',
            'return b.combine([(1, b.apply("relu", x)), (1, b.product(slope, left))])',
        ),
        (
            "GLU exchanges its halves",
            'return b.product(first, b.apply("sigmoid", second))',
            'return b.product(second, b.apply("sigmoid", first))',
        ),
        (
            "GLU's gate does not learn",
            'right = b.product(grad, b.product(first, b.apply("sigmoid\'", second)))',
            'right = b.product(grad, b.apply("sigmoid\'", second))',
        ),
    ],
)

REDUCTIONS = of(
    "lowering",
    "recorder/lowering/rules/reductions.py",
    [
        (
            "a mean is a sum",
            "return reduce(b, x, dims, keepdim, scale=Fraction(1, count(b, x, dims)), share=share)",
            "return reduce(b, x, dims, keepdim, share=share)",
        ),
        (
            "the variance is biased",
            "over = Fraction(1) / (count(b, x, dims) - Fraction(correction))",
            "over = Fraction(1) / count(b, x, dims)",
        ),
        (
            "the standard deviation is the variance",
            'return b.apply("sqrt", variance(b, x, dim, correction=correction, keepdim=keepdim))',
            "return variance(b, x, dim, correction=correction, keepdim=keepdim)",
        ),
        (
            "the norm is squared",
            'return b.apply("sqrt", reduce(b, x, dims, keepdim, times=x))',
            "return reduce(b, x, dims, keepdim, times=x)",
        ),
        (
            "the largest entry is the smallest",
            'return over(b, b.apply("abs", x), dims, keepdim, order > 0)',
            'return over(b, b.apply("abs", x), dims, keepdim, order < 0)',
        ),
        (
            "any norm is a sum of powers",
            'return b.apply("power", total, parameters=[1 / float(order)])',
            "return total",
        ),
    ],
)

FOREACH = of(
    "lowering",
    "recorder/live/foreach.py",
    [
        ("fused SGD forgets dampening", 'alpha=1 - kwargs["dampening"]', "alpha=1"),
    ],
)

MUTANTS = (*NORMALISATION, *ATTENTION, *LOSSES, *FUNCTIONS, *REDUCTIONS, *FOREACH)
