"""Mirrors tpdyn/readings/kernels/sized.py: tensors whose axes have names are summed, repeated and looked up as loops would."""

from __future__ import annotations

import itertools

import pytest
import torch

from tpdyn.exponents import HALF, ONE, ZERO, Scaling
from tpdyn.readings.kernels.sized import (
    Label,
    Sized,
    end_to_end,
    expanded,
    identity,
    looked_up,
    product,
    reordered,
    scaled,
    steps_of,
    summed,
    summed_windows,
    total,
)

A, B, C = Label(2), Label(3), Label(4)


def numbers(*labels: Label, seed: int = 0) -> torch.Tensor:
    return torch.randn([x.size for x in labels], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_leading_power_of_a_multiplier_counts() -> None:
    made = scaled(Sized(torch.ones(2), (A,)), Scaling.of(3, "1/2") + Scaling.of(5))
    assert made is not None
    assert (made.order, made.value.tolist()) == (HALF, [3.0, 3.0])
    assert scaled(made, Scaling(())) is None


def test_of_different_powers_of_the_width_the_largest_leads() -> None:
    one, other = Sized(numbers(A, B), (A, B)), Sized(numbers(B, A), (B, A), ONE)
    leading = total([one, other, None])
    assert leading is not None
    assert leading.order == ONE
    torch.testing.assert_close(leading.value, other.value)
    same = total([one, Sized(numbers(B, A), (B, A))])
    assert same is not None
    torch.testing.assert_close(same.value, numbers(A, B) + numbers(B, A).T)
    assert total([None]) is None


def test_axes_that_are_missing_are_repeated_and_others_moved() -> None:
    made = expanded(Sized(numbers(A, B), (A, B)), (B, C, A))
    assert made.value.shape == (3, 4, 2)
    torch.testing.assert_close(made.value[:, 1], numbers(A, B).T)
    torch.testing.assert_close(reordered(Sized(numbers(A, B), (A, B)), (B, A)).value, numbers(A, B).T)


def test_a_product_sums_what_is_not_asked_for_and_counts_labels_that_nobody_has() -> None:
    x, y = Sized(numbers(A, B), (A, B), ONE), Sized(numbers(B, seed=1), (B,), HALF)
    made = product([x, y], (A,), {A, B, C})
    torch.testing.assert_close(made.value, 4 * numbers(A, B) @ numbers(B, seed=1))
    assert made.order == ONE + HALF


def test_summing_nothing_is_repeating() -> None:
    made = summed(Sized(numbers(A), (A,)), (B, A), {A, B, C})
    torch.testing.assert_close(made.value, 4 * numbers(A).expand(3, 2))


def test_the_identity_is_one_where_two_labels_agree() -> None:
    other = Label(2)
    made = identity(Sized(numbers(A), (A,)), [(A, other)], (A, other))
    torch.testing.assert_close(made.value, torch.diag(numbers(A)))


def test_parts_lie_end_to_end_with_zeros_between() -> None:
    short = Label(1)
    made = end_to_end([1, Sized(numbers(short, B), (short, B)), 2], 0, (C, B))
    assert made is not None
    torch.testing.assert_close(made.value[1], numbers(short, B)[0])
    assert float(made.value[[0, 2, 3]].abs().sum()) == 0.0
    assert end_to_end([1, 2], 0, (A,)) is None


@pytest.mark.parametrize("joined", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("kept", list(itertools.product([True, False], repeat=2)))
def test_lookups_of_both_sides_are_what_loops_give(joined: tuple[int, ...], kept: tuple[bool, bool]) -> None:
    """`out[k, l, k', l'] = value[table[k, l], table[k', l']]`, axes that run together being one."""
    table = torch.tensor([[0, 1, 2], [3, 1, 4]])
    same = len(joined) == 2
    value = torch.randn(*((5,) if same else (5, 5)), 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = looked_up(value, table, joined, 2, same, list(kept), [True, True])
    free = [axis for axis in range(2) if axis not in joined]
    shape = [table.shape[axis] for axis in range(2) if kept[axis]] + [table.shape[axis] for axis in free]
    expected = torch.zeros(*shape, 2, dtype=torch.float64)
    for left in itertools.product(range(2), range(3)):
        for right in itertools.product(*(range(table.shape[axis]) for axis in free)):
            other = list(left)
            for axis, index in zip(free, right, strict=True):
                other[axis] = index
            rows = (table[left],) if same else (table[left], table[tuple(other)])
            place = tuple(left[axis] for axis in range(2) if kept[axis]) + tuple(right)
            expected[place] += value[tuple(int(row) for row in rows)]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_windows_with_zeros_around_are_lookups_in_a_padded_value(step: int, dilation: int, before: int) -> None:
    """To the last bit: at equal pairs the rules of functions rely on it. The result of loops is `looked_up`."""
    value = torch.randn(7, 7, 2, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(value, (0, 0, before, 2, before, 2))
    size = (7 + before + 2 - 2 * dilation - 1) // step + 1
    table = torch.arange(size)[:, None] * step + torch.arange(3) * dilation
    steps = steps_of(table.T)
    assert steps == (0, [dilation, step])
    found = summed_windows(value, -before, steps[1], [3], size)
    assert torch.equal(found, looked_up(padded, table, [1], 2, False, [True, False], [True, False]))


def test_a_window_on_zeros_alone_adds_nothing() -> None:
    assert torch.equal(summed_windows(torch.ones(2, 2), -5, [1, 1], [3], 3), torch.zeros(3, 3))


def test_uneven_tables_have_no_steps() -> None:
    assert steps_of(torch.tensor([[0, 1], [1, 3]])) is None
    assert steps_of(torch.tensor([2, 1])) is None
    assert steps_of(torch.tensor([], dtype=torch.long)) is None


def test_orders_start_at_zero() -> None:
    assert Sized(torch.ones(()), ()).order == ZERO
