"""How does a result look as the last line of a notebook's cell? A short table, in the notebook's own colours.

Each text is escaped: names of modules and lines come from the user's script. Long tables are cut, with a count.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

MOST = 12
"""Rows of a table."""

TONES = {"grows": "#c8501a", "stays": "#12805e", "vanishes": "#2f7cc0", "zero": "inherit"}
"""Colours that are read on a white and on a black page."""

_CELL = "padding:2px 14px 2px 0;text-align:left;white-space:nowrap"


def card(title: str, lines: Sequence[str] = (), *tables: str) -> str:
    """Write a card of HTML: a heading, sentences, and tables made by `table`."""
    told = "".join(f'<div style="opacity:.8">{escape(line)}</div>' for line in lines)
    return (
        f'<div style="line-height:1.45"><div style="font-weight:600">{escape(title)}</div>{told}{"".join(tables)}</div>'
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], tones: Sequence[str] = (), most: int = MOST) -> str:
    """Write a table of texts under heads; tones: of each row's last cell (see `exponents.direction`)."""
    top = "".join(f'<th style="{_CELL};opacity:.7;font-weight:500">{escape(head)}</th>' for head in heads)
    body = []
    for number, row in enumerate(rows[:most]):
        tone = TONES[tones[number]] if tones else "inherit"
        cells = [f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row[:-1]]
        cells.append(f'<td style="{_CELL};color:{tone}">{escape(row[-1])}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    rest = len(rows) - most
    more = f'<div style="opacity:.7">and {rest} more</div>' if rest > 0 else ""
    style = "border-collapse:collapse;margin:6px 0;font-size:13px;background:transparent"
    return f'<table style="{style}"><thead><tr>{top}</tr></thead><tbody>{"".join(body)}</tbody></table>{more}'
