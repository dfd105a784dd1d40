"""Is a verdict put into words that name value, parameter and line? Is what has no verdict refused?"""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.claims import theorems
from tpdyn.claims.theorems import Abc
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Law, Leaf
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.predict import expect_inside, predict
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_program

HALF, ZERO, N = Fraction(1, 2), Fraction(0), Builder.n


def at(point: Abc, layers: int = 2, function: str = "tanh") -> Prediction:
    made = mlp_program(layers, function)
    return predict(made, exponents=exponents(point, layer_names(layers)), remedy=False)


# -- refusals -------------------------------------------------------------------------------------------------------


def of_one_width() -> Program:
    """As callbacks record it, and as it comes back from their JSON."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tpdyn.recording(width=16) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            optimizer.step()
    return Program.from_json(recorder.program.to_json())


def test_a_program_that_was_recorded_at_one_width_is_refused_with_what_to_do() -> None:
    program = of_one_width()
    wanted = r"recorded at one width.*tpdyn\.record\(train, widths=.*joined.*one_width=True"
    for ask in (predict, tpdyn.derive, tpdyn.formulas, expect_inside):
        with pytest.raises(ValueError, match=wanted):
            ask(program)


def test_a_program_of_one_width_is_read_where_the_caller_says_so() -> None:
    prediction = predict(of_one_width(), one_width=True, remedy=False)
    assert {row.change for row in prediction.rows()} <= {None, ZERO}  # every dim is a number, so that nothing grows


def test_a_program_that_was_written_by_hand_holds_at_every_width() -> None:
    assert mlp_program(1, "tanh").widths == ()
    assert at(theorems.maximal_update(1), 1).regime is Regime.FEATURE_LEARNING


@pytest.mark.parametrize("steps", [0, 1])
def test_programs_without_two_optimizer_steps_are_refused(steps: int) -> None:
    b = Builder()
    b.at(phase="forward")
    b.parameter("w", (N,))
    b.mark("output", "f", b.einsum("i,i->", b.now("w"), b.data("x", (N,))))
    if steps:
        b.at(phase="optimizer")
        b.update("w", b.combine((2, b.now("w"))))
    with pytest.raises(
        ValueError, match="no optimizer step; record at least two" if not steps else "one optimizer step only"
    ):
        predict(b.build())


def test_an_unknown_way_to_read_epsilon_is_refused() -> None:
    with pytest.raises(ValueError, match="epsilon = 'small'; expected 'negligible' or 'as written'"):
        predict(mlp_program(1, "tanh"), epsilon="small")  # type: ignore[arg-type]


# -- words ----------------------------------------------------------------------------------------------------------


def test_a_value_too_large_at_initialisation_is_blamed_on_the_matrix_that_makes_it() -> None:
    point = theorems.standard(2)
    prediction = at(Abc(point.a, (ZERO, ZERO, HALF), point.c))
    assert prediction.regime is Regime.UNSTABLE
    assert "has order +1/2 at initialisation, before any training" in prediction.reasons[0].text
    assert prediction.reasons[0].fix == "multiply W2 by n^-1/2 (its initial standard deviation, or a multiplier)"


def test_a_value_that_changes_too_much_is_blamed_on_the_update_that_is_too_fast() -> None:
    prediction = at(theorems.standard(2))
    assert prediction.regime is Regime.UNSTABLE
    assert "changes at order" in prediction.reasons[0].text
    assert "the update of" in prediction.reasons[0].text
    assert prediction.reasons[0].fix.startswith("multiply the learning rates, ")


def test_a_trivial_verdict_says_who_moves_the_output_most() -> None:
    prediction = at(theorems.neural_tangent(2, 1))
    assert prediction.regime is Regime.TRIVIAL
    assert "stands still as the width grows; out contributes most, at order -1" in prediction.reasons[0].text


def test_the_kernel_regime_says_how_much_the_largest_change_is_and_which_line_leads_to_learning() -> None:
    """Tensor Programs IV: from NTP to muP the output is divided by n^r and every rate is larger by n^2r."""
    reason = at(theorems.neural_tangent(2)).reasons[0]
    assert "no hidden representation learns (kernel regime)" in reason.text and "of order -1/2" in reason.text
    assert reason.fix == "multiply the output by n^-1/2 and every learning rate by n"


def test_feature_learning_needs_no_change_and_says_who_lags() -> None:
    learning = at(theorems.maximal_update(2))
    assert learning.reasons[0].fix.startswith("nothing: this script keeps its features learning")
    made = mlp_program(2, "tanh")
    extra = exponents(theorems.maximal_update(2), layer_names(2))
    slow = Exponents(extra.multiplier, extra.initial, {"W1": HALF})
    lagging = predict(made, exponents=slow, remedy=False)
    assert "but W1 cannot keep up" in lagging.reasons[0].text
    assert any("W1 is not maximally updated: its change contributes at order -1/2" in r.text for r in lagging.reasons)


def test_a_parameter_that_never_moves_is_named() -> None:
    made = mlp_program(2, "tanh")
    extra = exponents(theorems.maximal_update(2), layer_names(2))
    frozen = Exponents(extra.multiplier, extra.initial, extra.rate, frozenset({"W1"}))
    reasons = predict(made, exponents=frozen, remedy=False).reasons
    assert any(r.text.startswith("W1 is not trained: its change is identically zero") for r in reasons)


def test_the_remedy_stands_in_the_first_reason_only_where_it_is_asked_for() -> None:
    made = mlp_program(1, "tanh")
    cured, plain = predict(made), predict(made, remedy=False)
    assert cured.reasons[0].fix.endswith("(then: feature learning)")
    assert cured.reasons[0].fix != plain.reasons[0].fix
    assert cured.reasons[0].text == plain.reasons[0].text and cured.reasons[1:] == plain.reasons[1:]


# -- outside of the theory --------------------------------------------------------------------------------------------


def test_a_batch_that_grows_with_the_width_is_outside_of_the_theory() -> None:
    b = Builder()
    b.parameter("W", (N, 3))
    for step in range(2):
        b.at(step=step, phase="forward")
        h = b.einsum("bi,ni->bn", b.data(f"x{step}", (N, 3)), b.now("W"))
        b.mark("output", "f", b.einsum("bn->", h, scale=Scaling.of(1, -2)))
        b.at(phase="optimizer")
        b.update("W", b.combine((0.9, b.now("W"))))
    program = b.build()
    assert predict(program, remedy=False).outside[0].text.startswith("outside the theory: a forward value has two dims")
    with pytest.raises(OutsideTheory, match=r"two dims that grow with the width.*keep the number of samples"):
        expect_inside(program)


def test_a_matrix_of_activations_that_meets_a_fixed_one_entry_by_entry_is_told_as_that() -> None:
    b = Builder()
    b.parameter("W", (N, 3))
    for step in range(2):
        b.at(step=step, phase="forward")
        h = b.einsum("bi,ni->bn", b.data(f"x{step}", (5, 3)), b.now("W"))
        mask = b.leaf(Leaf("constant", f"mask{step}", Law("array")), (N, N))
        squares = b.einsum("bnm,nm->bnm", b.einsum("bn,bm->bnm", h, h), mask)
        b.mark("output", "f", b.einsum("bnm->", squares, scale=Scaling.of(1, -2)))
        b.at(phase="optimizer")
        b.update("W", b.combine((0.9, b.now("W"))))
    (reason, *_) = predict(b.build(), remedy=False).outside
    assert "meets a fixed matrix" in reason.text and "c * (1 - eye)" in reason.fix


# -- networks that are fed with constants ---------------------------------------------------------------------------


def changed_features(n: int, given: str) -> float:
    """muP with Adam on a constant input. Returns the root mean square of the change of the last hidden layer."""
    first = nn.Embedding(6, n) if given == "rows" else nn.Linear(4, n, bias=False)
    body = nn.Sequential(first, nn.Linear(n, n, bias=False), nn.Tanh())
    net = nn.Sequential(*body, nn.Linear(n, 1, bias=False))
    with torch.no_grad():
        net[3].weight.div_(n**0.5)
    rates = [{"params": first.weight, "lr": 0.01}, {"params": [net[1].weight, net[3].weight], "lr": 0.32 / n}]
    optimizer = torch.optim.Adam(rates)

    def fed() -> torch.Tensor:
        return torch.arange(6) if given == "rows" else torch.ones(3, 4)

    with torch.no_grad():
        before = body(fed())
    for _ in range(3):
        loss = (net(fed()) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float((body(fed()) - before).square().mean().sqrt())


@pytest.mark.parametrize("given", ["ones", "rows"])
def test_a_network_whose_only_input_is_a_constant_learns_features_as_measured(given: str) -> None:
    """It was called KERNEL, over a table of changes of order 0: nothing depended on data."""
    program = tpdyn.record(lambda n: changed_features(n, given), widths=(16, 24), verify=False)
    assert predict(program, remedy=False).regime is Regime.FEATURE_LEARNING
    torch.manual_seed(0)
    assert 0.5 < changed_features(1024, given) / changed_features(64, given) < 2


def test_a_network_without_any_input_is_outside() -> None:
    def train(n: int) -> None:
        given, net = nn.Parameter(torch.randn(3, 4)), nn.Sequential(nn.Linear(4, n), nn.Tanh(), nn.Linear(n, 1))
        optimizer = torch.optim.SGD([given, *net.parameters()], lr=0.1)
        for _ in range(3):
            net(given).square().mean().backward()
            optimizer.step()

    (reason,) = predict(tpdyn.record(train, widths=(16, 24), verify=False), remedy=False).outside
    assert reason.text.startswith("outside the theory: the network has no input")


def test_anything_but_a_program_and_its_exponents_is_refused_at_the_door() -> None:
    program = mlp_program(1, steps=2)
    with pytest.raises(TypeError, match=r"expected a program, got the function .*tpdyn\.record\(train\)"):
        predict(changed_features)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"exponents = .*: expected tpdyn\.readings\.orders"):
        predict(program, exponents={"rate": 1})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"exponents name 'readout'; the program's parameters are "):
        predict(program, exponents=Exponents(rate={"readout": Fraction(1)}), one_width=True)


def contrasted(rate: float) -> Program:
    """Embeddings of length 1 are the output of the network; muP, with the rates of SGD times `n^rate`."""
    b = Builder()
    b.parameter("W", (N, 3))
    for step in range(3):
        b.at(step=step, phase="forward")
        x = b.data(f"x{step}", (4, 3))
        z = b.einsum("bi,ni->bn", x, b.now("W"))
        length = b.apply("sqrt", b.einsum("bn,bn->b", z, z))
        inverse = b.apply("reciprocal", length)
        unit = b.mark("output", "unit", b.einsum("bn,b->bn", z, inverse))
        logits = b.apply("softmax", b.einsum("bn,cn->bc", unit, unit), along=1)
        b.at(phase="backward")
        slope = b.einsum("bn,b->bn", b.einsum("bc,cn->bn", logits, unit), inverse)
        b.at(phase="optimizer")
        b.update("W", b.combine((1, b.now("W")), (Scaling.of(-1, rate), b.einsum("bn,bi->ni", slope, x))))
    return b.build()


@pytest.mark.parametrize(("rate", "regime"), [(1, Regime.FEATURE_LEARNING), (Fraction(1, 2), Regime.TRIVIAL)])
def test_a_vector_of_unit_length_moves_if_its_direction_does(rate: float, regime: Regime) -> None:
    """Its entries are of order -1/2. So is their change where the network learns."""
    program = contrasted(rate)
    prediction = predict(program, remedy=False)
    assert prediction.regime == regime
    (change,) = {row.change for row in prediction.rows() if row.kind == "output" and row.step == 2}
    assert change == (-HALF if regime == Regime.FEATURE_LEARNING else -1)
