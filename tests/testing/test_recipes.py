"""Is the program of a recipe the training that its layers say? Its gradients are those of autograd, layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tpdyn.readings.finite import run
from tpdyn.testing.recipes import BATCH, CLASSES, FEATURES, Layer, Recipe, written

HIDDEN = ("function", "tanh")
LAYERS: tuple[Layer, ...] = (
    ("weight", 0, False),
    ("weight", 0, True),
    HIDDEN,
    ("norm",),
    ("add", 1),
    ("times", 1),
    ("beside", 1, 0),
)


def by_torch(layer: Layer, h: Tensor, before: Tensor, weight: Tensor) -> Tensor:
    match layer:
        case ("weight", _, transposed):
            return h @ (weight if transposed else weight.T)
        case ("function", _):
            return h.tanh()
        case ("norm",):
            centred = h - h.mean(1, keepdim=True)
            return centred * centred.square().mean(1, keepdim=True).rsqrt()
        case ("add", _):
            return h + before
        case ("times", _):
            return h * before
        case _:
            return torch.cat([h, -before]).matmul(weight.T).unflatten(0, (2, -1)).sum(0)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: "-".join(map(str, layer)))
def test_gradients_are_those_of_autograd(layer: Layer) -> None:
    program = written(Recipe((("weight", 1, False), layer), steps=1))
    torch.manual_seed(0)
    given = {"x0": torch.randn(BATCH, FEATURES).double(), "y0": torch.randn(BATCH, CLASSES).double()}
    values = run(program, 8, leaves=given, seed=0, dtype=torch.float64)
    names = {statement.name: value for statement, value in zip(program.statements, values.values(), strict=True)}
    parameters = {each.name: each for each in program.parameters}
    leaves = {name: names[name].clone().requires_grad_() for name in parameters}
    before = names["x0"] @ leaves["in"].T * FEATURES**-0.5
    h = by_torch(layer, before @ leaves["W1"].T, before, leaves["W0"])
    (0.5 * (h @ leaves["out"].T - names["y0"]).square().sum()).backward()
    for name, leaf in leaves.items():
        if leaf.grad is not None:
            gradient = parameters[name].gradients[0]
            assert gradient is not None
            assert torch.allclose(values[gradient.pieces[0]], leaf.grad, atol=1e-12), name


def test_a_layer_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of those that `Layer` lists"):
        written(Recipe((("pool",),)))
