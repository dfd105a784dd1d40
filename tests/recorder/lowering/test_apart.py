"""Mirrors tpdyn/recorder/lowering/apart.py: one entry of what was laid side by side is computed from what was laid there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from aten_tapes import draw
from torch import Tensor, nn

import tpdyn
from tpdyn.program.continued import continued
from tpdyn.program.instructions import Combine, Contract, Law, Leaf, Slice
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering.apart import apart
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.evaluate import evaluate
from tpdyn.recorder.lowering.values import Handle

X, Y, V = draw(3, 4), draw(3, 4), draw(4)


def leaf(b: LoweredBuilder, tensor: Tensor, name: str) -> Handle:
    return b.leaf(Leaf("data", name, Law("data")), tensor)


def laid(b: LoweredBuilder) -> Handle:
    """X and Y side by side along a last dim."""
    parts = [b.unsqueeze(leaf(b, tensor, name), 2) for tensor, name in ((X, "x"), (Y, "y"))]
    return b.value(b.concat(parts, 2, (3, 4, 2)))


MAKES: dict[str, tuple[Callable[[LoweredBuilder, Handle], Handle], Callable[[Tensor], Tensor]]] = {
    "what was laid": (lambda b, z: z, lambda x: x),
    "a sum with a product and a number": (
        lambda b, z: b.value(b.combine([(0.9, z), (-2, b.product(z, z))], 3)),
        lambda x: 0.9 * x - 2 * x * x + 3,
    ),
    "functions": (lambda b, z: b.apply("tanh", b.value(b.combine([(2, z)]))), lambda x: (2 * x).tanh()),
    "a product with a vector along another dim": (
        lambda b, z: b.value(b.product(z, b.unsqueeze(leaf(b, V, "v"), 1))),
        lambda x: x * V,
    ),
    "a sum over another dim": (lambda b, z: b.value(b.contract("jk", (z, "ijk"))), lambda x: x.sum(0)),
}


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("index", [0, 1])
def test_an_entry_is_computed_from_what_was_laid_there(make: str, index: int) -> None:
    b, (write, expected) = LoweredBuilder(), MAKES[make]
    made = write(b, laid(b))
    before = len(b.statements)
    entry = b.position(apart(b, made, len(made.shape) - 1, index))
    new = b.statements[before:]
    assert not any(isinstance(statement.instruction, Slice) or 2 in statement.shape for statement in new)
    values = evaluate(Lowered(1, b.statements, leaf_values=b.leaf_values))
    torch.testing.assert_close(values[entry], expected((X, Y)[index]), rtol=1e-12, atol=1e-12)


def test_what_mixes_the_entries_or_was_never_laid_is_cut() -> None:
    b = LoweredBuilder()
    z = laid(b)
    mixed = b.value(b.contract("ijm", (z, "ijk"), (leaf(b, draw(2, 2), "m"), "km")))
    whole = leaf(b, draw(3, 2), "w")
    softmax = b.apply("softmax", z, along=2)
    for made, dim in ((mixed, 2), (whole, 1), (softmax, 2), (z, 0)):
        before = len(b.statements)
        apart(b, made, dim, 1)
        (cut,) = b.statements[before:]
        assert isinstance(cut.instruction, Slice)


def test_a_part_that_many_statements_read_is_written_once() -> None:
    """Moments of an optimizer are sums of those before: followed back without memory, they would double with each."""
    b = LoweredBuilder()
    z = laid(b)
    for _ in range(30):
        z = b.value(b.product(z, b.combine([(0.5, z)], 1)))
    before = len(b.statements)
    apart(b, z, 2, 0)
    assert len(b.statements) - before <= 2 * 30
    assert {type(statement.instruction) for statement in b.statements[before:]} == {Combine, Contract}


class Rotated(nn.Module):
    """A hidden layer whose weight is complex, or a pair of real ones."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, 3)
        self.weight = nn.Parameter(torch.randn(width, width, dtype=dtype) / width**0.5)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        made = (torch.complex(h, torch.zeros_like(h)) if self.dtype.is_complex else h) @ self.weight
        return self.last(torch.tanh(made.real + made.imag if self.dtype.is_complex else made))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "optimizer_of", [partial(torch.optim.Adam, lr=0.01), partial(torch.optim.SGD, lr=0.1, momentum=0.9)]
)
def test_the_learning_rate_of_a_complex_parameter_counts(optimizer_of: Callable[..., torch.optim.Optimizer]) -> None:
    """Under Adam it was read as if no rate entered. Hidden complex weights were told to keep theirs, not n^-1 of it."""

    def train(width: int, dtype: torch.dtype) -> None:
        model, x = Rotated(width, dtype), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        optimizer = optimizer_of(model.parameters())
        while True:
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()

    real, pair = (
        tpdyn.derive(tpdyn.record(partial(train, dtype=dtype), widths=(16, 24, 40), steps=2))
        for dtype in (torch.float32, torch.complex64)
    )
    assert real.maximal and pair.maximal
    assert pair.exponents["weight.real"] == pair.exponents["weight.imag"] == real.exponents["weight"]
    assert pair.exponents["last.weight"] == real.exponents["last.weight"]


def test_a_step_takes_the_moments_of_the_step_before_and_the_loop_goes_on() -> None:
    """They were written anew from all gradients: programs grew as the square of the steps, and ended with the recording."""

    def train(width: int) -> None:
        model, x = Rotated(width, torch.complex64), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        while True:
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()

    programs = [tpdyn.record(train, widths=(16, 24, 40), steps=steps) for steps in (3, 4, 5)]
    short, middle, long = map(len, programs)
    assert long - middle == middle - short
    further = continued(programs[0], 2)
    assert further is not None and len(further.program) == long
