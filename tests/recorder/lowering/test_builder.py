"""Mirrors tpdyn/recorder/lowering/builder.py: what a shorthand writes computes what torch does, and views write nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from aten_tapes import draw
from torch import Tensor

from tpdyn.program.instructions import Combine, Contract, Gather, Law, Leaf
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering.builder import LoweredBuilder, common_shape
from tpdyn.recorder.lowering.evaluate import evaluate
from tpdyn.recorder.lowering.values import Handle, Known, Refusal

X = draw(3, 4)
INDEX = torch.tensor([2, 0, 1, 1, 2])


def leaf(b: LoweredBuilder, tensor: Tensor = X, name: str = "x") -> Handle:
    return b.leaf(Leaf("data", name, Law("data")), tensor)


def value(b: LoweredBuilder, handle: Any) -> Tensor:
    """What a handle stands for, its view applied."""
    position = b.position(handle)
    return evaluate(Lowered(1, b.statements, leaf_values=b.leaf_values))[position]


MAKES: dict[str, tuple[Callable[[LoweredBuilder, Handle], Any], Callable[[Tensor], Tensor]]] = {
    "a matrix product": (lambda b, x: b.contract("ik", (x, "ij"), (x, "kj"), scale=2), lambda x: 2 * x @ x.T),
    "a sum": (lambda b, x: b.contract("j", (x, "ij")), lambda x: x.sum(0)),
    "a sum over a broadcast": (
        lambda b, x: b.contract("ij", (b.expand(b.unsqueeze(x, 0), (5, 3, 4)), "kij")),
        lambda x: 5 * x,
    ),
    "a product with broadcasting": (lambda b, x: b.product(x, b.select(x, 0, 1)), lambda x: x * x[1]),
    "a sum with broadcasting": (
        lambda b, x: b.combine([(2, x), (3, b.slice(x, 1, 0, 1, 1)), (1, 4)], 5),
        lambda x: 2 * x + 3 * x[:, :1] + 9,
    ),
    "a function of a view": (lambda b, x: b.apply("tanh", b.transpose(x, 0, 1)), lambda x: x.T.tanh()),
    "a softmax": (lambda b, x: b.apply("softmax", x, along=1), lambda x: x.softmax(1)),
    "a lookup": (
        lambda b, x: b.gather(x, "ij", b.leaf(Leaf("data", "i", Law("index")), INDEX, type="int"), "k", "i", "kj"),
        lambda x: x[INDEX],
    ),
    "a lookup in one row": (
        lambda b, x: b.gather(
            b.slice(x, 0, 1, 1, 1), "ij", b.leaf(Leaf("data", "i", Law("index")), 0 * INDEX, type="int"), "k", "i", "kj"
        ),
        lambda x: x[1:2].expand(5, 4),
    ),
    "a scatter": (
        lambda b, x: b.scatter(
            x, "kj", b.leaf(Leaf("data", "i", Law("index")), INDEX[:3], type="int"), "k", "i", "ij", 6
        ),
        lambda x: torch.zeros(6, 4, dtype=x.dtype).index_add(0, INDEX[:3], x),
    ),
    "a slice with a step": (lambda b, x: b.slice(x, 1, 3, -2, 2), lambda x: x[:, [3, 1]]),
    "a concatenation with zeros": (
        lambda b, x: b.concat([x, 2, x], 0, (8, 4)),
        lambda x: torch.cat([x, torch.zeros(2, 4, dtype=x.dtype), x]),
    ),
    "a reshape": (lambda b, x: b.reshape(x, (2, -1)), lambda x: x.reshape(2, 6)),
    "a reshape to dims that overlap": (lambda b, x: b.reshape(x, (4, 3)), lambda x: x.reshape(4, 3)),
    "and back": (lambda b, x: b.reshape(b.reshape(x, (4, 3)), (3, 4)), lambda x: x),
    "a reshape of a transpose": (lambda b, x: b.reshape(b.transpose(x, 0, 1), (2, 6)), lambda x: x.T.reshape(2, 6)),
    "a function of eigenvalues": (
        lambda b, x: b.spectral(g := b.contract("ik", (x, "ij"), (x, "kj")), b.eigenvalues(g)),
        lambda x: x @ x.T,
    ),
}


@pytest.mark.parametrize("name", MAKES)
def test_what_is_written_computes_what_torch_does(name: str) -> None:
    make, expected = MAKES[name]
    b = LoweredBuilder()
    assert torch.allclose(value(b, make(b, leaf(b))), expected(X))


def test_views_write_no_statement_and_there_and_back_is_the_value_itself() -> None:
    b = LoweredBuilder()
    x = leaf(b)
    made = b.squeeze(b.unsqueeze(b.permute(b.expand(b.unsqueeze(x, 0), (1, 3, 4)), (2, 1, 0)), 1), [1, 3])
    assert torch.equal(value(b, b.transpose(made, 0, 1)), X) and len(b.statements) == 1
    assert b.is_whole(b.transpose(made, 0, 1)) and not b.is_whole(made)
    assert b.reshape(b.reshape(x, (3, 2, 2)), (3, 4)) == x


def test_dims_that_overlap_are_looked_up_where_they_do() -> None:
    b, x = LoweredBuilder(), torch.arange(2 * 3 * 4 * 5 * 7 * 3.0, dtype=torch.float64).reshape(2, 3, 4, 5, 7, 3)
    made = b.reshape(b.leaf(Leaf("data", "x", Law("normal")), x), (2, 4, 3, 5, 3, 7))
    assert torch.equal(value(b, made), x.reshape(2, 4, 3, 5, 3, 7))
    assert [s.shape for s in b.statements if isinstance(s.instruction, Gather)] == [(2, 12, 5, 7, 3), (2, 12, 5, 21)]
    empty = b.reshape(b.leaf(Leaf("data", "none", Law("normal")), torch.zeros(0, 3)), (3, 0))
    assert empty.shape == (3, 0)


def test_constants_are_computed_at_once_and_written_when_read() -> None:
    b = LoweredBuilder()
    known = b.combine([(2, 3), (1, Known.full((3, 4), 5))])
    assert isinstance(known, Known) and known.number == 11 and known.shape == (3, 4)
    zero = b.product(leaf(b), Known.full((), 0.0))
    assert isinstance(zero, Known) and zero.number == 0
    assert isinstance(b.concat([Known.full((1, 4), 0.0), 2], 0, (3, 4)), Known)
    before = len(b.statements)
    assert b.value(known) == b.value(known) and len(b.statements) == before + 1


def test_a_product_with_a_number_is_a_multiple() -> None:
    b = LoweredBuilder()
    made = b.product(leaf(b), 3)
    assert isinstance(b.instruction(b.value(made)), Combine)
    assert isinstance(b.instruction(b.value(b.product(made, made))), Contract)


def test_equal_statements_that_are_shared_are_one() -> None:
    b = LoweredBuilder()
    x = leaf(b)
    assert b.apply("tanh", x) == b.apply("tanh", x)
    assert b.apply("tanh", x) != b.apply("exp", x)
    assert b.apply("tanh", b.transpose(x, 0, 1)).var == b.apply("tanh", x).var


def test_a_part_of_a_concatenation_is_the_part() -> None:
    b = LoweredBuilder()
    x, y = leaf(b), leaf(b, draw(2, 4), "y")
    joined = b.concat([x, y], 0, (5, 4))
    assert b.slice(joined, 0, 3, 1, 2) == y and b.slice(joined, 0, 0, 1, 3) == x
    assert b.slice(joined, 0, 2, 1, 2) != y


def test_names_that_are_used_again_are_numbered() -> None:
    b = LoweredBuilder()
    assert [b.fresh_name("data") for _ in range(2)] == ["data_0", "data_1"]
    assert [b.fresh_name("w") for _ in range(3)] == ["w", "w~2", "w~3"]


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    assert common_shape((3, 1), (4,), ()) == (3, 4)
    with pytest.raises(Refusal, match=r"the shapes \(3,\), \(4,\) do not broadcast"):
        common_shape((3,), (4,))
    with pytest.raises(Refusal, match="expected a tensor, got str"):
        LoweredBuilder().value("x")
