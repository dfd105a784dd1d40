"""Mirrors tpdyn/reporting/events.py: what is written is what TensorBoard reads, with its plugin and its data class."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import graph_pb2, summary_pb2, types_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.util import tensor_util

from tpdyn.reporting.events import Run, band, lines


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def values(folder: Path, tag: str) -> list[Any]:
    return [tensor_util.make_ndarray(event.tensor_proto) for event in read(folder).Tensors(tag)]


def test_scalars_are_float32_with_a_data_class_also_where_they_diverge(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        for step, value in enumerate((0.5, math.inf, math.nan)):
            run.scalar("loss", step, value, "what it is")
    events = read(tmp_path)
    metadata = events.SummaryMetadata("loss")
    assert metadata.plugin_data.plugin_name == "scalars"
    assert metadata.data_class == summary_pb2.DATA_CLASS_SCALAR and metadata.summary_description == "what it is"
    assert [event.tensor_proto.dtype for event in events.Tensors("loss")] == [types_pb2.DT_FLOAT] * 3
    assert [str(float(value)) for value in values(tmp_path, "loss")] == ["0.5", "inf", "nan"]


def test_the_steps_of_a_tag_must_rise(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.scalar("loss", 3, 1.0)
        run.scalar("other", 1, 1.0)
        for step in (3, 2):
            with pytest.raises(ValueError, match=f"'loss' at step {step} after step 3; the steps of a tag must rise"):
                run.scalar("loss", step, 1.0)


def test_a_page_is_text_and_a_picture_knows_its_size(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">II", 20, 10) + b"rest"
    with Run(tmp_path) as run:
        run.text("page", "# ü")
        run.image("picture", png)
    assert values(tmp_path, "page")[0].item() == "# ü".encode()
    assert list(values(tmp_path, "picture")[0]) == [b"20", b"10", png]
    events = read(tmp_path)
    assert [events.SummaryMetadata(tag).plugin_data.plugin_name for tag in ("page", "picture")] == ["text", "images"]


def test_charts_name_their_tags_exactly(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.layout({"changes": [lines("fc1", ["change/fc.1", "predicted"]), band("fc2", "v", "low", "high")]})
    layout = layout_pb2.Layout.FromString(values(tmp_path, "custom_scalars__config__")[0].item())
    multiline, margin = layout.category[0].chart
    assert [bool(re.search(multiline.multiline.tag[0], tag)) for tag in ("change/fc.1", "change/fc11", "a change/fc.1")] == [
        True, False, False,
    ]  # fmt: skip
    assert (margin.margin.series[0].value, margin.margin.series[0].lower, margin.margin.series[0].upper) == (
        "v", "low", "high",
    )  # fmt: skip


def test_settings_keep_their_types(tmp_path: Path) -> None:
    settings = [("width", 64), ("adam", True), ("name", "mup"), ("lr", 0.5)]
    with Run(tmp_path) as run:
        run.experiment(settings, ["loss"])
        run.session(settings)
    data = {
        tag: plugin_data_pb2.HParamsPluginData.FromString(read(tmp_path).SummaryMetadata(tag).plugin_data.content)
        for tag in ("_hparams_/experiment", "_hparams_/session_start_info")
    }
    kinds = [info.type for info in data["_hparams_/experiment"].experiment.hparam_infos]
    float64, boolean, string = api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_BOOL, api_pb2.DATA_TYPE_STRING
    assert kinds == [float64, boolean, string, float64]
    start = data["_hparams_/session_start_info"].session_start_info.hparams
    assert (start["width"].number_value, start["adam"].bool_value, start["name"].string_value) == (64, True, "mup")


def test_a_graph_is_read_back(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.graph(graph_pb2.GraphDef())
    assert read(tmp_path).Graph() == graph_pb2.GraphDef()
