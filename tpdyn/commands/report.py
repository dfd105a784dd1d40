"""How does a log leave the machine? `tpdyn report`: one HTML file, Markdown for a pull request, or the documents as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from tpdyn.atomic import atomic_write
from tpdyn.board.folder import logs_in
from tpdyn.board.markdown import markdown
from tpdyn.board.page import page
from tpdyn.commands.failures import BadInput

FORMATS = {"html": ".html", "md": ".md", "json": ".json"}


def report(folder: Path, output: Path | None, form: str = "") -> Path | str:
    """Write the report of a log folder, or of all logs in it. Returns the file, or the text if there is no `output`.

    form: html, md or json; by the ending of `output` unless given (html without one). Raises `BadInput` where there is no log,
    and for a file that cannot be written.
    """
    form = form or {ending: name for name, ending in FORMATS.items()}.get(output.suffix if output else ".html", "html")
    if form not in FORMATS:
        raise BadInput(f"--format {form}: expected one of: {', '.join(FORMATS)}")
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; expected a log folder, e.g. logs/my-run")
    logs = logs_in(folder)
    if not logs:
        raise BadInput(
            f"{folder}: no log in it; `tpdyn check`, `phase --logdir`, `transfer` or `limit --logdir` make one"
        )
    if not any(log.document for log in logs):
        raise BadInput(logs[0].error)
    if form == "html":
        text = page(logs)
    elif form == "md":
        text = markdown(logs)
    else:
        documents = {log.name: log.document for log in logs if log.document is not None}
        text = json.dumps(next(iter(documents.values())) if len(documents) == 1 else documents, indent=1) + "\n"
    if output is None:
        if form != "html":
            return text
        output = Path("report.html")
    return _written(text, output.absolute())


def _written(text: str, path: Path) -> Path:
    """Write a file at once or not at all."""
    try:
        return atomic_write(path, text)
    except OSError as error:
        raise BadInput(f"-o {path}: cannot be written: {error.strerror or error}") from error
