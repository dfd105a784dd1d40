"""How is one event written for TensorBoard? Plain records: scalars, text, images, hparams, a graph; without torch and
threads.

Each value carries its plugin and its data class. The newer readers do not see a value without a data class. Numbers are
float32: the Rust reader shows float64 scalars as empty.
"""

from __future__ import annotations

import gzip
import json
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.image import metadata as images
from tensorboard.plugins.scalar import metadata as scalars
from tensorboard.plugins.text import metadata as texts
from tensorboard.summary.writer.record_writer import RecordWriter

from tpdyn.reporting.tags import PLUGIN

Setting = str | int | float | bool


@final
class Run:
    """One run's event file, written from front to back: `with Run(folder) as run: run.scalar(...)`.

    Steps of one tag must rise strictly, each (tag, step) comes once: TensorBoard drops or mixes up others. live: each event
    has the time at which it was written, not that of the file.
    """

    def __init__(self, folder: Path, live: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._time, self._live = time.time(), live
        self._last: dict[str, int] = {}
        self._file = (folder / f"events.out.tfevents.{int(self._time)}.tpdyn").open("wb")
        self._records = RecordWriter(self._file)
        self._write(event_pb2.Event(wall_time=self._time, file_version="brain.Event:2"))

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def scalar(self, tag: str, step: int, value: float, description: str = "") -> None:
        """Write one number. NaN and infinities are kept: a run that diverges is data."""
        metadata = _classed(scalars.create_summary_metadata("", description), summary_pb2.DATA_CLASS_SCALAR)
        self._summary(tag, step, metadata, _scalar(value))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write many numbers of one step, by tag, in one event."""
        metadata = _classed(scalars.create_summary_metadata("", ""), summary_pb2.DATA_CLASS_SCALAR)
        summary = summary_pb2.Summary()
        for tag, value in values.items():
            self._rises(tag, step)
            summary.value.add(tag=tag, metadata=metadata, tensor=_scalar(value))
        self._event(step, summary)

    def numbers(self, tag: str, step: int, values: NDArray[np.float32]) -> None:
        """Write a vector of numbers for the tab "Tensor Programs", packed in one tensor."""
        content = np.asarray(values, dtype="<f4").tobytes()
        tensor = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_FLOAT, tensor_shape=_shape(len(values)), tensor_content=content
        )
        self._summary(tag, step, _ours(summary_pb2.DATA_CLASS_TENSOR), tensor)

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """Write one page of markdown."""
        metadata = _classed(texts.create_summary_metadata("", ""), summary_pb2.DATA_CLASS_TENSOR)
        self._summary(tag, step, metadata, _strings(_shape(), markdown.encode()))

    def image(self, tag: str, png: bytes, description: str = "") -> None:
        """Write one picture, as the bytes of a PNG; the description is markdown."""
        width, height = struct.unpack(">II", png[16:24])  # of the header chunk, which comes first
        metadata = _classed(images.create_summary_metadata("", description), summary_pb2.DATA_CLASS_BLOB_SEQUENCE)
        self._summary(tag, 0, metadata, _strings(_shape(3), str(width).encode(), str(height).encode(), png))

    def layout(self, charts: Mapping[str, Sequence[Any]]) -> None:
        """Lay out the custom scalars dashboard: charts (from `lines` or `band`) by category. Once in a log folder."""
        layout = layout_pb2.Layout(
            category=[layout_pb2.Category(title=title, chart=list(each)) for title, each in charts.items()]
        )
        metadata = _classed(custom_scalars.create_summary_metadata(), summary_pb2.DATA_CLASS_TENSOR)
        written = _strings(_shape(), layout.SerializeToString())
        self._summary(custom_scalars.CONFIG_SUMMARY_TAG, 0, metadata, written)

    def experiment(self, settings: Iterable[tuple[str, Setting]], metrics: Iterable[str]) -> None:
        """Declare what the hparams dashboard compares: the settings' names and types, the metrics' tags. Once a log."""
        experiment = api_pb2.Experiment(
            hparam_infos=[api_pb2.HParamInfo(name=name, type=_type_of(value)) for name, value in settings],
            metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics],
        )
        self._hparams(hparams.EXPERIMENT_TAG, experiment=experiment)

    def session(self, settings: Iterable[tuple[str, Setting]]) -> None:
        """Write this run's settings for the hparams dashboard."""
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=self._time)
        for name, value in settings:
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, str):
                start.hparams[name].string_value = value
            else:
                start.hparams[name].number_value = value
        self._hparams(hparams.SESSION_START_INFO_TAG, session_start_info=start)
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=self._time)
        self._hparams(hparams.SESSION_END_INFO_TAG, session_end_info=end)

    def board(self, tag: str, step: int, content: Mapping[str, Any]) -> None:
        """Write a document for the tab "Tensor Programs": gzipped JSON. A later step replaces an earlier one."""
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        packed = gzip.compress(text.encode(), mtime=0)
        self._summary(tag, step, _ours(summary_pb2.DATA_CLASS_BLOB_SEQUENCE), _strings(_shape(1), packed))

    def flush(self) -> None:
        """Have what was written be seen by whoever reads now."""
        self._file.flush()

    def graph(self, definition: Any) -> None:
        """Write the graph of this run (one a run)."""
        self._write(event_pb2.Event(wall_time=self._time, graph_def=definition.SerializeToString()))

    def _hparams(self, tag: str, **content: Any) -> None:
        metadata = hparams.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
        self._summary(tag, 0, _classed(metadata, summary_pb2.DATA_CLASS_TENSOR), hparams.NULL_TENSOR)

    def _summary(self, tag: str, step: int, metadata: Any, tensor: Any) -> None:
        self._rises(tag, step)
        value = summary_pb2.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        self._event(step, summary_pb2.Summary(value=[value]))

    def _rises(self, tag: str, step: int) -> None:
        if step <= self._last.get(tag, -1):
            raise ValueError(f"{tag!r} at step {step} after step {self._last[tag]}; the steps of a tag must rise")
        self._last[tag] = step

    def _event(self, step: int, summary: Any) -> None:
        now = time.time() if self._live else self._time
        self._write(event_pb2.Event(wall_time=now, step=step, summary=summary))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())


def lines(title: str, tags: Sequence[str]) -> Any:
    """Make a chart with a line for each tag (exact names) and run."""
    import re

    content = layout_pb2.MultilineChartContent(tag=[f"^{re.escape(tag)}$" for tag in tags])
    return layout_pb2.Chart(title=title, multiline=content)


def band(title: str, value: str, low: str, high: str) -> Any:
    """Make a chart of one tag between two others."""
    series = layout_pb2.MarginChartContent.Series(value=value, lower=low, upper=high)
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))


def _classed(metadata: Any, data_class: Any) -> Any:
    metadata.data_class = data_class
    return metadata


def _ours(data_class: Any) -> Any:
    """Describe a value for the tab "Tensor Programs"."""
    plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name=PLUGIN)
    return summary_pb2.SummaryMetadata(plugin_data=plugin, data_class=data_class)


def _shape(*sizes: int) -> Any:
    return tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=each) for each in sizes])


def _scalar(value: float) -> Any:
    return tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=_shape(), float_val=[value])


def _strings(shape: Any, *content: bytes) -> Any:
    return tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_shape=shape, string_val=content)


def _type_of(value: Setting) -> int:
    if isinstance(value, bool):
        return int(api_pb2.DATA_TYPE_BOOL)
    return int(api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64)
