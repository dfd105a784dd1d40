"""What did a monitor see, as a document and as curves? From its events in the tab, from its lines of JSON in a report.

The document (kind "monitor") is small: modules with their latest numbers, and the alarms. Ask for curves by what they
show or by module. Each is thinned to `MOST` looks and has the band that a smaller twin makes expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from tpdyn.monitoring.history import LAST, heading_of, looks_of, says
from tpdyn.reporting.tags import SCHEMA

MOST = 300
"""Looks of one curve."""

ALARMS = 200
"""So many alarms are shown, the last ones."""

DIGITS = 5
ORDER = (
    "change", "size", "largest", "update", "alignment", "logits", "saturated", "dead", "gradient", "step", "weight", "ratio",
)  # fmt: skip
"""The order in which a reader is offered what was seen."""

OF_PARAMETERS = frozenset({"gradient", "step", "weight", "ratio"})


@final
@dataclass(frozen=True, eq=False)
class Watched:
    """What a monitor saw. head: width, bands, modules, alarms, standing, over. keys: (what, name).

    values[look, key]: NaN where it was not seen.
    """

    head: Mapping[str, Any]
    keys: tuple[tuple[str, str], ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    time: float = 0.0


def of_events(head: Mapping[str, Any], looks: Iterable[tuple[int, float, Any]]) -> Watched:
    """Read it from TensorBoard. looks: (step, time, numbers), the numbers in the order of `head["keys"]`; later keys come later.

    Raises ValueError for a head of another shape.
    """
    keys = tuple((str(what), str(name)) for what, name in _list(head.get("keys")))
    rows = sorted(looks, key=lambda look: look[0])
    values = np.full((len(rows), len(keys)), np.nan)
    for k, (_, _, numbers) in enumerate(rows):
        seen = np.asarray(numbers, dtype=np.float64).ravel()[: len(keys)]
        values[k, : len(seen)] = seen
    steps = np.asarray([step for step, _, _ in rows], dtype=np.int64)
    return Watched(head, keys, steps, values, max((time for _, time, _ in rows), default=0.0))


def of_file(file: Path) -> Watched:
    """Return the same from `monitor.jsonl`, without a last line that was cut off. Raises ValueError for any other file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    head = heading_of(lines, file)
    modules: dict[str, Any] = {}
    alarms: list[Any] = []
    standing: Any = []
    looks, time = [], 0.0
    for step, values, content in looks_of(lines, file):
        looks.append((step, values))
        modules |= content["modules"]
        alarms += content.get("alarms") or []
        standing, time = content.get("standing") or [], float(content.get("time") or 0.0)
    keys = tuple(dict.fromkeys(key for _, values in looks for key in values))
    columns = {key: k for k, key in enumerate(keys)}
    array = np.full((len(looks), len(keys)), np.nan)
    for k, (_, values) in enumerate(looks):
        for key, value in values.items():
            array[k, columns[key]] = value
    head = {**head, "modules": modules, "alarms": alarms, "standing": standing, "over": LAST in lines[-1:]}
    return Watched(head, keys, np.asarray([step for step, _ in looks], dtype=np.int64), array, time)


def document(watched: Watched, title: str = "") -> dict[str, Any]:
    """Return the document, see docs/reference/verdict.md. Raises ValueError for a head of another shape."""
    head = watched.head
    modules = head.get("modules") or {}
    if not isinstance(modules, Mapping):
        raise ValueError("the modules of a monitor are not an object")
    standing = {(str(rule), str(name)) for rule, name in _list(head.get("standing"))}
    alarms = [_alarm(each) for each in _list(head.get("alarms"))[-ALARMS:]]
    last_of = {(each["rule"], each["name"]): k for k, each in enumerate(alarms)}
    for k, each in enumerate(alarms):  # an alarm that cleared and was raised again stands once
        key = each["rule"], each["name"]
        each["stands"] = key in standing and last_of[key] == k
    latest: dict[str, dict[str, float | None]] = {}
    last = watched.values[-1] if len(watched.values) else np.zeros(0)
    for (what, name), value in zip(watched.keys, last, strict=False):
        latest.setdefault(name, {})[what] = _short(value)
    whats = {what for what, _ in watched.keys}
    width = head.get("width")
    return {
        "schema": SCHEMA,
        "kind": "monitor",
        "tpdyn": str(head.get("tpdyn", "")),
        "title": title,
        "script": str(head.get("script") or ""),
        "says": says(int(watched.steps[-1]) if len(watched.steps) else 0, sum(each["stands"] for each in alarms)),
        "width": width if isinstance(width, int) else None,
        "step": int(watched.steps[-1]) if len(watched.steps) else 0,
        "looks": len(watched.steps),
        "over": head.get("over") is True,
        "time": watched.time,
        "whats": [what for what in ORDER if what in whats] + sorted(whats - set(ORDER)),
        "modules": [
            {
                "name": name,
                "of": "parameter" if not numbers.keys() - OF_PARAMETERS else "module",
                "dtype": _text(modules.get(name), 0),
                "source": _text(modules.get(name), 1),
                "latest": numbers,
            }
            for name, numbers in latest.items()
        ],
        "alarms": alarms,
    }


def curves(watched: Watched, what: str = "", name: str = "") -> dict[str, Any]:
    """Return the curves of one thing (all modules), of one module (all things), or all: steps, and lines with bands.

    Numbers that are not finite, or were not seen, are null. Raises ValueError for a head of another shape.
    """
    kept = thinned(len(watched.steps))
    bands = {
        (str(each["what"]), str(each["name"])): _band(each)
        for each in _list(watched.head.get("bands"))
        if isinstance(each, Mapping) and {"what", "name", "steps", "low", "high"} <= each.keys()
    }
    return {
        "steps": watched.steps[kept].tolist(),
        "lines": [
            {
                "what": key[0],
                "name": key[1],
                "values": [_short(value) for value in watched.values[kept, k]],
                "band": bands.get(key),
            }
            for k, key in enumerate(watched.keys)
            if what in ("", key[0]) and name in ("", key[1])
        ],
    }


def thinned(count: int, most: int = MOST) -> NDArray[np.int64]:
    """Return at most so many indices out of `count`, evenly, the first and the last among them."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def _band(each: Mapping[str, Any]) -> dict[str, Any]:
    steps, low, high = (_list(each[key]) for key in ("steps", "low", "high"))
    if not len(steps) == len(low) == len(high):
        raise ValueError("a band of a monitor has edges of different lengths")
    kept = thinned(len(steps))
    return {
        "steps": [int(steps[k]) for k in kept],
        "low": [_short(low[k]) for k in kept],
        "high": [_short(high[k]) for k in kept],
    }


def _alarm(each: Any) -> dict[str, Any]:
    if not isinstance(each, Mapping):
        raise ValueError("an alarm of a monitor is not an object")
    texts = {key: str(each.get(key, "")) for key in ("rule", "name", "text", "source")}
    step = each.get("step")
    return {"step": step if isinstance(step, int) else 0, **texts}


def _short(value: Any) -> float | None:
    number = float(value)
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None


def _text(pair: Any, index: int) -> str:
    return str(pair[index]) if isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2 else ""


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("a list was expected in what a monitor wrote")
    return value
