"""Is the phase diagram true at every point? Compared with fresh readings at single points, and with the theorems."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdyn.claims import theorems
from tpdyn.claims.theorems import Abc
from tpdyn.exact.outlines import between
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.maps.diagram import PhaseDiagram, phase_diagram
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, read
from tpdyn.regimes.cells import moved_by
from tpdyn.regimes.judgement import judge, largest_change
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.perceptrons import mlp_program

HALF, ZERO = Fraction(1, 2), Fraction(0)
Optimizer = Literal["sgd", "adam"]
SLICES = ("c", "out:b"), ("c", "out:a"), ("W1:c", "out:c")


def origin(layers: int) -> Abc:
    """Multipliers 0, hidden layers of order 0 at initialisation, unit Gaussians in the readout, rates of order 0."""
    initial = (ZERO, *[HALF] * (layers - 1), ZERO)
    return Abc((ZERO,) * (layers + 1), initial, (ZERO,) * (layers + 1))


@cache
def program(layers: int, optimizer: Optimizer) -> Program:
    return mlp_program(layers, "tanh", optimizer, point=origin(layers))


@cache
def diagram(layers: int, optimizer: Optimizer, x: str, y: str) -> PhaseDiagram:
    return phase_diagram(program(layers, optimizer), x, y)


def plainly(made: Program, extra: Exponents) -> tuple[str, Fraction | None]:
    """Label and r of one point, by the definition alone."""
    orders = read(made, extra)
    verdict = judge(orders)
    if verdict.regime is Regime.UNSTABLE:
        return ("unstable at initialisation" if verdict.what == "size" else "unstable"), None
    if verdict.regime is Regime.KERNEL:
        moved = largest_change(orders, orders.facts.hidden)
        return "kernel", None if moved is None else -moved
    return {Regime.TRIVIAL: ("trivial", None), Regime.FEATURE_LEARNING: ("feature learning", ZERO)}[verdict.regime]


def extra_at(made: Program, drawn: PhaseDiagram, point: tuple[Fraction, Fraction]) -> Exponents:
    """What a point of a diagram adds to the script's exponents."""
    found: dict[str, dict[str, Fraction]] = {"a": {}, "b": {}, "c": {}}
    for axis, value in zip((drawn.x, drawn.y), point, strict=True):
        for (kind, name), coefficient in moved_by(made, axis.word).items():
            found[kind][name] = found[kind].get(name, ZERO) + coefficient * (value - axis.own)
    return Exponents(found["a"], found["b"], found["c"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("layers", [1, 2])
@given(words=st.sampled_from(SLICES), seed=st.integers(0, 10**6), grid=st.sampled_from([2, 4, 30]))
@settings(max_examples=12, deadline=None)
def test_at_every_point_the_diagram_says_what_a_fresh_reading_says(
    layers: int, optimizer: Optimizer, words: tuple[str, str], seed: int, grid: int
) -> None:
    made, drawn = program(layers, optimizer), diagram(layers, optimizer, *words)
    draw = random.Random(seed)
    point = (Fraction(draw.randint(-grid, 2 * grid), grid), Fraction(draw.randint(-grid, 2 * grid), grid))
    phase = drawn.at(*point)
    assert (phase.label, None if phase.r is None else phase.r.at(point)) == plainly(made, extra_at(made, drawn, point))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("words", SLICES[:2])
def test_corners_and_the_middles_of_edges_are_read_as_they_are(optimizer: Optimizer, words: tuple[str, str]) -> None:
    made, drawn = program(2, optimizer), diagram(2, optimizer, *words)
    points = {corner for region in drawn.regions for piece in region.pieces for corner in piece}
    points |= {spot.at for spot in drawn.spots}
    points |= {((e.start[0] + e.end[0]) / 2, (e.start[1] + e.end[1]) / 2) for e in drawn.edges}
    for point in sorted(points):
        phase = drawn.at(*point)
        found = (phase.label, None if phase.r is None else phase.r.at(point))
        assert found == plainly(made, extra_at(made, drawn, point)), point


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("words", SLICES)
def test_regions_tile_the_window(optimizer: Optimizer, words: tuple[str, str]) -> None:
    drawn = diagram(2, optimizer, *words)
    window = (drawn.x.high - drawn.x.low) * (drawn.y.high - drawn.y.low)
    assert sum(region.area for region in drawn.regions) == window
    draw = random.Random(1)
    for _ in range(100):  # inside of a single piece, but for shared sides
        x, y = (Fraction(draw.randint(-(10**6), 2 * 10**6), 10**6 + 3) for _ in "xy")
        holding = [
            piece
            for region in drawn.regions
            for piece in region.pieces
            if all(
                (v[0] - u[0]) * (y - u[1]) >= (v[1] - u[1]) * (x - u[0])
                for u, v in zip(piece, [*piece[1:], piece[0]], strict=True)
            )
        ]
        assert len(holding) == 1


@pytest.mark.parametrize("layers", [1, 2])
@given(
    c=st.integers(-4, 8).map(lambda k: Fraction(k, 4)),
    b=st.integers(-4, 8).map(lambda k: Fraction(k, 4)),
)
@settings(max_examples=40, deadline=None)
def test_with_sgd_it_is_the_diagram_of_tensor_programs_iv(layers: int, c: Fraction, b: Fraction) -> None:
    """Theorems 3.3, 3.4 and 3.6 of arXiv 2011.14522, as `tpdyn.claims.theorems` writes them down."""
    start = origin(layers)
    said = theorems.sgd(Abc(start.a, (*start.b[:-1], b), (c,) * (layers + 1)))
    phase = diagram(layers, "sgd", "c", "out:b").at(c, b)
    agrees(phase.label, said)
    if phase.label in ("kernel", "feature learning"):
        assert phase.r is not None
        assert phase.r.at((c, b)) == -max(said.changes)


@pytest.mark.parametrize("layers", [1, 2])
@given(
    c=st.integers(-4, 8).map(lambda k: Fraction(k, 4)),
    a=st.integers(-4, 8).map(lambda k: Fraction(k, 4)),
)
@settings(max_examples=40, deadline=None)
def test_with_adam_it_is_the_diagram_of_tensor_programs_ivb(layers: int, c: Fraction, a: Fraction) -> None:
    """Theorem 2.8.12 of arXiv 2308.01814, as `tpdyn.claims.theorems` writes it down."""
    start = origin(layers)
    said = theorems.entrywise(Abc((*start.a[:-1], a), start.b, (c,) * (layers + 1)))
    agrees(diagram(layers, "adam", "c", "out:a").at(c, a).label, said)


def agrees(label: str, said: theorems.Conclusion) -> None:
    assert {
        Regime.UNSTABLE: label.startswith("unstable"),
        Regime.TRIVIAL: label == "trivial",
        Regime.KERNEL: label == "kernel",
        Regime.FEATURE_LEARNING: label == "feature learning",
    }[said.regime], (label, said)


def test_a_label_that_is_wrong_at_one_point_would_be_noticed() -> None:
    """The properties above can fail: the diagram of Adam is not that of SGD."""
    drawn, other = diagram(1, "sgd", "c", "out:a"), diagram(1, "adam", "c", "out:a")
    grid = [(Fraction(x, 4), Fraction(y, 4)) for x in range(-4, 9) for y in range(-4, 9)]
    assert sum(drawn.at(*point).label != other.at(*point).label for point in grid) > 10


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_formulas_of_every_cell_are_what_fresh_readings_within_it_say(optimizer: Optimizer) -> None:
    """Modules and outputs as far as the first value that grows, by the definition alone."""
    made, drawn = program(1, optimizer), diagram(1, optimizer, "c", "out:b")
    counting = Facts.of(made).counting
    draw = random.Random(3)
    for cell in drawn.sized:
        weights = [draw.randint(1, 9) for _ in cell.corners]
        x, y = (sum((w * corner[k] for w, corner in zip(weights, cell.corners, strict=True)), ZERO) for k in (0, 1))
        point = (x / sum(weights), y / sum(weights))
        assert drawn.at(*point).agrees(cell.phase, point)
        values = read(made, extra_at(made, drawn, point)).values
        orders = ((var, order) for var in counting for order in (values[var].size, values[var].moved))
        last = next((var for var, order in orders if order is not None and order > 0), max(counting))
        assert bool(cell.grows) == cell.phase.label.startswith("unstable")
        found, later = {}, set()
        for mark in made.marks:
            if mark.kind in ("module", "output") and max(mark.view.pieces) <= last:
                size, moved = found.setdefault(mark.name, ([], []))
                later |= {mark.name} if mark.step else set()
                size += [values[var].size for var in mark.view.pieces if mark.step == 0]
                moved += [order for var in mark.view.pieces if (order := values[var].moved) is not None]
        said = {name: (size, change) for names, size, change in cell.orders for name in names}
        assert set(said) == set(found)
        for name, (size, change) in said.items():
            assert size.at(point) == max(found[name][0]), (name, point)
            if change.unread:
                assert cell.grows and not found[name][1] and not later & {name}
            else:
                assert change.at(point) == max(found[name][1], default=None), (name, point)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_region_edge_and_corner_has_its_formulas(optimizer: Optimizer) -> None:
    drawn = diagram(2, optimizer, "c", "out:b")
    polygons = [cell.corners for cell in drawn.sized if len(cell.corners) > 2]
    assert sorted(polygons) == sorted(piece for region in drawn.regions for piece in region.pieces)
    held = {cell.corners for cell in drawn.sized}
    assert all((spot.at,) in held for spot in drawn.spots)
    for edge in drawn.edges:
        parts = [cell.corners for cell in drawn.sized if len(cell.corners) == 2]
        ends = (edge.start, edge.end)
        parts = [part for part in parts if all(at in ends or between(*ends, [at]) for at in part)]
        lengths = [abs(one[0] - other[0]) + abs(one[1] - other[1]) for one, other in parts]
        assert sum(lengths) == abs(edge.start[0] - edge.end[0]) + abs(edge.start[1] - edge.end[1])
    written = drawn.to_dict()["formulas"]
    assert len(written["cells"]) == len(drawn.sized)
    for said, cell in zip(written["cells"], drawn.sized, strict=True):
        names = [name for row in written["tables"][said["table"]] for name in row["of"]]
        assert names == [name for of, _, _ in cell.orders for name in of]
