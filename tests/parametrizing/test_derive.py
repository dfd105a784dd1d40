"""Mirrors tpdyn/parametrizing/derive.py: the maximal update of recorded scripts, in every gauge, and what stands in its way."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.derive import derive, symmetries
from tpdyn.parametrizing.parametrization import Parametrization
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.program import Program
from tpdyn.regimes.prediction import Regime
from tpdyn.regimes.remedy import nearest_maximum

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
Step = Callable[[], object]
Make = Callable[[nn.Module], Step]


def sgd(model: nn.Module) -> Step:
    return torch.optim.SGD(model.parameters(), lr=0.1).step


def adam(model: nn.Module) -> Step:
    return torch.optim.Adam(model.parameters(), lr=0.01).step


def scaled(model: nn.Module) -> Step:
    """Adafactor's parameter scaling: each step is in proportion to the root mean square of the parameter."""

    def step() -> None:
        with torch.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                p.sub_(0.01 * p.square().mean().sqrt() * p.grad.sign())

    return step


def normalised(model: nn.Module) -> Step:
    """Steps are divided by a norm over all gradients: the largest of them decides how far every parameter moves."""

    def step() -> None:
        with torch.no_grad():
            norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
            for p in model.parameters():
                assert p.grad is not None
                p.sub_(0.1 * p.grad / norm)

    return step


def net(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width, bias=False), nn.Tanh(), nn.Linear(width, 3, bias=False)
    )


class Behind(nn.Module):
    """What the network returns is multiplied, as in mup; the readout has a bias or none."""

    def __init__(self, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.width, self.table, self.body = width, nn.Embedding(7, width), nn.Linear(width, width, bias=False)
        self.readout = nn.Linear(width, 7, bias=bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.readout(torch.tanh(self.body(self.table(tokens)))) * (16 / self.width)  # type: ignore[no-any-return]


def without_bias(width: int) -> nn.Module:
    return Behind(width, bias=False)


class Attention(nn.Module):
    """One head on embedded tokens; logits are divided by the root of the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(7, width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, 7, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embedding(tokens))
        logits = self.q(x) @ self.k(x).transpose(-1, -2) / x.shape[-1] ** 0.5
        return self.out(x + torch.softmax(logits, -1) @ self.v(x))  # type: ignore[no-any-return]


class Tied(nn.Module):
    """One table is embedding and readout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table, self.body = nn.Parameter(torch.randn(7, width)), nn.Linear(width, width, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.body(self.table[tokens])) @ self.table.T  # type: ignore[no-any-return]


@cache
def recorded(make: Make, build: Callable[[int], nn.Module] = net, steps: int = 3) -> Program:
    def train(width: int) -> None:
        model = build(width)
        step = make(model)
        x, y = torch.randn(5, 6), torch.randn(5, 3)
        tokens = torch.randint(7, (3, 4))
        for _ in range(steps):
            model.zero_grad()
            if build is net:
                nn.functional.mse_loss(model(x), y).backward()
            else:
                nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten()).backward()
            step()

    return tpdyn.record(train, widths=(16, 24, 40), steps=steps)


@cache
def derived(make: Make, build: Callable[[int], nn.Module] = net) -> Parametrization:
    return derive(recorded(make, build))


@pytest.mark.parametrize(("make", "k"), [(sgd, 2), (adam, 1), (scaled, 0)])
def test_how_rates_move_with_multipliers_is_found(make: Make, k: int) -> None:
    """Everett et al. (arXiv 2407.05872): `c - 2s` for SGD, `c - s` for Adam, c as it is for Adafactor with parameter
    scaling.
    """
    assert set(symmetries(recorded(make)).values()) == {Fraction(k)}


def test_a_norm_over_all_gradients_leaves_no_symmetry() -> None:
    """A multiplier of any weight would change its gradient, hence the norm, hence the steps of all."""
    assert set(symmetries(recorded(normalised)).values()) == {None}


class TestCanonicalRepresentatives:
    """One parametrization, written in three ways; each is the others moved along the symmetry."""

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (sgd, [(ZERO, ZERO, -ONE), (ZERO, HALF, ZERO), (ZERO, ONE, ONE)]),
            (adam, [(ZERO, ZERO, ZERO), (ZERO, HALF, ONE), (ZERO, ONE, ONE)]),
            (scaled, [(ZERO, ZERO, ZERO), (ZERO, HALF, HALF), (ZERO, ONE, ZERO)]),
        ],
    )
    def test_no_multipliers(self, make: Make, expected: list[tuple[Fraction, ...]]) -> None:
        assert weights(derived(make)) == expected

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (sgd, [(-HALF, HALF, ZERO), (ZERO, HALF, ZERO), (HALF, HALF, ZERO)]),
            (adam, [(ZERO, ZERO, ZERO), (ONE, -HALF, ZERO), (ONE, ZERO, ZERO)]),
        ],
    )
    def test_same_rate_everywhere(self, make: Make, expected: list[tuple[Fraction, ...]]) -> None:
        assert weights(derived(make).in_gauge("same rate")) == expected

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (sgd, [(ZERO, ZERO, -ONE), (HALF, ZERO, -ONE), (ONE, ZERO, -ONE)]),
            (adam, [(ZERO, ZERO, ZERO), (HALF, ZERO, HALF), (ONE, ZERO, ZERO)]),
            (scaled, [(ZERO, ZERO, ZERO), (HALF, ZERO, HALF), (ONE, ZERO, ZERO)]),
        ],
    )
    def test_multipliers_only(self, make: Make, expected: list[tuple[Fraction, ...]]) -> None:
        """With SGD the rate of all is n then: the mean field parametrization."""
        assert weights(derived(make).in_gauge("unit initial entries")) == expected

    @pytest.mark.parametrize("make", [sgd, adam, scaled])
    def test_the_edits_are_the_same_in_each(self, make: Make) -> None:
        found = derived(make)
        assert found.edits()
        assert found.in_gauge("unit initial entries").edits() == found.edits()
        assert found.in_gauge("unit initial entries").in_gauge("no multipliers").exponents == found.exponents

    def test_rates_that_no_multiplier_moves_cannot_be_made_the_same(self) -> None:
        with pytest.raises(ValueError, match=r"2.weight cannot be written with same rate"):
            derived(scaled).in_gauge("same rate")

    def test_without_a_symmetry_multipliers_cannot_take_the_place_of_anything(self) -> None:
        with pytest.raises(ValueError, match="a norm over all gradients"):
            derived(normalised).in_gauge("unit initial entries")

    def test_an_unknown_gauge_is_refused(self) -> None:
        with pytest.raises(ValueError, match="expected one of 'no multipliers'"):
            derived(sgd).in_gauge("none")  # type: ignore[arg-type]


def weights(found: Parametrization) -> list[tuple[Fraction, ...]]:
    return [found.exponents[name] for name in ("0.weight", "2.weight", "4.weight")]


@pytest.mark.parametrize(("make", "build"), [(sgd, net), (adam, net), (scaled, net), (adam, Attention)])
def test_every_requirement_holds_at_what_is_derived(make: Make, build: Callable[[int], nn.Module]) -> None:
    found = derived(make, build)
    assert found.maximal and not found.conflicts and not found.given_up
    assert found.maximum is not None and not found.maximum.unmet
    assert found.regime is tpdyn.Regime.FEATURE_LEARNING


def test_attention_by_the_root_of_the_width_needs_one_more_power_at_its_logits() -> None:
    """Tensor Programs V (arXiv 2203.03466), Definition 4.1: 1/d instead of 1/sqrt(d). Nobody told the derivation."""
    found = derived(adam, Attention)
    assert list(found.multipliers.values()) == [HALF]
    (site,) = found.multipliers
    assert any(line == f"multiply the result of {site} by n^-1/2" for line in found.edits())


def test_roles_are_read_off_the_program() -> None:
    assert derived(adam, Attention).roles == {
        "embedding.weight": "input-like",
        "norm.weight": "input-like",
        "norm.bias": "input-like",
        "q.weight": "hidden",
        "k.weight": "hidden",
        "v.weight": "hidden",
        "out.weight": "output-like",
    }


class TestRequirementsThatContradictEachOther:
    def test_a_tied_readout_gets_its_multiplier_where_it_is_used(self) -> None:
        found = derived(adam, Tied)
        assert found.maximal
        assert list(found.multipliers.values()) == [ONE]

    @pytest.mark.parametrize("make", [sgd, adam])
    def test_without_places_a_tied_table_cannot_be_both_and_the_requirements_are_named_with_their_lines(
        self, make: Make
    ) -> None:
        found = derive(recorded(make, Tied), sites=False)
        assert not found.maximal
        assert found.conflicts and found.given_up
        for conflict in found.conflicts:
            assert len(conflict) >= 2
            assert all("test_derive.py:" in requirement for requirement in conflict)
        assert all(missing > 0 for _, missing in found.given_up)
        shown = found.show()
        assert "these contradict each other:" in shown and "given up:" in shown

    def test_what_a_readout_reads_that_is_frozen_as_torch_draws_it_is_small_and_the_layers_before_learn(self) -> None:
        """Behind tanh the output grows by n^1/2 whatever the rates are, as long as they are large: no contradiction yet.

        Smaller by n^-1/2, what the readout reads makes up for its entries. The kernel regime was found here.
        """

        def inside(model: nn.Module) -> Step:
            assert isinstance(model, nn.Sequential)
            return torch.optim.Adam([*model[0].parameters(), *model[2].parameters()], lr=0.01).step

        found = derived(inside)
        assert found.regime is tpdyn.Regime.FEATURE_LEARNING and not found.maximal
        assert (found.exponents["0.weight"], found.exponents["2.weight"]) == ((ZERO, ZERO, ZERO), (ZERO, ONE, 3 * HALF))
        assert found.conflicts and all(len(conflict) > 1 for conflict in found.conflicts)
        assert len(set(found.conflicts)) == len(found.conflicts)  # each is said once
        given_up = [text for text, _ in found.given_up]
        assert given_up and not any("must not grow" in text for text in given_up)

    def test_each_requirement_of_a_conflict_is_needed_for_it(self) -> None:
        """Minimal: all of them together are infeasible, and without any one of them they are not."""
        from tpdyn.exact.forms import Constraint, Form
        from tpdyn.exact.linear import Infeasible, minimise

        maximum = derive(recorded(adam, Tied), sites=False).maximum
        assert maximum is not None
        nothing = Form(ZERO, (ZERO,) * len(maximum.point))
        for conflict in maximum.conflicts:
            rows = [Constraint(requirement.form, ">=") for requirement in conflict]
            assert isinstance(minimise(nothing, rows), Infeasible)
            for row in rows:
                assert not isinstance(minimise(nothing, [r for r in rows if r is not row]), Infeasible)


def test_where_nothing_helps_it_is_not_said_that_the_script_is_there() -> None:
    def still(model: nn.Module) -> Step:
        return torch.optim.SGD(model.parameters(), lr=0.0).step

    found = derived(still)
    assert not found.maximal
    assert "nothing to change: no change of these kinds helps" in found.show()


def test_a_product_outside_of_all_modules_is_named_by_its_file() -> None:
    found = derived(adam, Attention).multipliers
    assert found and all(name.startswith("test_derive.py:") for name in found)


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_multiplier_behind_a_sum_with_a_bias_is_that_of_the_weight_too(make: Make) -> None:
    """In `n^-1 (W x + b)` both are multiplied: what is derived for W is what is derived for `n^-1 W x`."""
    found, bare = derived(make, Behind), derived(make, without_bias)
    assert found.maximal and bare.maximal
    assert (found.own["readout.weight"].a, found.own["readout.bias"].a) == (1, 1)
    assert {name: abc for name, abc in found.exponents.items() if name != "readout.bias"} == bare.exponents


def test_the_floor_under_the_norms_that_torchs_adafactor_scales_by_counts_for_parameters_that_are_zero() -> None:
    """`max(1e-3, rms(w))`: a hidden weight's norm, n^-1/2, would meet it at a width of a million. A bias of zero moves by
    it.
    """

    def adafactor(model: nn.Module) -> Step:
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
        return torch.optim.Adafactor(model.parameters(), lr=0.05).step

    program = recorded(adafactor)
    predicted = tpdyn.predict(program)
    assert predicted.order("2.weight", "change") == -HALF
    assert predicted.order("0.bias", "change") == 0
    assert tpdyn.predict(program, epsilon="as written").order("2.weight", "change") == 0
    assert derive(program).exponents["2.weight"][2] == HALF  # as in the table of Everett et al.


def test_what_is_outside_of_the_theory_is_refused_by_all_that_rests_on_orders() -> None:
    """A batch that grows with the width: `predict` says so, and no exponents are derived from it."""

    def train(width: int) -> None:
        model = net(width)
        step = sgd(model)
        for _ in range(3):
            model.zero_grad()
            model(torch.randn(2 * width, 6)).square().mean().backward()
            step()

    program = tpdyn.record(train, widths=(16, 24, 40), steps=3)
    assert tpdyn.predict(program).outside
    for ask in (derive, tpdyn.phase_diagram, lambda p: tpdyn.phase_cells(p, {"c": "c"}), tpdyn.formulas):
        with pytest.raises(
            OutsideTheory, match=r"outside the theory: a forward value has two dims .* Fix: keep the number"
        ):
            ask(program)


def test_a_matrix_that_is_made_of_weights_is_inside_of_the_theory_after_their_updates_too() -> None:
    """LoRA's W + B A: it depends on the data through updates only. Like W itself it has two dims that grow."""

    class Merged(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.up, self.out = nn.Linear(6, width), nn.Linear(width, 3)
            self.weight = nn.Parameter(torch.randn(width, width) * width**-0.5)
            self.a, self.b = nn.Parameter(torch.randn(2, width) * width**-0.5), nn.Parameter(torch.zeros(width, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(torch.tanh(self.up(x)) @ (self.weight + self.b @ self.a).T))  # type: ignore[no-any-return]

    def train(width: int) -> None:
        model = Merged(width)
        step = adam(model)
        for _ in range(3):
            model.zero_grad()
            model(torch.randn(5, 6)).square().mean().backward()
            step()

    assert not tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), steps=3)).outside


def test_a_program_of_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="Record with steps=3"):
        derive(recorded(sgd, net, 1))


class Bottleneck(nn.Module):
    """An autoencoder whose latent has four entries at every width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.latent = nn.Linear(6, width), nn.Linear(width, 4)
        self.back, self.out = nn.Linear(4, width), nn.Linear(width, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.back(self.latent(torch.tanh(self.into(x))))))  # type: ignore[no-any-return]


def reconstructed(build: Callable[[int], nn.Module]) -> Program:
    def train(width: int) -> None:
        model, x = build(width), torch.randn(5, 6)
        step = adam(model)
        for _ in range(3):
            model.zero_grad()
            nn.functional.mse_loss(model(x), x).backward()
            step()

    return tpdyn.record(train, widths=(16, 24, 40), steps=3)


def test_behind_a_bottleneck_of_fixed_size_a_stable_network_that_learns_is_found() -> None:
    """The latent is a readout: it vanishes at the start, as readouts do, but for its bias. So the bias has to begin at order 0."""
    found = derive(reconstructed(Bottleneck))
    assert found.maximal and found.regime is Regime.FEATURE_LEARNING
    assert found.exponents["latent.weight"] == found.exponents["out.weight"] == (ZERO, ONE, ONE)
    assert found.exponents["latent.bias"] == found.exponents["back.weight"] == (ZERO, ZERO, ZERO)


class Unbiased(Bottleneck):
    """Nothing is added to the latent, nor to what is made of it."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.latent, self.back = nn.Linear(width, 4, bias=False), nn.Linear(4, width, bias=False)


def test_behind_a_bottleneck_without_biases_a_value_vanishes_at_first_and_this_is_named() -> None:
    found = derive(reconstructed(Unbiased))
    assert found.regime is Regime.FEATURE_LEARNING and not found.maximal
    assert found.exponents["latent.weight"] == found.exponents["out.weight"] == (ZERO, ONE, ONE)
    assert any("back must not vanish at initialisation" in said for conflict in found.conflicts for said in conflict)


class Variational(Bottleneck):
    """The logarithm of the latent's variance is a readout, too: its exponential explodes where it grows."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.variance = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.into(x))
        noise = torch.exp(self.variance(h) / 2) * torch.randn(x.shape[0], 4)
        return self.out(torch.tanh(self.back(self.latent(h) + noise)))  # type: ignore[no-any-return]


def test_orders_beyond_all_powers_are_no_end_of_the_search() -> None:
    """Where the script stands the sample of a variational autoencoder is the exponential of what grows."""
    found = derive(reconstructed(Variational))
    assert found.maximal and found.regime is Regime.FEATURE_LEARNING
    for name in ("latent.weight", "variance.weight", "out.weight"):
        assert found.exponents[name] == (ZERO, ONE, ONE), name


def test_the_decay_of_a_parameter_that_starts_at_zero_keeps_its_proportion_to_what_its_steps_have_made_of_it() -> None:
    """Adam adds the decay to the gradient: `decay * w` has to stay of the gradient's size, and w is as large as its steps."""

    def train(width: int) -> None:
        model = net(width)
        nn.init.zeros_(model[4].weight)  # type: ignore[arg-type]
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (model(torch.ones(4, 6)) - 1).square().mean().backward()
            optimizer.step()

    derived = derive(tpdyn.record(train, widths=(16, 24, 40)))
    readout, hidden = derived.facts["4.weight"], derived.facts["2.weight"]
    assert derived.exponents["4.weight"][2] == 1
    assert (readout.guard, readout.decay) == (0, ONE)  # w ~ n^-1 beside a gradient of order 0
    assert (hidden.guard, hidden.decay) == (-ONE, -HALF)  # w ~ n^-1/2 beside a gradient of order -1


class Packed(nn.Module):
    """One projection into n entries and six gates."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.both, self.out = nn.Linear(6, width), nn.Linear(width, width + 6), nn.Linear(width, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide, gates = self.both(torch.tanh(self.into(x))).split([self.out.in_features, 6], -1)
        return self.out(torch.tanh(wide)) * torch.sigmoid(gates)  # type: ignore[no-any-return]


def test_parts_of_a_packed_weight_share_its_exponents_and_their_conflict_is_told() -> None:
    """Its fixed rows are a readout. They have to start smaller than the wide rows should, and the weight is one."""
    found = derive(reconstructed(Packed))
    assert found.regime is Regime.FEATURE_LEARNING and not found.maximal
    assert list(found.exponents) == [
        f"{layer}.{kind}" for layer in ("into", "both", "out") for kind in ("weight", "bias")
    ]
    assert found.exponents["both.weight"] == (ZERO, ONE, ONE)
    (conflict,) = found.conflicts
    assert [said.partition(" [")[0] for said in conflict] == [
        "the change of both must not grow with the width",
        "both must not vanish at initialisation",
    ]


# -- outputs that grow, and weights that the script writes ---------------------------------------------------------------


def embeddings(width: int) -> None:
    """A network that returns vectors of a growing length, and their triplet loss, which is a norm over them."""
    model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    while True:
        optimizer.zero_grad()
        made = model(x)
        nn.functional.triplet_margin_loss(made[:2], made[1:3], made[2:]).backward()
        optimizer.step()


def test_a_loss_that_stands_for_vectors_of_a_growing_length_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking that it does not left no stable point, and halved exponents until they had no small denominator."""
    program = tpdyn.record(embeddings, widths=(16, 24, 40), steps=2)
    found = derive(program)
    assert found.maximal and not found.conflicts
    facts = Facts.of(program)
    assert facts.outputs and not set(facts.outputs) & set(facts.counting)
    asking = Facts(program)
    monkeypatch.setitem(asking.__dict__, "counting", tuple(sorted({*facts.counting, *facts.outputs})))
    maximum = nearest_maximum(asking)
    assert maximum.unmet and max(x.denominator for x in maximum.point) <= 64


@pytest.mark.parametrize("optimizer_of", [torch.optim.SGD, torch.optim.Adam])
def test_lookahead_has_the_rates_of_its_optimizer(optimizer_of: Callable[..., torch.optim.Optimizer]) -> None:
    """What a script writes over weights holds the rates of the versions in it, and no other. They were taken twice."""

    def train(width: int, ahead: bool) -> None:
        model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))
        optimizer = optimizer_of(model.parameters(), lr=0.1)
        slow = [p.detach().clone() for p in model.parameters()]
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        while True:
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()
            with torch.no_grad():
                for s, p in zip(slow if ahead else (), model.parameters(), strict=False):
                    s.add_(p - s, alpha=0.5)
                    p.copy_(s)

    plain, ahead = (
        derive(tpdyn.record(partial(train, ahead=each), widths=(16, 24, 40), steps=2)) for each in (False, True)
    )
    assert ahead.exponents == plain.exponents
