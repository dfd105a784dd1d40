"""Which logs are there, and what does each say? Read through TensorBoard's data provider, whatever else lies in the folder.

A log is a run with a document in it; its name is the folder above that run. What cannot be read becomes a log with an
`error` in words, never an exception. Folders hold what other tools, other versions and broken disks wrote.
"""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from tpdyn.board import watched
from tpdyn.reporting.tags import (
    ATLAS_TAG,
    DOCUMENT_TAG,
    LOOKS_TAG,
    MONITOR_RUN,
    PLUGIN,
    RUNNING,
    SCHEMA,
    SUMMARY_TAG,
    WATCHED_TAG,
)

KNOWN = (SCHEMA,)
LARGEST = 256 * 2**20
"""Bytes that a document may unpack to."""

LOOKS = 1000
"""So many looks of a monitor are read; TensorBoard keeps no more."""

KEPT = {SUMMARY_TAG: 8192}
"""So many are kept of what was read before: of summaries, which are small, all; of others `LAST`."""

LAST = 32


class Unreadable(ValueError):
    """A document that is not one of ours, or broken; the message says which."""


@final
class Logs:
    """The logs behind a data provider, with what was read before."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._kept: dict[str, OrderedDict[str, Any]] = {}
        self._lock = threading.Lock()

    def listed(self, context: Any, experiment: str) -> list[dict[str, Any]]:
        """List the logs with their summaries, sorted by name; `id` is the run to ask for."""
        logs = []
        for run, tags in self._blobs(context, experiment, None, [SUMMARY_TAG]).items():
            name = name_of(run)
            try:
                content = _summary(self._content(context, SUMMARY_TAG, tags.get(SUMMARY_TAG)))
            except Unreadable as error:
                content = {"error": str(error)}
            logs.append({"id": run, "name": name, "time": tags[SUMMARY_TAG].wall_time, **content})
        written = {log["name"]: log["time"] for log in logs}
        done = [log for log in logs if _is_over(log, written)]
        return sorted((log for log in logs if log not in done), key=lambda log: natural(log["name"]))

    def document(self, context: Any, experiment: str, run: str) -> dict[str, Any]:
        """Return a log's document. Raises KeyError for a run without one, Unreadable for one that cannot be read."""
        tags = self._blobs(context, experiment, run, [DOCUMENT_TAG, WATCHED_TAG]).get(run, {})
        if WATCHED_TAG not in tags:
            return _known(self._one(context, experiment, run, DOCUMENT_TAG))
        with _as_unreadable():
            return watched.document(self._watched(context, experiment, run), title=name_of(run))

    def curves(self, context: Any, experiment: str, run: str, what: str = "", name: str = "") -> dict[str, Any]:
        """Curves of a monitored run, see `tpdyn.board.watched.curves`. Raises as `document` does."""
        with _as_unreadable():
            return watched.curves(self._watched(context, experiment, run), what, name)

    def _watched(self, context: Any, experiment: str, run: str) -> watched.Watched:
        from tensorboard.data.provider import RunTagFilter

        head = _known(self._one(context, experiment, run, WATCHED_TAG))
        wanted = RunTagFilter(runs=[run], tags=[LOOKS_TAG])
        tensors = self._provider.read_tensors(
            context, experiment_id=experiment, plugin_name=PLUGIN, downsample=LOOKS, run_tag_filter=wanted
        )
        looks = tensors.get(run, {}).get(LOOKS_TAG, ())
        return watched.of_events(head, [(each.step, each.wall_time, each.numpy) for each in looks])

    def atlas(self, context: Any, experiment: str, run: str) -> dict[str, Any]:
        """Return the map of a log's program. Raises as `document` does."""
        return self._one(context, experiment, run, ATLAS_TAG)

    def _one(self, context: Any, experiment: str, run: str, tag: str) -> dict[str, Any]:
        tags = self._blobs(context, experiment, run, [tag]).get(run)
        if not tags or tag not in tags:
            raise KeyError(run)
        return self._content(context, tag, tags[tag])

    def _blobs(self, context: Any, experiment: str, run: str | None, tags: list[str]) -> dict[str, dict[str, Any]]:
        """Return the last value of each tag, by run."""
        from tensorboard.data.provider import RunTagFilter

        wanted = RunTagFilter(runs=None if run is None else [run], tags=tags)
        sequences = self._provider.read_blob_sequences(
            context, experiment_id=experiment, plugin_name=PLUGIN, downsample=1, run_tag_filter=wanted
        )
        return {
            name: {tag: max(series, key=lambda datum: datum.step) for tag, series in by_tag.items() if series}
            for name, by_tag in sequences.items()
        }

    def _content(self, context: Any, tag: str, datum: Any) -> dict[str, Any]:
        """Read a blob as data, from memory if it was read before."""
        if datum is None or not datum.values:
            raise Unreadable("it holds no document")
        key = f"{datum.values[0].blob_key}@{datum.step}@{datum.wall_time}"
        with self._lock:
            kept = self._kept.setdefault(tag, OrderedDict())
            if key in kept:
                kept.move_to_end(key)
                return kept[key]  # type: ignore[no-any-return]
        content = unpacked(self._provider.read_blob(context, blob_key=datum.values[0].blob_key))
        with self._lock:
            kept[key] = content
            while len(kept) > KEPT.get(tag, LAST):
                kept.popitem(last=False)
        return content


@contextmanager
def _as_unreadable() -> Iterator[None]:
    """Within: data of another shape is unreadable, in words."""
    try:
        yield
    except (TypeError, KeyError, OverflowError, ValueError) as error:
        if isinstance(error, Unreadable) or (isinstance(error, KeyError) and isinstance(error.args[0], str)):
            raise
        raise Unreadable(f"what the monitor wrote cannot be read: {error}") from error


def name_of(run: str) -> str:
    """Name a log: the folder above its run, with the number of a later monitor in it."""
    folder, _, last = run.rpartition("/")
    number = last.removeprefix(f"{MONITOR_RUN}-")
    return (folder or ".") + (f" ({number})" if last != number and number.isdigit() else "")


def _is_over(log: dict[str, Any], written: dict[str, float]) -> bool:
    """Tell whether it is the log of a running check whose own log has been written since: TensorBoard keeps what was removed."""
    name: str = log["name"]
    return name.endswith(RUNNING) and written.get(name.removesuffix(RUNNING), 0.0) >= log["time"]


def unpacked(packed: bytes) -> dict[str, Any]:
    """Unpack gzipped JSON. Raises Unreadable for anything else, and for data that would fill the memory."""
    try:
        unpacker = zlib.decompressobj(wbits=31)
        text = unpacker.decompress(packed, LARGEST)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise Unreadable("the document is cut short, or too large")
        content = json.loads(text)
    except (zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("the document is broken") from error
    if not isinstance(content, dict):
        raise Unreadable("the document is not an object")
    return content


def _known(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content, if it is of a version that is known here."""
    if content.get("schema") not in KNOWN:
        raise Unreadable(
            f"the document has the schema {str(content.get('schema'))[:60]!r}; this version reads {', '.join(KNOWN)}"
        )
    return content


def _summary(content: dict[str, Any]) -> dict[str, Any]:
    """Return the short texts of a summary, and [made, in all] of a run that goes on. Leave the rest out."""
    known = _known(content)
    texts = {key: known.get(key) for key in ("kind", "title", "script", "says", "outcome")}
    runs = known.get("runs")
    whole = isinstance(runs, list) and len(runs) == 2 and all(type(each) is int and each >= 0 for each in runs)
    return {key: text[:2000] if isinstance(text, str) else None for key, text in texts.items()} | {
        "runs": runs if whole else None
    }


def natural(name: str) -> tuple[Any, ...]:
    """Return a key to sort names as people do: run-2 before run-10."""
    import re

    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name))
