"""What are things called in TensorBoard? The names that whoever writes and whoever reads must share.

Runs: `width=64`, ... hold what was measured over the steps. `against width` holds the changes of the step that the verdict
compares. It has the width on the x axis and tags of its own. `verdict` holds the table, `program` the graph, `phases` a
phase diagram. `monitor` holds what a monitored run showed. Tags are `what/module`, so that the dashboards group them.
"""

from __future__ import annotations

PLUGIN = "tpdyn"
SCHEMA = "tpdyn.board/1"
"""The version of the documents; it changes when a field changes its meaning or leaves."""

DOCUMENT_TAG = "tpdyn/document"
SUMMARY_TAG = "tpdyn/summary"
ATLAS_TAG = "tpdyn/program"
WATCHED_TAG = "tpdyn/watched"
LOOKS_TAG = "tpdyn/looks"
DOCUMENT_FILE = "verdict.json"
ATLAS_FILE = "program-map.json"
RUNNING = " (running)"
VERDICT_RUN = "verdict"
PROGRAM_RUN = "program"
WIDTH_AXIS_RUN = "against width"
VERDICT_TAG = "verdict"
COORDINATES_TAG = "change against the width"
LIMIT_RUN = "limit"
PHASES_RUN = "phases"
MONITOR_RUN = "monitor"
PHASES_TAG = "phase diagram"
PHASES_TEXT_TAG = "phases"
LOSS_TAG = "loss"
BEST_TAG = "best factor"
LOWEST_TAG = "lowest loss"
PICTURE_TAG = "loss against the factor"
CHANGE = "change"
CHANGE_OVER_WIDTHS = "change over widths"
SIZE = "size"
PREDICTED = "predicted"
LOW = "low"
HIGH = "high"


def run_of_width(width: int) -> str:
    """Name the run that holds the measurements at one width."""
    return f"width={width}"


def tag_of(what: str, module: str, kind: str = "") -> str:
    """Return the tag `change/fc1`, or with a kind `change predicted/fc1`."""
    return f"{what} {kind}/{module}" if kind else f"{what}/{module}"
