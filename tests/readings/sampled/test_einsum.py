"""Is a product of many tensors the product, however it is ordered?"""

from __future__ import annotations

import torch

from tpdyn.readings.sampled.einsum import einsum, fresh, sizes_of


def test_many_parts_are_multiplied_and_summed() -> None:
    a, b, c, d = (torch.randn(s, dtype=torch.float64) for s in ((2, 3), (3, 4), (4, 5), (5,)))
    made = einsum([(a, (0, 1)), (b, (1, 2)), (c, (2, 3)), (d, (3,))], (0,))
    torch.testing.assert_close(made, a @ b @ c @ d)


def test_a_label_that_no_part_has_gets_size_one() -> None:
    assert einsum([(torch.ones(3), (4,))], (0, 4, 1)).shape == (1, 3, 1)


def test_an_outer_product_is_not_made_on_the_way() -> None:
    """x (y . z) for long vectors: through the outer product this would take 8 TB."""
    x, y, z = (torch.ones(1_000_000) for _ in range(3))
    assert float(einsum([(x, (0,)), (y, (1,)), (z, (1,))], (0,))[0]) == 1_000_000


def test_labels_are_counted_on() -> None:
    assert fresh((0, 3), (), (1,)) == 4
    assert fresh() == 0
    assert sizes_of([(torch.ones(2, 3), (5, 1))]) == {5: 2, 1: 3}
