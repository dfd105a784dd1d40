"""Is what is kept of a run what its names say?"""

from __future__ import annotations

import torch

from tpdyn.limits.statistics import LEVELS, ROWS, Statistics
from tpdyn.program.builder import Builder

n = Builder.n


def heard(b: Builder, width: int, values: dict[int, torch.Tensor]) -> Statistics:
    program = b.build(widths=(16, 24))
    found = Statistics(program)
    for position, value in values.items():
        found.listen(position, program.statements[position], value)
    return found


def test_features_are_kept_as_kernel_and_quantiles_and_finite_values_whole() -> None:
    b = Builder()
    h = b.mark("module", "h", b.data("h", (n, 3)))
    f = b.mark("output", "f", b.data("f", (2,)))
    features, output = torch.randn(400, 3, dtype=torch.float64), torch.tensor([1.0, 2.0])
    found = heard(b, 400, {h: features, f: output})
    torch.testing.assert_close(found.kernels["h", 0], features.T @ features / 400)
    assert found.quantiles["h", 0].shape == (3, len(LEVELS))
    torch.testing.assert_close(found.quantiles["h", 0][:, 15], features.quantile(0.5, dim=0))
    assert found.values["f", 0].tolist() == [1.0, 2.0]
    assert not found.pieces


def test_many_rows_are_cut() -> None:
    b = Builder()
    h = b.mark("module", "h", b.data("h", (10, 10, n)))
    assert heard(b, 8, {h: torch.randn(10, 10, 8)}).kernels["h", 0].shape == (ROWS, ROWS)
