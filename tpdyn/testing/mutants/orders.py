"""How could the reading of orders be wrong? Laws of large numbers and central limits exchanged, dots dropped, halves lost."""

from __future__ import annotations

from tpdyn.testing.mutants.mutant import of

CONTRACTION = of(
    "orders",
    "readings/orders/contraction.py",
    [
        (
            "a law of large numbers counts as a central limit",
            "made.append(Term(term.mean_order + order, mean, ZERO, term.gaussian))",
            "made.append(Term(term.mean_order + order / 2, mean, ZERO, term.gaussian))",
        ),
        (
            "a central limit counts as a law of large numbers",
            "made.append(Term(term.rms_order + order / 2, fluctuation, ZERO, term.gaussian))",
            "made.append(Term(term.rms_order + order, fluctuation, ZERO, term.gaussian))",
        ),
        (
            "a sum of rare terms counts their root mean square",
            "made.append(Term(term.mean_order + order, mean, ZERO, term.gaussian))",
            "made.append(Term(term.rms_order + order, mean, ZERO, term.gaussian))",
        ),
        (
            "a fluctuation of rare terms counts their mean",
            "made.append(Term(term.rms_order + order / 2, fluctuation, ZERO, term.gaussian))",
            "made.append(Term(term.mean_order + order / 2, fluctuation, ZERO, term.gaussian))",
        ),
        (
            "the fluctuation beside a mean is dropped",
            "if mean is None or (plan.wide + len(rest) > 0 and fluctuation != mean):",
            "if mean is None:",
        ),
        (
            "axes that are still to be summed do not count",
            "if mean is None or (plan.wide + len(rest) > 0 and fluctuation != mean):",
            "if mean is None or (plan.wide > 0 and fluctuation != mean):",
        ),
        (
            "the mean keeps the characters of the summed axis",
            "made.append(Term(term.mean_order + order, mean, ZERO, term.gaussian))",
            "made.append(Term(term.mean_order + order, term.parity, ZERO, term.gaussian))",
        ),
        (
            "the dot is dropped",
            "    if dot is not None:\n        made.append(Term(term.mean_order + order / 2, dot))",
            "    if False:\n        made.append(Term(term.mean_order + order / 2, dot))",
        ),
        (
            "the dot has half an order too little",
            "made.append(Term(term.mean_order + order / 2, dot))",
            "made.append(Term(term.mean_order, dot))",
        ),
        (
            "the dot counts rare entries by their root mean square",
            "made.append(Term(term.mean_order + order / 2, dot))",
            "made.append(Term(size, dot))",
        ),
        ("the hat is lost", "made = [Term(size, hat)]", "made = [Term(size, term.parity)]"),
        (
            "a product with a Gaussian matrix is a law of large numbers",
            "    size = term.rms_order + order / 2\n    alone",
            "    size = term.rms_order + order\n    alone",
        ),
        (
            "a product with a Gaussian matrix counts rare entries by their mean",
            "    size = term.rms_order + order / 2\n    alone",
            "    size = term.mean_order + order / 2\n    alone",
        ),
        (
            "the matrix acts from its other side",
            "side = term.gaussian.axes.index(axis)",
            "side = 1 - term.gaussian.axes.index(axis)",
        ),
        (
            "a dot on the wrong side",
            "apply_dot(term.parity, term.gaussian.matrix, side, axis",
            "apply_dot(term.parity, term.gaussian.matrix, 1 - side, axis",
        ),
        (
            "two Gaussian matrices summed entry by entry are a law of large numbers",
            "halves = sum((order / 2 for axis, order in plan.summed",
            "halves = sum((order for axis, order in plan.summed",
        ),
        (
            "the square of a Gaussian matrix has no mean",
            "        return _sums(rest, plan.summed, plan, sources)\n    if shared == set(g.axes):",
            "        return _sums(rest._replace(gaussian=g), plan.summed, plan, sources)\n    if shared == set(g.axes):",
        ),
        (
            "the diagonal of a Gaussian matrix is even",
            "return Term(term.order, ANY, term.rarity)  # the diagonal",
            "return Term(term.order, Parity(0), term.rarity)  # the diagonal",
        ),
        (
            "the diagonal of a Gaussian matrix forgets rarity",
            "return Term(term.order, ANY, term.rarity)  # the diagonal",
            "return Term(term.order, ANY)  # the diagonal",
        ),
        (
            "a transposition is lost",
            "gaussian = Gaussian(gaussian.matrix, (axes[gaussian.axes[0]], axes[gaussian.axes[1]]))",
            "gaussian = Gaussian(gaussian.matrix, (axes[gaussian.axes[1]], axes[gaussian.axes[0]]))",
        ),
        (
            "the factor of a sum is forgotten",
            "for term in scaled(placed(x, plan.operands[0]), shift):",
            "for term in placed(x, plan.operands[0]):",
        ),
        (
            "parities are not moved with the axes",
            "return Term(term.order, relabel(term.parity, axes), term.rarity, gaussian)",
            "return Term(term.order, term.parity, term.rarity, gaussian)",
        ),
    ],
)

FUNCTIONS = of(
    "orders",
    "readings/orders/functions.py",
    [
        (
            "a function that is homogeneous keeps the order",
            "made = _of_leading(f, lead, f.degree * top if f.degree else ZERO)",
            "made = _of_leading(f, lead, top if f.degree else ZERO)",
        ),
        ("the exponential of what grows is of order 0", "return math.inf  # type: ignore[return-value]", "return ZERO"),
        (
            "what grows is as large as its argument",
            "return f.growth * top if f.growth else ZERO",
            "return top if f.growth else ZERO",
        ),
        (
            "a small argument is not expanded",
            "made = _of_leading(f, lead, f.near_zero * top)",
            "made = _of_leading(f, lead, ZERO)",
        ),
        (
            "an odd function is even",
            "return [Term(order, of_function(hull_of(plain), f.parity))]",
            'return [Term(order, of_function(hull_of(plain), "even"))]',
        ),
        (
            "a function of what is odd is odd",
            "return [Term(order, of_function(hull_of(plain), f.parity))]",
            'return [Term(order, of_function(hull_of(plain), "odd"))]',
        ),
        (
            "the slope of a homogeneous function keeps its degree",
            "order = (degree - 1) * top if degree is not None and top is not None else ZERO",
            "order = degree * top if degree is not None and top is not None else ZERO",
        ),
        (
            "a slope is odd where its function is",
            '    return (Term(order, of_function(hull_of(x), "neither") if x else EVEN),)',
            "    return (Term(order, hull_of(x) if x else EVEN),)",
        ),
        (
            "the expansion starts one power too late",
            "    for nonzero in f.taylor:\n",
            "    for nonzero in f.taylor[1:]:\n",
        ),
        (
            "odd moments of a random matrix stay",
            "return [term for term in made if term.gaussian is not None]  # odd moments vanish",
            "return made",
        ),
        (
            "the rest of an argument is dropped",
            "        made += _slope_times(chain, lead, rest, wide)",
            "        made += []",
        ),
        (
            "second-order terms are dropped",
            "made += _products(_slope(chain[1:] or chain, base, wide), tuple(_products(change, change)))",
            "made += []",
        ),
        ("second-order terms have the order of the change", "tuple(_products(change, change)))", "tuple(change))"),
        (
            "entries that cross a kink are dropped",
            "made += [crossed.times(term.order) for crossed in few]",
            "made += []",
        ),
        (
            "entries that cross a kink change in full",
            "made += [crossed.times(term.order) for crossed in few]",
            "made += few",
        ),
        ("as many entries cross as there are", "rarity = largest([change.rarity, fraction])", "rarity = change.rarity"),
        (
            "the smaller fraction of entries crosses",
            "rarity = largest([change.rarity, fraction])",
            "rarity = min(change.rarity, fraction)",
        ),
        (
            "a jump breaks the symmetry that it has",
            'sharp = {"odd": "even", "even": "odd", "neither": "neither"}[breaks]',
            "sharp = breaks",
        ),
        (
            "the whole of what breaks is dropped",
            "            made.append(Term(order - fraction, of_function(both, breaks), rarity))",
            "            pass",
        ),
        (
            "a jump's mean is not smaller by the fraction",
            "made.append(Term(order - fraction, mean, change.rarity))",
            "made.append(Term(order, mean, change.rarity))",
        ),
        (
            "changes at a jump go through the slope",
            "    if f.jumps and not smooth:\n        return tidy(crossings",
            "    if False and not smooth:\n        return tidy(crossings",
        ),
        (
            "a large change goes through the slope",
            "if scale is None or any(reaches(t.rms_order, scale) for t in change):",
            "if scale is None:",
        ),
        (
            "a large change forgets what was before",
            "return tidy([*value_terms(chain, total, wide), *value_terms(chain, base, wide)], wide)",
            "return tidy([*value_terms(chain, total, wide)], wide)",
        ),
        (
            "a product forgets the rarer",
            "plain = Term(a.order + b.order, product(a.parity, b.parity), rarer(a, b))",
            "plain = Term(a.order + b.order, product(a.parity, b.parity))",
        ),
        (
            "a product has the parity of its first factor",
            "plain = Term(a.order + b.order, product(a.parity, b.parity), rarer(a, b))",
            "plain = Term(a.order + b.order, a.parity, rarer(a, b))",
        ),
        (
            "the square of a random matrix has no mean",
            "return [plain, *made] if a.gaussian is not None and a.gaussian == b.gaussian else made",
            "return made",
        ),
        (
            "a function of several arguments is as large as the smallest",
            "top = largest([order for terms in present if (order := leading_order(terms)) is not None])\n    if f.degree is not None:\n        return tidy([Term(",
            "top = smallest([order for terms in present if (order := leading_order(terms)) is not None])\n    if f.degree is not None:\n        return tidy([Term(",
        ),
        (
            "the minimum is the largest",
            "    least = smallest([order for order in orders if order is not None])",
            "    least = largest([order for order in orders if order is not None])",
        ),
        (
            "the minimum forgets zeros",
            "    if zeros:\n        return zeros[:1]",
            "    if False:\n        return zeros[:1]",
        ),
        (
            "a tiny maximum keeps its change where the base is zero",
            "return base or tiny, change if base else whole, whole or tiny",
            "return base or tiny, change, whole or tiny",
        ),
        ("f(0) is 0", "return f.taylor[0] if f.taylor is not None else not f.near_zero", "return False"),
    ],
)

APPLIED = of(
    "orders",
    "readings/orders/applied.py",
    [
        (
            "a softmax over the width is averaged by half",
            "return made.times(-size.order)",
            "return made.times(-size.order / 2)",
        ),
        ("a softmax over the width is not averaged", "return made.times(-size.order)", "return made"),
        (
            "a mask that changes is ignored",
            "change = [*choice(0), *choice(2)] if mask[1] else [*choice(1)]",
            "change = [*choice(1)]",
        ),
        (
            "a changing mask keeps the base only",
            "change = [*choice(0), *choice(2)] if mask[1] else [*choice(1)]",
            "change = [*choice(0)] if mask[1] else [*choice(1)]",
        ),
        (
            "several arguments: the slope keeps its degree",
            "return (Term(top + ((degree - 1) * size if degree is not None else ZERO), parity),)",
            "return (Term(top + (degree * size if degree is not None else ZERO), parity),)",
        ),
        (
            "several arguments: a large change counts as small",
            "if not sizes or reaches(top, largest(sizes)):",
            "if not sizes:",
        ),
        (
            "several arguments: a jump in every entry",
            "return (Term(ZERO, parity, size - top),)",
            "return (Term(ZERO, parity),)",
        ),
        (
            "the reciprocal of what shrank is not larger",
            "change = tidy([*change, *whole], wide)  # f(base + change)",
            "change = tidy([*change], wide)  # f(base + change)",
        ),
        (
            "clipping by a bound takes the other side",
            'low, high = (number, _INFINITY) if choice == "largest" else (-_INFINITY, number)',
            'low, high = (-_INFINITY, number) if choice == "largest" else (number, _INFINITY)',
        ),
        (
            "a change counts on a change alone",
            "change = change_terms(chain, before, moved, after, wide)",
            "change = value_terms(chain, moved, wide)",
        ),
    ],
)

BILINEAR = of(
    "orders",
    "readings/orders/bilinear.py",
    [
        (
            "dx dy is dropped",
            "for pair in ((x.change, y.base), (x.base, y.change), (x.change, y.change)):",
            "for pair in ((x.change, y.base), (x.base, y.change)):",
        ),
        (
            "x dy is dropped",
            "for pair in ((x.change, y.base), (x.base, y.change), (x.change, y.change)):",
            "for pair in ((x.change, y.base), (x.change, y.change)):",
        ),
        (
            "dx y is dropped",
            "for pair in ((x.change, y.base), (x.base, y.change), (x.change, y.change)):",
            "for pair in ((x.base, y.change), (x.change, y.change)):",
        ),
        (
            "a factor of a sum is forgotten in the change",
            "change += scaled(placed(value.change, axes), order)",
            "change += placed(value.change, axes)",
        ),
        (
            "a factor of a sum is forgotten in the base",
            "base += scaled(placed(value.base, axes), order)",
            "base += placed(value.base, axes)",
        ),
        ("epsilon always counts", "negligible = combine.epsilon and not epsilon", "negligible = False"),
        (
            "epsilon guards nothing at initialisation",
            "if negligible and change and not base:",
            "if False and change and not base:",
        ),
        ("a constant is dropped", "base, whole = [*base, constant], [*whole, constant]", "pass"),
        (
            "a row of a Gaussian matrix is no longer random",
            "parity = product(parity, odd_in(row, left[0]))",
            "parity = parity",
        ),
        (
            "values end to end lose their changes",
            "tidy([term for value, axes in parts for term in placed(value.change, axes)], plan.wide),",
            "(),",
        ),
        ("what is scattered is not rare", "rare = term.rarity + rarity", "rare = term.rarity"),
    ],
)

MUTANTS = (*CONTRACTION, *FUNCTIONS, *APPLIED, *BILINEAR)
