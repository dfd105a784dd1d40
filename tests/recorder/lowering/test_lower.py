"""Mirrors tpdyn/recorder/lowering/lower.py: whole tapes: what is needed, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, lowered_outputs
from lowered_scripts import mlp
from torch import nn

import tpdyn
from tpdyn.program.instructions import Leaf
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.lowering import LoweringError, lower


def test_a_product_with_a_state_of_zeros_is_zero_and_reads_nothing() -> None:
    lowered = check(
        lambda w: (torch.zeros(2, 3, dtype=w.dtype) @ w + w[:2], torch.tanh(w) * torch.zeros(3, 4)), [draw(3, 4)]
    )
    assert not any(type(s.instruction).__name__ in ("Contract", "Apply") for s in lowered.statements)


def test_all_operations_without_a_rule_are_named_with_their_line() -> None:
    with pytest.raises(LoweringError) as caught:
        lowered_outputs(
            lambda x: torch.linalg.qr(x)[0] + torch.special.i0(x[:, :4]) + torch.linalg.inv(x), [draw(4, 4)]
        )
    text = str(caught.value)
    assert "aten.linalg_qr" in text and "aten.i0" in text and "aten.linalg_inv" in text
    assert "tiny.py:1 `y = f(x)`" in text


def test_what_nothing_needs_may_be_unknown() -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        torch.linalg.svdvals(x)
        return x * 2

    check(run, [draw(3, 4)])


def test_an_evaluation_that_is_wrong_is_caught() -> None:
    with pytest.raises(AssertionError):
        check(lambda x: (x * 2, torch.tanh(x)), [draw(3, 4)], tolerance=-1.0)


def test_a_metric_without_a_rule_is_noted_where_nothing_that_is_trained_depends_on_it() -> None:
    class Metric(nn.Module):
        def forward(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.special.i0(out).mean() + (out.argmax(-1) ^ y).float().mean()

    class Model(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.net, self.metric = nn.Sequential(nn.Linear(5, width), nn.Linear(width, 3)), Metric()

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            out = self.net(x)
            self.metric(out.detach(), y)
            return F.cross_entropy(out, y)

    def train(width: int) -> None:
        model = Model(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
        while True:
            optimizer.zero_grad()
            model(x, y).backward()
            optimizer.step()

    lowered = lower(record_tape(train, 8, 1, 0))
    assert {mark.name for mark in lowered.marks if mark.kind == "module"} >= {"net.0", "net"}
    assert "metric" not in {mark.name for mark in lowered.marks}
    assert any("not followed" in note and "i0" in note for note in lowered.notes)


def test_an_operation_without_a_rule_is_named_with_its_line() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            torch.linalg.qr(model(torch.randn(4, 5)))[1].mean().backward()
            optimizer.step()

    with pytest.raises(LoweringError, match=r"no rule for aten.linalg_qr.default at .*qr"):
        lower(record_tape(train, 12, 1, 0))


def test_a_table_made_of_whole_numbers_is_folded_in_double_precision() -> None:
    def train(width: int) -> None:
        layer = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            (torch.tanh(layer.weight) * (torch.arange(3) / 7)).sum().backward()
            optimizer.step()

    lowered = lower(record_tape(train, 4, 1, 0))
    tables = [value for value in lowered.leaf_values.values() if value.shape == (3,)]
    assert any(torch.equal(table, torch.arange(3, dtype=torch.float64) / 7) for table in tables)


def leaves_of(train: Callable[[int], object], steps: int = 1) -> list[str]:
    """The leaves that are no parameters, of floats with a dim of the width."""
    lowered = lower(record_tape(train, 8, steps, 0))
    found = [s for s in lowered.statements if isinstance(s.instruction, Leaf) and s.instruction.kind != "parameter"]
    return [s.instruction.name for s in found if s.type == "float" and 8 in s.shape and isinstance(s.instruction, Leaf)]


@pytest.mark.parametrize("how", ["t", "linear", "einsum", "slice", "detached", "rounded without gradient"])
def test_a_parameter_that_is_read_outside_of_modules_is_itself_in_the_first_pass_too(how: str) -> None:
    """Its views were taken for data drawn apart. So a tied readout was not tied before the first step."""

    def readout(h: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        if how == "t":
            return h @ w.t()
        if how == "linear":
            return F.linear(h, w)
        if how == "einsum":
            return torch.einsum("bd,vd->bv", h, w)
        if how == "slice":
            return h @ w[:4].T
        if how == "detached":
            return h @ w.detach().T
        with torch.no_grad():
            rounded = torch.round(w * 8) / 8
        return h @ (w + (rounded - w).detach()).T

    def train(width: int) -> None:
        embedding = nn.Embedding(7, width)
        optimizer = torch.optim.SGD(embedding.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            readout(embedding(torch.tensor([0, 1, 2, 3])), embedding.weight).square().mean().backward()
            optimizer.step()

    assert leaves_of(train) == []


def test_a_network_of_bare_tensors_reads_its_parameters_in_the_first_pass() -> None:
    def train(width: int) -> None:
        a, b = torch.randn(width, 5, requires_grad=True), torch.randn(3, width, requires_grad=True)
        x = torch.randn(4, 5)
        for _ in range(2):
            (torch.tanh(x @ a.t()) @ b.t()).square().mean().backward()
            with torch.no_grad():
                for p in (a, b):
                    p -= 0.1 * p.grad
                    p.grad = None

    assert leaves_of(train) == []


def test_a_mean_over_nothing_is_refused_with_its_line() -> None:
    with pytest.raises(LoweringError, match=r"a mean over no entries: some dim has size 0 at tiny\.py:1"):
        lowered_outputs(lambda x: x[:0].mean(0) + x[0], [draw(4, 4)])


def test_what_is_made_of_initial_parameters_in_a_long_chain_is_written_from_its_start() -> None:
    """Two hundred steps of a power iteration, nested in each other, exceed Python's stack."""

    def train(width: int) -> None:
        layer, x = nn.Linear(width, width, bias=False), torch.ones(width)
        with torch.no_grad():
            for _ in range(200):
                x = torch.tanh(layer.weight @ x)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()

    program = tpdyn.record(train, widths=(4, 6, 10), steps=1)
    assert sum(getattr(s.instruction, "function", "") == "tanh" for s in program.statements) == 200
