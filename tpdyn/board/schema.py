"""Of which shape is a document? `schema()` is its JSON schema (draft 2020-12), for any validator.

    jsonschema.validate(json.load(open("logs/my-run/verdict.json")), tpdyn.board.schema.schema())

The file lies beside this one. Its version is `tpdyn.reporting.tags.SCHEMA`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("verdict.schema.json")


def schema() -> dict[str, Any]:
    """Return the schema of what `verdict.json` and `tpdyn check --json` hold."""
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content
