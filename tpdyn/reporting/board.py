"""How does a document get into a log folder? As a file for whoever reads files, and as an event for TensorBoard's tab."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpdyn.regimes.prediction import Prediction
from tpdyn.reporting.atlas import atlas
from tpdyn.reporting.document import Document, summary
from tpdyn.reporting.events import Run
from tpdyn.reporting.tags import ATLAS_FILE, ATLAS_TAG, DOCUMENT_FILE, DOCUMENT_TAG, SUMMARY_TAG


def write(run: Run, folder: Path, document: Document, prediction: Prediction | None = None) -> None:
    """Write a document, and the program's map if there is a prediction, as the last word of a log."""
    put(run, 0, document)
    write_json(document, folder / DOCUMENT_FILE)
    if prediction is not None:
        drawn = atlas(prediction.program, prediction.sizes, prediction.changes)
        run.board(ATLAS_TAG, 0, drawn)
        write_json(drawn, folder / ATLAS_FILE, indent=None)


def put(run: Run, step: int, document: Document) -> None:
    """Write the events of a document; the one with the highest step counts."""
    run.board(DOCUMENT_TAG, step, document)
    run.board(SUMMARY_TAG, step, summary(document))


def write_json(content: Mapping[str, Any], path: Path, indent: int | None = 1) -> None:
    """Write JSON that every reader knows (no NaN)."""
    separators = (",", ":") if indent is None else None
    path.write_text(json.dumps(content, indent=indent, separators=separators, allow_nan=False) + "\n", encoding="utf-8")
