"""Mirrors tpdyn/integrations/mup.py: mup's rules are those of the package, and differ from the derived ones where they should.

Where the package is installed its own base shapes, layers and optimizers are checked, too. Else objects with the same
attributes stand in for them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typer.testing import CliRunner

import tpdyn
from tpdyn.cli import app
from tpdyn.commands.failures import BadInput
from tpdyn.integrations.mup import INITIAL, RATE, BaseShape, Comparison, base_shapes_of, compare, read_base_shapes
from tpdyn.regimes.prediction import Regime

needs_mup = pytest.mark.skipif(importlib.util.find_spec("mup") is None, reason="the package mup is not installed")
HALF = Fraction(1, 2)

Net = Callable[[int], nn.Module]
Make = Callable[..., torch.optim.Optimizer]


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


class Experts(nn.Module):
    """Four matrices in one parameter, each expert with its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.out = nn.Linear(5, width), nn.Linear(width, 3)
        self.experts = nn.Parameter(torch.randn(4, width, width) * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(torch.einsum("bi,eio->ebo", torch.tanh(self.up(x)), self.experts))
        return self.out(hidden.sum(0))


class Transposed(nn.Module):
    """Weights as HF's Conv1D holds them: (fan-in, fan-out)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(5, width)
        self.hidden = nn.Parameter(torch.randn(width, 2 * width) * width**-0.5)
        self.readout = nn.Parameter(torch.randn(2 * width, 3) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.tanh(self.up(x)) @ self.hidden) @ self.readout


class Tied(nn.Module):
    """Attention, and a readout that is the embedding."""

    def __init__(self, width: int, scale: float = 0.5) -> None:
        super().__init__()
        self.scale = scale
        self.tokens = nn.Embedding(5, width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x.argmax(-1))
        q, k, v = self.query(x), self.key(x), self.value(x)
        attention = torch.softmax((q @ k.T) * x.shape[-1] ** -self.scale, dim=-1) @ v
        return F.linear(x + attention, self.tokens.weight)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def script(net: Net, make: Make, prepared: Callable[[nn.Module], object] = lambda model: None) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = net(width)
        prepared(model)
        optimizer = make(model.parameters())
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
        for _ in range(3):
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()

    return train


def base_shapes(net: Net, width: int = 32) -> dict[str, BaseShape]:
    """What `mup.make_base_shapes(net(width), net(width + 16))` finds."""
    base, delta = dict(net(width).named_parameters()), dict(net(width + 16).named_parameters())
    return {
        name: tuple(
            None if one == other else one for one, other in zip(base[name].shape, delta[name].shape, strict=True)
        )
        for name in base
    }


def compared(net: Net, make: Make) -> Comparison:
    return compare(tpdyn.record(script(net, make), widths=(16, 24, 40)), base_shapes(net))


@pytest.mark.parametrize("make", [adam, sgd])
def test_for_a_perceptron_the_rules_are_the_maximal_update(make: Make) -> None:
    found = compared(mlp, make)
    assert found.agrees and found.regime is Regime.FEATURE_LEARNING, found.show()
    assert found.base_width == 32
    assert "nothing differs" in found.show() and "base_width=32)" in found.show()


def test_stacked_experts_with_sgd_are_taken_for_a_growing_fan_in_and_a_finite_fan_out() -> None:
    found = compared(Experts, sgd)
    (difference,) = found.differences
    assert (difference.of, difference.what) == ("experts", "learning rate")
    assert (difference.mup, difference.needed) == (Fraction(-1), Fraction(0))
    assert any("the update of experts must contribute at order 0" in text for text in found.unmet)
    assert compared(Experts, adam).agrees


def test_transposed_hidden_weights_come_to_the_same_and_a_transposed_readout_is_taken_for_an_input() -> None:
    found = compared(Transposed, adam)
    assert found.regime is Regime.UNSTABLE
    assert {(each.of, each.what) for each in found.differences} == {
        ("readout", "initial entries"),
        ("readout", "learning rate"),
    }
    assert all((each.mup, each.needed) == (Fraction(0), Fraction(-1)) for each in found.differences)


def test_attention_is_left_to_the_user_and_a_readout_that_is_the_embedding_is_right() -> None:
    found = compared(Tied, adam)
    (difference,) = found.differences
    assert difference.what == "result" and (difference.mup, difference.needed) == (-HALF, Fraction(-1))
    assert compared(lambda width: Tied(width, scale=1.0), adam).agrees


def test_dims_that_grow_are_compared_with_those_held_for_infinite() -> None:
    program = tpdyn.record(script(mlp, adam), widths=(16, 24, 40))
    wrong = base_shapes(mlp) | {"2.weight": (32, None)}
    found = compare(program, wrong)
    assert not found.agrees and found.base_width is None
    assert found.shapes == ("2.weight: dim 1 is finite in the base shapes, in the script it is n",)
    found = compare(program, base_shapes(mlp) | {"4.bias": (3,)})
    assert found.shapes == ("4.bias: dim 0 is infinite in the base shapes, in the script it is always 3",)


def test_more_than_two_infinite_dims_are_refused_by_mup() -> None:
    class Cube(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.up, self.out = nn.Linear(5, width), nn.Linear(width, 3)
            self.cube = nn.Parameter(torch.randn(2, width, width) * width**-0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(torch.einsum("bi,eio->bo", torch.tanh(self.up(x)), self.cube)))

    program = tpdyn.record(script(Cube, adam), widths=(16, 24, 40))
    found = compare(program, base_shapes(Cube) | {"cube": (2, 32, 32)})
    assert found.refused == ("cube: 3 infinite dims (NotImplementedError)",) and not found.agrees
    assert found.shapes


@pytest.mark.parametrize(
    ("shapes", "said"),
    [({"0.weight": (32, None)}, "another model: they lack 0.bias"), (None, "4.bias has 1 dims, in the base shapes 2")],
)
def test_shapes_of_another_model_are_refused(shapes: dict[str, BaseShape] | None, said: str) -> None:
    program = tpdyn.record(script(mlp, adam), widths=(16, 24, 40))
    with pytest.raises(BadInput, match=said):
        compare(program, shapes or base_shapes(mlp) | {"4.bias": (None, None)})


def test_base_shapes_are_read_from_a_model_and_from_a_file(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    model = mlp(64)
    with pytest.raises(BadInput, match=r"0\.weight has no infshape"):
        base_shapes_of(model)
    expected = base_shapes(mlp)
    for name, parameter in model.named_parameters():
        parameter.infshape = tuple(SimpleNamespace(base_dim=dim) for dim in expected[name])  # type: ignore[attr-defined]
    assert base_shapes_of(model) == base_shapes_of(torch.compile(model, backend="eager")) == expected  # type: ignore[arg-type]
    file = tmp_path / "shapes.bsh"
    lines = ["# This is a base shape file encoded in yaml"]
    for name, shape in expected.items():
        lines += [f"module.{name}:", *(f"- {'null' if dim is None else dim}" for dim in shape)]
    file.write_text("\n".join(lines) + "\n")
    assert read_base_shapes(file) == expected


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: 3", "a: [x]", "a: [true]", "a: [", "a: [0]"])
def test_a_file_that_holds_no_base_shapes_is_refused(tmp_path: Path, content: str) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "shapes.bsh"
    file.write_text(content)
    with pytest.raises(BadInput, match=r"shapes\.bsh"):
        read_base_shapes(file)


def test_without_pyyaml_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(BadInput, match="pip install 'tpdyn\\[mup\\]'"):
        read_base_shapes(tmp_path / "shapes.bsh")


def test_the_command_line_compares(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def train(width):\n"
        "    w, out = torch.nn.Linear(3, width, bias=False), torch.nn.Linear(width, 1, bias=False)\n"
        "    model = torch.nn.Sequential(w, torch.nn.Tanh(), out)\n"
        "    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "    for _ in range(3):\n"
        "        optimizer.zero_grad()\n"
        "        (model(torch.randn(4, 3)) - 1).square().mean().backward()\n"
        "        optimizer.step()\n"
    )
    shapes, verdict = tmp_path / "shapes.bsh", tmp_path / "verdict.json"
    shapes.write_text("0.weight: [64, null]\n2.weight: [null, 64]\n")
    words = ["derive", f"{tmp_path / 'net.py'}:train", "--mup", str(shapes), "--json", str(verdict)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "mup's rules (MuSGD, MuReadout, MuSharedReadout) for this script: feature learning" in done.output
    assert '"base_width": 64' in verdict.read_text()
    done = CliRunner().invoke(app, [*words[:3], str(tmp_path / "nowhere.bsh")])
    assert done.exit_code == 2 and "nowhere.bsh cannot be read" in done.output


@needs_mup
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestThePackageItself:
    """What stands in `INITIAL`, `RATE` and `READOUT` is what the package does."""

    def test_base_shapes(self, tmp_path: Path) -> None:
        import mup

        file = tmp_path / "shapes.bsh"
        shapes = mup.make_base_shapes(mlp(32), mlp(48), savefile=str(file))
        assert read_base_shapes(file) == base_shapes(mlp)
        model = mup.set_base_shapes(mlp(64), shapes, do_assert=False)
        assert base_shapes_of(model) == base_shapes(mlp)

    @pytest.mark.parametrize("kind", ["entrywise", "sgd"])
    @pytest.mark.parametrize("net", [mlp, Experts, Transposed])
    def test_rates(self, kind: Any, net: Net) -> None:
        import mup

        model = net(128)
        mup.set_base_shapes(model, net(32), delta=net(48), do_assert=False)
        optimizer = (mup.MuAdamW if kind == "entrywise" else mup.MuSGD)(model.parameters(), lr=1.0)
        rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in model.named_parameters():
            infinite = sum(dim is not None for dim in base_shapes(net)[name])
            power = RATE[kind][infinite]
            if kind == "sgd" and infinite == 2:  # by fan-in over fan-out: dim 1 over dim 0
                growth = [
                    1.0 if dim is None else size / dim for dim, size in zip(base_shapes(net)[name], parameter.shape)
                ]
                expected = (growth[1] / growth[0]) ** float(power)
            else:
                expected = 4.0 ** float(power)
            assert rates[parameter] == pytest.approx(expected), name

    @pytest.mark.parametrize("net", [mlp, Experts, Transposed])
    def test_initial_entries(self, net: Net) -> None:
        import mup

        model = net(128)
        mup.set_base_shapes(model, net(32), delta=net(48), do_assert=False)
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            infinite = sum(dim is not None for dim in base_shapes(net)[name])
            mup.init.normal_(parameter, std=1.0)
            if parameter.numel() > 100:
                assert parameter.std().item() == pytest.approx(4.0 ** float(INITIAL[infinite]), rel=0.15), name

    @pytest.mark.parametrize("kind", ["entrywise", "sgd"])
    def test_a_script_that_uses_it_is_maximal(self, kind: str) -> None:
        """Readouts with their multiplier, rates of its optimizers: recorded as they are."""
        import mup

        def net(width: int) -> nn.Module:
            return nn.Sequential(
                nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), mup.MuReadout(width, 3)
            )

        def prepared(model: nn.Module) -> None:
            mup.set_base_shapes(model, net(32), delta=net(48))

        def make(parameters: Any) -> Any:
            return mup.MuAdamW(parameters, lr=0.01) if kind == "entrywise" else mup.MuSGD(parameters, lr=0.1)

        program = tpdyn.record(script(net, make, prepared), widths=(16, 24, 40))
        assert tpdyn.derive(program).edits() == ()
        assert compare(program, base_shapes(net)).agrees
