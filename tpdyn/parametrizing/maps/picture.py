"""How does a phase diagram look? A picture with matplotlib, which is imported here only, when a picture is asked for.

Lines are phases too (feature learning often lives on one). They are drawn broad where they differ from both sides. A phase that
is a single point is a dot.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from tpdyn.exact.outlines import Corner
from tpdyn.pictures import blank

if TYPE_CHECKING:
    from tpdyn.parametrizing.maps.diagram import PhaseDiagram
    from tpdyn.parametrizing.maps.phase import Phase

COLOURS = {
    "unstable at initialisation": "#cfd3d8",
    "unstable": "#f2b5a7",
    "trivial": "#f3f1e7",
    "kernel": "#5b9bd5",
    "feature learning": "#1f8a4c",
}
BROAD = ("kernel", "feature learning")


def draw(diagram: PhaseDiagram, axes: Any = None) -> Any:
    """Draw a diagram into matplotlib axes (new ones if none are given); returns the figure."""
    if axes is None:
        axes = blank(8.5, 5.5, dpi=100).subplots()
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    for region in diagram.regions:  # holes run the other way, so that they stay empty
        loops = [Outline([*_floats(loop), (0, 0)], closed=True) for loop in region.outline]
        shape = Outline.make_compound_path(*loops)
        axes.add_patch(PathPatch(shape, facecolor=COLOURS[region.phase.label], linewidth=0))
    for edge in sorted(diagram.edges, key=lambda edge: edge.phase.label in BROAD):
        (x, y), (u, v) = _floats((edge.start, edge.end))
        width = 5 if edge.phase.label in BROAD else 1.5
        axes.plot([x, u], [y, v], color=COLOURS[edge.phase.label], linewidth=width, solid_capstyle="butt", zorder=2)
    for spot in diagram.lone_spots:
        if spot.phase.label in BROAD:
            axes.plot(
                *_floats((spot.at,))[0], "o", color=COLOURS[spot.phase.label], markersize=11, zorder=3, clip_on=False
            )
    _mark(diagram, axes)
    axes.set(
        xlim=(float(diagram.x.low), float(diagram.x.high)),
        ylim=(float(diagram.y.low), float(diagram.y.high)),
        xlabel=diagram.x.label,
        ylabel=diagram.y.label,
    )
    shown = [region.phase for region in diagram.regions]
    wide = {phase.label for phase in shown}
    lines = [edge.phase for edge in diagram.edges] + [spot.phase for spot in diagram.lone_spots]
    shown += [phase for phase in lines if phase.label not in wide]
    axes.legend(handles=_legend(shown), loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, handlelength=1.2)
    return axes.figure


def _mark(diagram: PhaseDiagram, axes: Any) -> None:
    """Mark named points; several at one position share a label, which stays inside of the picture."""
    from matplotlib.patheffects import withStroke

    names: dict[Corner, list[str]] = {}
    for name, corner in diagram.marks.items():
        if diagram.x.low <= corner[0] <= diagram.x.high and diagram.y.low <= corner[1] <= diagram.y.high:
            names.setdefault(corner, []).append(name)
    for corner, several in names.items():
        ((x, y),) = _floats((corner,))
        axes.plot([x], [y], "o", color="black", markersize=5, zorder=4, clip_on=False)
        right = corner[0] - diagram.x.low > (diagram.x.high - diagram.x.low) * 2 / 3
        axes.annotate(
            " = ".join(several),
            (x, y),
            textcoords="offset points",
            xytext=(-7 if right else 7, 7 if corner[1] < diagram.y.high else -14),
            ha="right" if right else "left",
            fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white", alpha=0.8)],
            zorder=5,
        )


def _legend(phases: Iterable[Phase]) -> list[Any]:
    """Draw a coloured square for each label, with the formulas of r (those of regions come first, and suffice)."""
    from matplotlib.patches import Patch

    formulas: dict[str, list[str]] = {}
    for phase in phases:
        kept = formulas.setdefault(phase.label, [])
        formula = phase.show("xy").partition(", r = ")[2]
        if formula and formula not in kept:
            kept.append(formula)
    return [
        Patch(
            facecolor=colour,
            edgecolor="#888888",
            linewidth=0.5,
            label="\n".join([label, *(f"  r = {formula}" for formula in formulas[label])]),
        )
        for label, colour in COLOURS.items()
        if label in formulas
    ]


def svg(diagram: PhaseDiagram, size: int = 300) -> str:
    """Draw a small picture with its legend as HTML, for notebooks, without matplotlib."""

    def at(corner: Corner) -> tuple[float, float]:
        shares = [
            float((v - axis.low) / (axis.high - axis.low))
            for v, axis in zip(corner, (diagram.x, diagram.y), strict=True)
        ]
        return round(shares[0] * size, 1), round((1 - shares[1]) * size, 1)

    parts = []
    for region in diagram.regions:
        path = "".join("M" + "L".join("{},{}".format(*at(corner)) for corner in loop) + "Z" for loop in region.outline)
        parts.append(f'<path d="{path}" fill="{COLOURS[region.phase.label]}" fill-rule="evenodd"/>')
    for edge in diagram.edges:
        (x, y), (u, v) = at(edge.start), at(edge.end)
        width = 5 if edge.phase.label in BROAD else 1.5
        colour = COLOURS[edge.phase.label]
        parts.append(f'<line x1="{x}" y1="{y}" x2="{u}" y2="{v}" stroke="{colour}" stroke-width="{width}"/>')
    for spot in diagram.lone_spots:
        if spot.phase.label in BROAD:
            x, y = at(spot.at)
            parts.append(f'<circle cx="{x}" cy="{y}" r="6" fill="{COLOURS[spot.phase.label]}"/>')
    for name, corner in diagram.marks.items():
        x, y = at(corner)
        if 0 <= x <= size and 0 <= y <= size:
            parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="#111"><title>{escape(name)}</title></circle>')
    phases = [*(r.phase for r in diagram.regions), *(e.phase for e in diagram.edges), *(s.phase for s in diagram.spots)]
    shown = {phase.label for phase in phases}
    squares = "".join(
        f'<div><span style="color:{colour}">&#9632;</span> {label}</div>'
        for label, colour in COLOURS.items()
        if label in shown
    )
    marks = "".join(f"<div>{escape(name)}: ({corner[0]}, {corner[1]})</div>" for name, corner in diagram.marks.items())
    axes = f"<div>x: {escape(diagram.x.label)}</div><div>y: {escape(diagram.y.label)}</div>"
    picture = f'<svg width="{size}" height="{size}" viewBox="0 0 {size} {size}">{"".join(parts)}</svg>'
    legend = f'<div style="line-height:1.5">{squares}<br>{axes}<br>{marks}</div>'
    return f'<div style="display:flex;gap:20px;align-items:flex-start">{picture}{legend}</div>'


def _floats(corners: tuple[Corner, ...]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in corners]
