"""Are representations, outputs and logits found, and nothing that only helps to compute them?"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tests.slopes import slope_of
from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Law, Leaf, LeafKind
from tpdyn.regimes.prediction import Regime

N = Builder.n


def begun() -> tuple[Builder, int]:
    """`h = W x` of a batch of seven."""
    b = Builder()
    b.at(phase="forward")
    return b, b.einsum("bi,oi->bo", b.data("x", (7, 3)), b.parameter("W", (N, 3)))


def test_a_representation_is_made_of_data_and_parameters_along_one_wide_dim() -> None:
    b, h = begun()
    y = b.apply("tanh", h)
    f = b.einsum("bo,o->b", y, b.parameter("v", (N,)))  # no wide dim
    wide = b.einsum("bo,bp->op", h, y)  # two
    data = b.apply("tanh", b.data("z", (N,)))  # no parameter
    weight = b.apply("tanh", b.parameter("u", (N,)))  # no data
    facts = Facts.of(b.build())
    assert facts.representations == (h, y)
    assert not {f, wide, data, weight} & set(facts.representations)


def test_a_function_of_weights_alone_is_none_after_an_update_by_data_either() -> None:
    """Weight norm: the row norms of a matrix lie along one wide dim, and hang on data through its training."""
    b, h = begun()
    later = b.update("V", b.combine((1, b.parameter("V", (N, N))), (-1, b.einsum("bo,bp->op", h, h))))
    norms = b.einsum("op,op->o", later, later)
    out = b.einsum("bo,o->bo", b.einsum("bp,op->bo", h, later), norms)
    facts = Facts.of(b.build())
    assert out in facts.representations
    assert norms not in facts.representations


def test_values_of_other_phases_are_no_representations() -> None:
    b, h = begun()
    b.at(phase="backward")
    b.apply("tanh", h)
    assert Facts.of(b.build()).representations == (h,)


def test_a_mask_selects_and_represents_nothing() -> None:
    """The slope of a relu jumps: that it changes on a few entries is no learning of its own."""
    b, h = begun()
    mask = b.apply("step", h)
    kept = b.einsum("bo,bo->bo", mask, h)
    facts = Facts.of(b.build())
    assert mask in facts.masks
    assert facts.representations == (h, kept)


def test_the_factor_of_a_normalisation_is_no_representation_and_its_product_is() -> None:
    """`1/sqrt(var + eps)` of a batch norm, one a channel."""
    b, h = begun()
    variance = b.einsum("bo,bo->o", h, h, scale=1 / 7)
    factor = b.apply("rsqrt", b.combine((1, variance), constant=1e-5, epsilon=True))
    normal = b.einsum("bo,o->bo", h, factor)
    facts = Facts.of(b.build())
    assert facts.normalisation_factors == {factor}
    assert factor not in facts.representations and normal in facts.representations


def test_a_power_of_what_no_epsilon_guards_is_no_factor_of_a_normalisation() -> None:
    b, h = begun()
    inverse = b.apply("reciprocal", b.combine((1, h), constant=1.0))
    twice = b.apply("sqrt", b.apply("reciprocal", b.combine((1, h), constant=1e-5, epsilon=True)))
    facts = Facts.of(b.build())
    assert inverse not in facts.normalisation_factors
    assert twice in facts.normalisation_factors  # the root of a factor is one


def test_logits_count_because_a_softmax_has_a_scale_of_its_own() -> None:
    b, h = begun()
    logits = b.einsum("bo,co->bc", h, b.parameter("head", (5, N)))
    soft = b.apply("softmax", logits, along=1)
    facts = Facts.of(b.build())
    assert (logits, soft) in facts.scalars and logits in facts.counting


def test_a_number_under_a_root_or_made_of_data_alone_is_no_logit() -> None:
    b, h = begun()
    b.apply("sqrt", b.einsum("bo,bo->b", h, h))  # homogeneous
    b.apply("tanh", b.data("z", (7,)))  # no parameter
    b.apply("tanh", h)  # a vector
    assert Facts.of(b.build()).scalars == ()


def test_outputs_are_what_is_marked_and_else_the_losses() -> None:
    b, h = begun()
    f = b.einsum("bo,o->b", h, b.parameter("v", (N,)))
    loss = b.mark("loss", "loss", b.einsum("b->", f))
    assert Facts.of(b.build()).outputs == (loss,)
    b.mark("output", "output", f)
    assert Facts.of(b.build()).outputs == (f,)


def test_an_output_along_the_width_is_no_hidden_representation() -> None:
    b, h = begun()
    y = b.mark("output", "output", b.apply("tanh", h))
    facts = Facts.of(b.build())
    assert facts.representations == (h, y) and facts.hidden == (h,)
    assert facts.counting == (h, y)


def test_a_dropout_mask_alone_is_nothing_that_the_network_computes() -> None:
    b, h = begun()
    noise = b.random("noise", (7, N), Law("bernoulli", Scaling.of(0.5)))
    dropped = b.einsum("bo,bo->bo", h, noise)
    assert Facts.of(b.build()).representations == (h, dropped)


def test_without_data_constants_are_what_the_network_is_fed_with() -> None:
    """`Embedding(torch.arange(6))`, a grid of coordinates that is a buffer: a table of learning rows was called frozen."""
    kinds: tuple[LeafKind, ...] = ("constant", "buffer")
    for kind in kinds:
        b = Builder()
        b.at(phase="forward")
        x = b.leaf(Leaf(kind, "grid", Law("array")), tuple(map(Scaling.of, (7, 3))))
        h = b.einsum("bi,oi->bo", x, b.parameter("W", (N, 3)))
        weight = b.apply("tanh", b.parameter("u", (N,)))
        facts = Facts.of(b.build())
        assert h in facts.representations
        assert weight not in facts.representations
        assert not facts.unfed


def test_without_any_input_a_network_is_unfed() -> None:
    b = Builder()
    b.at(phase="forward")
    h = b.apply("tanh", b.parameter("u", (N,)))
    facts = Facts.of(b.build())
    assert facts.representations == ()
    assert facts.unfed == (h,)


def test_a_representation_that_is_returned_counts_as_one_and_the_loss_as_the_output() -> None:
    """Embeddings whose products are taken outside of the network change by n^-1/2 under NTP, while their products learn."""
    b, h = begun()
    b.mark("output", "output", h)
    assert Facts.of(b.build()).outputs == (h,)  # no loss is marked
    loss = b.mark("loss", "loss", b.einsum("bo,bo->", h, h))
    facts = Facts.of(b.build())
    assert facts.outputs == (loss,)
    assert facts.hidden == (h,)


def test_a_linear_map_of_wide_features_is_fed_whatever_is_asked_of_its_weights() -> None:
    """Random Fourier features and a penalty on the readout: the verdict said that the network has no input."""
    b = Builder()
    b.at(phase="forward")
    w = b.parameter("w", (Builder.n,))
    out = b.einsum("bo,o->b", b.data("features", (7, N)), w)
    penalty = b.einsum("o->", b.einsum("o,o->o", w, w))
    b.mark("loss", "loss", b.combine((1, b.einsum("b,b->", out, out)), (1, penalty)))
    assert not Facts.of(b.build()).unfed


# -- scripts that train several networks, or return several values ---------------------------------------------------


class Net(nn.Module):
    def __init__(self, width: int, inputs: int = 4, outputs: int = 1) -> None:
        super().__init__()
        self.first, self.hidden, self.out = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)
        nn.init.normal_(self.out.weight, std=1 / width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(torch.tanh(self.first(x)))))


class Generator(Net): ...


class Pair(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.other = Net(width), Net(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x), self.other(x)


class Body(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.hidden = nn.Linear(4, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.hidden(torch.tanh(self.first(x))))


def adam(net: Net | Body, *readouts: Tensor, fast: bool = False) -> torch.optim.Optimizer:
    """Adam at the rates of maximal update, readouts first of all. fast: they learn faster by n^1/2, so that the output grows."""
    width = net.hidden.in_features
    own = (net.out.weight,) if isinstance(net, Net) else ()
    small = [net.first.weight, net.first.bias, net.hidden.bias]
    rates: list[tuple[list[Tensor], float]] = [(small, 0.1), ([net.hidden.weight], 0.1 / width)]
    rates.append(([*own, *readouts], width ** (-0.5 if fast else -1)))
    return torch.optim.Adam([{"params": each, "lr": 0.01 * rate} for each, rate in rates])


def samples() -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(7)
    return torch.randn(8, 4, generator=made), torch.randn(8, 3, generator=made)


def adversaries(width: int, fast: str) -> None:
    z, x = samples()
    generator, critic = Generator(width, outputs=3), Net(width, inputs=3)
    steps, judges = adam(generator, fast=fast == "generator"), adam(critic, fast=fast == "critic")
    for _ in range(3):
        judges.zero_grad()
        (critic(generator(z).detach()).mean() - critic(x).mean()).backward()
        judges.step()
        steps.zero_grad()
        (-critic(generator(z)).mean()).backward()
        steps.step()


def taught(width: int, fast: str) -> None:
    """The teacher is called first, with gradients, and no step changes it."""
    z, _ = samples()
    teacher, student = Generator(width), Net(width)
    optimizer = adam(student, fast=fast == "student")
    for _ in range(3):
        wanted = teacher(z).detach()
        optimizer.zero_grad()
        F.mse_loss(student(z), wanted).backward()
        optimizer.step()


def paired(width: int, fast: str) -> None:
    z, x = samples()
    model = Pair(width)
    optimizers = [adam(model.one, fast=fast == "one"), adam(model.other, fast=fast == "other")]
    for _ in range(3):
        one, other = model(z)
        model.zero_grad()
        (F.mse_loss(one, x[:, :1]) + F.mse_loss(other, x[:, 1:2])).backward()
        for optimizer in optimizers:
            optimizer.step()


def headed(width: int, fast: str) -> None:
    """Two heads on one body, each a module of its own."""
    z, x = samples()
    body, head, other = Body(width), nn.Linear(width, 1), nn.Linear(width, 1)
    optimizers = [adam(body, head.weight, fast=fast == "head"), adam(body, other.weight, fast=fast == "other")]
    nn.init.normal_(head.weight, std=1 / width)
    nn.init.normal_(other.weight, std=1 / width)
    for _ in range(3):
        h = body(z)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (F.mse_loss(head(h), x[:, :1]) + F.mse_loss(other(h), x[:, 1:2])).backward()
        for optimizer in optimizers:
            optimizer.step()


def read_in_the_script(width: int, fast: str, seen: list[Tensor] | None = None) -> None:
    z, x = samples()
    body, readout = Body(width), (torch.randn(width, 1) / width).requires_grad_()
    optimizer = adam(body, readout, fast=fast == "readout")
    for _ in range(3):
        y = body(z) @ readout
        if seen is not None:
            seen.append(y.detach())
        optimizer.zero_grad()
        F.mse_loss(y, x[:, :1]).backward()
        optimizer.step()


Script = Callable[[int, str], None]
GROWS: list[tuple[Script, str, str, int]] = [
    (adversaries, "critic", "Net", 1),
    (adversaries, "generator", "output", 2),
    (taught, "student", "Net", 1),
    (paired, "one", "one", 1),
    (paired, "other", "other", 1),
    (headed, "head", "head", 1),
    (headed, "other", "other", 1),
]


@pytest.mark.parametrize(("script", "fast", "name", "step"), GROWS)
def test_whatever_a_trained_network_returns_must_not_grow(script: Script, fast: str, name: str, step: int) -> None:
    def train(width: int) -> None:
        script(width, fast)

    prediction = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), verify=False), remedy=False)
    orders = {row.step: row.change for row in prediction.rows() if row.name == name}
    assert (prediction.regime, orders[step]) == (Regime.UNSTABLE, Fraction(1, 2))
    assert abs(slope_of(train, name, step) - 0.5) < 0.2


@pytest.mark.parametrize("script", [adversaries, taught, paired, headed, read_in_the_script])
def test_at_the_rates_of_maximal_update_all_of_them_learn_features(script: Script) -> None:
    program = tpdyn.record(lambda width: script(width, ""), widths=(16, 24, 40), verify=False)
    assert tpdyn.predict(program, remedy=False).regime is Regime.FEATURE_LEARNING


def test_what_a_script_reads_out_of_a_representation_itself_must_not_grow_either() -> None:
    program = tpdyn.record(lambda width: read_in_the_script(width, "readout"), widths=(16, 24, 40), verify=False)
    reason = tpdyn.predict(program, remedy=False).reasons[0]
    assert "changes at order +1/2 in step 1: the update of readout" in reason.text
    changes = []
    for width in (64, 1024):
        read_in_the_script(width, "readout", seen := [])
        changes.append(float((seen[1] - seen[0]).abs().mean()))
    assert 16**0.35 < changes[1] / changes[0] < 16**0.65


def test_a_readout_is_counted_at_the_end_of_its_sum_where_that_has_a_name_and_a_norm_is_none() -> None:
    b, h = begun()
    bare = b.einsum("bo,o->b", h, b.parameter("u", (N,)))
    product = b.einsum("bo,o->b", h, b.parameter("v", (N,)))
    biased = b.mark("output", "output", b.combine((1, product), (1, b.parameter("c", ()))))
    summed = b.einsum("bo->b", b.einsum("bo,o->bo", h, b.parameter("w", (N,))))
    norms = b.einsum("bo,bo->b", h, h)
    facts = Facts.of(b.build())
    assert facts.readouts == (bare, biased, summed)
    assert product not in facts.counting
    assert norms not in facts.counting
