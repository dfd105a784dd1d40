"""Is what is kept of a run what its names say?"""

from __future__ import annotations

import torch

from tpdyn.exponents import Scaling
from tpdyn.limits.statistics import LEVELS, ROWS, Statistics, backpropagated
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Operand, Scatter

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
    torch.testing.assert_close(found.sizes["h", 0], features.abs().mean())
    torch.testing.assert_close(found.sizes["f", 0].item(), 2.5**0.5)
    assert not found.pieces


def test_many_rows_are_cut() -> None:
    b = Builder()
    h = b.mark("module", "h", b.data("h", (10, 10, n)))
    value = torch.randn(10, 10, 8, dtype=torch.float64)
    found = heard(b, 8, {h: value})
    assert found.kernels["h", 0].shape == (ROWS, ROWS)
    torch.testing.assert_close(found.sizes["h", 0], value.abs().mean())  # of all rows


def test_what_comes_back_to_a_weight_is_read_off_its_gradient() -> None:
    """Through transposes and multiples; not where a weight is used twice, nor where the rows are finite."""
    b = Builder()
    d, x = b.data("d", (3, n)), b.data("x", (3, n))
    for name, shape in (("plain", (n, n)), ("turned", (n, n)), ("twice", (n, n)), ("readout", (2, n))):
        b.parameter(name, shape)
    gradient = b.einsum("bm,bn->mn", d, x)
    turned = b.combine((2, b.einsum("nm->mn", b.einsum("bn,bm->nm", x, d))))
    twice = b.combine((1, gradient), (1, b.einsum("bm,bn->mn", x, d)))
    readout = b.einsum("br,bn->rn", b.data("r", (3, 2)), x)
    for name, value in (("plain", gradient), ("turned", turned), ("twice", twice), ("readout", readout)):
        b.update(name, b.combine((1, b.now(name)), (-1, value)), gradient=value)
    assert backpropagated(b.build(widths=(16, 24))) == {d: [("plain", 0), ("turned", 0)]}


def test_what_comes_back_to_a_table_is_a_vector_a_token() -> None:
    b = Builder()
    d, tokens = b.data("d", (3, n)), b.index("tokens", (3,))
    b.parameter("table", (5, n))
    gradient = b.add(Scatter(Operand(d, (2, 1)), Operand(tokens, (2,)), axis=0), (Scaling.of(5), n))
    b.update("table", b.combine((1, b.now("table")), (-1, gradient)), gradient=gradient)
    assert backpropagated(b.build(widths=(16, 24))) == {d: [("table", 0)]}
