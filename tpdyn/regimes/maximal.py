"""At which exponents does every layer learn as much as it can, and nothing blow up? Maximal update, as linear programs.

A program must meet **requirements**, each a linear inequality on the cell around a point. Values that count must not grow.
Representations must neither vanish at initialisation nor stand still. The update of each parameter must contribute at order
0: in muP, every layer is updated maximally. See Tensor Programs IV, arXiv 2011.14522, section 5. A linear program solves
them for the exponents nearest to the script's own. The program is read again at the solution, until a reading confirms all
requirements. So they hold exactly, although the search may use floating point. Formulas change from cell to cell, so a search may
end too early. It is done in several ways, until one of them ends where all requirements hold.

Requirements may contradict each other: one weight serves as embedding and as readout, or logits are divided by sqrt(d) only.
Then the search names a minimal contradictory set. It gives up the least important member, which is met as far as possible.
Rather than that a layer stands still, a value may vanish at initialisation. It can learn all the same, as a readout does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, assert_never, final

from tpdyn.exact.compare import key, leader
from tpdyn.exact.forms import Constraint, Form, Point
from tpdyn.exact.linear import Infeasible, compromise, minimise
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
from tpdyn.rationals import UNIT
from tpdyn.readings.orders.reading import Contribution, Exponents, Orders, read
from tpdyn.regimes.cells import Cell, Coordinates, formula, on_cell
from tpdyn.regimes.judgement import judge
from tpdyn.regimes.prediction import Regime

_LARGEST_SEARCH = 60
"""Readings after which the search gives up."""

_LARGEST_STEP = 3
"""All rates are lowered by up to so many powers of the width, to see what a growing function hides."""

Demand = Literal["begins small", "changes little", "adds little", "starts", "updated", "moves", "learns"]

Key = tuple[Demand, str, int]
"""A demand, its subject and its position: the same requirement on another cell has the same."""

_AT_MOST: tuple[Demand, ...] = ("begins small", "changes little", "adds little")
"""Under these demands, orders must not be positive; under all others, they must not be negative."""

Importance = Mapping[Demand, Fraction]
"""By how much a shortfall of each demand counts."""

_STARTS_FIRST: Importance = {
    **dict.fromkeys(_AT_MOST, Fraction(1000)),
    "starts": Fraction(100),
    "updated": Fraction(10),
    "moves": Fraction(10),
    "learns": Fraction(1),
}
"""The way on which initial entries settle before rates: the shortest to most points."""
_LEARNS_FIRST: Importance = {
    **_STARTS_FIRST,
    "updated": Fraction(100),
    "moves": Fraction(100),
    "learns": Fraction(10),
    "starts": Fraction(1),
}
"""Where not all can be had: a value that vanishes at first may still learn, as a readout does."""
_FINEST = 64
"""The largest denominator of a point between two others. Requirements that jump from cell to cell are never met there."""
_ASIDE = Fraction(1, 8)
"""A step so small that only what is as large as something else comes to lead."""
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
    def key(self) -> Key:
        """The demand and its subject."""
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
    reading there, on linear forms. conflicts: minimal sets of contradictory requirements. readings: how often the program was
    read. regime: that at the point.
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
    facts = Facts.of(program)
    origin = tuple(start) if start is not None else (ZERO,) * len(coordinates.names)
    known: dict[Point, Maximum] = {}

    def reading(point: Point) -> Maximum:
        if point not in known:
            known[point] = look(facts, coordinates, point, epsilon=epsilon)
        return known[point]

    conflicts: dict[Key, tuple[Requirement, ...]] = {}
    for importance, stays, step in _WAYS:
        descent = _Descent(coordinates, origin, reading, importance, stays)
        end = descent.run(slower(origin, coordinates, step), lambda: len(known) < most)
        conflicts = {**descent.conflicts, **conflicts}
        if not end.unmet or len(known) >= most:
            break
    best = min(known.values(), key=_missed)
    while best.unmet:  # only what is not given up counts for the last steps
        point = propose(
            best, best.point, coordinates, lambda r: ZERO if r.key in conflicts else _LEARNS_FIRST[r.demand]
        )
        if not _is_held(point) or _missed(further := reading(point)) >= _missed(best):
            break
        best = further
    nearer = propose(best, origin, coordinates, lambda r: _LEARNS_FIRST[r.demand])
    if _distance(nearer, origin, coordinates) < _distance(best.point, origin, coordinates) and _is_held(nearer):
        best = best if reading(nearer).unmet else reading(nearer)
    unmet = {r.key for r in best.unmet}
    named = tuple(conflict for key, conflict in conflicts.items() if key in unmet)
    regime = judge(read(facts, coordinates.at(best.point), epsilon=epsilon)).regime
    return replace(best, regime=regime, conflicts=named, readings=len(known))


def slower(point: Point, coordinates: Coordinates, step: int) -> Point:
    """Lower all rates by a power of the width."""
    return tuple(x + step * name.endswith(":c") for name, x in zip(coordinates.names, point, strict=True))


def _is_held(point: Point) -> bool:
    """Tell whether orders can be held at a point: its denominators are small."""
    return all(UNIT % (2 * _FINEST * x.denominator) == 0 for x in point)


def _missed(at: Maximum) -> Fraction:
    """Sum the shortfalls at a point, weighted by importance."""
    return sum((_LEARNS_FIRST[r.demand] * r.shortfall(at.point) for r in at.requirements), ZERO)


def _costs(coordinates: Coordinates) -> list[Fraction]:
    """Return what it costs to move each symbol: a multiplier where there was none costs more."""
    return [_NEW_MULTIPLIER if name.endswith(":p") else _DISTANCE for name in coordinates.names]


def _distance(point: Point, origin: Point, coordinates: Coordinates) -> Fraction:
    return sum((c * abs(x - o) for c, x, o in zip(_costs(coordinates), point, origin, strict=True)), ZERO)


def propose(
    at: Maximum,
    origin: Point,
    coordinates: Coordinates,
    weight: Callable[[Requirement], Fraction],
    more: Sequence[Requirement] = (),
) -> Point:
    """Propose the point nearest to the origin that misses the formulas of this cell, and `more`, by the least."""
    wanted = [r for r in dict.fromkeys((*at.requirements, *more)) if not r.is_infinite]
    formulas = [form_moved(r.form, origin) for r in wanted]
    moves = compromise(formulas, [*map(weight, wanted)], _costs(coordinates))
    return tuple(o + move for o, move in zip(origin, moves, strict=True))


_WAYS: tuple[tuple[Importance, bool, int], ...] = (
    (_STARTS_FIRST, False, 0),
    (_STARTS_FIRST, False, 1),
    (_LEARNS_FIRST, False, 0),
    (_LEARNS_FIRST, True, 0),
    (_LEARNS_FIRST, True, 1),
)
"""What counts most, whether steps are short, and by how much rates are lowered in the beginning."""


@final
class _Descent:
    """One way from point to point. stays: whether each step is as short as can be, instead of its end near the origin."""

    def __init__(
        self,
        coordinates: Coordinates,
        origin: Point,
        reading: Callable[[Point], Maximum],
        importance: Importance,
        stays: bool,
    ) -> None:
        self.coordinates, self.origin, self.reading = coordinates, origin, reading
        self.importance, self.stays = importance, stays
        self.seen: dict[Point, Maximum] = {}
        self.conflicts: dict[Key, tuple[Requirement, ...]] = {}

    def run(self, start: Point, goes_on: Callable[[], bool]) -> Maximum:
        """Go on until all requirements hold, or until nothing new is proposed. Return the last point."""
        at = self.look(start)
        while self.unmet(at) and goes_on():
            proposal = self.propose(at)
            if self.is_new(proposal):
                at = self.look(proposal)
                continue
            # The search goes in circles: the requirements, as they are where least is missed, contradict each other.
            at = min(self.seen.values(), key=self.missed)
            slower = self.slower(at)
            if slower is not None:
                at = self.look(slower)
                continue
            together = self.propose(at, self.ceilings())
            if self.is_new(together):
                at = self.look(together)
                continue
            aside = self.aside(at)
            if self.is_new(aside):
                at = self.look(aside)
                continue
            if not self.give_up(at):
                halfway = tuple((x + y) / 2 for x, y in zip(at.point, self.propose(at), strict=True))
                if self.is_new(halfway):
                    at = self.look(halfway)
                elif not self.give_up(at, self.ceilings()):
                    break
        return at

    def is_new(self, point: Point) -> bool:
        """Tell whether a point was not seen. Points that come closer and closer to another are taken for it in the end."""
        return point not in self.seen and _is_held(point) and max(x.denominator for x in point) <= _FINEST

    def look(self, point: Point) -> Maximum:
        """Read the program around a point."""
        self.seen[point] = self.reading(point)
        return self.seen[point]

    def unmet(self, at: Maximum) -> list[Requirement]:
        return [r for r in at.unmet if r.key not in self.conflicts]

    def weight(self, requirement: Requirement) -> Fraction:
        return _GIVEN_UP if requirement.key in self.conflicts else self.importance[requirement.demand]

    def missed(self, at: Maximum) -> Fraction:
        return sum((self.weight(r) * r.shortfall(at.point) for r in at.requirements), ZERO)

    def aside(self, at: Maximum) -> Point:
        """Step aside, to where the entries of vectors begin a little larger. Formulas there show what they can do for a value.

        A formula is that of the largest term. Where matrix and bias are as large as each other, it is that of the matrix.
        """
        own = at.facts.own
        larger = {f"{name}:b" for name, mine in own.items() if mine.role in ("input-like", "scalar-like")}
        return tuple(
            x - _ASIDE * (symbol in larger) for symbol, x in zip(self.coordinates.names, at.point, strict=True)
        )

    def ceilings(self) -> list[Requirement]:
        """Collect the upper bounds from all cells seen: the largest of several orders shows one of them at a time."""
        return [r for at in self.seen.values() for r in at.requirements if r.demand in _AT_MOST]

    def propose(self, at: Maximum, more: Sequence[Requirement] = ()) -> Point:
        origin = at.point if self.stays else self.origin
        return propose(at, origin, self.coordinates, self.weight, more)

    def slower(self, at: Maximum) -> Point | None:
        """Lower all rates by a whole power, if a value grows here whatever the exponents. There its order depends on them.

        A bounded function hides by how much its argument grows; the exponential of a growing value exceeds all powers. Returns
        None if all such values have a formula, or if these points were seen.
        """
        if not any(r.form.is_constant and r.demand in ("changes little", "adds little") for r in self.unmet(at)):
            return None
        points = (slower(at.point, self.coordinates, step) for step in range(1, _LARGEST_STEP + 1))
        return next((point for point in points if point not in self.seen), None)

    def give_up(self, at: Maximum, more: Sequence[Requirement] = ()) -> bool:
        """Name a minimal contradiction between requirements and give up its least important one; False if they agree."""
        asked = dict.fromkeys((*at.requirements, *more))
        wanted = [r for r in asked if r.key not in self.conflicts and not r.is_infinite]
        rows = [Constraint(requirement.form, ">=") for requirement in wanted]
        try:
            answer = minimise(Form(ZERO, (ZERO,) * len(at.point)), rows)
        except ArithmeticError:  # so close to both that floating point does not tell: nothing is claimed
            return False
        if not isinstance(answer, Infeasible):
            return False
        conflict = tuple(wanted[k] for k in answer.certificate)
        self.conflicts[min(conflict, key=lambda r: self.importance[r.demand]).key] = conflict
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
