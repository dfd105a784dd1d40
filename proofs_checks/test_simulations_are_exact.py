"""A simulated run is a dense run: of every conformance script, with the dense matrices that the answers imply.

It is simulated at its largest recorded width, then replayed by the finite reading with those matrices. Each loss and output
must be the same to 1e-11 (docs/conformance.md has each). Scripts that the sampler refuses are listed with the reason that its
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
from torch import nn

import tpdyn
from tpdyn.program.program import Program

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "recorder"
EVERY = 24 if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else 1
FAMILIES = ("layers", "attention", "recurrent", "models", "losses", "optimizers", "loops", "hugging_face")

OUTSIDE = {
    "weight norm, AdamW": "a product of entries of layer.parametrizations.weight.original1 itself",
    "MLP, Adam, decay in the gradient": "a product of entries of two.weight itself",
    "MLP, LAMB by hand": "an entrywise inner product of two.weight itself",
    "Mixtral": "is multiplied over its axes",
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


def tied(width: int) -> None:
    """A weight that is used in both directions, trained by Adam in muP."""
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 4, generator=draws), torch.randn(3, 1, generator=draws)
    first, both, last = nn.Linear(4, width), nn.Linear(width, width, bias=False), nn.Linear(width, 1)
    groups = [(first, 0.1), (both, 0.1 / width), (last, 0.1 / width)]
    optimizer = torch.optim.Adam([{"params": layer.parameters(), "lr": rate} for layer, rate in groups])
    for _ in range(3):
        optimizer.zero_grad()
        f = last(torch.tanh(torch.tanh(both(torch.tanh(first(x)))) @ both.weight))
        nn.functional.mse_loss(f, y).backward()
        optimizer.step()


def test_a_weight_that_is_used_transposed_as_well_is_a_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    check = import_module("conformance.coupled")
    assert check.difference(tpdyn.record(tied, widths=(16, 24, 40), steps=3, verify=False), 80) <= check.LARGEST


@pytest.mark.parametrize("family", FAMILIES)
def test_simulated_runs_are_dense_runs(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if family == "hugging_face" and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    monkeypatch.syspath_prepend(str(FOLDER))
    check = import_module("conformance.coupled")
    wrong, refused, count = {}, {}, 0
    for case in import_module(f"conformance.{family}").cases()[::EVERY]:
        program = recorded(case)
        if program is None:
            continue
        count += 1
        found, refusal = check.coupled(program)
        if refusal:
            refused[case.name] = refusal
        elif not found <= check.LARGEST:
            wrong[case.name] = found
    assert not wrong
    unexpected = {
        name: message
        for name, message in refused.items()
        if not any(name.startswith(start) and reason in message for start, reason in OUTSIDE.items())
    }
    assert not unexpected
    assert all(check.place(message) for message in refused.values()), "a refusal names its line"
    assert count
    if EVERY == 1 and family not in ("optimizers", "hugging_face"):
        assert len(refused) <= 0.05 * count
