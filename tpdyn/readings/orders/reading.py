"""How big is each value, and its change in training? The orders reading: one rule for each instruction.

Every value is read twice at once, in training and in the base program, in which each parameter keeps its initial value
(`terms.Value`). A parameter after an update has its leaf as base and everything added since as change. Exact rationals,
no sampling, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import assert_never, final

from tpdyn.exponents import ZERO, Order, Scaling
from tpdyn.facts.ranges import Ranges
from tpdyn.facts.signs import guarded_maxima
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
from tpdyn.readings.interpret import Listener, Until, interpret
from tpdyn.readings.orders.applied import applied
from tpdyn.readings.orders.bilinear import combined, contracted, joined, moved, sum_of_products
from tpdyn.readings.orders.contraction import Layout, layout, place
from tpdyn.readings.orders.leaves import leaf_value
from tpdyn.readings.orders.parity import Sources
from tpdyn.readings.orders.spectral import eigenvalues, function_of, vanishes_at_zero
from tpdyn.readings.orders.terms import Term, Value, leading_order, scaled, tidy


@final
@dataclass(frozen=True)
class Exponents:
    """Extra powers of the width for parameters, on top of what the script does (the abc-parametrization).

    multiplier: parameter name -> a: the parameter enters the network as `n^-a w`. initial: name -> b: its initial
    entries are smaller by n^-b. rate: name -> c: its learning rate is smaller by n^-c. Missing names mean 0.
    frozen: parameters that are not trained at all. place: position of a product in the program -> p: it is multiplied by
    n^-p (for multipliers that belong to no parameter: see `places`, which finds a product together with its gradients).
    """

    multiplier: Mapping[str, Fraction] = field(default_factory=dict)
    initial: Mapping[str, Fraction] = field(default_factory=dict)
    rate: Mapping[str, Fraction] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    place: Mapping[int, Fraction] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Contribution:
    """`dW x` at one place: how much the change of a parameter contributes to a forward value (None: nothing).

    order: with x as it is in training; alone: with x as it is in the base program, so that only this parameter moves.
    """

    parameter: str
    position: int
    step: int
    order: Order
    alone: Order

    def times(self, power: Fraction) -> Contribution:
        """The same contribution behind a multiplier n^power."""
        return replace(
            self,
            order=None if self.order is None else self.order + power,
            alone=None if self.alone is None else self.alone + power,
        )


@final
@dataclass(frozen=True)
class Orders:
    """What the reading found: one `Value` a statement, and what each parameter's change contributes where it is used."""

    values: tuple[Value, ...]
    contributions: tuple[Contribution, ...]


def read(
    program: Program,
    exponents: Exponents | None = None,
    *,
    epsilon: bool = False,
    folded: Mapping[int, Fraction] | None = None,
    until: Until[Value] | None = None,
    listener: Listener[Value] | None = None,
) -> Orders:
    """The orders of every value of a program.

    folded: for values that a multiplier follows, its power of the width (`Structure.folded`): contributions count behind it.
    epsilon: take constants that guard a division (Adam's eps) as written; otherwise they are negligible.
    until, listener: where to stop, and who is told of every value as it is found: see `interpret`.
    Raises OutsideTheory, in rings, where a rule does not reach.
    """
    reader = _Reader(program, exponents or Exponents(), epsilon)
    values = interpret(program, reader.rule, until=until, listener=listener)
    behind = folded or {}
    return Orders(tuple(values), tuple(c.times(behind.get(c.position, ZERO)) for c in reader.contributions))


@final
class _Reader:
    def __init__(self, program: Program, exponents: Exponents, epsilon: bool) -> None:
        self.program = program
        self.epsilon = epsilon
        self.exponents = exponents
        self.sources = Sources()
        self.contributions: list[Contribution] = []
        self.plans, self.ranges = _plans_of(program)
        self.guarded = {} if epsilon else guarded_maxima(program)
        self.owner: dict[int, str] = {}
        self.first: dict[int, int] = {}
        self.previous: dict[int, int] = {}
        self.gradient_of: dict[int, str] = {}
        for parameter in program.parameters:
            for step, view in enumerate(parameter.versions):
                for piece, var in enumerate(view.pieces):
                    self.owner[var] = parameter.name
                    if step and var != parameter.versions[step - 1].pieces[piece]:
                        self.first[var] = parameter.versions[0].pieces[piece]
                        self.previous[var] = parameter.versions[step - 1].pieces[piece]
            for gradient in parameter.gradients:
                for var in gradient.pieces if gradient is not None else ():
                    self.gradient_of[var] = parameter.name
        self.values: list[Value] = []

    # -- the rule ---------------------------------------------------------------------------------------------------

    def rule(self, position: int, statement: Statement, operands: tuple[Value, ...]) -> Value:
        if position in self.previous:
            value = self._updated(position, statement, operands)
        else:
            value = self._read(position, statement, operands)
        self.values.append(value)
        return value

    def _read(self, position: int, statement: Statement, operands: tuple[Value, ...]) -> Value:
        instruction = statement.instruction
        match instruction:
            case Leaf():
                smaller = self.exponents.initial.get(self.owner.get(position, ""), ZERO)
                return leaf_value(instruction, position, len(statement.wide_axes), -smaller, self.sources)
            case Contract(operands=places, scale=scale):
                if self.ranges is not None:
                    self.ranges.expect_no_sum_over_eigenvalues(position)
                values = self._through_multipliers(statement, places, operands)
                power = scale.order
                if power is not None and position in self.exponents.place:
                    power = power - self.exponents.place[position]
                made = contracted(values, self._plan(position, statement, places), power, self.sources)
                self._note_contribution(position, statement, places, values, power)
                return made
            case Combine():
                places = tuple(operand for _, operand in instruction.terms)
                values = self._through_multipliers(statement, places, operands)
                for (scale, place_), value in zip(instruction.terms, values, strict=True):
                    self._note_pick(position, statement, place_, value, scale.order)
                return combined(instruction, values, self._plan(position, statement, places), self.epsilon)
            case Apply(operands=places):
                values = self._through_multipliers(statement, places, operands)
                plan = self._plan(position, statement, places)
                return applied(self.program, position, instruction, values, plan, self.guarded)
            case Gather(value=place_, axis=axis):
                (value,) = self._through_multipliers(statement, (place_,), operands[:1])
                # Data pick the rows that data filled (a token's, in a vocabulary that grows): there they are not rare.
                rows = self.program.statements[place_.var].shape[place_.axes.index(axis)].order or ZERO
                if rows > 0 and place_.var not in self.owner:
                    raise OutsideTheory(
                        "outside the theory: data pick entries of a computed wide dim (a vocabulary of the output that grows, "
                        "say): those entries learn at other orders than the rest. Keep the number of classes fixed"
                    )
                made = moved(value, self._plan(position, statement, (place_,)), self.sources, -rows)
                self._note_pick(position, statement, place_, made)
                return made
            case Scatter(value=place_, axis=axis):
                sparse = statement.shape[axis]
                rarity = sparse.order if sparse.is_wide and axis not in place_.axes else None
                return moved(operands[0], self._plan(position, statement, (place_,)), self.sources, rarity or ZERO)
            case Slice(value=place_):
                (value,) = self._through_multipliers(statement, (place_,), operands)
                return moved(value, self._plan(position, statement, (place_,)), self.sources)
            case Concat(parts=parts):
                places = tuple(part for part in parts if part is not None)
                values = self._through_multipliers(statement, places, operands)
                return joined(values, self._plan(position, statement, places))
            case Eigenvalues():
                assert self.ranges is not None
                return eigenvalues(operands[0], self.ranges.rows(instruction), len(statement.wide_axes))
            case Spectral():
                return self._spectral(position, statement, instruction, operands)
        assert_never(instruction)

    def _plan(self, position: int, statement: Statement, places: tuple[Operand, ...]) -> Layout:
        if position not in self.plans:
            makers = tuple(self.program.statements[place_.var] for place_ in places)
            self.plans[position] = layout(statement, places, makers)
        return self.plans[position]

    # -- parameters: multipliers, updates, contributions ------------------------------------------------------------

    def _through_multipliers(
        self, statement: Statement, places: tuple[Operand, ...], values: tuple[Value, ...]
    ) -> tuple[Value, ...]:
        """A parameter w enters the network as n^-a w, and so its gradient comes back times n^-a."""
        if not self.exponents.multiplier:
            return values
        owners = self.gradient_of if statement.origin.phase == "optimizer" else self.owner
        found = []
        for place_, value in zip(places, values, strict=True):
            power = -self.exponents.multiplier.get(owners.get(place_.var, ""), ZERO)
            found.append(value.times(power))
        return tuple(found)

    def _updated(self, position: int, statement: Statement, operands: tuple[Value, ...]) -> Value:
        """`W_t = W_{t-1} + increments`: the base stays the leaf, the change collects the increments."""
        first, last = self.values[self.first[position]], self.values[self.previous[position]]
        if self.owner[position] in self.exponents.frozen:
            return last
        power = -self.exponents.rate.get(self.owner[position], ZERO)
        instruction = statement.instruction
        if not isinstance(instruction, Combine):
            value = self._read(position, statement, operands)
            return Value(first.base, tidy([*value.total, *first.base], first.wide), None, first.wide, True)
        change: list[Term] = list(last.change)
        own = Scaling(())
        for scale, place_ in instruction.terms:
            if place_.var == self.previous[position]:
                own = own + scale
        own = own + Scaling.of(-1)
        plan = self._plan(position, statement, tuple(operand for _, operand in instruction.terms))
        if own.order is not None and not _is_round_off(own):
            change += scaled(last.total, own.order + power)
        for (scale, place_), axes in zip(instruction.terms, plan.operands, strict=True):
            if place_.var != self.previous[position] and scale.order is not None:
                (read_,) = self._through_multipliers(statement, (place_,), (self.values[place_.var],))
                change += [place(term, axes).times(scale.order + power) for term in read_.total]
        if instruction.constant.order is not None:
            change.append(Term(instruction.constant.order + power))
        return Value(first.base, tidy(change, first.wide), None, first.wide)

    def _note_contribution(
        self,
        position: int,
        statement: Statement,
        places: tuple[Operand, ...],
        values: tuple[Value, ...],
        power: Order,
    ) -> None:
        if statement.origin.phase != "forward" or power is None:
            return
        for k, place_ in enumerate(places):
            if place_.var in self.owner:
                plan, change = self._plan(position, statement, places), values[k].change
                trained = [change if i == k else v.total for i, v in enumerate(values)]
                untrained = [change if i == k else v.base for i, v in enumerate(values)]
                self.contributions.append(
                    Contribution(
                        self.owner[place_.var],
                        position,
                        statement.origin.step,
                        leading_order(sum_of_products(trained, plan, power, self.sources)),
                        leading_order(sum_of_products(untrained, plan, power, self.sources)),
                    )
                )

    def _note_pick(
        self, position: int, statement: Statement, place_: Operand, value: Value, power: Order = ZERO
    ) -> None:
        """A parameter that enters as it is: a bias, a row of an embedding."""
        if statement.origin.phase == "forward" and place_.var in self.owner and power is not None:
            order = leading_order(scaled(value.change, power))
            self.contributions.append(
                Contribution(self.owner[place_.var], position, statement.origin.step, order, order)
            )

    # -- functions of matrices --------------------------------------------------------------------------------------

    def _spectral(self, position: int, statement: Statement, spectral: Spectral, operands: tuple[Value, ...]) -> Value:
        assert self.ranges is not None
        weights, matrix = operands
        at = self.ranges.own_eigenvalues(spectral)

        def weight(order: Fraction) -> Order:
            probe = Value((Term(order),), (), None, len(self.program.statements[at].wide_axes))
            noted = len(self.contributions)
            probed = self._again(spectral.weights.var, {at: probe})
            del self.contributions[noted:]  # no parameter contributes to what is only supposed
            return leading_order(probed.total)

        size = self.ranges.rows(spectral)
        lead = leading_order(matrix.total)
        if lead is not None and not vanishes_at_zero(weight, lead + size):
            self.ranges.expect_within(position)
        axes = self._plan(position, statement, (spectral.weights, spectral.value)).operands[1]
        there = matrix.each(lambda terms: tuple(place(term, axes) for term in terms), matrix.wide)
        return function_of(there, weights, weight, size)

    def _again(self, var: int, given: dict[int, Value]) -> Value:
        """The value of a statement if others were what is given."""
        if var not in given:
            instruction = self.program.statements[var].instruction
            if var < min(given) or isinstance(instruction, Leaf):
                return self.values[var]
            operands = tuple(self._again(operand.var, given) for operand in operands_of(instruction))
            given[var] = self._read(var, self.program.statements[var], operands)
        return given[var]


def _plans_of(program: Program) -> tuple[dict[int, Layout], Ranges | None]:
    """The layouts of a program's instructions, and the ranges of its symmetric matrices (None if it decomposes none).

    They do not depend on the exponents, so they are made once a program.
    """
    key = id(program)
    if key not in _PLANS or _PLANS[key][0] is not program:
        while len(_PLANS) > 8:
            _PLANS.pop(next(iter(_PLANS)))
        decomposes = any(isinstance(s.instruction, Eigenvalues | Spectral) for s in program.statements)
        _PLANS[key] = (program, {}, Ranges(program) if decomposes else None)
    return _PLANS[key][1:]


_PLANS: dict[int, tuple[Program, dict[int, Layout], Ranges | None]] = {}


def _is_round_off(scale: Scaling) -> bool:
    return all(abs(float(c)) < 1e-12 for c, _ in scale.terms)
