"""Are widths foretold at which a value leaves its range? Values whose size is known, and runs at the foretold width."""

from __future__ import annotations

import json
import math

import pytest
import torch

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.limits.forecast import forecast
from tpdyn.program.builder import Builder
from tpdyn.program.program import Program

n = Builder.n


def product(std: str) -> Program:
    """`h = W 1`, entries of W of size n^std; the largest of n Gaussian numbers of size n^(std + 1/2)."""
    b = Builder()
    w, x = b.parameter("W", (n, n), std=Scaling.of(1, std)), b.constant("x", 1, (n,))
    b.mark("module", "h", b.matmul(w, x))
    return b.build(widths=(16, 24))


def test_a_growing_activation_leaves_float8_at_the_foretold_width() -> None:
    """From widths of at most 512 to about 13,000: runs there are at 448 within 10 %."""
    found = forecast(product("0"), (64, 128, 256, 512), 16)
    crossing = found.row("h", 0).crossings["float8 e4m3"]
    assert crossing.low <= crossing.width <= crossing.high
    g = torch.Generator().manual_seed(0)
    width = int(crossing.width)
    largest = torch.stack([torch.randn(width, generator=g).abs().max() for _ in range(100)]).mean() * width**0.5
    assert float(largest) == pytest.approx(448, rel=0.1)
    assert "h, step 0: " in found.show() and "order +1/2; leaves float8 e4m3 at n = 1" in found.show()
    assert json.loads(json.dumps(found.to_dict()))["rows"][0]["order"] == "1/2"


def test_what_has_order_zero_stays() -> None:
    found = forecast(product("-1/2"), (64, 128, 256), 8)
    assert all(math.isinf(crossing.width) for crossing in found.rows[0].crossings.values())
    assert found.show().endswith("order 0; stays")


def test_logits_are_measured_by_the_exponential_of_softmax() -> None:
    """Logits n/50 and 0: the exponential overflows in float16 at n = 50 log 65504 = 554.5."""
    b = Builder()
    x = b.constant("x", 1, (n,))
    two = b.data("two", (2,))
    logits = b.einsum("n,k->k", x, two, scale=1 / 50)
    b.at(phase="forward", module="attn")
    b.mark("output", "p", b.apply("softmax", logits, along=0))
    program = b.build(arrays={"two": torch.tensor([0.0, 1.0]).numpy()}, widths=(16, 24))
    row = forecast(program, (64, 128, 256), 2).row("logits of softmax in attn", 0)
    assert row.order == 1
    assert row.crossings["exp in float16"].width == pytest.approx(50 * math.log(65504), rel=1e-3)
    assert row.crossings["exp in bfloat16"].width == pytest.approx(50 * math.log(3.3895e38), rel=1e-3)


def test_a_network_that_is_trained_in_mup_stays_in_every_range(sgd: Program) -> None:
    found = forecast(sgd, (32, 64, 128), 2)
    assert all(math.isinf(c.width) for row in found.rows for c in row.crossings.values())
    assert found.row("hidden", 2).largest[-1] <= 1
    with pytest.raises(KeyError, match="no value 'nothing' in step 0; there are: f, hidden"):
        found.row("nothing", 0)


@pytest.mark.parametrize(("widths", "seeds"), [((64, 128), 4), ((64, 128, 256), 1)])
def test_too_few_runs_are_refused(sgd: Program, widths: tuple[int, ...], seeds: int) -> None:
    with pytest.raises(ValueError, match="expected at least three widths and two seeds"):
        forecast(sgd, widths, seeds)


def test_it_is_public() -> None:
    assert tpdyn.forecast is forecast
