"""What does each parameter contribute where the network applies it? Also through what is made of parameters.

A matrix that is mixed, averaged, looked up, normalised, merged or projected is applied in the end. There its update counts, not
entry by entry before. So the maximal update of such a network is that of the same network with a plain matrix. For scripts
like these `derive` said "maximal" where it was not, or told of contradictions that are none.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.parametrizing.parametrization import Parametrization
from tpdyn.program.builder import Builder
from tpdyn.program.continued import continued
from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.orders.reading import Exponents, read

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}
LABELS = torch.tensor([0, 1, 1, 0, 1])


def test_an_update_counts_once_where_it_is_applied_and_not_where_it_is_mixed() -> None:
    """Entries of size 1/n are learned with x. One by one they are small, in the product they add up to order 0."""
    b = Builder()
    n, small = Builder.n, Scaling.of(1, -ONE)
    experts, gate, x = b.parameter("E", (2, n, n), std=Scaling.of(1, -HALF)), b.parameter("g", (2,)), b.data("x", (n,))
    for step in range(2):
        b.at(step=step, phase="forward")
        mixed = b.einsum("k,kij->ij", b.now("g"), b.now("E"))
        h = b.einsum("ij,j->i", mixed, x)
        b.mark("module", "h", h)
        b.at(step=step, phase="optimizer")
        b.update(
            "E",
            b.combine((1, b.now("E")), (small, b.einsum("k,ij->kij", gate, b.einsum("i,j->ij", h, x)))),
            gradient=experts,
        )
        b.update("g", b.combine((1, b.now("g")), constant=1), gradient=gate)
    found = [each for each in read(b.build(steps=2)).contributions if each.step == 1]
    assert [(each.parameter, each.position, each.order, each.alone) for each in found] == [
        ("E", h, ZERO, ZERO), ("g", h, ZERO, ZERO),
    ]  # fmt: skip


class Layer(nn.Module):
    """A hidden layer whose matrix is made of others, `how`."""

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.first, self.last, self.how = nn.Linear(4, width), nn.Linear(width, 3), how
        self.w = nn.Parameter(torch.randn(2, width, width) / width**0.5)
        self.mix, self.router = nn.Parameter(torch.ones(2)), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.product(h)))  # type: ignore[no-any-return]

    def product(self, h: Tensor) -> Tensor:
        match self.how:
            case "plain":
                return h @ self.w[0]
            case "averaged":
                return h @ self.w.mean(0)
            case "added":
                return h @ (self.w[0] + self.w[1])
            case "weighted by parameters":
                return h @ torch.einsum("k,kij->ij", self.mix, self.w)
            case "scaled by a function of a parameter":
                return h @ (self.w[0] * torch.sigmoid(self.mix[0]))
            case "looked up by data":
                return torch.einsum("bi,bij->bj", h, self.w[LABELS])
            case "mixed by a router":
                mixed = torch.einsum("bk,kij->bij", torch.softmax(self.router(h), -1), self.w)
                return torch.einsum("bi,bij->bj", h, mixed)
        raise AssertionError(self.how)


def training(
    build: Callable[[int], nn.Module], optimizer: str, after: Callable[[nn.Module], None] | None = None
) -> Parametrization:
    def train(width: int) -> None:
        model, x = build(width), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        step_by = OPTIMIZERS[optimizer](model.parameters(), lr=0.1)
        while True:
            step_by.zero_grad()
            (model(x) - 1).square().mean().backward()
            step_by.step()
            if after is not None:
                with torch.no_grad():
                    after(model)

    return tpdyn.derive(tpdyn.record(train, widths=(16, 24, 40), steps=3))


@cache
def derived(how: str, optimizer: str) -> Parametrization:
    return training(lambda width: Layer(width, how), optimizer)


WAYS = (
    "averaged", "added", "weighted by parameters", "scaled by a function of a parameter", "looked up by data",
    "mixed by a router",
)  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("how", WAYS)
def test_a_matrix_that_is_made_of_others_has_the_exponents_of_a_plain_one(how: str, optimizer: str) -> None:
    plain, found = derived("plain", optimizer), derived(how, optimizer)
    assert plain.maximal and found.maximal and not found.conflicts
    for name in ("w", "first.weight", "last.weight"):
        assert found.exponents[name] == plain.exponents[name], name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_that_learn_too_little_are_told_to_learn_more_though_they_are_mixed_before(optimizer: str) -> None:
    """Nothing was demanded of a sum of matrices: a rate that is too small by n stayed as it is."""

    def train(width: int) -> None:
        model, x = Layer(width, "added"), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        groups = [{"params": [p], "lr": 0.1 / width**4 if name == "w" else 0.1} for name, p in model.named_parameters()]
        step_by = OPTIMIZERS[optimizer](groups)
        while True:
            step_by.zero_grad()
            (model(x) - 1).square().mean().backward()
            step_by.step()

    found = tpdyn.derive(tpdyn.record(train, widths=(16, 24, 40), steps=3))
    assert found.maximal and found.own["w"].c == 4
    assert found.exponents["w"] == derived("plain", optimizer).exponents["w"]


class Merged(nn.Module):
    """LoRA: everything is frozen but for a thin pair, added to a matrix or applied beside it."""

    def __init__(self, width: int, merged: bool) -> None:
        super().__init__()
        self.first, self.frozen, self.last = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.requires_grad_(False)
        self.last.weight /= width**0.5
        self.a, self.b = nn.Parameter(torch.randn(2, width) / width), nn.Parameter(torch.zeros(width, 2))
        self.merged = merged

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        added = h @ (self.b @ self.a).T if self.merged else (h @ self.a.T) @ self.b.T
        return self.last(torch.tanh(self.frozen(h) + added))  # type: ignore[no-any-return]


def test_a_thin_pair_has_the_same_exponents_when_it_is_merged() -> None:
    """Its smaller side had to contribute to `W + B A` entry by entry, and kept entries that were too small by n^-1/2."""
    apart, merged = (training(lambda width, m=m: Merged(width, m), "Adam") for m in (False, True))  # type: ignore[misc]
    assert merged.maximal and merged.exponents == apart.exponents


def normed(norm: Callable[[nn.Module], nn.Module]) -> Callable[[int], nn.Module]:
    return lambda width: nn.Sequential(
        nn.Linear(4, width), nn.Tanh(), norm(nn.Linear(width, width)), nn.Tanh(), nn.Linear(width, 3)
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_gain_and_a_direction_are_those_of_a_vector_and_of_a_matrix(optimizer: str) -> None:
    """Weight norm, Salimans and Kingma (arXiv 1602.07868): `g v / |v|`. A point was called maximal where the layer vanishes."""
    found = training(normed(weight_norm), optimizer)
    gain, direction = (found.exponents[f"2.parametrizations.weight.original{k}"] for k in (0, 1))
    assert found.maximal and not found.conflicts
    assert gain == (ZERO, ZERO, -ONE if optimizer == "SGD" else ZERO)
    assert direction == (ZERO, HALF, ZERO if optimizer == "SGD" else ONE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_matrix_over_its_spectral_norm_moves_as_fast_as_a_matrix(optimizer: str) -> None:
    """Otherwise its first step could forget where it began, and no demand would notice: a quotient has no size."""
    found = training(normed(spectral_norm), optimizer)
    assert found.maximal
    assert found.exponents["2.parametrizations.weight.original"] == (ZERO, HALF, ZERO if optimizer == "SGD" else ONE)


# -- what a step makes of `W - lr g` -----------------------------------------------------------------------------------


class Clipping(torch.optim.SGD):
    """SGD whose step ends in something else than a sum."""

    def __init__(self, parameters: object, lr: float, how: str) -> None:
        super().__init__(parameters, lr)  # type: ignore[arg-type]
        self.how = how

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for p in self.param_groups[0]["params"]:
            moved = p - 0.1 * p.grad
            if self.how == "clipped":
                p.copy_(moved.clamp(-2, 2))
            elif self.how == "decayed and clipped":
                p.mul_(1 - 0.1 * 0.01).sub_(0.1 * p.grad).clamp_(-2, 2)
            elif self.how == "on a sphere":
                p.copy_(moved / moved.square().sum().sqrt())
            else:
                p.mul_(torch.exp(-0.1 * p.grad * p))


def clipping(how: str, monkeypatch: pytest.MonkeyPatch) -> Parametrization:
    monkeypatch.setitem(OPTIMIZERS, "SGD", lambda parameters, lr: Clipping(parameters, lr, how))
    return training(plain, "SGD")


def plain(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def clip(model: nn.Module) -> None:
    for p in model.parameters():
        p.clamp_(-2, 2)


def test_weights_that_are_clipped_learn_what_their_increments_add(monkeypatch: pytest.MonkeyPatch) -> None:
    """That clipping may change W by as much as W does not mean that W has learned. Any rate was called right."""
    expected = training(plain, "SGD").exponents
    assert training(plain, "SGD", clip).exponents == expected  # by the script, as a critic's
    for how in ("clipped", "decayed and clipped"):  # by the optimizer
        found = clipping(how, monkeypatch)
        assert found.maximal and found.exponents == expected


def test_what_is_learned_is_known_to_a_reading_that_goes_on() -> None:
    def train(width: int) -> None:
        model, x = plain(width), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()
            with torch.no_grad():
                clip(model)

    short = tpdyn.record(train, widths=(16, 24, 40), steps=3)
    longer = continued(short, 2)
    assert longer is not None
    slow = Exponents(rate={parameter.name: Fraction(2) for parameter in short.parameters})  # clipping moves W by more
    whole, went_on = read(longer.program, slow), read(longer.program, slow, after=read(short, slow))
    assert went_on.contributions == whole.contributions
    assert all(each.order is None or each.order < 0 for each in whole.contributions)


@pytest.mark.parametrize("how", ["on a sphere", "by factors"])
def test_a_step_in_which_the_rate_is_lost_is_outside_of_what_is_derived(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutsideTheory, match=r"step of 0\.weight (?s:.*)test_contributions\.py"):
        clipping(how, monkeypatch)
