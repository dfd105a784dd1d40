"""A log folder that reporting wrote, and TensorBoard's own application over it, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard import program as tensorboard_program
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_ingester
from tensorboard.plugins.core import core_plugin
from werkzeug.test import Client

from tpdyn.board.loader import Loader
from tpdyn.reporting.events import Run

Ask = Callable[..., Any]


def small(title: str = "mlp", regime: str = "kernel", modules: int = 2, name: str = "fc") -> dict[str, Any]:
    """A document of a check by hand: as many modules as asked for, two widths, two seeds, two steps."""
    values = [[[1.0, 0.5], [1.0, 0.25]], [[1.0, 0.4], [1.0, 0.2]]]
    module = {
        "role": "hidden", "size_order": "0", "measured_size_order": None, "change_order": "-1/2", "at_most": False,
        "measured_change_order": {"estimate": -0.5, "low": -0.6, "high": -0.4}, "verdict": "agrees", "note": "",
        "source": "train.py:11", "direction": "vanishes", "learns": False, "wide": True, "mixed": False,
        "place": {"file": "train.py", "line": 11, "text": "h = self.fc(x)"}, "position": 0, "formula": "h = W x",
        "predicted": [{"step": 1, "size": "0", "change": "-1/2", "at_most": False}], "size": values, "change": values,
        "split": None, "fits": [{"step": t, "size": None, "change": None} for t in range(2)],
    }  # fmt: skip
    return {
        "schema": "tpdyn.board/1", "kind": "check", "tpdyn": "0", "title": title, "script": "train.py", "regime": regime,
        "headline": regime, "meaning": "frozen", "outcome": "confirmed", "agrees": True, "says": "the runs confirm it: all",
        "counts": {"confirmed": modules, "undecided": 0, "not_explained": 0, "contradicted": 0}, "claims": [], "step": 1,
        "reasons": [], "because": [], "outside": [], "settles": None, "read": 2, "entrywise": False, "statements": 3,
        "recorded": {"widths": [16, 24], "verified": None, "steps": 2}, "epsilon": {}, "missing": [], "advice": [],
        "notes": [], "confidence": 0.99, "margin": 0.25, "widths": [64, 128], "seeds": [0, 1], "steps": 2, "device": "cpu",
        "runs": None, "loss": values, "modules": [{"name": f"{name}{k}", **module} for k in range(modules)],
    }  # fmt: skip


def written(folder: Path, document: dict[str, Any]) -> Path:
    """A log with that document."""
    from tpdyn.reporting.board import put

    with Run(folder / "verdict") as run:
        put(run, 0, document)
    return folder


@pytest.fixture
def make() -> Callable[..., dict[str, Any]]:
    return small


@pytest.fixture
def write() -> Callable[[Path, dict[str, Any]], Path]:
    return written


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Asks a route of the plugin: `ask("/logs")` is (status, data). The folder is read when first asked."""
    clients: list[Client] = []

    def asked(route: str, headers: dict[str, str] | None = None, raw: bool = False) -> Any:
        if not clients:
            clients.append(Client(serving(tmp_path)))
        response = clients[0].get(f"/data/plugin/tpdyn{route}", headers=headers or {})
        return response if raw else (response.status_code, json.loads(response.get_data() or b"null"))

    return asked


def serving(folder: Path) -> Any:
    """TensorBoard over a folder, read once, with this plugin and no other."""
    board = tensorboard_program.TensorBoard(plugins=[core_plugin.CorePluginLoader(), Loader()])
    board.configure(argv=["tensorboard", "--logdir", str(folder), "--load_fast", "false", "--reload_interval", "0"])
    ingester = data_ingester.LocalDataIngester(board.flags)
    ingester.start()
    return application.TensorBoardWSGIApp(
        board.flags, board.plugin_loaders, ingester.data_provider, board.assets_zip_provider
    )
