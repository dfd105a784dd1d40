"""A simulated run is a dense run: of every conformance script, with the dense matrices that the answers imply.

It is simulated at its largest recorded width, then replayed by the finite reading with those matrices. Each loss and output
must be the same to 1e-11 (seen: 1e-14 at most). Scripts that the sampler refuses are listed with the reason that its
message must give. They are at most 5 % of those recorded. All take three minutes: the quick profile takes every
twenty-fourth.
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
import torch

import tpdyn
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program
from tpdyn.readings import finite
from tpdyn.readings.sampled.implied import implied

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "recorder"
EVERY = 24 if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else 1
FAMILIES = ("layers", "attention", "recurrent", "models", "losses", "optimizers", "loops", "hugging_face")

LARGEST = 1e-11
OUTSIDE = {
    "weight norm, AdamW": "a product of entries of layer.parametrizations.weight.original1 itself",
    "MLP, Adam, decay in the gradient": "a product of entries of two.weight itself",
    "MLP, LAMB by hand": "an entrywise inner product of two.weight itself",
}
"""Scripts (by how their names begin), and what is said of them."""


def recorded(case: object) -> Program | None:
    """The script as a program; None where it is refused (as it should, or see test_conformance.py)."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            return tpdyn.record(case.train, widths=case.widths, steps=case.steps, verify=False)  # type: ignore[attr-defined]
        except Exception:
            return None


def given(program: Program, width: int) -> dict[str, torch.Tensor]:
    """Any numbers for what grows with the width and has no law: indices are 0."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for statement in program.statements:
        leaf = statement.instruction
        if isinstance(leaf, Leaf) and leaf.law.kind in ("data", "array", "index") and leaf.name not in program.arrays:
            shape = tuple(dim.size_at(width) for dim in statement.shape)
            numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
            found[leaf.name] = torch.zeros(shape, dtype=torch.int64) if leaf.law.kind == "index" else numbers
    return found


def difference(program: Program, width: int) -> float:
    """The largest difference of an output or a loss, relative to its largest entry."""
    named = {mark.view.var for mark in program.marks if mark.kind in ("loss", "output")}
    values, leaves = implied(program, width, 3, vars=named, leaves=given(program, width))
    dense = finite.run(program, width, vars=named, leaves=leaves)
    assert values
    worst = 0.0
    for var in values:  # those that are stored: a module's output may be a matrix
        proper = torch.isfinite(dense[var])
        if not torch.equal(proper, torch.isfinite(values[var])):
            return float("inf")
        if bool(proper.any()):
            size = float(dense[var][proper].abs().max()) or 1.0
            worst = max(worst, float((values[var] - dense[var])[proper].abs().max()) / size)
    return worst


@pytest.mark.parametrize("family", FAMILIES)
def test_simulated_runs_are_dense_runs(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if family == "hugging_face" and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    monkeypatch.syspath_prepend(str(FOLDER))
    wrong, refused, count = {}, {}, 0
    for case in import_module(f"conformance.{family}").cases()[::EVERY]:
        program = recorded(case)
        if program is None:
            continue
        count += 1
        try:
            found = difference(program, max(program.widths))
        except OutsideTheory as error:
            refused[case.name] = str(error)
            continue
        if not found <= LARGEST:
            wrong[case.name] = found
    assert not wrong
    unexpected = {
        name: message
        for name, message in refused.items()
        if not any(name.startswith(start) and reason in message for start, reason in OUTSIDE.items())
    }
    assert not unexpected
    assert all(".py:" in message for message in refused.values()), "a refusal names its line"
    assert count
    if EVERY == 1 and family not in ("optimizers",):
        assert len(refused) <= 0.05 * count
