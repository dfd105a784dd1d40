"""How is a picture made and written? With matplotlib, which is imported only when a picture is asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


def blank(wide: float, high: float, dpi: float = 160) -> Any:
    """Return an empty matplotlib figure of that size in inches. Raises ImportError with advice where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a picture needs matplotlib; install it: pip install 'tpdyn[pictures]'") from error
    return Figure(figsize=(wide, high), dpi=dpi, layout="constrained")


def save(figure: Any, path: str | Path) -> None:
    """Write a figure; the ending of the file says how (svg, pdf, png). The same figure gives the same svg."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "tpdyn"}):
        figure.savefig(path, metadata={"Date": None} if Path(path).suffix == ".svg" else None)


def png(figure: Any) -> bytes:
    """Return a figure as the bytes of a PNG."""
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()
