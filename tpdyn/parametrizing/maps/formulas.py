"""Which linear formulas do the orders follow around a point of abc-space, and how far do they hold?

The exponents of parameters become symbols. There is one for each, one for each role, or one for each group that the
user names. The orders of every module, parameter and output are then exact linear forms in them, valid on a polyhedral
cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, final

from tpdyn.exact.compare import largest
from tpdyn.exact.forms import Constraint, Form, Point
from tpdyn.exact.linear import facets, nullspace
from tpdyn.exact.polytopes import Bound, Polytope, bound, box
from tpdyn.exponents import Order
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.families import families_of
from tpdyn.parametrizing.maps.planes import Around, Limits, Moves, point_named
from tpdyn.parametrizing.maps.symbols import Symbols, coordinates_of, point_of
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.regimes.cells import Cell, Coordinates, formula, on_cell
from tpdyn.regimes.judgement import judge, largest_change
from tpdyn.regimes.predict import expect_inside
from tpdyn.regimes.prediction import Regime

What = Literal["size", "change"]

_MOST_SYMBOLS = 10
"""A box has 2^symbols corners, which are cut one facet after the other."""


@final
@dataclass(frozen=True, slots=True)
class Formula:
    """An order as a linear form in named symbols; `str` gives '1/2 - a + c'."""

    form: Form
    names: tuple[str, ...]

    def __str__(self) -> str:
        return self.form.show(self.names)

    def at(self, values: Mapping[str, Fraction | int | str]) -> Fraction:
        """Evaluate it; raise ValueError unless each symbol has a value."""
        return self.form.at(point_of(self.names, values))


@final
@dataclass(frozen=True)
class FormulaCell:
    """The orders of a program as formulas, and the cell of exponents on which they hold.

    names: the symbols. here: their values at the point around which the program was read. A value is an exponent itself
    where all that a symbol moves share it there, else 0: what is added. regime: the same on the whole cell. r: hidden
    representations change by n^-r there (None where the network is unstable or trivial). facets: the inequalities and
    equations that bound the cell, none of which follows from the others.
    """

    names: tuple[str, ...]
    here: Point
    moves: Mapping[str, Moves]
    regime: Regime
    r: Formula | None
    facets: tuple[Constraint, ...]
    table: Mapping[str, Mapping[int, tuple[Form | None, Form | None]]]
    largest: Mapping[str, Form | None]

    def order(self, name: str, what: What = "change", *, step: int | None = None) -> Formula | None:
        """Return the formula of a module's output, of a parameter, or of "output"; None where it is identically zero.

        "size" is the order at initialisation, in step 0 unless `step` is given. "change" is the largest over the steps,
        or that of one `step`. Raises KeyError with the known names.
        """
        if what not in ("size", "change"):
            raise ValueError(f"what = {what!r}; expected 'size' or 'change'")
        steps = self.table.get(name, {})
        if not steps:
            raise KeyError(f"no module or parameter {name!r}; there are: {', '.join(self.table)}")
        if step is not None and step not in steps:
            raise KeyError(f"{name!r} has no step {step}; it has: {', '.join(map(str, steps))}")
        if what == "change" and step is None:
            form = self.largest[name]
        else:
            size, change = steps[min(steps) if step is None else step]
            form = size if what == "size" else change
        return None if form is None else Formula(form, self.names)

    def contains(self, values: Mapping[str, Fraction | int | str]) -> bool:
        """Tell whether the formulas hold at these values of the symbols."""
        point = point_of(self.names, values)
        return all(constraint.holds(point) for constraint in self.facets)

    def vertices(self, limits: Limits = (-1, 2)) -> tuple[Point, ...]:
        """Return the corners of the closed cell within a box that has the same limits in each direction, exact.

        Raises ValueError where there are too many to be enumerated.
        """
        size = len(self.names)
        if size > _MOST_SYMBOLS:
            raise ValueError(f"{size} symbols: the cell has too many corners; use at most {_MOST_SYMBOLS} symbols")
        closed: Polytope | None = box([(Fraction(limits[0]), Fraction(limits[1]))] * size)
        for facet in self.facets:
            closed = closed and closed.cut(Bound(bound(facet).form, "=" if facet.relation == "=" else ">="))
        return () if closed is None else tuple(sorted(closed.points))

    def show(self) -> str:
        """Show regime, symbols, formulas and facets as text."""
        lines = [f"{self.regime.value}" + ("" if self.r is None else f", r = {self.r}"), ""]
        width = max(map(len, self.table))
        for name in self.table:
            size, change = self.order(name, "size"), self.order(name)
            lines.append(f"{name:<{width}}  size {_said(size)}; change {_said(change)}")
        lines += ["", "holds where:", *(f"  {constraint.show(self.names)}" for constraint in self.facets)]
        lines += ["", "here: " + ", ".join(f"{name} = {x}" for name, x in zip(self.names, self.here, strict=True))]
        return "\n".join(lines)


def formulas(
    program: Program, symbols: Symbols = "role", kinds: str = "abc", *, around: Around = "script"
) -> FormulaCell:
    """Compute exact linear formulas for every order of a program around a point, and the cell on which they hold.

    symbols: "parameter" (`fc1.weight:b`), "role" (`hidden:c`), or a mapping of the user's symbols to what they move, as in
    `tpdyn.phase_diagram`: `{"a": "out.weight:a", "c": "c"}`. kinds: which exponents become symbols (of a, b, c), for the first
    two. around: the point, as in `tpdyn.phase_diagram`. Weight decay is set aside, as in `tpdyn.derive`.

    Raises ValueError where a symbol moves nothing, OutsideTheory where a rule does not reach.

        cell = tpdyn.formulas(program, {"b": "out.weight:b", "c": "c"})
        str(cell.order("out", "change"))        # '1 - c'
        cell.regime, cell.facets, cell.vertices()
    """
    facts, _ = Facts.of(program).without_decay
    expect_inside(facts)
    program, own = facts.program, facts.own
    families = families_of(facts) if isinstance(around, str) else {}
    _, at = point_named(program, around, families)
    coordinates, here = coordinates_of(program, own, symbols, kinds, at)
    return formulas_at(facts, coordinates, here)


def formulas_at(facts: Facts, coordinates: Coordinates, here: Point) -> FormulaCell:
    """Compute the formulas around one point of the given coordinates, as `formulas` does; raises OutsideTheory."""
    program = facts.program

    def work(exponents: Exponents) -> tuple[Regime, Order, dict[str, dict[int, tuple[Order, Order]]], dict[str, Order]]:
        orders = read(facts, exponents)
        judgement = judge(orders)
        table = _table(program, orders)
        last = {name: _most(change for _, change in steps.values()) for name, steps in table.items()}
        moved = None
        if judgement.regime in (Regime.KERNEL, Regime.FEATURE_LEARNING):
            moved = largest_change(orders, facts.hidden)
        return judgement.regime, moved, table, last

    (regime, moved, table, last), cell = on_cell(coordinates, here, work)
    size = len(coordinates.names)
    r = formula(moved, size)
    return FormulaCell(
        names=coordinates.names,
        here=here,
        moves=coordinates.moves,
        regime=regime,
        r=None if r is None else Formula(-r, coordinates.names),
        facets=_facets(cell),
        table={
            name: {step: (formula(a, size), formula(b, size)) for step, (a, b) in steps.items()}
            for name, steps in table.items()
        },
        largest={name: formula(order, size) for name, order in last.items()},
    )


def _table(program: Program, orders: Orders) -> dict[str, dict[int, tuple[Order, Order]]]:
    """Table size and change of each module, output and parameter, by step; modules come before parameters of the same name."""
    pieces_of: dict[str, dict[int, list[int]]] = {}
    for mark in program.marks:
        if mark.kind in ("module", "output", "loss"):
            pieces_of.setdefault(mark.name, {}).setdefault(mark.step, []).extend(mark.view.pieces)
    for parameter in program.parameters:
        if parameter.name not in pieces_of:
            steps = enumerate(parameter.versions[: max(program.steps, 1)])
            pieces_of[parameter.name] = {step: list(view.pieces) for step, view in steps}

    def both(pieces: list[int]) -> tuple[Order, Order]:
        values = [orders.values[var] for var in pieces]
        return _most(value.size for value in values), _most(value.moved for value in values)

    return {name: {step: both(pieces) for step, pieces in steps.items()} for name, steps in pieces_of.items()}


def _most(several: Iterable[Order]) -> Order:
    present = [order for order in several if order is not None]
    return largest(present) if present else None


def _facets(cell: Cell) -> tuple[Constraint, ...]:
    size = len(cell.names)
    kept: list[Constraint] = []
    rows: list[Point] = []
    for constraint in cell.constraints:
        row = constraint.form.coefficients
        if constraint.relation != "=":
            kept.append(constraint)
        elif len(nullspace([*rows, row], size)) < len(nullspace(rows, size)):  # no combination of those before
            rows.append(row)
            kept.append(constraint)
    return facets(kept, size)


def _said(formula: Formula | None) -> str:
    return "zero" if formula is None else str(formula)
