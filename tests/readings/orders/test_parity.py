"""Parities are sets of characters: every operation is compared with the same operation on the sets, element by element."""

from itertools import product as pairs

from hypothesis import given
from hypothesis import strategies as st

from tpdyn.readings.orders import parity
from tpdyn.readings.orders.parity import ANY, BLOCK, EVEN, Parity, Sources

BITS = 5


def characters(p: Parity) -> set[int]:
    found = {p.offset}
    for vector in p.basis:
        found |= {vector ^ other for other in found}
    return found


def affine_hull(characters_: set[int]) -> set[int]:
    found = set(characters_)
    while True:
        grown = found | {a ^ b ^ c for a in found for b in found for c in found}
        if grown == found:
            return found
        found = grown


@st.composite
def parities(draw: st.DrawFn, axes: int = 1) -> Parity:
    vector = st.lists(st.integers(0, 2**BITS - 1), min_size=axes, max_size=axes).map(
        lambda parts: sum(part << (axis * BLOCK) for axis, part in enumerate(parts))
    )
    found = parity.relabel(EVEN, (0,))
    start = draw(vector)
    found = _single(start)
    for other in draw(st.lists(vector, max_size=3)):
        found = parity.hull(found, _single(other))
    return found


def _single(character: int) -> Parity:
    found = EVEN
    for axis in range(2):
        for bit in range(BLOCK if axis == 0 else BITS):
            if bit < 16 and character >> (axis * BLOCK + bit) & 1:
                found = parity.product(found, parity.odd_in(bit, axis))
    return found


@given(parities(), parities())
def test_a_product_has_all_sums_of_characters(p: Parity, q: Parity) -> None:
    assert characters(parity.product(p, q)) == {a ^ b for a, b in pairs(characters(p), characters(q))}


@given(parities(), parities())
def test_a_sum_has_the_affine_hull_of_the_characters(p: Parity, q: Parity) -> None:
    assert characters(parity.hull(p, q)) == affine_hull(characters(p) | characters(q))


@given(parities())
def test_functions_take_odd_even_or_all_sums_of_characters(p: Parity) -> None:
    even_sums = {a ^ b for a in characters(p) for b in characters(p)}
    assert characters(parity.of_function(p, "odd")) == characters(p)
    assert characters(parity.of_function(p, "even")) == even_sums
    assert characters(parity.of_function(p, "neither")) == even_sums | characters(p)


@given(parities(axes=2), st.integers(0, 1))
def test_an_average_keeps_the_characters_that_are_trivial_on_its_axis(p: Parity, axis: int) -> None:
    kept = {c for c in characters(p) if c & parity.block(axis) == 0}
    found = parity.aligned(p, axis)
    assert (characters(found) if found is not None else set()) == kept


@given(parities(axes=2), st.integers(0, 1))
def test_a_fluctuation_forgets_the_characters_on_its_axis(p: Parity, axis: int) -> None:
    assert characters(parity.forget(p, axis)) == {c & ~parity.block(axis) for c in characters(p)}


@given(parities(), parities())
def test_containment_is_that_of_the_sets(p: Parity, q: Parity) -> None:
    assert parity.contains(p, q) == (characters(q) <= characters(p))


@given(parities())
def test_what_a_hat_codes_the_dot_of_the_transpose_decodes(p: Parity) -> None:
    sources = Sources()
    hat = (
        sources.apply_hat(p, matrix=7, side=0, axis=1, other=0, alone=True)
        if False
        else sources.apply_hat(parity.relabel(p, (1,)), 7, 0, 1, 0, True)
    )
    back = sources.apply_dot(hat, matrix=7, side=0, axis=0, other=1)
    assert back is parity.relabel(p, (1,)) or back is ANY


def test_hats_of_orthogonal_vectors_are_told_apart() -> None:
    sources = Sources()
    first, second = sources.leaf(0), sources.leaf(1)
    x = sources.apply_hat(parity.odd_in(first, 1), 9, 0, 1, 0, True)
    y = sources.apply_hat(parity.odd_in(second, 1), 9, 0, 1, 0, True)
    assert parity.aligned(parity.product(x, x), 0) is not None
    assert parity.aligned(parity.product(x, y), 0) is None


def test_too_many_classes_are_confused_only_towards_larger_orders() -> None:
    sources = Sources(classes_per_matrix=2)
    hats = [sources.apply_hat(parity.odd_in(sources.leaf(k), 1), 9, 0, 1, 0, True) for k in range(4)]
    assert hats[2] is hats[3]
    assert sources.apply_dot(hats[3], 9, 0, 0, 1) is ANY
