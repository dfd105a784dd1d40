from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import graph_pb2
from tensorboard.context import RequestContext
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from tpdyn.claims.report import Report, compare
from tpdyn.measuring.measurement import Measurement
from tpdyn.parametrizing.maps.diagram import phase_diagram
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.reporting.document import of_report
from tpdyn.reporting.folders import CannotLog, check_writable
from tpdyn.reporting.markdown import page
from tpdyn.reporting.tags import COORDINATES_TAG
from tpdyn.reporting.tensorboard import log
from tpdyn.testing.perceptrons import mlp_program

RUNS = {"verdict", "program", "against width", "width=64", "width=128", "width=256", "width=512"}


def runs_in(folder: Path) -> set[str]:
    return {str(path.parent.relative_to(folder)) for path in folder.rglob("events.out.tfevents.*")}


def scalars_of(folder: Path, tag: str) -> dict[int, float]:
    events = EventAccumulator(str(folder)).Reload()
    return {event.step: float(tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


def test_each_width_is_a_run_with_sizes_changes_and_predictions(report: Report, tmp_path: Path) -> None:
    folder = log(report, tmp_path / "run")
    assert runs_in(folder) == RUNS
    changes = scalars_of(folder / "width=512", "change/fc2")
    means = report.measurement.change.mean(axis=1)
    assert changes == pytest.approx({step: means[3, step, 1] for step in range(3)}, rel=1e-6)
    predicted = scalars_of(folder / "width=512", "change predicted/fc2")
    assert predicted[2] == pytest.approx(means[0, 2, 1] * (512 / 64) ** -0.5, rel=1e-6)
    assert set(scalars_of(folder / "width=64", "loss")) == {0, 1, 2}


def test_the_width_is_an_axis_of_its_own_run(report: Report, tmp_path: Path) -> None:
    folder = log(report, tmp_path / "run") / "against width"
    low, mean, high = (scalars_of(folder, f"change over widths{kind}/fc1") for kind in (" low", "", " high"))
    assert set(mean) == {64, 128, 256, 512}
    assert all(low[width] < mean[width] < high[width] for width in mean)


def test_tensorboard_itself_reads_what_was_written(report: Report, tmp_path: Path) -> None:
    """Through TensorBoard's own data provider, as its dashboards do."""
    folder = log(report, tmp_path / "run")
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    context = RequestContext()

    def tags(kind: str, plugin: str) -> dict[str, Any]:
        listing = getattr(provider, f"list_{kind}")(context, experiment_id="", plugin_name=plugin)
        return {run: set(each) for run, each in listing.items()}

    assert {"change/fc1", "change predicted/fc1", "size/fc1", "loss"} <= tags("scalars", "scalars")["width=64"]
    assert tags("tensors", "text") == {"verdict": {"verdict"}}
    assert COORDINATES_TAG in tags("blob_sequences", "images")["verdict"]
    own = {tag.partition("/")[0] for tag in tags("scalars", "scalars")["against width"]}
    assert "change over widths" in own and not own & {
        "change",
        "size",
    }  # curves against the width have tags of their own
    assert "custom_scalars__config__" in tags("tensors", "custom_scalars")["verdict"]
    sessions = tags("tensors", "hparams")
    assert sessions["verdict"] == {"_hparams_/experiment"}
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info"} <= sessions["width=64"]
    assert "program" in tags("blob_sequences", "graphs")


def test_the_layout_pairs_measured_and_predicted_and_the_session_knows_its_width(
    report: Report, tmp_path: Path
) -> None:
    folder = log(report, tmp_path / "run")
    verdict = EventAccumulator(str(folder / "verdict")).Reload()
    layout = layout_pb2.Layout()
    layout.ParseFromString(verdict.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    first, second = layout.category
    assert list(first.chart[0].multiline.tag) == [r"^change/fc1$", r"^change\ predicted/fc1$"]
    assert second.chart[0].margin.series[0].lower == "change over widths low/fc1"
    run = EventAccumulator(str(folder / "width=64")).Reload()
    content = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["width"].number_value == 64
    assert start.hparams["regime"].string_value == "kernel"


def test_the_verdict_table_is_markdown(report: Report, tmp_path: Path) -> None:
    folder = log(report, tmp_path / "run")
    events = EventAccumulator(str(folder / "verdict")).Reload()
    text = events.Tensors("verdict")[0].tensor_proto.string_val[0].decode()
    assert text == page(of_report(report, title="run"))
    assert "| `fc2` | `n^0` | `n^-1/2` " in text
    assert "train.py:12" in text


def test_the_program_is_a_graph_scoped_by_step_phase_and_module(report: Report, tmp_path: Path) -> None:
    folder = log(report, tmp_path / "run")
    graph = EventAccumulator(str(folder / "program")).Reload().Graph()
    assert isinstance(graph, graph_pb2.GraphDef)
    nodes = {node.name: node for node in graph.node}
    h2 = nodes["step_1/forward/fc2/h2_1"]
    assert h2.op == "Contract"
    assert list(h2.input) == ["step_1/forward/fc2/a1_1", "initialization/fc2/fc2.weight"]
    assert h2.device == "/order/device:vanishes:0" and h2.attr["order of the change"].s == b"-1/2"
    assert nodes["initialization/fc2/fc2.weight"].device == "/order/device:vanishes:0"
    assert len(nodes) == len(report.prediction.program.statements)


def test_a_second_log_replaces_the_first_as_a_whole(
    report: Report, predicted: Callable[..., Prediction], measured: Callable[..., Measurement], tmp_path: Path
) -> None:
    folder = log(report, tmp_path / "run")
    before = next(folder.rglob("width=64/*")).read_bytes()
    log(compare(predicted(), measured(fc1=0.0)), folder)
    assert runs_in(folder) == RUNS
    assert next(folder.rglob("width=64/*")).read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_files_of_others_are_not_replaced(report: Report, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(CannotLog, match=r"did not write"):
        log(report, tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_an_unwritable_place_is_refused_clearly_and_leaves_nothing(report: Report, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotLog, match=r"cannot (log to|write)"):
        check_writable(tmp_path / place)
    with pytest.raises(CannotLog, match=r"cannot (log to|write)"):
        log(report, tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_left_when_writing_fails_half_way(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tpdyn.reporting.tensorboard._write_widths", fails)
    with pytest.raises(CannotLog, match=r"No space left"):
        log(report, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_run_is_written_as_it_is(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement], tmp_path: Path
) -> None:
    measurement = measured()
    measurement.change[3, :, 2] = np.inf
    measurement.diverged[3, :, 2] = True
    folder = log(compare(predicted(), measurement), tmp_path / "run")
    assert scalars_of(folder / "width=512", "change/fc1")[2] == np.inf


def test_a_phase_diagram_is_a_picture_and_its_phases_in_words(
    tmp_path: Path, published: Callable[[dict[str, Any]], list[str]]
) -> None:
    drawn = phase_diagram(mlp_program(1, "tanh", "sgd"), "c", "out:b", x_limits=(0, 1), y_limits=(0, 1))
    folder = log(drawn, tmp_path / "diagram")
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider, context = data_provider.MultiplexerDataProvider(multiplexer, str(folder)), RequestContext()
    found = provider.read_blob_sequences(
        context, experiment_id="", plugin_name="images", downsample=1, run_tag_filter=None
    )
    (sequence,) = found["phases"]["phase diagram"]
    width, height, picture = (provider.read_blob(context, blob_key=value.blob_key) for value in sequence.values)
    assert picture.startswith(b"\x89PNG")
    assert picture[16:24] == int(width).to_bytes(4, "big") + int(height).to_bytes(4, "big")
    assert json.loads((folder / "phases.json").read_text())["regions"]
    assert published(json.loads((folder / "verdict.json").read_text())) == []
    assert log(drawn, folder) == folder  # replaced as a whole


def test_a_program_and_a_prediction_are_logged_as_a_graph(report: Report, tmp_path: Path) -> None:
    assert runs_in(log(report.prediction, tmp_path / "prediction")) == {"program", "verdict"}
    assert runs_in(log(mlp_program(2), tmp_path / "program")) == {"program", "verdict"}


def test_the_step_that_the_verdict_compares_is_drawn(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement], tmp_path: Path
) -> None:
    """Growth is compared at the first step that has it, not at the last one."""
    report = compare(predicted(Regime.UNSTABLE, fc1=Fraction(1, 2)), measured(fc1=0.5))
    assert report.step == 1
    drawn = scalars_of(log(report, tmp_path / "run") / "against width", "change over widths/fc1")
    assert drawn[512] == pytest.approx(report.measurement.change[3, :, 1, 0].mean(), rel=1e-6)


def test_what_decides_it_is_said_in_text_too(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement]
) -> None:
    text = page(of_report(compare(predicted(), measured(noise=1.0))))
    assert "The runs leave it undecided: " in text and "not confirmed: every hidden" in text and "to decide: " in text
