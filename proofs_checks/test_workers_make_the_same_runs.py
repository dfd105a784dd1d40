"""Runs by two workers are those of one, and are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tpdyn.measuring.measure import measure
from tpdyn.store.means import Means
from tpdyn.store.store import Store


def train(width: int) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 3)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def test_workers_make_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpdyn.store.workers.cores", lambda: 2)
    means = Means(store=Store.under(tmp_path), identity={"script": "one"}, jobs=2)
    expected = measure(train, widths=(8, 16), seeds=2, steps=2)
    found = measure(train, widths=(8, 16), seeds=2, steps=2, means=means)
    np.testing.assert_allclose(found.change, expected.change, rtol=1e-4)
    assert means.store is not None
    assert len(means.store.files()) == 4
