"""At which exponents does every layer learn as much as it can, and nothing blow up? Maximal update, as linear programs.

A program must meet **requirements**, each a linear inequality on the cell around a point. Values that count must not grow.
Representations must neither vanish at initialisation nor stand still. The update of each parameter must contribute at order
0: in muP, every layer is updated maximally. See Tensor Programs IV, arXiv 2011.14522, section 5. A linear program solves
them for the exponents nearest to the script's own. The program is read again at the solution, until a reading confirms all
requirements. So they hold exactly, although the search may use floating point.

Requirements may contradict each other: one weight serves as embedding and as readout, or logits are divided by sqrt(d) only.
Then the search names a minimal contradictory set. It gives up the least important member, which is met as far as possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, assert_never, final

from tpdyn.exact.compare import key, leader
from tpdyn.exact.forms import Constraint, Form, Point
from tpdyn.exact.linear import Infeasible, minimise
from tpdyn.exponents import ZERO, Order
from tpdyn.facts.facts import Facts
from tpdyn.facts.makers import maker
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Leaf,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import Program, Source
from tpdyn.readings.orders.reading import Contribution, Exponents, Orders, read
from tpdyn.regimes.cells import Cell, Coordinates, formula, on_cell
from tpdyn.regimes.judgement import judge
from tpdyn.regimes.prediction import Regime

_LARGEST_SEARCH = 60
"""Readings after which the search gives up."""

_LARGEST_STEP = 3
"""All rates are lowered by up to so many powers of the width, to see what a growing function hides."""

Demand = Literal["begins small", "changes little", "adds little", "starts", "updated", "moves", "learns"]

_AT_MOST: tuple[Demand, ...] = ("begins small", "changes little", "adds little")
"""Under these demands, orders must not be positive; under all others, they must not be negative."""

_WEIGHTS: dict[Demand, Fraction] = {
    **dict.fromkeys(_AT_MOST, Fraction(1000)),
    "starts": Fraction(100),
    "updated": Fraction(10),
    "moves": Fraction(10),
    "learns": Fraction(1),
}
_FINEST = 64
"""The largest denominator of a point between two others. Requirements that jump from cell to cell are never met there."""
_GIVEN_UP, _DISTANCE, _NEW_MULTIPLIER = Fraction(1, 100), Fraction(1, 10000), Fraction(1, 20)


@final
@dataclass(frozen=True, slots=True)
class Requirement:
    """The inequality `form >= 0` on one cell.

    demand: "begins small", "changes little" and "adds little" bound an order by 0 from above. It is the order at
    initialisation, that of the change, and that of the contribution of an update. "starts": a representation has order 0 at
    initialisation. "updated": the update of a parameter contributes at order 0. "moves": the output changes at order 0.
    "learns": a representation changes at order 0.
    subject: the parameter, or the module that computes the value, or the kind of value.
    """

    demand: Demand
    subject: str
    position: int
    form: Form
    source: Source

    @property
    def key(self) -> tuple[Demand, str, int]:
        """The demand and its subject: the same requirement on another cell has the same key."""
        return self.demand, self.subject, self.position

    @property
    def is_infinite(self) -> bool:
        """Whether the order exceeds all powers (the exponential of a growing value): linear programs cannot meet it."""
        return isinstance(self.form.constant, float)

    def shortfall(self, point: Sequence[Fraction]) -> Fraction:
        """Measure by how much a point misses it; 0 if it holds."""
        return max(ZERO, -self.form.at(point))

    def __str__(self) -> str:
        what = self.subject
        said = {
            "begins small": f"{what} must not grow with the width at initialisation",
            "changes little": f"the change of {what} must not grow with the width",
            "adds little": f"the update of {what} must contribute at order 0 at most",
            "starts": f"{what} must not vanish at initialisation",
            "updated": f"the update of {what} must contribute at order 0",
            "moves": f"{what} must change at order 0",
            "learns": f"{what} must change at order 0",
        }[self.demand]
        if not self.source.file:
            return said
        return f"{said} [{self.source}" + (f": {self.source.text.strip()}]" if self.source.text else "]")


@final
@dataclass(frozen=True)
class Maximum:
    """The end of a search.

    facts: of the program. point: the values of the symbols. exponents: those that they mean. orders, requirements, cell: the
    last reading, on linear forms. conflicts: minimal sets of contradictory requirements. given_up: the requirements given up.
    readings: how often the program was read. regime: that at the point.
    """

    facts: Facts
    coordinates: Coordinates
    point: Point
    exponents: Exponents
    cell: Cell
    orders: Orders
    requirements: tuple[Requirement, ...]
    regime: Regime
    conflicts: tuple[tuple[Requirement, ...], ...] = ()
    given_up: tuple[Requirement, ...] = ()
    readings: int = 0

    @property
    def program(self) -> Program:
        """The program of the search."""
        return self.facts.program

    @property
    def unmet(self) -> tuple[Requirement, ...]:
        """The requirements that fail at the point; empty for a maximal update parametrization."""
        return tuple(r for r in self.requirements if r.shortfall(self.point))


def maximal_update(
    program: Program | Facts,
    coordinates: Coordinates,
    start: Sequence[Fraction] | None = None,
    *,
    epsilon: bool = False,
    most: int = _LARGEST_SEARCH,
) -> Maximum:
    """Find the exponents nearest to `start` (the origin of the coordinates) that meet all requirements, or as many as possible.

    most: the largest number of readings. Raises OutsideTheory if a rule does not reach.
    """
    search = _Search(Facts.of(program), coordinates, epsilon)
    origin = tuple(start) if start is not None else (ZERO,) * len(coordinates.names)
    at = search.look(origin)
    while search.unmet(at) and len(search.seen) < most:
        proposal = search.propose(at, origin)
        if proposal not in search.seen:
            at = search.look(proposal)
            continue
        # The search goes in circles: the requirements, as they are where least is missed, contradict each other.
        at = min(search.seen.values(), key=search.missed)
        slower = search.slower(at)
        if slower is not None:
            at = search.look(slower)
            continue
        together = search.propose(at, origin, search.ceilings())
        if together not in search.seen:
            at = search.look(together)
            continue
        if not search.give_up(at):
            halfway = tuple((x + y) / 2 for x, y in zip(at.point, search.propose(at, origin), strict=True))
            if halfway in search.seen or max(x.denominator for x in halfway) > _FINEST:
                break
            at = search.look(halfway)
    regime = judge(read(search.facts, coordinates.at(at.point), epsilon=epsilon)).regime
    sacrificed = tuple(r for r in at.requirements if r.key in search.given_up)
    return replace(at, regime=regime, conflicts=tuple(search.conflicts), given_up=sacrificed, readings=len(search.seen))


@final
class _Search:
    def __init__(self, facts: Facts, coordinates: Coordinates, epsilon: bool) -> None:
        self.facts, self.coordinates, self.epsilon = facts, coordinates, epsilon
        self.seen: dict[Point, Maximum] = {}
        self.given_up: set[tuple[Demand, str, int]] = set()
        self.conflicts: list[tuple[Requirement, ...]] = []

    def look(self, point: Point) -> Maximum:
        """Read the program around a point."""
        maximum = look(self.facts, self.coordinates, point, epsilon=self.epsilon)
        self.seen[point] = maximum
        return maximum

    def unmet(self, at: Maximum) -> list[Requirement]:
        return [r for r in at.unmet if r.key not in self.given_up]

    def missed(self, at: Maximum) -> Fraction:
        """Sum the shortfalls at a point, weighted by importance."""
        return sum((self.weight(r) * r.shortfall(at.point) for r in at.requirements), ZERO)

    def weight(self, requirement: Requirement) -> Fraction:
        return _GIVEN_UP if requirement.key in self.given_up else _WEIGHTS[requirement.demand]

    def ceilings(self) -> list[Requirement]:
        """Collect the upper bounds from all cells seen: the largest of several orders shows one of them at a time."""
        return [r for at in self.seen.values() for r in at.requirements if r.demand in _AT_MOST]

    def propose(self, at: Maximum, origin: Point, more: Sequence[Requirement] = ()) -> Point:
        """Propose the point nearest to the origin that misses the formulas of this cell, and `more`, by the least."""
        size = len(origin)
        wanted = [r for r in dict.fromkeys((*at.requirements, *more)) if not r.is_infinite]
        moved = [form_moved(r.form, origin) for r in wanted]
        constraints = [
            Constraint(
                Form(
                    form.constant,
                    (
                        *form.coefficients,
                        *(-c for c in form.coefficients),
                        *(Fraction(int(i == k)) for i in range(len(wanted))),
                    ),
                ),
                ">=",
            )
            for k, form in enumerate(moved)
        ]
        away = tuple(_NEW_MULTIPLIER if name.endswith(":p") else _DISTANCE for name in self.coordinates.names)
        weights = (*away, *away, *(self.weight(r) for r in wanted))
        best = minimise(Form(ZERO, weights), constraints, nonnegative=True)
        assert not isinstance(best, Infeasible)
        return tuple(o + up - down for o, up, down in zip(origin, best[:size], best[size : 2 * size], strict=True))

    def slower(self, at: Maximum) -> Point | None:
        """Lower all rates by a whole power, if a value grows here whatever the exponents. There its order depends on them.

        A bounded function hides by how much its argument grows; the exponential of a growing value exceeds all powers. Returns
        None if all such values have a formula, or if these points were seen.
        """
        if not any(r.form.is_constant and r.demand in ("changes little", "adds little") for r in self.unmet(at)):
            return None
        steps = (
            tuple(x + step * name.endswith(":c") for name, x in zip(self.coordinates.names, at.point, strict=True))
            for step in range(1, _LARGEST_STEP + 1)
        )
        return next((point for point in steps if point not in self.seen), None)

    def give_up(self, at: Maximum) -> bool:
        """Name a minimal contradiction between requirements and give up its least important one; False if they agree."""
        wanted = [r for r in at.requirements if r.key not in self.given_up and not r.is_infinite]
        answer = minimise(
            Form(ZERO, (ZERO,) * len(at.point)), [Constraint(requirement.form, ">=") for requirement in wanted]
        )
        if not isinstance(answer, Infeasible):
            return False
        conflict = tuple(wanted[k] for k in answer.certificate)
        self.conflicts.append(conflict)
        self.given_up.add(min(conflict, key=lambda r: _WEIGHTS[r.demand]).key)
        return True


def form_moved(form: Form, origin: Sequence[Fraction]) -> Form:
    """Write a form relative to another origin."""
    return Form(form.at(origin), form.coefficients)


def look(
    program: Program | Facts, coordinates: Coordinates, point: Sequence[Fraction], *, epsilon: bool = False
) -> Maximum:
    """Read the requirements around a point, without judging the regime."""
    facts = Facts.of(program)

    def work(exponents: Exponents) -> tuple[Orders, tuple[tuple[Demand, str, int, Order], ...]]:
        orders = read(facts, exponents, epsilon=epsilon)
        return orders, tuple(demanded(orders))

    (orders, asked), cell = on_cell(coordinates, point, work)
    return Maximum(
        facts,
        coordinates,
        cell.point,
        coordinates.at(cell.point),
        cell,
        orders,
        tuple(_requirements(facts.program, asked, len(coordinates.names))),
        Regime.UNSTABLE,
    )


def demanded(orders: Orders) -> Iterable[tuple[Demand, str, int, Order]]:
    """Yield each demand as (demand, subject, position, order)."""
    facts, program = orders.facts, orders.program

    module = facts.once("modules of values", lambda: _modules(facts))
    for position in facts.counting:
        yield "begins small", module[position], position, orders.counted(position).size
        yield "changes little", module[position], position, orders.counted(position).moved
    for position in facts.hidden:
        yield "starts", module[position], position, orders.counted(position).size
    for name, own in contributions_of(orders).items():
        for contribution, contributed in own:
            yield "adds little", name, contribution.position, contributed
        best, largest = leader(own, lambda item: item[1])
        yield "updated", name, best.position, largest
    for position in facts.hidden:
        if program.statements[position].origin.step == program.steps - 1:
            yield "learns", module[position], position, orders.counted(position).moved
    moved = [(position, order) for position in facts.outputs if (order := orders.counted(position).moved) is not None]
    if moved:
        yield "moves", "the output", *leader(moved, lambda item: item[1])


def _modules(facts: Facts) -> dict[int, str]:
    """Name the module that computes each value of which something is demanded, or the kind of value outside of all."""
    program = facts.program
    makers = {position: program.statements[maker(program, position)] for position in {*facts.counting, *facts.hidden}}
    return {k: program.statements[k].origin.module or _kind(made.instruction) for k, made in makers.items()}


def is_missed(demand: Demand, order: Order) -> bool:
    """Tell whether an order misses a demand; an identically zero value meets all."""
    if order is None:
        return False
    return order > 0 if demand in _AT_MOST else order < 0


def _kind(instruction: Instruction) -> str:
    """Name a value outside of all modules by its instruction."""
    match instruction:
        case Contract():
            return "a product"
        case Combine():
            return "a sum"
        case Apply(function=function):
            return f"a value of {function}"
        case Leaf() | Gather() | Scatter() | Slice() | Concat() | Eigenvalues() | Spectral():
            return "a value"
    assert_never(instruction)


def contributions_of(orders: Orders) -> dict[str, list[tuple[Contribution, Fraction]]]:
    """Collect the contributions of each parameter's update, with the other parameters at their initial values.

    If a parameter meets zeros at the start (a branch that begins at zero), its contribution in training counts.
    """
    contributions: dict[str, list[tuple[Contribution, Fraction]]] = {}
    for contribution in orders.contributions:
        order = contribution.alone if contribution.alone is not None else contribution.order
        if order is not None:
            contributions.setdefault(contribution.parameter, []).append((contribution, order))
    return contributions


def _requirements(
    program: Program, demanded: Iterable[tuple[Demand, str, int, Order]], symbols: int
) -> Iterable[Requirement]:
    """Write the demands as linear inequalities: repeated ones once, those that hold everywhere never."""
    known: set[tuple[bool, Form]] = set()
    asked: set[tuple[bool, object]] = set()
    for demand, subject, position, order in demanded:
        bound, most = demand in ("updated", "moves"), demand in _AT_MOST
        if order is None or (question := (bound, key(-order if most else order))) in asked:
            continue
        asked.add(question)
        form = formula(order, symbols)
        assert form is not None
        wanted = -form if most else form
        if (bound, wanted) in known or (wanted.is_constant and wanted.constant >= 0 and not bound):
            continue
        known.add((bound, wanted))
        line = program.statements[maker(program, position)].origin.source
        source = line if line.file else program.statements[position].origin.source
        yield Requirement(demand, subject, position, wanted, source)
