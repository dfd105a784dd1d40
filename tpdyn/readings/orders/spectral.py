"""How big are the eigenvalues of a matrix, and a function of it? Of matrices of finite rank whose eigenvectors fill all entries.

A sum of finitely many outer products is `S = D K D^T`, D of n rows and finitely many columns. Its eigenvalues that are not
zero are those of the finite matrix `K D^T D`. They are sums over n terms, so they are larger than the entries of S by n. A
function that vanishes at zero acts by finite matrices, too: `f(S) = D h D^T` with h of finite size. So f(S) has the
characters of S on each of its two sides. The vectors of D, divided by their lengths, give its entries: `f(eigenvalue) / n`.

What f does to the zeros does not show in f(S) applied to vectors in the range of S (`ranges`). Elsewhere a function must
vanish at zero to have orders here. Suppose that a function is large where its argument is small (a negative power). Then
small parts of S get the weight of large ones. So whatever training changes in S changes f(S) in full.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from tpdyn.exact.compare import exceeds, smallest
from tpdyn.exponents import ZERO, Order
from tpdyn.readings.orders.terms import Term, Terms, Value, leading_order, tidy

Weight = Callable[[Fraction], Order]
"""The order of f(x) for an eigenvalue x of a given order."""


def eigenvalues(matrix: Value, size: Fraction, wide: int) -> Value:
    """Return the eigenvalues that are not zero; the matrix has n^size rows."""

    def of(terms: Terms) -> Terms:
        return tidy([Term(term.rms_order + size) for term in terms], wide)

    return matrix.each(of, wide)


def vanishes_at_zero(weight: Weight, lead: Fraction) -> bool:
    """Tell whether f is smaller at smaller eigenvalues."""
    here, below = weight(lead), weight(lead - 1)
    return below is None or (here is not None and exceeds(here, below))


def grows_at_zero(weight: Weight, lead: Fraction) -> bool:
    """Tell whether f is larger at smaller eigenvalues, as negative powers are."""
    here, below = weight(lead), weight(lead - 1)
    return here is not None and below is not None and exceeds(below, here)


def function_of(matrix: Value, weights: Value, weight: Weight, size: Fraction) -> Value:
    """Read `f(S)` for a matrix S with n^size rows and the weights f(eigenvalues)."""
    at_most = matrix.at_most or weights.at_most
    lead = leading_order(matrix.total)
    if lead is None or not weights.total:
        return Value((), (), None, matrix.wide, at_most)
    inverse = grows_at_zero(weight, lead + size)

    def with_order(terms: Terms, order: Order) -> list[Term]:
        return [] if order is None else [Term(order - size, term.parity) for term in terms]

    def own(terms: Terms) -> list[Term]:
        """Keep each part of S by itself."""
        return [made for term in terms for made in with_order((term,), weight(term.rms_order + size))]

    before, after = leading_order(weights.base), leading_order(weights.total)
    if inverse:
        base = with_order(matrix.base, before)
        total = with_order(matrix.total, after)
        moved = [*base, *total] if matrix.change else with_order(matrix.base, leading_order(weights.change))
    else:
        base, total = own(matrix.base), own(matrix.total)
        moved = with_order(matrix.base, leading_order(weights.change))
        for term in matrix.change:
            # f'(x) times a small change; or f of the change, along directions that S did not have before
            through = (
                [Term(after + smallest([term.rms_order - lead, ZERO]) - size, term.parity)] if after is not None else []
            )
            moved += [*through, *(own((term,)) if vanishes_at_zero(weight, lead + size) else [])]
    return Value(
        tidy(base, matrix.wide),
        tidy(moved, matrix.wide),
        tidy(total, matrix.wide) if moved else None,
        matrix.wide,
        at_most,
    )
