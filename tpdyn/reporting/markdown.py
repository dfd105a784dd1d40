"""How does a verdict read in a pull request, and in TensorBoard's Text tab? A document as a page of Markdown.

Everything that comes from a script is written as code or escaped: the name of a module stays a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

GLYPH = {"grows": "↗ grows", "stays": "→ stays", "vanishes": "↘ vanishes", "zero": "zero"}


def page(document: Mapping[str, Any]) -> str:
    """Write a document as one page."""
    match document.get("kind"):
        case "check":
            return _check(document)
        case "transfer":
            return _transfer(document)
        case "phases":
            return "\n".join(("```text", str(document.get("words", "")).replace("```", "'''"), "```"))
        case "limit":
            return _limit(document)
        case "monitor":
            return _monitor(document)
        case other:  # a log written by a later version
            return f"A log of the kind {code(str(other))}."


def _check(document: Mapping[str, Any]) -> str:
    lines = [f"**{escaped(document['headline'])}**: {escaped(document['meaning'])}."]
    if document["says"]:
        lines.append(f"{escaped(document['says'][:1].upper() + document['says'][1:])}.")
    for reason in (*document["outside"], *document["because"]):
        location = reason["place"]
        where = f" ({code(_location(location))}: {code(location['text'])})" if location else ""
        fix = f"\n  * change: {escaped(reason['fix'])}" if reason["fix"] else ""
        lines.append(f"* {escaped(reason['text'])}{where}{fix}")
    measured = bool(document["widths"])
    rows = ["| module | at init | change | " + ("measured | interval | verdict | " if measured else "") + "line |"]
    rows.append("|---|---:|---:|" + ("---:|---|---|" if measured else "") + "---|")
    for module in document["modules"]:
        order = module["measured_change_order"]
        at_most = "≤ " if module["at_most"] else ""
        cells = [code(module["name"] or "(root)"), _power(module["size_order"])]
        cells.append(f"{at_most}{_power(module['change_order'])} {GLYPH[module['direction']]}")
        if measured:
            cells += [_number(order and order["estimate"]), _interval(order), module["verdict"]]
        cells.append(code(_location(module["place"])) if module["place"] else "")
        rows.append("| " + " | ".join(str(cell).replace("\n", " ") for cell in cells) + " |")
    facts = [f"recorded at widths {_listed(document['recorded']['widths'])}"]
    if measured:
        facts.append(
            f"measured at widths {_listed(document['widths'])}, {len(document['seeds'])} seeds, changes at step {document['step']}"
        )
    facts += [*document["missing"], *document["advice"], *document["notes"]]
    return "\n\n".join([*lines, "\n".join(rows), "\n".join(f"* {escaped(fact)}" for fact in facts)])


def _transfer(document: Mapping[str, Any]) -> str:
    parts = []
    for sweep in document["transfers"]:
        rows = ["| width | best factor | interval | loss there |", "|---:|---:|---|---:|"]
        for each in sweep["widths"]:
            best = each["best"]
            interval = f"{best['low']:.3g} to {best['high']:.3g}"
            rows.append(f"| {each['width']} | {best['estimate']:.3g} | {interval} | {_short(each['loss'])} |")
        parts.append(f"{escaped(sweep['says'])}\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _limit(document: Mapping[str, Any]) -> str:
    rows = ["| step | loss at infinite width | error |", "|---:|---:|---:|"]
    rows += [
        f"| {step} | {_short(each['value'])} | {_short(each['error'])} |"
        for step, each in enumerate(document["losses"])
    ]
    return "\n\n".join(("\n".join(rows), "\n".join(f"* {escaped(note)}" for note in document["notes"]))).rstrip()


def _monitor(document: Mapping[str, Any]) -> str:
    width = f", width {document['width']}" if document["width"] else ""
    lines = [f"Watched until {escaped(document['says'])}{width}, {document['looks']} looks."]
    for alarm in document["alarms"]:
        where = f" ({code(alarm['source'])})" if alarm["source"] else ""
        past = "" if alarm["stands"] else " (over)"
        lines.append(f"* step {alarm['step']}: {escaped(alarm['text'])}{where}{past}")
    whats = [what for what in document["whats"] if what in ("size", "change", "update", "logits", "dead")]
    rows = ["| module | " + " | ".join(whats) + " |", "|---|" + "---:|" * len(whats)]
    for module in document["modules"]:
        if module["of"] == "module":
            cells = [code(module["name"] or "(root)"), *(_short(module["latest"].get(what)) for what in whats)]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n" + "\n".join(rows)


def escaped(text: str) -> str:
    """Escape text, so that its characters make no markup. `code` and powers of n are kept as code."""
    parts = re.split(r"(`[^`\n]+`|\bn\^-?\d+(?:/\d+)?)", str(text).replace("\n", " "))
    plain = [re.sub(r"([\\`*_{}\[\]<>#|~!])", r"\\\1", part) for part in parts]
    return "".join(code(parts[k].strip("`")) if k % 2 else plain[k] for k in range(len(parts)))


def code(text: str) -> str:
    """Write text as code that fits into a table, whatever backquotes it holds."""
    text = re.sub(r"\s+", " ", str(text)).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _location(location: dict[str, Any]) -> str:
    return f"{PurePath(str(location['file'])).name}:{location['line']}"


def _power(order: str | None) -> str:
    if order is None:
        return "zero"
    return "`n`" if order == "1" else f"`n^{order}`"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _interval(estimate: dict[str, Any] | None) -> str:
    if not estimate or estimate["low"] is None or estimate["high"] is None:
        return ""
    return f"{estimate['low']:+.2f} to {estimate['high']:+.2f}"


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, int | float) else ""


def _listed(widths: Sequence[Any]) -> str:
    return ", ".join(map(str, widths))
