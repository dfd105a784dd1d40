"""Mirrors tpdyn/recorder/lowering/draws.py: the law that parameters are drawn from is read, or measured and said so."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from lowered_scripts import loop, lowered_script, mlp
from torch import Tensor, nn

from tpdyn.program.instructions import Leaf
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering.draws import measured_law

pytestmark = pytest.mark.usefixtures("double_precision")


def law_of(lowered: Lowered, name: str) -> tuple[str, float, float]:
    for statement in lowered.statements:
        if isinstance(statement.instruction, Leaf) and statement.instruction.name == name:
            law = statement.instruction.law
            return law.kind, float(law.location.constant), float(law.scale.constant)
    raise AssertionError(f"no leaf {name}")


def initialised(init: Callable[[nn.Linear], object], width: int = 16) -> tuple[tuple[str, float, float], Lowered]:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        init(model[0])  # type: ignore[arg-type]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(4, width)
        for _ in range(2):
            model(x).mean().backward()
            optimizer.step()

    lowered = lowered_script(train, width, 1)
    return law_of(lowered, "0.weight"), lowered


@pytest.mark.parametrize("turn", ["flatten", "t", "transpose"])
def test_a_parameter_that_is_a_view_of_the_tensor_that_was_drawn_is_that_tensor(turn: str) -> None:
    """Read through another view it is the same draw, no second one beside it."""

    class Net(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            old = nn.Linear(width, width).weight.detach()
            self.first, self.last = nn.Linear(5, width), nn.Linear(width, 3)
            self.weight = nn.Parameter(
                {"flatten": old.flatten(), "t": old.t(), "transpose": old.transpose(-1, 0)}[turn]
            )

        def forward(self, x: Tensor) -> Tensor:
            x, width = torch.tanh(self.first(x)), self.first.out_features
            weight = self.weight.view(width, width) if turn == "flatten" else self.weight.t()
            return self.last(torch.tanh(x @ weight))

    def train(width: int) -> None:
        model = Net(width)
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1))

    lowered = lowered_script(train)
    leaves = [s.instruction for s in lowered.statements if isinstance(s.instruction, Leaf)]
    assert {leaf.name for leaf in leaves if leaf.law.kind == "uniform"} == {
        "weight", "first.weight", "first.bias", "last.weight", "last.bias",
    }  # fmt: skip


def test_the_law_of_the_default_initialisation_is_read() -> None:
    law, lowered = initialised(lambda layer: None)
    assert law[0] == "uniform" and law[1] == 0 and math.isclose(law[2], 1 / 4)
    assert not lowered.notes


INITS: dict[str, tuple[Callable[[nn.Linear], object], tuple[str, float, float]]] = {
    "kaiming": (lambda layer: nn.init.kaiming_normal_(layer.weight), ("normal", 0, math.sqrt(2 / 16))),
    "xavier": (lambda layer: nn.init.xavier_uniform_(layer.weight), ("uniform", 0, math.sqrt(6 / 32))),
    "normal": (lambda layer: nn.init.normal_(layer.weight, 0.5, 0.1), ("normal", 0.5, 0.1)),
    "zeros": (lambda layer: nn.init.zeros_(layer.weight), ("zero", 0, 0)),
    "constant": (lambda layer: nn.init.constant_(layer.weight, 0.3), ("constant", 0.3, 0)),
    "scaled": (lambda layer: layer.weight.data.normal_().mul_(0.3).div_(2.0), ("normal", 0, 0.15)),
    "copied": (lambda layer: layer.weight.data.copy_(torch.randn(16, 16) * 0.2), ("normal", 0, 0.2)),
    "scaled outside of data": (lambda layer: scale_in_place(layer.weight), ("normal", 0, 0.25)),
    "truncated": (lambda layer: nn.init.trunc_normal_(layer.weight, std=0.02), ("normal", 0, 0.02)),
    "truncated at one": (
        lambda layer: nn.init.trunc_normal_(layer.weight, std=1.0, a=-0.9, b=0.9),
        ("iid", 0, math.sqrt(1 - 1.8 * math.exp(-0.405) / math.sqrt(2 * math.pi) / math.erf(0.9 / math.sqrt(2)))),
    ),
}


def scale_in_place(weight: Tensor) -> None:
    with torch.no_grad():
        weight.normal_()
        weight *= 0.25


@pytest.mark.parametrize("name", INITS)
def test_the_law_of_an_initialisation_is_read(name: str) -> None:
    init, expected = INITS[name]
    law, lowered = initialised(init)
    assert law[0] == expected[0]
    assert math.isclose(law[1], expected[1], abs_tol=1e-12) and math.isclose(law[2], expected[2], rel_tol=1e-6)
    assert not any("measured" in note for note in lowered.notes)


def test_an_orthogonal_initialisation_is_seen_and_said() -> None:
    law, lowered = initialised(lambda layer: nn.init.orthogonal_(layer.weight, 3.0))
    assert law[:2] == ("orthogonal", 0) and math.isclose(law[2], 3 / 4, rel_tol=1e-12)
    assert "law of 0.weight orthogonal: its entries are taken for uniformly drawn" in lowered.notes


def hadamard(n: int) -> Tensor:
    return torch.ones(1, 1) if n == 1 else torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard(n // 2))


def reflection(n: int) -> Tensor:
    v = torch.randn(n, 1)
    return torch.eye(n) - 2 * v @ v.T / v.square().sum()


@pytest.mark.parametrize(
    "matrix",
    [hadamard(16), reflection(16), torch.eye(16)[torch.randperm(16)], torch.randn(16, 16), torch.randn(1, 16)],
    ids=["Hadamard", "reflection", "permutation", "Gaussian", "one row"],
)
def test_other_matrices_are_not_taken_for_random_orthogonal_ones(matrix: Tensor) -> None:
    assert measured_law(matrix).kind == "iid"


def test_a_padding_row_keeps_the_law_and_is_noted() -> None:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Embedding(7, width, padding_idx=0), nn.Linear(width, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        tokens = torch.randint(0, 7, (4, 3))
        for _ in range(2):
            model(tokens).mean().backward()
            optimizer.step()

    lowered = lowered_script(train, steps=1)
    assert law_of(lowered, "0.weight") == ("normal", 0, 1)
    assert any("overwritten" in note for note in lowered.notes)


@pytest.mark.parametrize("how", ["lstsq", "lu", "qr of a square", "numpy"])
def test_entries_that_a_decomposition_makes_have_a_measured_law_and_their_maker_is_named(how: str) -> None:
    """Of a fixed matrix, as in the initialisation of a flow: the rest of the entries is what was drawn."""

    def init(layer: nn.Linear) -> None:
        small, rest = torch.randn(4, 4), torch.randn(4, 64)
        with torch.no_grad():
            if how == "lstsq":
                made = torch.linalg.lstsq(small, torch.eye(4)).solution @ rest
            elif how == "lu":
                p, lower, upper = torch.linalg.lu(small)
                made = p @ lower @ upper @ rest
            elif how == "numpy":
                made = torch.from_numpy(rest.numpy() + 1.0)
            else:
                made = torch.linalg.qr(small)[0] @ rest
            layer.weight.copy_(made.reshape(16, 16))

    law, lowered = initialised(init)
    weight = next(value for at, value in lowered.leaf_values.items() if _name(lowered, at) == "0.weight")
    assert law[0] == "iid" and law[2] == pytest.approx(float(weight.std(correction=0)))
    assert "0.weight" in lowered.made and any("law of 0.weight measured" in note for note in lowered.notes)


def _name(lowered: Lowered, position: int) -> str:
    instruction = lowered.statements[position].instruction
    return instruction.name if isinstance(instruction, Leaf) else ""


def test_a_model_built_before_the_recording_has_measured_laws() -> None:
    model = mlp(12)

    def train(width: int) -> None:
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1))

    lowered = lowered_script(train, steps=2)
    assert law_of(lowered, "0.weight")[0] == "iid"
    assert any("measured" in note for note in lowered.notes) and not lowered.made
