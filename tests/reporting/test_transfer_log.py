"""Does TensorBoard read a sweep: its losses, its optima, its verdict and its picture?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.util import tensor_util

from tpdyn.reporting.folders import CannotLog
from tpdyn.reporting.transfer_log import log_transfers
from tpdyn.tuning.optimum import Transfer, locate
from tpdyn.tuning.sweep import Sweep

WIDTHS, FACTORS = (64, 256), tuple(2.0**k for k in range(-6, 7))


def swept(name: str, exponent: float) -> Transfer:
    best = exponent * np.log(np.array(WIDTHS) / 64)[:, None, None] + 0.01 * np.arange(3)
    losses = (np.log(np.array(FACTORS))[None, :, None] - best) ** 2
    losses[:, -1] = np.inf
    return locate(Sweep(name, WIDTHS, FACTORS, (0, 1, 2), 10, losses))


def scalars_of(folder: Path, tag: str) -> dict[int, float]:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()  # all, not a sample
    return {event.step: float(tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


def test_losses_and_optima_are_scalars(tmp_path: Path) -> None:
    one = swept("net.py --lr 0.1", -1.0)
    folder = log_transfers([one, swept("a/b: c", 0.0)], tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {
        "net.py --lr 0.1",
        "a_b_ c",
        "verdict",
        "verdict.json",
        ".tpdyn",
    }
    losses = scalars_of(folder / "net.py --lr 0.1" / "width=256", "loss")
    assert losses == pytest.approx(dict(enumerate(one.sweep.losses[1].mean(axis=-1))), rel=1e-6)
    axis = folder / "net.py --lr 0.1" / "against width"
    low, best, high = (scalars_of(axis, f"best factor{kind}") for kind in (" low", "", " high"))
    assert best[256] == pytest.approx(one.best[1].estimate)
    assert all(low[width] < best[width] < high[width] for width in WIDTHS)


def test_tensorboard_s_dashboards_list_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = log_transfers([swept("train", -1.0)], tmp_path / "run")
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))

    def tags(kind: str, plugin: str) -> dict[str, Any]:
        listing = getattr(provider, f"list_{kind}")(RequestContext(), experiment_id="", plugin_name=plugin)
        return {run: set(each) for run, each in listing.items()}

    assert tags("scalars", "scalars")["train/width=64"] == {"loss", "best factor", "lowest loss"}
    assert tags("tensors", "text") == {"verdict": {"verdict"}}
    assert tags("blob_sequences", "images") == {"verdict": {"loss against the factor"}}
    sessions = tags("tensors", "hparams")
    assert sessions["verdict"] == {"_hparams_/experiment"}
    assert "_hparams_/session_start_info" in sessions["train/width=256"]
    events = EventAccumulator(str(folder / "verdict")).Reload()
    width, height, png = tensor_util.make_ndarray(events.Tensors("loss against the factor")[0].tensor_proto)
    assert png.startswith(b"\x89PNG") and int(width) > int(height) > 400
    text = tensor_util.make_ndarray(events.Tensors("verdict")[0].tensor_proto).item().decode()
    assert "the best learning rate MOVES" in text and "| 256 | 0.25" in text


def test_an_earlier_sweep_is_replaced_and_foreign_files_are_not(
    tmp_path: Path, published: Callable[[dict[str, Any]], list[str]]
) -> None:
    log_transfers([swept("before", 0.0)], tmp_path / "run")
    folder = log_transfers([swept("after", 0.0)], tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {"after", "verdict", "verdict.json", ".tpdyn"}
    assert published(json.loads((folder / "verdict.json").read_text())) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(CannotLog, match="holds files that tpdyn did not write"):
        log_transfers([swept("after", 0.0)], tmp_path / "mine")
