"""Parities are sets of characters: every operation is compared with the same operation on the sets, element by element."""

from itertools import product as pairs

from hypothesis import given
from hypothesis import strategies as st

from tpdyn.readings.orders import parity
from tpdyn.readings.orders.parity import ANY, EVEN, Parity, Sources

BITS = 6


def characters(p: Parity) -> set[int]:
    found = {p.offset}
    single = [1 << k for k in range(p.mixed.bit_length()) if p.mixed >> k & 1]
    for vector in (*p.rows, *single):
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
    vector = st.lists(st.integers(0, 2**BITS - 1), min_size=axes, max_size=axes)
    found = _single(draw(vector))
    for other in draw(st.lists(vector, max_size=5)):
        found = parity.hull(found, _single(other))
    return found


def _single(character: list[int]) -> Parity:
    found = EVEN
    for axis, sources in enumerate(character):
        for source in range(BITS):
            if sources >> source & 1:
                found = parity.product(found, parity.odd_in(source, axis))
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
    hat = sources.apply_hat(parity.relabel(p, (1,)), 7, 0, 1, 0, True)
    assert sources.apply_dot(hat, 7, 0, 0, 1, True) is parity.relabel(p, (1,))


def test_hats_of_orthogonal_vectors_are_told_apart() -> None:
    sources = Sources()
    first, second = sources.leaf(0), sources.leaf(1)
    x = sources.apply_hat(parity.odd_in(first, 1), 9, 0, 1, 0, True)
    y = sources.apply_hat(parity.odd_in(second, 1), 9, 0, 1, 0, True)
    assert parity.aligned(parity.product(x, x), 0) is not None
    assert parity.aligned(parity.product(x, y), 0) is None


def test_too_many_classes_are_confused_only_towards_larger_orders() -> None:
    sources = Sources(classes_per_matrix=2)
    leaves = [sources.leaf(k) for k in range(4)]
    hats = [sources.apply_hat(parity.odd_in(leaf, 1), 9, 0, 1, 0, True) for leaf in leaves]
    assert hats[2] is hats[3]
    back = sources.apply_dot(hats[3], 9, 0, 0, 1, True)
    assert back is not None
    assert all(parity.contains(back, parity.odd_in(leaf, 1)) for leaf in leaves[1:])
    assert not parity.contains(back, parity.odd_in(leaves[0], 1))  # it was told apart


def test_a_product_of_two_sources_of_one_class_is_not_taken_for_none() -> None:
    """The code of x odd in both is that of x even in both: the correction must give back either."""
    sources = Sources(classes_per_matrix=2)
    leaves = [sources.leaf(k) for k in range(3)]
    for leaf in leaves:
        sources.apply_hat(parity.odd_in(leaf, 1), 9, 0, 1, 0, True)
    both = parity.product(parity.odd_in(leaves[1], 1), parity.odd_in(leaves[2], 1))
    hat = sources.apply_hat(both, 9, 0, 1, 0, True)
    back = sources.apply_dot(hat, 9, 0, 0, 1, True)
    assert back is not None
    assert parity.contains(back, both)


def test_of_a_vector_of_which_nothing_is_known_a_matrix_gives_back_only_what_it_met() -> None:
    sources = Sources()
    met, never = sources.leaf(0), sources.leaf(1)
    sources.apply_hat(parity.odd_in(met, 1), 9, 0, 1, 0, True)
    back = sources.apply_dot(ANY, 9, 0, 0, 1, True)
    assert back is not None
    assert parity.contains(back, parity.odd_in(met, 1))
    assert not parity.contains(back, parity.odd_in(never, 1))


@given(parities(axes=2), parities(axes=2))
def test_rows_and_mixed_sources_are_a_canonical_form(p: Parity, q: Parity) -> None:
    assert (characters(p) == characters(q)) == (p is q)
    assert not any(row & p.mixed or row.bit_count() < 2 for row in p.rows)


def test_more_rows_than_are_kept_are_taken_as_mixed(monkeypatch) -> None:
    monkeypatch.setattr(parity, "_MOST_ROWS", 2)
    found = parity.odd_in(0)
    for source in range(1, 4):
        found = parity.hull(found, parity.odd_in(source))
    assert (found.rows, found.offset, found.mixed) == ((), 0, sum(parity.odd_in(source).offset for source in range(4)))
    assert not parity.contains(found, parity.odd_in(5))
