"""How can the same phases be said with fewer cells? What falls into many cells is cut anew, along what separates phases only.

A reading changes at many walls at which its verdict stays; those walls are of no interest. So the whole is cut as by a decision
tree. Each node cuts along the bound that leaves the fewest phases on its sides, until only one is left. Then neighbours whose
union is convex are joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tpdyn.exact.polytopes import Bound, Integers, Polytope
from tpdyn.parametrizing.maps.phase import Phase

Cell = tuple[Phase, Polytope]


def merged(whole: Polytope, cells: Sequence[Cell]) -> list[Cell]:
    """Cover the same phases by fewer cells. The given ones are disjoint, and cover the whole."""
    return _joined([(phase, part.reduced()) for phase, part in _cut_anew(whole, cells)])


def _cut_anew(whole: Polytope, cells: Sequence[Cell]) -> Iterable[Cell]:
    phase = _phase_of_all(cells)
    if phase is not None:
        yield phase, whole
        return
    for by in _sides(_best(cells, whole)):
        part = whole.cut(by)
        if part is not None:
            inside = [(phase, piece) for phase, cell in cells if (piece := cell.cut(by)) is not None]
            if by.relation == "=":  # bounds that are the same on the flat become so
                inside = [(phase, piece.reduced()) for phase, piece in inside]
            yield from _cut_anew(part, inside)


def _phase_of_all(cells: Sequence[Cell]) -> Phase | None:
    """Find one phase that is true on all cells; None where there is none."""
    if len({phase.label for phase, _ in cells}) > 1:
        return None
    several = dict.fromkeys(phase for phase, _ in cells)
    return next((one for one in several if all(one.agrees_on(phase, cell.points) for phase, cell in cells)), None)


def _best(cells: Sequence[Cell], whole: Polytope) -> Integers:
    """Choose the form whose sides hold the fewest phases in sum, and which cuts the fewest cells."""
    walls = {by.form for by in whole.bounds} | {tuple(-c for c in by.form) for by in whole.bounds}
    bounded: dict[Integers, set[Phase]] = {}
    for phase, cell in cells:
        for by in cell.bounds:
            bounded.setdefault(max(by.form, tuple(-c for c in by.form)), set()).add(phase)
    corners = dict.fromkeys(corner for _, cell in cells for corner in cell.corners)

    def cost(form: Integers) -> tuple[int, int, int] | None:
        by = Bound(form, "=")
        values = {corner: by.at(corner) for corner in corners}
        held: dict[int, set[Phase]] = {-1: set(), 0: set(), 1: set()}
        cut = 0
        for phase, cell in cells:
            low, high = min(map(values.__getitem__, cell.corners)), max(map(values.__getitem__, cell.corners))
            cut += low < 0 < high
            if low < 0:
                held[-1].add(phase)
            if high > 0:
                held[1].add(phase)
            if low == high == 0 or low < 0 < high or (low <= 0 <= high and cell.cut(by) is not None):
                held[0].add(phase)
        sides = [len(phases) for phases in held.values() if phases]
        if len(sides) < 2:
            return None  # it separates nothing
        resort = (len(bounded[form]) < 2) + 2 * (form in walls)  # what bounds one phase only, or the whole, comes last
        return resort, sum(sides) - len(sides), cut

    costs = {form: spent for form in bounded if (spent := cost(form)) is not None}
    return min(costs, key=costs.__getitem__)


def _sides(form: Integers) -> tuple[Bound, Bound, Bound]:
    return (*Bound(form, "=").otherwise, Bound(form, "="))  # type: ignore[return-value]


def _joined(cells: list[Cell]) -> list[Cell]:
    """Join the sets of one phase whose union is convex."""
    done: list[Cell] = []
    waiting = sorted(cells, key=lambda cell: cell[1].dimension)
    while waiting:
        phase, polytope = waiting.pop()
        for k, (other, beside) in enumerate(done):
            said = _phase_of_all([(phase, polytope), (other, beside)])
            union = None if said is None else polytope.joined(beside)
            if said is not None and union is not None:
                del done[k]
                waiting.append((said, union))
                break
        else:
            done.append((phase, polytope))
    return done
