"""Scripts that look alike are told apart, each with the right reason and the line that decides."""

import importlib.util
from functools import cache
from pathlib import Path

import pytest

import tpdyn
from tpdyn.regimes.prediction import Prediction, Regime

FILE = Path(__file__).parents[1] / "examples" / "told_apart.py"
CASES = [
    ("mup_sgd", Regime.FEATURE_LEARNING, "nothing grows with the width", "self.fc1(x)"),
    ("mup_adam", Regime.FEATURE_LEARNING, "nothing grows with the width", "self.fc1(x)"),
    ("mup_rule_forgotten", Regime.FEATURE_LEARNING, "fc1.weight, out.weight cannot keep up", "self.fc2(x)"),
    ("readout_forgotten", Regime.UNSTABLE, "fc1 changes at order +1/2", "self.fc1(x)"),
    ("zero_readout", Regime.FEATURE_LEARNING, "nothing grows with the width", "self.fc1(x)"),
    ("sp_sgd", Regime.UNSTABLE, "fc2 changes at order +1/2", "self.fc2(x)"),
    ("sp_adam", Regime.UNSTABLE, "fc2 changes at order +1 ", "self.fc2(x)"),
    ("ntk_sgd", Regime.KERNEL, "of order -1/2", "self.scale"),
    ("hidden_bias", Regime.TRIVIAL, "only out.bias moves the output", "self.out(x)"),
    ("wide_input", Regime.FEATURE_LEARNING, "nothing grows with the width", "self.fc1(x)"),
    ("attention_mup", Regime.FEATURE_LEARNING, "nothing grows with the width", "self.wte"),
    ("attention_sqrt", Regime.UNSTABLE, "the two factors are aligned", "logits = q @ k"),
]


@cache
def predicted(name: str) -> Prediction:
    spec = importlib.util.spec_from_file_location("told_apart", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return tpdyn.predict(tpdyn.record(getattr(module, name), widths=(16, 24, 40), steps=3, seed=0))


@pytest.mark.parametrize(("name", "regime", "reason", "line"), CASES, ids=[case[0] for case in CASES])
def test_each_script_gets_its_regime_its_reason_and_its_line(name: str, regime: Regime, reason: str, line: str) -> None:
    prediction = predicted(name)
    assert prediction.regime == regime
    assert reason in prediction.reasons[0].text
    assert line in prediction.reasons[0].source.text
    assert not prediction.outside


def test_a_readout_that_was_forgotten_is_the_remedy_that_is_found() -> None:
    fix = predicted("readout_forgotten").reasons[0].fix
    assert fix == "multiply initial entries of out.weight by n^-1/2 (then: feature learning)"


def test_a_batch_as_large_as_the_width_is_outside_the_theory() -> None:
    assert predicted("wide_batch").outside[0].text.startswith("outside the theory")


def test_powers_mix_behind_what_grows_and_nowhere_else() -> None:
    rows = {row.name: row for row in predicted("sp_sgd").rows() if row.kind in ("module", "output") and row.step == 1}
    assert rows["fc2"].change is not None and rows["fc2"].change > 0
    assert {name: row.mixed for name, row in rows.items()} == {"fc1": False, "fc2": False, "out": True, "output": True}
    assert {name: row.wide for name, row in rows.items()} == {"fc1": True, "fc2": True, "out": False, "output": False}
    assert not any(row.mixed for row in predicted("mup_sgd").rows())
