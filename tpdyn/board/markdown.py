"""How do logs read in a pull request? Each is a section: its document as Markdown (`tpdyn.reporting.markdown`)."""

from __future__ import annotations

from collections.abc import Sequence

from tpdyn.board.folder import Log
from tpdyn.reporting.markdown import escaped, page


def markdown(logs: Sequence[Log]) -> str:
    """Write each log as a section."""
    return "\n\n".join(_section(log) for log in logs) + "\n"


def _section(log: Log) -> str:
    unreadable = f"This log cannot be read: {escaped(log.error)}"
    return f"## {escaped(log.name)}\n\n{unreadable if log.document is None else page(log.document)}"
