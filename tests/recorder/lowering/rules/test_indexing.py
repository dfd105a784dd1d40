"""Mirrors tpdyn/recorder/lowering/rules/indexing.py: lookups, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, lowered_outputs, positive, with_gradients

from tpdyn.recorder.lowering import LoweringError

LOOKUPS: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "embedding": (lambda w, i: F.embedding(i, w), [torch.tensor([[1, 0, 4], [4, 4, 2]])]),
    "embedding padding": (lambda w, i: F.embedding(i, w, padding_idx=4), [torch.tensor([[1, 0, 4], [4, 4, 2]])]),
    "bags": (lambda w, i: F.embedding_bag(i, w, torch.tensor([0, 3]), mode="sum"), [torch.tensor([1, 0, 4, 4, 2])]),
    "bags, their means": (lambda w, i: F.embedding_bag(i, w, mode="mean"), [torch.tensor([[1, 0, 4], [4, 4, 2]])]),
    "bags, padded": (
        lambda w, i: F.embedding_bag(i, w, mode="mean", padding_idx=4),
        [torch.tensor([[1, 0, 4], [4, 4, 2]])],
    ),
    "bags, weighted": (
        lambda w, i, each: F.embedding_bag(i, w, mode="sum", per_sample_weights=each),
        [torch.tensor([[1, 0], [4, 2]]), positive(2, 2)],
    ),
    "rows": (lambda w, i: w[i] * 2, [torch.tensor([1, 1, 3])]),
    "negative rows": (lambda w, i: w[i] * 2, [torch.tensor([1, -1, 3])]),
    "columns": (lambda w, i: w[:, i] * 2, [torch.tensor([1, 1, 3])]),
    "index_select": (lambda w, i: w.index_select(1, i) * 2, [torch.tensor([1, 1, 3])]),
    "gather": (lambda w, i: w.gather(1, i) * 2, [torch.tensor([[0, 1], [1, 1], [2, 0], [3, 3], [0, 0]])]),
    "scatter_add": (
        lambda w, i: torch.zeros(5, 3, dtype=torch.float64).scatter_add(1, i, w),
        [torch.tensor([[0, 1, 2, 0]] * 5)],
    ),
    "index_add": (lambda w, i: w.index_add(0, i, w[:2] * 2), [torch.tensor([3, 3])]),
    "pairs": (lambda w, i: w[torch.arange(5), i] * 2, [torch.tensor([0, 1, 3, 3, 2])]),
    "positions": (lambda w, i: F.embedding(torch.arange(3), w) + F.embedding(i, w), [torch.tensor([[1, 0, 4]])]),
    "boolean rows": (lambda w, i: w[i] * 2, [torch.tensor([True, False, True, True, False])]),
    "one_hot": (lambda w, i: F.one_hot(i, 5).to(w.dtype) @ w, [torch.tensor([1, 1, 3])]),
    "shifted tokens": (lambda w, i: F.embedding(i[:, :-1], w) * F.embedding(i[:, 1:], w), [torch.tensor([[1, 0, 4]])]),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups_and_their_gradients_agree(name: str) -> None:
    function, data = LOOKUPS[name]
    check(with_gradients(function, 1), [draw(5, 4)], data)


@pytest.mark.parametrize("accumulate", [False, True])
def test_a_list_of_one_entry_cuts_like_a_slice(accumulate: bool) -> None:
    """Falcon's keys and values: `fused[..., [-2], :]`."""
    lowered = check(with_gradients(lambda x: x[:, [-2]] * 2, 1), [draw(3, 4)])
    assert not any(type(s.instruction).__name__ in ("Gather", "Scatter") for s in lowered.statements)
    place = torch.tensor([1])
    check(lambda x, y: (x * 1).index_put((torch.arange(3)[:1] * 0 + 1,), y, accumulate), [draw(3, 4), draw(1, 4)])
    put = torch.ops.aten.index_put
    check(lambda x, y: put(x * 1, [None, place], y, accumulate), [draw(3, 4), draw(3, 1)])


WRITTEN: dict[str, tuple[list[torch.Tensor], tuple[int, ...]]] = {
    "one entry of each row": ([torch.arange(3), torch.tensor([1, 3, 1])], (3,)),
    "two entries of each row": ([torch.arange(3)[:, None], torch.tensor([[1, 3], [1, 0], [2, 3]])], (3, 2)),
    "the same entry of all rows": ([torch.arange(3), torch.tensor(2)], (3,)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_entries_are_written_in_each_row(name: str) -> None:
    """The forward-forward script of pytorch/examples: `x[range(len(x)), y] = x.max()`."""
    indices, shape = WRITTEN[name]
    write = torch.ops.aten.index_put
    check(with_gradients(lambda x, y: write(x * 1, indices, y.sin()), 2), [draw(3, 4), draw(*shape)])


def test_an_entry_that_a_row_writes_twice_is_refused() -> None:
    indices = [torch.arange(3)[:, None], torch.tensor([[1, 1], [1, 0], [2, 3]])]
    with pytest.raises(LoweringError, match="names a position twice"):
        lowered_outputs(lambda x, y: torch.ops.aten.index_put(x * 1, indices, y), [draw(3, 4), draw(3, 2)])
