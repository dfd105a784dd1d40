"""Mirrors tpdyn/limits/kernels.py: kernels are those of an independent implementation, and of ensembles of finite networks."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tpdyn
from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.kernels import linear
from tpdyn.readings.kernels.sized import summed_windows

_SPEC = importlib.util.spec_from_file_location("golden_kernels", Path(__file__).parent / "golden_kernels.py")
assert _SPEC is not None and _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
GOLDEN: dict[str, Any] = _MODULE.GOLDEN


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.tensor(np.random.RandomState(seed).standard_normal(shape))


class Dense(nn.Module):
    """A layer in the NTK parametrization, W_std = 1.5."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, b_std: float = 0.1) -> None:
        super().__init__()
        self.b_std = b_std
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.randn(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        made = 1.5 / math.sqrt(self.weight.shape[1]) * (x @ self.weight.T)
        return made if self.bias is None else made + self.b_std * self.bias


class Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, padding: str = "same", stride: int = 1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(outputs, inputs, 3, 3)), nn.Parameter(torch.randn(outputs))
        self.padding, self.stride = padding, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.padding == "circular":
            x = F.pad(x, (1, 1, 1, 1), mode="circular")
        elif self.padding == "same":
            before = 1 if self.stride == 1 else 0  # as "SAME" of the oracle pads for stride 2
            x = F.pad(x, (before, 1, before, 1))
        scale = 1.5 / math.sqrt(9 * self.weight.shape[1])
        return scale * F.conv2d(x, self.weight, stride=self.stride) + 0.1 * self.bias[:, None, None]


def rbf(x: Tensor) -> Tensor:
    return math.sqrt(2) * torch.sin(math.sqrt(2) * x + math.pi / 4)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "erf": torch.erf,
    "gelu": F.gelu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "abs": torch.abs,
    "rbf": rbf,
    "sin": torch.sin,
}


class Mlp(nn.Module):
    def __init__(self, width: int, depth: int, f: str, bias: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Dense(10 if k == 0 else width, width, bias, 0.2) for k in range(depth)])
        self.out, self.f = Dense(width, 1, bias, 0.2), ACTIVATIONS[f]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.f(layer(x))
        return self.out(x)


class ConvNet(nn.Module):
    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name, self.f = name, torch.erf if "erf" in name else torch.relu
        padding = "circular" if "circular" in name else "valid" if "valid" in name else "same"
        self.first = Conv(3, width, padding, 2 if "stride2" in name else 1)
        self.second = Conv(width, width, padding)
        self.third = Conv(width, width, padding) if "residual" in name else None
        places = 1 if "gap" in name else 4 * 4 if "avgpool" in name or "valid" in name else 8 * 8
        self.out = Dense(width * places, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.third is not None:
            x = self.f(x + self.third(self.f(self.second(self.f(x)))))
        else:
            x = self.f(x)
            x = F.avg_pool2d(x, 2) if "avgpool" in self.name else x
            x = self.f(self.second(x))
        return self.out(x.mean((2, 3)) if "gap" in self.name else x.flatten(1))


def network(name: str) -> Callable[[int], nn.Module]:
    if name.startswith("conv"):
        return lambda width: ConvNet(width, name)
    f, _, rest = name.removeprefix("mlp_").rpartition("_d")
    return lambda width: Mlp(width, int(rest[0]), f, "nobias" not in rest)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_kernels_are_those_of_an_independent_implementation(name: str) -> None:
    if name.startswith("conv"):
        x1, x2 = (normal(seed, n, 8, 8, 3).movedim(-1, 1)[:2] for seed, n in ((2, 4), (3, 3)))
    else:
        x1, x2 = normal(0, 6, 10)[:2], normal(1, 5, 10)[:2]
    for kernel, golden in zip((tpdyn.nngp, tpdyn.ntk), GOLDEN[name], strict=True):
        expected = torch.tensor(golden)
        torch.testing.assert_close(kernel(network(name), x1, x2), expected, rtol=1e-12, atol=1e-12)


def test_patches_of_padded_images_are_paired_where_they_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of positions in a patch would be nine times as many. Zeros around an image are not written down."""
    windows: list[tuple[int, ...]] = []

    def listening(value: Tensor, *rest: Any) -> Tensor:
        windows.append(tuple(value.shape[:2]))
        return summed_windows(value, *rest)

    def forbidden(*_: object) -> None:
        raise AssertionError("all pairs")

    monkeypatch.setattr(linear, "summed_windows", listening)
    monkeypatch.setattr(linear.Linear, "_apart", forbidden)
    x = normal(2, 2, 8, 8, 3).movedim(-1, 1)
    tpdyn.ntk(network("conv_relu_gap"), x)
    assert set(windows) == {(8, 8)}


def test_blocks_give_the_same_kernels_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    from tpdyn.limits import kernels

    x, found = normal(2, 5, 8, 8, 3).movedim(-1, 1), []
    for entries in (2**30, 1):
        monkeypatch.setattr(kernels, "ENTRIES", entries)
        found.append(tpdyn.kernels(network("conv_relu_gap"), x))
    for one, other in ((found[0].nngp, found[1].nngp), (found[0].ntk, found[1].ntk)):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0)


def test_inputs_that_are_no_tensor_are_refused() -> None:
    with pytest.raises(TypeError, match="x2 is a list; expected a tensor, samples first"):
        tpdyn.nngp(network("mlp_erf_d2_nobias"), normal(0, 2, 10), [[1.0] * 10])  # type: ignore[arg-type]


class Embedded(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(7, width), nn.Parameter(torch.randn(4, width))
        self.hidden, self.out = Dense(width, width, False), Dense(width, 1, False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(torch.relu(self.hidden(self.tokens(tokens) + self.places)).mean(1))


class Recurrent(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.again, self.out = Dense(3, width), Dense(width, width, False), Dense(width, 1, False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.enter(x[:, 0]))
        for t in range(1, x.shape[1]):
            h = torch.tanh(self.enter(x[:, t]) + self.again(h))
        return self.out(h)


class Stacked(nn.Module):
    """The recurrent network, its states stacked, cut and normalised before the readout: means pass through both."""

    def __init__(self, width: int, stacked: bool) -> None:
        super().__init__()
        self.enter, self.again, self.out = Dense(3, width), Dense(width, width), Dense(width, 1, False)
        self.stacked = stacked

    def forward(self, x: Tensor) -> Tensor:
        states = [self.enter(x[:, 0])]
        for t in range(1, x.shape[1]):
            states.append(self.enter(x[:, t]) + self.again(torch.relu(states[-1])))
        last = torch.stack(states, 1)[:, 1:] if self.stacked else None
        if last is None:
            return self.out((torch.relu(states[1]) + torch.relu(states[2])) / 2)
        return self.out(torch.relu(last).mean(1))


class Gated(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.gate, self.value = Dense(3, width), Dense(width, width, False), Dense(width, width, False)
        self.norm, self.out = nn.LayerNorm(width), Dense(width, 1, False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.enter(x))
        return self.out(self.norm(h + F.gelu(self.gate(h)) * self.value(h)))


class Attending(nn.Module):
    heads = 2

    def __init__(self, width: int, power: float = 1.0) -> None:
        super().__init__()
        self.enter, self.out, self.power = Dense(3, width), Dense(width, 1, False), power
        self.q, self.k, self.v, self.mix = (Dense(width, width, False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        samples, tokens, width = h.shape
        d = width // self.heads
        q, k, v = (m(h).view(samples, tokens, self.heads, d).transpose(1, 2) for m in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / (4 * d**self.power), -1)
        return self.out(torch.relu(h + self.mix((weights @ v).transpose(1, 2).reshape(h.shape)))[:, -1])


def ensemble(make: Callable[[int], nn.Module], x: Tensor, width: int, seeds: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean tangent kernel and output covariance of finite networks, and the standard error of the latter."""
    outputs, kernels = [], []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = make(width)
        outputs.append(model(x).detach().flatten())
        kernels.append(tpdyn.empirical_ntk(model, x))
    f = torch.stack(outputs)
    products = f[:, :, None] * f[:, None]
    return products.mean(0), torch.stack(kernels).mean(0), products.std(0) / math.sqrt(seeds)


CASES: dict[str, tuple[Callable[[int], nn.Module], Callable[[], Tensor]]] = {
    "embedding": (Embedded, lambda: torch.tensor([[0, 1, 2, 3], [3, 3, 1, 0], [0, 1, 2, 6]])),
    "recurrent": (Recurrent, lambda: normal(5, 3, 3, 3)),
    "gated, layer norm": (Gated, lambda: normal(6, 3, 3)),
    "attention, 1/d": (Attending, lambda: normal(7, 3, 3, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_kernels_are_those_of_ensembles_of_finite_networks(name: str) -> None:
    """Covariances within 5 standard errors of 64 networks; tangent kernels within 10 %: they differ by order 1/width."""
    make, inputs = CASES[name]
    x = inputs()
    covariance, tangent, error = ensemble(make, x, 96, 64)
    assert bool(((tpdyn.nngp(make, x) - covariance).abs() < 5 * error).all())
    limit = tpdyn.ntk(make, x)
    assert float((limit - tangent).abs().max() / limit.abs().max()) < 0.1


def test_states_that_are_stacked_and_cut_have_the_kernels_of_the_states() -> None:
    x = normal(5, 2, 3, 3)
    one, other = (tpdyn.kernels(lambda width, s=s: Stacked(width, s), x) for s in (True, False))
    for kernel, expected in zip((one.nngp, one.ntk), (other.nngp, other.ntk), strict=True):
        assert kernel is not None and expected is not None
        torch.testing.assert_close(kernel, expected, rtol=1e-12, atol=1e-12)


def test_inputs_against_themselves_are_exact_on_the_diagonal_and_symmetric() -> None:
    x = normal(0, 6, 10)
    kernel = tpdyn.nngp(network("mlp_relu_d3_bias"), x)
    assert torch.equal(kernel, kernel.T)
    variance = x.square().sum(1) / 10
    for _ in range(3):
        variance = (2.25 * variance + 0.04) / 2
    torch.testing.assert_close(kernel.diagonal(), 2.25 * variance + 0.04, rtol=1e-14, atol=0)


def test_blocks_do_not_change_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    from tpdyn.limits import kernels

    x1, x2 = normal(0, 7, 10), normal(1, 5, 10)
    whole = tpdyn.ntk(network("mlp_gelu_d2_bias"), x1, x2), tpdyn.ntk(network("mlp_rbf_d2_bias"), x1)
    monkeypatch.setattr(kernels, "ENTRIES", 6)
    cut = tpdyn.ntk(network("mlp_gelu_d2_bias"), x1, x2), tpdyn.ntk(network("mlp_rbf_d2_bias"), x1)
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_attention_whose_logits_stay_random_is_refused_with_its_line() -> None:
    with pytest.raises(OutsideTheory, match=r"stays random in the limit[\s\S]*softmax"):
        tpdyn.nngp(lambda width: Attending(width, 0.5), normal(7, 3, 3, 3))


def test_a_weight_that_is_used_in_both_directions_is_refused() -> None:
    class Tied(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.enter, self.w, self.out = Dense(3, width), nn.Parameter(torch.randn(width, width)), Dense(width, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.enter(x))
            n = self.w.shape[0]
            return self.out(torch.tanh(h @ self.w / n**0.5) + torch.tanh(h @ self.w.T / n**0.5))

    with pytest.raises(OutsideTheory, match=r"used in both directions|depends on"):
        tpdyn.nngp(Tied, normal(3, 2, 3))


def test_samples_that_are_mixed_are_refused() -> None:
    def make(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))

    with pytest.raises(OutsideTheory, match="samples are mixed"):
        tpdyn.nngp(make, normal(3, 4, 3))


def test_a_tangent_kernel_without_limit_says_with_which_power_it_grows() -> None:
    def make(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 1))

    with pytest.raises(OutsideTheory, match=r"grows with the width, as n\^\+1"):
        tpdyn.ntk(make, normal(3, 2, 3))


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        (torch.full((2, 3), math.nan), None, "6 entries that are NaN"),
        (torch.zeros(0, 3), None, "at least one"),
        (torch.zeros(2, 3), torch.zeros(2, 4), r"x2 has shape \(2, 4\)"),
    ],
)
def test_bad_inputs_are_refused_at_the_door(x1: Tensor, x2: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tpdyn.nngp(Recurrent, x1, x2)


def test_what_is_no_network_and_inputs_that_it_does_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match=r"make\(16\) is of type int; expected a torch.nn.Module"):
        tpdyn.nngp(lambda width: width, torch.zeros(2, 3))  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match=r"does not take samples of shape \(4,\), .*: mat1 and mat2"):
        tpdyn.nngp(lambda width: nn.Sequential(nn.Linear(3, width), nn.Linear(width, 1)), torch.zeros(2, 4))
