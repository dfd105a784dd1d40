"""Mirrors tpdyn/recorder/live/sparse.py: a sparse matrix is the dense one, however it is stored and made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tpdyn.recorder.live.sparse
from tpdyn.program.instructions import Leaf
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import verify_tape
from tpdyn.recorder.lowering import lower

Matrix = Callable[[Tensor], Tensor]

WAYS: dict[str, Matrix] = {
    "coordinates": lambda a: a.to_sparse(),
    "compressed rows": lambda a: a.to_sparse_csr(),
    "compressed columns": lambda a: a.to_sparse_csc(),
    "built from edges": lambda a: torch.sparse_coo_tensor(a.nonzero().t(), a[a != 0], a.shape).coalesce(),
    "dense again": lambda a: a.to_sparse().to_dense(),
    "twice transposed": lambda a: a.to_sparse().t().t(),
    "scaled rows": lambda a: torch.diag(torch.full((4,), 0.5)).to_sparse() @ (2 * a).to_sparse(),
}


def graph() -> Tensor:
    return torch.eye(4) + torch.diag(torch.full((3,), 0.5), 1)


def convolving(matrix: Matrix, adjacency: Callable[[], Tensor] = graph) -> Callable[[int], None]:
    def train(width: int) -> None:
        links = matrix(adjacency())
        first, hidden, last = nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 2)
        optimizer = torch.optim.SGD([*first.parameters(), *hidden.parameters(), *last.parameters()], lr=0.1)
        x = torch.linspace(-1, 1, 12).reshape(4, 3)
        while True:
            h = torch.tanh(torch.spmm(links, first(x)))
            h = torch.tanh(torch.sparse.mm(links, hidden(h)))
            optimizer.zero_grad()
            F.cross_entropy(links @ last(h), torch.tensor([0, 1, 0, 1])).backward()
            optimizer.step()

    return train


def lines(train: Callable[[int], None]) -> list[str]:
    """What a script computes: each instruction with the sizes and the phase of its value. A product may lie transposed."""
    tape = record_tape(train, 8, 2, seed=0)
    verify_tape(tape)
    made = [each for each in lower(tape).statements if not isinstance(each.instruction, Leaf)]
    return sorted(f"{type(each.instruction).__name__} {sorted(each.shape)} {each.origin.phase}" for each in made)


@pytest.fixture(scope="module")
def dense_lines() -> list[str]:
    return lines(convolving(lambda a: a))


@pytest.mark.filterwarnings("ignore:Sparse (CSR|CSC|invariant):UserWarning")
@pytest.mark.parametrize("way", WAYS)
def test_a_sparse_adjacency_matrix_makes_the_program_of_the_dense_one(way: str, dense_lines: list[str]) -> None:
    assert lines(convolving(WAYS[way])) == dense_lines


@pytest.mark.filterwarnings("ignore:Sparse invariant:UserWarning")
def test_the_drawn_edges_of_a_random_graph_are_data() -> None:
    def edges() -> Tensor:
        return torch.sparse_coo_tensor(torch.randint(4, (2, 6)), torch.ones(6), (4, 4))

    verify_tape(record_tape(convolving(lambda a: a, edges), 8, 2, seed=0))


@pytest.mark.filterwarnings("ignore:Sparse invariant:UserWarning")
def test_drawn_entries_stay_what_they_were_drawn_as() -> None:
    def train(width: int) -> None:
        drawn = torch.randn(6)
        links = torch.sparse_coo_tensor(torch.tensor([[0, 1, 2, 3, 0, 0], [1, 2, 3, 0, 2, 1]]), drawn, (4, 4))
        layer = nn.Linear(3, width)
        with torch.no_grad():
            layer.weight[0].copy_(drawn[:3])
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            (links @ layer(torch.ones(4, 3))).square().mean().backward()
            optimizer.step()

    tape = record_tape(train, 8, 1, seed=0)
    verify_tape(tape)
    assert [node.op for node in tape.nodes].count("aten.index_put.default") == 1  # and no input of their values


def test_a_pruned_weight_is_still_the_weight() -> None:
    def train(width: int) -> None:
        layer = nn.Linear(3, width)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        while True:
            pruned = layer.weight.detach().to_sparse()
            optimizer.zero_grad()
            (torch.sparse.mm(pruned, torch.ones(3, 4)).t() + layer(torch.ones(4, 3))).square().mean().backward()
            optimizer.step()

    tape = record_tape(train, 8, 2, seed=0)
    verify_tape(tape)
    assert not [node for node in tape.nodes if node.input_kind == "data" and "sparse" in node.name]
    kinds = [node.input_kind for node in tape.nodes if node.op == "input" and node.outputs[0]]
    assert kinds.count("data") == 0


def test_entries_of_a_sparse_matrix_that_are_written_are_noticed() -> None:
    def train(width: int) -> None:
        links = graph().to_sparse().coalesce()
        layer = nn.Linear(3, width)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            (links @ layer(torch.ones(4, 3))).square().mean().backward()
            optimizer.step()
            links.values().mul_(0.5)

    with pytest.raises(RecordingError, match="written in place"):
        verify_tape(record_tape(train, 8, 3, seed=0))


def test_sparse_entries_that_are_trained_are_refused() -> None:
    def train(width: int) -> None:
        layer = nn.Linear(4, width)
        for _ in range(3):
            torch.sparse.mm(layer.weight.to_sparse(), torch.ones(4, 2)).sum().backward()

    with pytest.raises(RecordingError, match="entries that are trained"):
        record_tape(train, 8, 1, seed=0)


def test_a_graph_too_large_to_be_dense_is_refused_with_what_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpdyn.recorder.live.sparse, "LARGEST", 15)
    with pytest.raises(RecordingError, match="try a smaller graph"):
        record_tape(
            convolving(lambda a: torch.sparse_coo_tensor(torch.zeros(2, 1), torch.ones(1), a.shape)), 8, 1, seed=0
        )
