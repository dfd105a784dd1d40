"""Do rows of blocks multiply as one tensor would?"""

from __future__ import annotations

import torch

from tpdyn.readings.sampled import rows
from tpdyn.readings.sampled.rows import Rows, inner


def test_blocks_multiply_as_one_tensor() -> None:
    generator = torch.Generator().manual_seed(0)
    kept = Rows(7, torch.float64, torch.device("cpu"))
    every = [torch.randn(k, 7, generator=generator, dtype=torch.float64) for k in (3, 1, 1, 4)]
    for block in every:
        kept.append(block)
    whole, x = torch.cat(every), torch.randn(2, 7, generator=generator, dtype=torch.float64)
    c = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    assert kept.count == 9
    torch.testing.assert_close(kept.whole.T @ kept.whole, whole.T @ whole)
    torch.testing.assert_close(kept.combined(kept.inner(x)), x @ whole.T @ whole)
    torch.testing.assert_close(kept.add_to(x.clone(), c, -1.0), x - c @ kept.whole)


def test_small_neighbours_are_joined_and_large_ones_are_not(monkeypatch: object) -> None:
    kept = Rows(5, torch.float64, torch.device("cpu"))
    for _ in range(64):
        kept.append(torch.ones(1, 5, dtype=torch.float64))
    assert len(kept.blocks) == 1
    large = Rows(rows.JOINED // 8, torch.float64, torch.device("cpu"))
    for _ in range(3):
        large.append(torch.ones(1, rows.JOINED // 8, dtype=torch.float64))
    assert len(large.blocks) == 3


def test_no_rows_give_no_columns_and_zeros() -> None:
    kept = Rows(5, torch.float64, torch.device("cpu"))
    assert kept.inner(torch.ones(2, 5, dtype=torch.float64)).shape == (2, 0)
    assert torch.equal(kept.combined(torch.ones(2, 0, dtype=torch.float64)), torch.zeros(2, 5, dtype=torch.float64))


def test_long_sums_in_float32_keep_their_digits() -> None:
    """Plain float32 sums of 10^6 squares lose a digit; chunks in float64 do not."""
    x = torch.rand(1, 1_000_000, generator=torch.Generator().manual_seed(0))
    exact = float(x.double().square().sum())
    assert abs(float(inner(x, x)) / exact - 1) < 2e-7
