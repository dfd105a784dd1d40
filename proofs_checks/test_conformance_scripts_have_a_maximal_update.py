"""Every conformance script has a maximal update: stable, every weight moves what reads it, representations learn.

Behind a bottleneck of fixed size, for one key of all heads, in variational autoencoders, too. A plain reading at the exponents
that are found says feature learning, and misses no demand. Scripts without a maximal update are listed with what their
conflict names. The thorough profile takes all scripts, others a few beside those named above.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import tpdyn
from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.orders.reading import read as read_orders
from tpdyn.recorder.fitting.widths import FitError
from tpdyn.regimes.maximal import demanded, is_missed
from tpdyn.regimes.prediction import Regime
from tpdyn.scripts.script import load

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "recorder"
FAMILIES = ("layers", "attention", "recurrent", "models", "losses", "optimizers", "loops", "hugging_face")
EVERY = {"quick": 120, "thorough": 1}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 8)
NAMED = (
    "one key for all heads, SGD",
    "state-space scan, SGD",
    "VAE, Adam",
    "weight norm, AdamW",
    "vmap of grad, clipped each, SGD",
    "experts, top-k, weights gathered, SGD",
)

PARTLY = {
    "memories of tokens": "block must not vanish at initialisation",
    "outer and trace": "a product must not grow with the width at initialisation",
    "linear recurrent unit": "the change of block must not grow with the width",
    "nn.Bilinear": "form must not vanish at initialisation",
    "MAML, SGD": "a product must change at order 0",
    "MAML, AdamW": "a product must not vanish at initialisation",
    "state-space scan": "a product must not vanish at initialisation",
    "state-space, parallel": "a product must not vanish at initialisation",
    "state-space, steps of a growing rank": "a product must not vanish at initialisation",
    "hypernetwork, SGD": "the update of head.weight must contribute at order 0",
    "multi-query, more and more heads": "the change of block.fused must not grow with the width",
}
"""Scripts (by how their names begin) whose demands contradict each other, and what the conflict says. A key that is linear in
what it meets is in step with it only after training. A bilinear form sums over two wide dims, and its change over both. The
rates of MAML's inner steps are numbers of the script: they would have to grow with the width. The projections of a state
space sum over the width into a fixed size. What they multiply vanishes at first, or grows in training."""

DECAYING = ("MLP, ASGD", "MLP, SGD, Nesterov, weight decay")
"""SGD's maximal update has rates that grow with the width, and an L2 decay with them. `derive` sets decay aside, and `parametrize`
moves it. A plain reading leaves it as it is: it is unstable, for that reason."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_maximal_update_is_found_or_the_conflict_is_named(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if family == "hugging_face" and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    monkeypatch.syspath_prepend(str(FOLDER))
    cases = import_module(f"conformance.{family}").cases()
    wrong, count = {}, 0
    for number, case in enumerate(cases):
        if case.outside or (number % EVERY and case.name not in NAMED):
            continue
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            program = tpdyn.record(case.train, widths=case.widths, steps=case.steps, verify=False)
        if tpdyn.predict(program, remedy=False).outside:
            continue
        count += 1
        conflict = next((PARTLY[name] for name in PARTLY if case.name.startswith(name)), None)
        if said := _wrong(program, conflict, case.name.startswith(DECAYING)):
            wrong[case.name] = said
    assert not wrong
    print(f"{family}: {count} scripts")


def _wrong(program: tpdyn.Program, conflict: str | None, decaying: bool) -> str:
    """Say what is wrong with a script's derivation, nothing if all is well. conflict: what a known one has to say."""
    try:
        found = tpdyn.derive(program)
    except OutsideTheory as error:
        return str(error)
    told = " ".join(said for each in found.conflicts for said in each)
    if conflict is not None:
        return "" if not found.maximal and conflict in told else f"expected a conflict with '{conflict}', found: {told}"
    if not found.maximal or found.regime is not Regime.FEATURE_LEARNING:
        return f"{found.regime}, {told}"
    assert found.maximum is not None
    orders = read_orders(found.maximum.facts, found.maximum.exponents)
    missed = [f"{demand}: {subject}" for demand, subject, _, order in demanded(orders) if is_missed(demand, order)]
    if missed:
        return f"called maximal, but a plain reading misses {missed}"
    read = tpdyn.predict(program, exponents=found.maximum.exponents, remedy=False)
    expected = Regime.UNSTABLE if decaying else Regime.FEATURE_LEARNING
    return "" if read.regime is expected else f"a plain reading says {read.regime}"


def test_a_selective_scan_has_one_and_one_whose_states_grow_is_refused_with_its_line() -> None:
    """As docs/theory.md says of examples/selective_scan.py."""
    scripts = str(FOLDER.parents[1] / "examples" / "selective_scan.py")
    read = tpdyn.predict(tpdyn.record(load(f"{scripts}:train_mup", None, []), widths=(24, 32, 40)), remedy=False)
    assert read.regime is Regime.FEATURE_LEARNING
    with pytest.raises(FitError, match=r"(?s)a matrix of rank 1.*1.scan.log_a"):
        tpdyn.record(load(f"{scripts}:train_states", None, []), widths=(24, 32, 40))
