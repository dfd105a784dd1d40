"""How big is each value, and its change in training? The orders reading: one rule for each instruction.

Every value is read twice at once: in training and in the base program (`terms.Value`). There each parameter keeps its
initial value. A parameter after an update has its leaf as base and everything added since as change. Exact rationals,
without sampling, without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import repeat
from typing import Any, assert_never, final

from tpdyn.exponents import ZERO, Order, Scaling
from tpdyn.facts.cancelling import Cancelled, Sum
from tpdyn.facts.facts import Facts
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
    operands_of,
)
from tpdyn.program.program import Program, Statement
from tpdyn.readings.interpret import Listener, Rule, Until, interpret
from tpdyn.readings.orders.applied import applied
from tpdyn.readings.orders.bilinear import combined, contracted, joined, moved, of_an_extreme, sum_of_products
from tpdyn.readings.orders.contraction import placed
from tpdyn.readings.orders.leaves import leaf_value
from tpdyn.readings.orders.parity import Sources
from tpdyn.readings.orders.remembered import Remembered
from tpdyn.readings.orders.spectral import eigenvalues, function_of, vanishes_at_zero
from tpdyn.readings.orders.terms import Term, Terms, Value, leading_order, scaled, tidy


@final
@dataclass(frozen=True)
class Exponents:
    """Extra powers of the width for parameters, on top of what the script does (the abc-parametrization).

    multiplier: parameter name -> a: the parameter enters the network as `n^-a w`. initial: name -> b: its initial
    entries are smaller by n^-b. rate: name -> c: its learning rate is smaller by n^-c. Missing names mean 0.
    frozen: parameters that are not trained at all. site: position of a product in the program -> p: it is multiplied by
    n^-p. This serves multipliers without a parameter; `tpdyn.facts.sites` finds a product together with its gradients.
    """

    multiplier: Mapping[str, Fraction] = field(default_factory=dict)
    initial: Mapping[str, Fraction] = field(default_factory=dict)
    rate: Mapping[str, Fraction] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    site: Mapping[int, Fraction] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Contribution:
    """`dW x` in one product: how much the change of a parameter contributes to a forward value (None: nothing).

    order: with x as it is in training. alone: with x as it is in the base program, so that only this parameter moves. Both
    behind the multiplier that follows the value, if one does (`Facts.folded`).
    """

    parameter: str
    position: int
    step: int
    order: Order
    alone: Order


@final
@dataclass(frozen=True)
class Orders:
    """What was read, and at which exponents, with one `Value` a statement. contributions: what each parameter's change adds
    where it is used (noted: whether asked for). epsilon: constants that guard a division counted as written. sources: the names
    under which random vectors were met, for `read` to go on with. learned: what increments change of versions that are more."""

    facts: Facts
    exponents: Exponents
    epsilon: bool
    values: Sequence[Value]
    contributions: tuple[Contribution, ...]
    noted: bool
    sources: Sources = field(repr=False, compare=False)
    learned: Mapping[int, Terms] = field(default_factory=dict, repr=False, compare=False)

    @property
    def program(self) -> Program:
        """What was read."""
        return self.facts.program

    def counted(self, position: int) -> Value:
        """Return a value as it counts: a vector of unit length as n^1/2 times itself (`tpdyn.facts.lengths`)."""
        return self.values[position].times(self.facts.unit_lengths.get(position, ZERO))

    def again(self, exponents: Exponents) -> Orders:
        """Read the same statements at other exponents."""
        until = len(self.values) - 1
        return read(self.facts, exponents, epsilon=self.epsilon, until=until, contributions=self.noted)


def read(
    program: Program | Facts,
    exponents: Exponents | None = None,
    *,
    epsilon: bool = False,
    until: Until[Value] | None = None,
    listener: Listener[Value] | None = None,
    after: Orders | None = None,
    asked: Container[int] | None = None,
    contributions: bool = True,
) -> Orders:
    """Read the orders of every value of a program.

    epsilon: take constants that guard a division (Adam's eps) as written; otherwise they are negligible.
    after: the orders, at the same exponents, of a program that this one continues. They are kept, unless later statements
    show what was not known of earlier ones.
    until, listener: where to stop, and who is told of every value as it is found: see `interpret`.
    asked: the positions at which `until` is asked, if it is a test; all if it is None.
    contributions: whether to note what each update contributes; no value depends on it, and on linear forms it costs cells.
    Raises OutsideTheory, in rings, where a rule does not reach.
    """
    facts, given = Facts.of(program), exponents or Exponents()
    reader = _Reader(facts, given, epsilon, contributions)
    if after is not None and _still_true(after, facts):
        reader.go_on(after)
    exponent_maps = (given.multiplier, given.initial, given.rate, given.site)
    known = None if contributions or after or listener else Remembered.of(exponent_maps, (given.frozen, epsilon))
    if known is not None:
        interpret(facts.program, reader.remembering(known), until=_where(asked, until, known))
        return Orders(facts, given, epsilon, known, (), False, reader.sources)
    rule = reader.keeping()
    interpret(facts.program, rule, known=reader.values, until=_where(asked, until), listener=listener)
    values, noted = tuple(reader.values), tuple(reader.contributions)
    return Orders(facts, given, epsilon, values, noted, contributions, reader.sources, reader.learned)


def _where(
    asked: Container[int] | None, until: Until[Value] | None, known: Sequence[Value] | None = None
) -> Until[Any] | None:
    """Return `until`, asked at some positions only, with the values that are known there."""
    if not callable(until) or (asked is None and known is None):
        return until

    def stops(position: int, statement: Statement, value: Any) -> bool:
        if asked is not None and position not in asked:
            return False
        return until(position, statement, value if known is None else known[position])

    return stops


def _still_true(known: Orders, facts: Facts) -> bool:
    """Tell whether orders of the first part of a program are those of its whole. Later statements decide which maxima guard a
    division, and which multiplier belongs to a value. They also decide what a function of a matrix is applied to."""
    before, program = known.facts, known.program
    return (
        not any(isinstance(statement.instruction, Spectral) for statement in program.statements)
        and before.guarded_maxima == {k: kept for k, kept in facts.guarded_maxima.items() if k < len(program)}
        and all(before.folded.get(c.position) == facts.folded.get(c.position) for c in known.contributions)
    )


@final
class _Reader:
    def __init__(self, facts: Facts, exponents: Exponents, epsilon: bool, noting: bool) -> None:
        self.facts, self.exponents, self.epsilon, self.noting = facts, exponents, epsilon, noting
        self.program = facts.program
        self.guarded = {} if epsilon else facts.guarded_maxima
        self.sources = Sources(self.facts.iterated)
        self.contributions: list[Contribution] = []
        self.values: Sequence[Value] = ()
        self.parts: dict[tuple[str, bool], dict[int, Value]] = {}
        self.learned: dict[int, Terms] = {}
        self.raw_of = {version: raw for raw, version in facts.raw_updates.items()}

    def go_on(self, after: Orders) -> None:
        """Start behind what is known."""
        self.sources = after.sources.copied()
        self.contributions, self.values, self.learned = list(after.contributions), after.values, dict(after.learned)

    # -- the rule ---------------------------------------------------------------------------------------------------

    def keeping(self) -> Rule[Value]:
        """Return the rule, with values at hand for later statements."""
        self.values = values = list(self.values)

        def rule(position: int, statement: Statement, operands: tuple[Value, ...]) -> Value:
            values.append(self.rule(position, statement, operands))
            return values[-1]

        return rule

    def rule(self, position: int, statement: Statement, operands: tuple[Value, ...]) -> Value:
        updates = position in self.facts.previous_of or position in self.facts.raw_updates
        rule = self._updated if updates else self._read
        return rule(position, statement, operands)

    def remembering(self, known: Remembered) -> Rule[None]:
        """Return the rule that looks values up in `known`, where they were found at other points of a slice."""
        self.values, self.sources.chart = known, known.chart
        reads = self.facts.once("what orders depend on", self._reads)

        def rule(position: int, statement: Statement, _: tuple[None, ...]) -> None:
            def work() -> Value:
                operands = tuple(known[operand.var] for operand in operands_of(statement.instruction))
                return self.rule(position, statement, operands)

            known.add(reads[position], self.sources, work)

        return rule

    def _reads(self) -> list[list[int]]:
        """List for each statement all values that it depends on."""
        found = []
        for position, statement in enumerate(self.program.statements):
            reads = list(self.program.reads[position])
            version = self.facts.raw_updates.get(position, position)
            if version in self.facts.previous_of:
                reads += [self.facts.initial_of[version], self.facts.previous_of[version]]
            if position in self.facts.cancelled:
                left = self.facts.cancelled[position]
                reads += [o.var for each in (left.base, left.change) if each for _, o, _ in each.terms]
            if isinstance(statement.instruction, Spectral):
                reads = list(range(position))  # a function of a matrix is found by reading other statements again
            found.append(reads)
        return found

    def _read(self, position: int, statement: Statement, operands: tuple[Value, ...]) -> Value:
        """Read a statement from the values that it reads: one rule an instruction."""
        instruction = statement.instruction
        values = self._through_multipliers(statement, operands)
        match instruction:
            case Leaf():
                smaller = self.exponents.initial.get(self.facts.owner.get(position, ""), ZERO)
                return leaf_value(instruction, position, len(statement.wide_axes), -smaller, self.sources)
            case Contract():
                return self._contracted(position, statement, instruction, values)
            case Combine(terms=terms):
                for scale, operand in terms:
                    self._note_pick(position, statement, operand, scale.order, lambda part: part)
                if position in self.facts.cancelled and not self.exponents.site:
                    return self._of_what_is_left(self.facts.cancelled[position])
                return combined(instruction, values, self.facts.layout(position), self.epsilon)
            case Apply():
                return applied(self.facts, position, instruction, values, self.guarded)
            case Gather():
                return self._gathered(position, statement, instruction, values[0])
            case Scatter(value=operand, axis=axis):
                sparse = statement.shape[axis]
                rarity = sparse.order if sparse.is_wide and axis not in operand.axes else None
                return moved(operands[0], self.facts.layout(position), self.sources, rarity or ZERO)
            case Slice():
                self._require_a_whole_part(instruction)
                return moved(values[0], self.facts.layout(position), self.sources)
            case Concat():
                return joined(values, self.facts.layout(position))
            case Eigenvalues():
                return eigenvalues(operands[0], self.facts.ranges.rows(instruction), len(statement.wide_axes))
            case Spectral():
                return self._spectral(position, instruction, operands)
        assert_never(instruction)

    def _contracted(self, position: int, statement: Statement, contract: Contract, values: tuple[Value, ...]) -> Value:
        if position in self.facts.sums_over_eigenvalues:
            raise OutsideTheory(
                "outside the theory: a sum over eigenvalues, all but finitely many of which vanish. The sum of all of "
                "them is the trace of the matrix"
            )
        if position in self.facts.extremes:
            values = of_an_extreme(values, self.facts.extremes[position])
        power = contract.scale.order
        if power is not None and position in self.exponents.site:
            power = power - self.exponents.site[position]
        made = contracted(values, self.facts.layout(position), power, self.sources)
        if power is not None:
            self._note_products(position, statement, contract, values, power)
        return made

    def _require_a_whole_part(self, cut: Slice) -> None:
        whole = self.program.statements[cut.value.var].shape[cut.value.axes.index(cut.axis)]
        if cut.length.is_wide and cut.length.order != whole.order:
            raise OutsideTheory(
                f"outside the theory: a slice takes {cut.length} of {whole} entries, a vanishing part. "
                "What is rare in the whole need not be rare there"
            )

    def _gathered(self, position: int, statement: Statement, gather: Gather, value: Value) -> Value:
        """Read a gather. Data pick the rows that data filled (a token's, in a growing vocabulary), so these are not rare."""
        operand = gather.value
        rows = self.program.statements[operand.var].shape[operand.axes.index(gather.axis)].order or ZERO
        if rows > 0 and operand.var not in self.facts.owner:
            raise OutsideTheory(
                "outside the theory: data pick entries of a computed wide dim (a vocabulary of the output that grows, "
                "say). Those entries learn at other orders than the rest. Keep the number of classes fixed"
            )

        def picked(value: Value) -> Value:
            return moved(value, self.facts.layout(position), self.sources, -rows)

        self._note_pick(position, statement, operand, ZERO, picked)
        return picked(value)

    # -- parameters: multipliers and updates ------------------------------------------------------------------------

    def _through_multipliers(self, statement: Statement, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Scale by multipliers: a parameter w enters the network as n^-a w, so its gradient comes back times n^-a."""
        if not self.exponents.multiplier:
            return values
        operands = operands_of(statement.instruction)
        return tuple(map(self._through_multiplier, repeat(statement), operands, values))

    def _through_multiplier(self, statement: Statement, operand: Operand, value: Value) -> Value:
        owners = self.facts.gradient_of if statement.origin.phase == "optimizer" else self.facts.owner
        return value.times(-self.exponents.multiplier.get(owners.get(operand.var, ""), ZERO))

    def _updated(self, position: int, statement: Statement, operands: tuple[Value, ...]) -> Value:
        """Read an update `W_t = W_{t-1} + increments`: the base stays the leaf, the change collects the increments."""
        version = self.facts.raw_updates.get(position, position)
        previous, owner = self.facts.previous_of[version], self.facts.owner[version]
        first, last = self.values[self.facts.initial_of[version]], self.values[previous]
        if owner in self.exponents.frozen:
            return last
        combine = statement.instruction
        written = statement.origin.phase == "data"  # by the script itself, with no learning rate
        if position in self.raw_of or not isinstance(combine, Combine):
            return self._made_of_an_update(position, statement, operands, owner, written)
        left = self.facts.cancelled.get(position)
        if left is not None and not self.exponents.site:
            constant = "" if written else owner
            change = self._linear(left.change, lambda value: value.total, self.exponents.rate, constant)
            return Value(first.base, tidy(change, first.wide), None, first.wide)
        power = ZERO if written else -self.exponents.rate.get(owner, ZERO)
        added = [*self._decayed(combine, previous, last, power)]
        values = self._through_multipliers(statement, operands)
        axes_of = self.facts.layout(position).operands
        for (scale, operand), value, axes in zip(combine.terms, values, axes_of, strict=True):
            if operand.var != previous and scale.order is not None:
                added += scaled(placed(value.total, axes), scale.order + power)
        if combine.constant.order is not None:
            added.append(Term(combine.constant.order + power))
        if version != position or previous in self.learned:
            self.learned[position] = tidy([*self.learned.get(previous, last.change), *added], first.wide)
        return Value(first.base, tidy([*last.change, *added], first.wide), None, first.wide)

    def _made_of_an_update(
        self, position: int, statement: Statement, operands: tuple[Value, ...], owner: str, written: bool
    ) -> Value:
        """Read what is made of `W - lr g`, or of a version: projected, clipped, shrunk. `f(W) - W` may be as large as W.

        What a step has learned is what the increments change, not what f does by itself.
        """
        first, previous = self.values[self.facts.initial_of[position]], self.facts.previous_of[position]
        raw = self.raw_of.get(position, previous)
        entrywise = position in self.raw_of and isinstance(statement.instruction, Apply)
        if not (entrywise or written) and self.exponents.rate.get(owner):
            raise OutsideTheory(
                f"outside the theory: the step of {owner} ends neither in a sum nor in an entrywise function of one. "
                "How its learning rate enters is not known"
            )
        value = self._read(position, statement, operands)
        change = tidy([*value.total, *first.base], first.wide)
        if self.noting:
            moved = Value(first.base, self.learned.get(raw, self.values[raw].change), None, first.wide)
            again = self._again(position, {raw: moved})
            self.learned[position] = change if again is None else again.change
        return Value(first.base, change, None, first.wide, True)

    def _of_what_is_left(self, left: Cancelled) -> Value:
        """Add what is left of a sum in which something cancels."""
        assert left.base is not None
        base = self._linear(left.base, lambda value: value.base, self.exponents.multiplier)
        change = self._linear(left.change, lambda value: value.change, self.exponents.multiplier)
        wide = left.base.layout.wide
        at_most = any(
            self.values[operand.var].at_most for each in (left.base, left.change) for _, operand, _ in each.terms
        )
        return Value(tidy(base, wide), tidy(change, wide), None, wide, at_most)

    def _linear(
        self, left: Sum, part: Callable[[Value], Terms], smaller: Mapping[str, Fraction], constant: str = ""
    ) -> list[Term]:
        """Add atoms, each smaller by the powers of the width for the parameters that it names."""
        made: list[Term] = []
        for (scale, operand, names), axes in zip(left.terms, left.layout.operands, strict=True):
            assert scale.order is not None
            power = scale.order - sum((smaller.get(name, ZERO) for name in names or (constant,)), ZERO)
            made += scaled(placed(part(self.values[operand.var]), axes), power)
        if left.constant.order is not None:
            made.append(Term(left.constant.order - smaller.get(constant, ZERO)))
        return made

    def _decayed(self, combine: Combine, previous: int, last: Value, power: Fraction) -> Terms:
        """Read off the part that weight decay takes away: `(1 - d) W = W - d W`."""
        own = Scaling.sum([scale for scale, operand in combine.terms if operand.var == previous]) + Scaling.of(-1)
        if own.order is None or _is_round_off(own):
            return ()
        return scaled(last.total, own.order + power)

    # -- what each parameter contributes ----------------------------------------------------------------------------

    def _note_products(
        self, position: int, statement: Statement, contract: Contract, values: tuple[Value, ...], power: Fraction
    ) -> None:
        """Note `dW x`: what the change of a parameter contributes to a product of the forward pass."""
        for k, operand in enumerate(contract.operands):
            iterates = self.noting and self._iterates(position, statement, operand)
            names = [self.facts.owner[operand.var]] if iterates else self._noted(position, statement, operand)
            for name in names:
                in_training, by_itself = [v.total for v in values], [v.base for v in values]
                # In a power iteration vectors have length 1: what counts is by how much W v changes, relative to its size.
                size = self._order(by_itself, position, power) if iterates else ZERO
                in_training[k], by_itself[k] = (part.change for part in self._parts(statement, operand, name))
                orders = (self._order(factors, position, power) for factors in (in_training, by_itself))
                self._note(
                    name, position, statement, *(None if o is None or size is None else o - size for o in orders)
                )

    def _iterates(self, position: int, statement: Statement, operand: Operand) -> bool:
        """Tell whether a matrix meets a vector that is made of matrices, too."""
        facts, program = self.facts, self.program
        products = position in facts.made_of and position not in facts.used and operand.var in facts.owner
        read = program.reads[position]
        return (
            products
            and len(program.statements[operand.var].wide_axes) == 2
            and len(statement.wide_axes) == 1
            and len(read) == 2
            and all(program.statements[var].wide_axes for var in read)
        )

    def _order(self, factors: list[Terms], position: int, power: Fraction) -> Order:
        return leading_order(sum_of_products(factors, self.facts.layout(position), power, self.sources))

    def _note_pick(
        self, position: int, statement: Statement, operand: Operand, power: Order, picked: Callable[[Value], Value]
    ) -> None:
        """Note a parameter that enters as it is: a bias, a row of an embedding."""
        if power is None:
            return
        for name in self._noted(position, statement, operand):
            orders = (leading_order(picked(part).times(power).change) for part in self._parts(statement, operand, name))
            self._note(name, position, statement, *orders)

    def _noted(self, position: int, statement: Statement, operand: Operand) -> Iterable[str]:
        """Name the parameters that an operand is made of, where the network applies it."""
        made_of = self.facts.made_of
        asked = self.noting and statement.origin.phase == "forward" and position not in made_of
        return sorted(made_of.get(operand.var, ())) if asked else ()

    def _note(self, name: str, position: int, statement: Statement, order: Order, alone: Order) -> None:
        behind = self.facts.folded.get(position, ZERO)
        order, alone = (None if each is None else each + behind for each in (order, alone))
        self.contributions.append(Contribution(name, position, statement.origin.step, order, alone))

    def _parts(self, statement: Statement, operand: Operand, name: str) -> Iterator[Value]:
        """Yield what an operand would be if one parameter alone moved: beside others in training, and at the start."""
        for alone in (False, True):
            yield self._through_multiplier(statement, operand, self._part(operand.var, name, alone))

    def _part(self, var: int, name: str, alone: bool) -> Value:
        """Read what is made of parameters again, with the change of one of them only."""
        made_of, parts = self.facts.made_of, self.parts.setdefault((name, alone), {})

        def part(var: int) -> Value:
            value = self.values[var]
            return parts[var] if var in parts else Value(value.base if alone else value.total, (), None, value.wide)

        for position in self._behind(var, lambda read: read not in parts and name in made_of.get(read, ())):
            statement, value = self.program.statements[position], self.values[position]
            if position in self.facts.owner:
                parts[position] = Value(value.base, self.learned.get(position, value.change), None, value.wide)
            elif isinstance(statement.instruction, Eigenvalues | Spectral):
                parts[position] = value
            else:
                operands = tuple(part(operand.var) for operand in operands_of(statement.instruction))
                parts[position] = self._read(position, statement, operands)
        return part(var)

    def _behind(self, var: int, wanted: Callable[[int], bool]) -> list[int]:
        """List a value and what it is computed from, in order, as far back as it is wanted."""
        found, waiting = set[int](), [var]
        while waiting:
            read = waiting.pop()
            if read not in found and wanted(read):
                found.add(read)
                waiting += self.program.reads[read]
        return sorted(found)

    # -- functions of matrices --------------------------------------------------------------------------------------

    def _spectral(self, position: int, spectral: Spectral, operands: tuple[Value, ...]) -> Value:
        """Read `f(S)`; f is known by its value at an eigenvalue of each order."""
        weights, matrix = operands
        at = self.facts.ranges.own_eigenvalues(spectral)

        def weight(order: Fraction) -> Order:
            probe = Value((Term(order),), (), None, len(self.program.statements[at].wide_axes))
            noted = len(self.contributions)
            probed = self._again(spectral.weights.var, {at: probe}) or weights
            del self.contributions[noted:]  # no parameter contributes to what is only supposed
            return leading_order(probed.total)

        size = self.facts.ranges.rows(spectral)
        lead = leading_order(matrix.total)
        if lead is not None and not vanishes_at_zero(weight, lead + size):
            self.facts.ranges.expect_within(position)
        axes = self.facts.layout(position).operands[1]
        there = matrix.each(lambda terms: placed(terms, axes), matrix.wide)
        return function_of(there, weights, weight, size)

    def _again(self, var: int, given: dict[int, Value]) -> Value | None:
        """Read a statement again, with some values replaced by given ones; None if it does not depend on them."""
        first, found = min(given), dict(given)
        for position in self._behind(var, lambda read: read > first and read not in given):
            statement = self.program.statements[position]
            if any(read in found for read in self.program.reads[position]):
                operands = (found.get(o.var) or self.values[o.var] for o in operands_of(statement.instruction))
                found[position] = self._read(position, statement, tuple(operands))
        return found.get(var)


def _is_round_off(scale: Scaling) -> bool:
    return all(abs(float(c)) < 1e-12 for c, _ in scale.terms)
