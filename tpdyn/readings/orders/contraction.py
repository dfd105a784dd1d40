"""How big is a product of two values, summed over some of their axes? The heart of the calculus.

Three laws, one for each way of summing over a wide dim of size n (Tensor Programs III, arXiv 2009.10685):

* **law of large numbers**: the terms of the sum have a nonzero mean. Then the sum is larger by n. This holds if some
  character of the product is trivial on the axis.
* **central limit theorem**: every character is nontrivial: the sum is larger by n^1/2 only;
* **Gaussian matrix** times vector: larger by n^1/2, with a fresh Gaussian part (hat). If the vector depends on `W^T y`,
  there is a component along y, too (the dot).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache, reduce
from typing import cast

from tpdyn.exact.affine import Chart
from tpdyn.exact.compare import chart_of, key, leader
from tpdyn.exponents import ZERO
from tpdyn.facts.layouts import Layout
from tpdyn.program.errors import OutsideTheory
from tpdyn.rationals import Rational
from tpdyn.readings.orders.parity import ANY, AXES, EVEN, Parity, Sources, aligned, forget, product, relabel
from tpdyn.readings.orders.terms import (
    Dense,
    Gaussian,
    Term,
    Terms,
    apart,
    dense,
    keep,
    rarer,
    scaled,
    shifted_alike,
    tidied,
    tidied_kinds,
    tidy,
)

_IN_ORDER = tuple(tuple(range(count)) for count in range(AXES + 1))


def placed(terms: Terms, axes: tuple[int, ...]) -> Terms:
    """Rename wide axis i of some terms to axes[i]; the same object where nothing is renamed."""
    return terms if axes == _IN_ORDER[len(axes)] else tuple([on_axes(term, axes) for term in terms])


def on_axes(term: Term, axes: tuple[int, ...]) -> Term:
    """Rename wide axis i of a term to axes[i]."""
    if axes == _IN_ORDER[len(axes)]:
        return term
    gaussian = term.gaussian
    if gaussian is not None:
        if len(set(axes)) < len(axes):
            return Term(term.order, ANY, term.rarity)  # the diagonal of a Gaussian matrix
        gaussian = Gaussian(gaussian.matrix, (axes[gaussian.axes[0]], axes[gaussian.axes[1]]))
    return Term(term.order, relabel(term.parity, axes), term.rarity, gaussian)


def contract(x: Terms, y: Terms, plan: Layout, shift: Fraction, sources: Sources) -> Terms:
    """Return the terms of `n^shift * sum x y`.

    What was found for the same factors is looked up: the base program says the same in every step. With a random matrix it
    holds as long as nothing was told of the matrix since. On linear forms with a memory, what was compared is noted again.
    """
    asked = (_number(x, sources), _number(y, sources), plan, key(shift))
    known = sources.products.get(asked)
    if known is not None:
        touched, kept = known
        if sources.done(touched):
            sources.repeat(touched)
            terms: Terms = kept.again()
            return terms
    if any(term.gaussian is not None for term in (*x, *y)):
        touched, found = sources.traced(lambda: keep(sources.chart, lambda: _sum_of_pairs(x, y, plan, shift, sources)))
    else:
        touched, found = (), keep(sources.chart, lambda: _of_plain_terms(x, y, plan, shift, sources))
    sources.products[asked] = touched, found
    return found.result


def _number(terms: Terms, sources: Sources) -> int:
    """Return the number of terms, the same for equal ones."""
    known = sources.numbered.get(id(terms))
    if known is None:
        question = tuple([(key(t.order), t.parity, key(t.rarity), t.gaussian) for t in terms])
        number = sources.numbers.setdefault(question, len(sources.numbers))
        known = sources.numbered[id(terms)] = terms, number
    return known[1]


def _of_plain_terms(x: Terms, y: Terms, plan: Layout, shift: Fraction, sources: Sources) -> Terms:
    """Contract terms without random matrices: no source is met."""
    if sources.chart is None or not x or not y:
        return _sum_of_pairs(x, y, plan, shift, sources)
    return shifted_alike(_sum_of_plain_pairs, x, y, given=(plan, shift))


def _sum_of_plain_pairs(x: Terms, y: Terms, plan: Layout, shift: Fraction) -> Terms:
    return _sum_of_pairs(x, y, plan, shift, Sources())


def _sum_of_pairs(x: Terms, y: Terms, plan: Layout, shift: Fraction, sources: Sources) -> Terms:
    found: list[Term] = []
    left, right = placed(x, plan.operands[0]), placed(y, plan.operands[1])
    chart = chart_of(term.order for term in (*left, *right))
    if chart is not None:
        plain_left, plain_right = dense(chart, left), dense(chart, right)
        if plain_left is not None and plain_right is not None:
            return _sum_of_dense_pairs(chart, plain_left, plain_right, plan, shift)
    sums = sources.sums.setdefault((plan, key(shift)), {})
    for a in left:
        for b in right:
            if a.gaussian or b.gaussian:
                found += _pair(a, b, shift, plan, sources)
                continue
            rarity = rarer(a, b)
            kind = (a.parity, b.parity, key(rarity))
            parts = sums.get(kind)
            if parts is None:  # of a product of order 0: orders of sums are by so much larger than those of products
                one = Term(shift, product(a.parity, b.parity), rarity)
                parts = sums[kind] = _sums(one, plan.summed, plan, sources)
            order = _order_of(a, b)
            found += [Term(order + part.order, part.parity, part.rarity) for part in parts]
    return tidy(found, plan.wide)


def _sum_of_dense_pairs(chart: Chart, x: Sequence[Dense], y: Sequence[Dense], plan: Layout, shift: Fraction) -> Terms:
    """Do as `_sum_of_pairs` does where no entry is rare and no matrix random, on whole numbers."""
    (by, by_value, moves, _), fine = apart(chart, shift), chart.fine
    known, kinds = _dense_sums(plan), defaultdict[Parity, list[Dense]](list)
    for form, value, linear, parity in x:
        form, value, linear, sums = form + by, value + by_value, linear or moves, known[parity]
        for form_2, value_2, linear_2, parity_2 in y:
            parts = sums.get(parity_2)
            if parts is None:
                summed = _sums(Term(ZERO, product(parity, parity_2)), plan.summed, plan, Sources())
                parts = sums[parity_2] = [(cast(Rational, part.order).units, part.parity) for part in summed]
            for units, last in parts:
                term = (form + form_2 + units, value + value_2 + units * fine, linear or linear_2, last)
                kinds[last if plan.wide else EVEN].append(term)  # without wide axes all are of one kind
    return tidied_kinds(chart, kinds) if plan.wide else tidied(chart, kinds.get(EVEN, ()), 0)


@lru_cache(maxsize=1 << 10)
def _dense_sums(plan: Layout) -> defaultdict[Parity, dict[Parity, list[tuple[int, Parity]]]]:
    """Keep orders and parities of sums of products of order 0, by the parities of both factors."""
    return defaultdict(dict)


def total_sum(x: Terms, plan: Layout, shift: Fraction, sources: Sources) -> Terms:
    """Return the terms of `n^shift * sum x`: the contraction with the constant 1."""
    found: list[Term] = []
    for term in scaled(placed(x, plan.operands[0]), shift):
        found += _sums(term, plan.summed, plan, sources)
    return tidy(found, plan.wide)


def _order_of(a: Term, b: Term) -> Fraction:
    order = a.order + b.order
    if isinstance(order, float) and order != order:  # inf - inf: an overflow meets an underflow
        order = leader((b, a), lambda term: term.order).order
    return order


def _pair(a: Term, b: Term, shift: Fraction, plan: Layout, sources: Sources) -> list[Term]:
    order = _order_of(a, b) + shift
    parity = product(a.parity, b.parity)
    rarity = rarer(a, b)
    if a.gaussian is None or b.gaussian is None:
        return _sums(Term(order, parity, rarity, a.gaussian or b.gaussian), plan.summed, plan, sources)
    return _two_gaussians(a.gaussian, b.gaussian, Term(order, parity, rarity), plan, sources)


def _two_gaussians(g: Gaussian, h: Gaussian, rest: Term, plan: Layout, sources: Sources) -> list[Term]:
    summed = {axis for axis, _ in plan.summed}
    shared = set(g.axes) & set(h.axes)
    if g == h:  # the square of a Gaussian matrix: its entries have a mean
        return _sums(rest, plan.summed, plan, sources)
    if shared == set(g.axes):
        if shared <= summed:  # sum of products of independent entries (or of W and its transpose)
            halves = sum((order / 2 for axis, order in plan.summed if axis in shared), ZERO)
            others = tuple(item for item in plan.summed if item[0] not in shared)
            kept = Term(rest.order + halves, reduce(forget, shared, rest.parity), rest.rarity)
            return _sums(kept, others, plan, sources)
        if g.matrix != h.matrix:  # independent entries, as each of both has (dropped weights): they act as either
            return [last for one in (g, h) for last in _sums(rest._replace(gaussian=one), plan.summed, plan, sources)]
        return _sums(Term(rest.order, ANY, rest.rarity), plan.summed, plan, sources)
    if shared & summed:
        raise OutsideTheory(
            "outside the theory: a product of two untrained Gaussian matrices; apply them to a vector one after the other"
        )
    return _sums(Term(rest.order, ANY, rest.rarity), plan.summed, plan, sources)


def _sums(term: Term, summed: tuple[tuple[int, Fraction], ...], plan: Layout, sources: Sources) -> list[Term]:
    """Sum a term over axes, one after the other: Gaussian matrices first."""
    if not summed:
        return [term]
    if term.gaussian is not None:
        for index, (axis, order) in enumerate(summed):
            if axis in term.gaussian.axes:
                rest = summed[:index] + summed[index + 1 :]
                return [
                    last
                    for made in _gaussian_sum(term, axis, order, plan, sources)
                    for last in _sums(made, rest, plan, sources)
                ]
    (axis, order), rest = summed[0], summed[1:]
    made = []
    mean = aligned(term.parity, axis)
    if mean is not None:  # law of large numbers
        made.append(Term(term.mean_order + order, mean, ZERO, term.gaussian))
    fluctuation = forget(term.parity, axis)
    if mean is None or (plan.wide + len(rest) > 0 and fluctuation != mean):  # central limit theorem
        made.append(Term(term.rms_order + order / 2, fluctuation, ZERO, term.gaussian))
    return [last for one in made for last in _sums(one, rest, plan, sources)]


def _gaussian_sum(term: Term, axis: int, order: Fraction, plan: Layout, sources: Sources) -> list[Term]:
    """Return `sum_axis W x`: hat and dot, on W's other axis."""
    assert term.gaussian is not None
    side = term.gaussian.axes.index(axis)
    other = term.gaussian.axes[1 - side]
    size = term.rms_order + order / 2
    alone = plan.wide + len(plan.summed) <= 2
    hat = sources.apply_hat(term.parity, term.gaussian.matrix, 1 - side, axis, other, alone)
    made = [Term(size, hat)]
    dot: Parity | None = sources.apply_dot(term.parity, term.gaussian.matrix, side, axis, other, alone)
    if dot is not None:
        made.append(Term(term.mean_order + order / 2, dot))  # an average over x: rare entries count by their mean
    return made
