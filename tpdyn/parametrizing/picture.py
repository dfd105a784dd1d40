"""How does a phase diagram look? A picture with matplotlib, which is imported here only, when a picture is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpdyn.parametrizing.polygons import Corner

if TYPE_CHECKING:
    from tpdyn.parametrizing.phase import PhaseDiagram

COLOURS = {
    "unstable at initialisation": "#d9d9d9",
    "unstable": "#f4b6a6",
    "trivial": "#eef3f8",
    "kernel": "#8fb4d9",
    "feature learning": "#2e8b57",
}


def draw(diagram: PhaseDiagram, axes: Any = None) -> Any:
    """Draw a diagram into matplotlib axes (new ones if none are given); returns the figure."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Polygon as Patch
    except ImportError as error:
        raise ImportError("a picture needs matplotlib; install it: pip install 'tpdyn[pictures]'") from error
    if axes is None:
        figure = Figure(figsize=(7, 5.5), layout="constrained")
        axes = figure.subplots()
    labelled: set[str] = set()

    def label(of: str) -> str | None:
        if of in labelled:
            return None
        labelled.add(of)
        return of

    for region in diagram.regions:
        for piece in region.pieces:
            colour = COLOURS[region.phase.label]
            axes.add_patch(
                Patch(_floats(piece), closed=True, facecolor=colour, edgecolor=colour, label=label(region.phase.label))
            )
    for edge in diagram.edges:
        (x, y), (u, v) = _floats((edge.start, edge.end))
        axes.plot([x, u], [y, v], color=COLOURS[edge.phase.label], linewidth=4, label=label(edge.phase.label))
    for spot in diagram.spots:
        ((x, y),) = _floats((spot.at,))
        axes.plot([x], [y], "o", color=COLOURS[spot.phase.label], markersize=8, label=label(spot.phase.label), zorder=3)
    for name, corner in diagram.marks.items():
        ((x, y),) = _floats((corner,))
        if diagram.x.low <= corner[0] <= diagram.x.high and diagram.y.low <= corner[1] <= diagram.y.high:
            axes.plot([x], [y], "x" if name == "this script" else "+", color="black", markersize=9, zorder=4)
            axes.annotate(name, (x, y), textcoords="offset points", xytext=(6, 6))
    axes.set(
        xlim=(float(diagram.x.low), float(diagram.x.high)),
        ylim=(float(diagram.y.low), float(diagram.y.high)),
        xlabel=diagram.x.label,
        ylabel=diagram.y.label,
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return axes.figure


def save(diagram: PhaseDiagram, path: str | Path) -> None:
    """Write the picture; the ending of the file says how (svg, pdf, png). The same diagram gives the same svg."""
    figure = draw(diagram)
    import matplotlib as mpl

    plain = {"Date": None} if Path(path).suffix == ".svg" else None
    with mpl.rc_context({"svg.hashsalt": "tpdyn"}):
        figure.savefig(path, metadata=plain)


def _floats(corners: tuple[Corner, ...]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in corners]
