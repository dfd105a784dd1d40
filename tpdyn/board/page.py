"""How does a log become one file to send to a colleague? The tab's own page with its data inside: it works offline, without
a server.

The data is gzipped JSON in base64: no text of the script ever stands in the page as markup. A content policy forbids the page to
load or to send anything.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Sequence
from pathlib import Path

from tpdyn.board.folder import Log
from tpdyn.reporting.document import summary

BUNDLE = Path(__file__).with_name("bundle.js")
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def page(logs: Sequence[Log]) -> str:
    """Return the report as HTML. logs: at least one, see `tpdyn.board.folder.logs_in`."""
    listed = [
        {
            "id": log.name,
            "name": log.name,
            **(summary(log.document) if log.document is not None else {"error": log.error}),
        }
        for log in logs
    ]
    content = {
        "logs": listed,
        "documents": {log.name: log.document for log in logs if log.document is not None},
        "curves": {log.name: log.curves for log in logs if log.curves is not None},
        "programs": {log.name: log.atlas for log in logs if log.atlas is not None},
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    code = BUNDLE.read_text(encoding="utf-8").replace("</script", "<\\/script")
    title = html.escape(logs[0].name if len(logs) == 1 else f"{len(logs)} logs")
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title} · Tensor Programs</title></head>'
        f"<body><noscript>This report draws itself and needs JavaScript.</noscript>"
        f'<script type="application/octet-stream" id="tpdyn-data">{packed}</script>\n'
        f'<script type="module">{code}</script></body></html>\n'
    )
