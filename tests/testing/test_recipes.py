"""Is the program of a recipe the training that its layers say? Its gradients are those of autograd, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from tpdyn.readings.finite import run
from tpdyn.testing.recipes import BATCH, CLASSES, FEATURES, Layer, Recipe, Start, written

HIDDEN = ("function", "tanh")
LAYERS: tuple[Layer, ...] = (
    ("weight", 0, False),
    ("weight", 0, True),
    HIDDEN,
    ("norm",),
    ("add", 1),
    ("times", 1),
    ("beside", 1, 0),
    ("attention", 0, Fraction(1, 2)),
    ("of weight", 0, "tanh"),
    ("of weight", 0, "sign"),
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
        case ("attention", _, _):
            centred = h - h.mean(1, keepdim=True)
            h = centred * centred.square().mean(1, keepdim=True).rsqrt()
            return (h @ weight.T @ h.T / (4 * h.shape[1] ** 0.5)).softmax(1) @ h
        case ("of weight", _, "tanh"):
            return h @ (weight * h.shape[1] ** 0.5).tanh().T / h.shape[1] ** 0.5
        case ("of weight", _, _):
            return h @ (weight + (weight.sign() / h.shape[1] ** 0.5 - weight).detach()).T
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


@pytest.mark.parametrize("start", ["normal", "uniform", "with a mean"])
def test_square_weights_are_drawn_as_told_and_may_start_as_one_draw(start: Start) -> None:
    recipe = Recipe((("weight", 0, False), ("weight", 1, False)), start=start, rates=(Fraction(0),) * 4, steps=1)
    for alike in (False, True):
        program = written(replace(recipe, alike=alike))
        given = {"x0": torch.ones(BATCH, FEATURES).double(), "y0": torch.ones(BATCH, CLASSES).double()}
        values = run(program, 64, leaves=given, seed=0, dtype=torch.float64)
        one, other = (next(p for p in program.parameters if p.name == name).versions for name in ("W0", "W1"))
        first, second = values[one[0].pieces[0]], values[other[0].pieces[0]]
        assert torch.equal(first, second) is alike
        assert not torch.equal(values[one[1].pieces[0]], values[other[1].pieces[0]])
        assert abs(float(first.std()) - 1 / 8) < 0.01
        assert (float(first.mean()) > 1 / 128) is (start == "with a mean")


def test_a_layer_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of those that `Layer` lists"):
        written(Recipe((("pool",),)))
