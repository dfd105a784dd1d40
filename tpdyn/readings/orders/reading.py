"""How big is each value, and its change in training? The orders reading: one rule for each instruction.

Every value is read twice at once, in training and in the base program, in which each parameter keeps its initial value
(`terms.Value`). A parameter after an update has its leaf as base and everything added since as change. Exact rationals,
no sampling, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import assert_never, final

from tpdyn.exponents import ZERO, Order, Scaling
from tpdyn.pointwise import lookup
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
from tpdyn.readings.interpret import Listener, OutsideTheory, interpret
from tpdyn.readings.orders.contraction import Layout, contract, layout, place, total_sum
from tpdyn.readings.orders.functions import (
    Chain,
    change_terms,
    larger_than_tiny,
    least_of,
    several_arguments,
    value_terms,
)
from tpdyn.readings.orders.parity import EVEN, Sources, forget, odd_in, of_function, product
from tpdyn.readings.orders.ranges import Ranges
from tpdyn.readings.orders.signs import guarded_maxima, nonnegative
from tpdyn.readings.orders.spectral import eigenvalues, function_of, vanishes_at_zero
from tpdyn.readings.orders.terms import Gaussian, Term, Terms, Value, largest, leading_order, scaled, tidy


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
    listener: Listener[Value] | None = None,
) -> Orders:
    """The orders of every value of a program.

    folded: for values that a multiplier follows, its power of the width (`Structure.folded`): contributions count behind it.
    epsilon: take constants that guard a division (Adam's eps) as written; otherwise they are negligible.
    listener: told of every value as it is found; what it raises ends the reading.
    Raises OutsideTheory, in rings, where a rule does not reach.
    """
    reader = _Reader(program, exponents or Exponents(), epsilon)
    values = interpret(program, reader.rule, listener)
    behind = folded or {}
    return Orders(tuple(values), tuple(c.times(behind.get(c.position, ZERO)) for c in reader.contributions))


@lru_cache(maxsize=1 << 10)
def _chain(name: str, parameters: tuple[Scaling, ...]) -> Chain:
    """A function with its derivatives, up to the third."""
    try:
        numbers = tuple(float(parameter.constant) for parameter in parameters)
    except ValueError as error:
        raise OutsideTheory(f"outside the theory: {name} with a parameter that depends on the width: {error}") from None
    functions = [lookup(name, numbers)]
    while functions[-1].slope is not None and len(functions) < 4:
        functions.append(lookup(functions[-1].slope, numbers))
    return tuple(functions)


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
                return self._leaf(position, statement, instruction)
            case Contract(operands=places, scale=scale):
                if self.ranges is not None:
                    self.ranges.expect_no_sum_over_eigenvalues(position)
                values = self._through_multipliers(statement, places, operands)
                power = scale.order
                if power is not None and position in self.exponents.place:
                    power = power - self.exponents.place[position]
                made = self._contract(position, statement, places, values, power)
                self._note_contribution(position, statement, places, values, power)
                return made
            case Combine():
                places = tuple(operand for _, operand in instruction.terms)
                values = self._through_multipliers(statement, places, operands)
                for (scale, place_), value in zip(instruction.terms, values, strict=True):
                    self._note_pick(position, statement, place_, value, scale.order)
                return self._combine(position, statement, instruction, values)
            case Apply(operands=places):
                return self._apply(
                    position, statement, instruction, self._through_multipliers(statement, places, operands)
                )
            case Gather(value=place_, axis=axis):
                (value,) = self._through_multipliers(statement, (place_,), operands[:1])
                # Data pick the rows that data filled (a token's, in a vocabulary that grows): there they are not rare.
                rows = self.program.statements[place_.var].shape[place_.axes.index(axis)].order or ZERO
                if rows > 0 and place_.var not in self.owner:
                    raise OutsideTheory(
                        "outside the theory: data pick entries of a computed wide dim (a vocabulary of the output that grows, "
                        "say): those entries learn at other orders than the rest. Keep the number of classes fixed"
                    )
                made = self._moved(position, statement, place_, value, -rows)
                self._note_pick(position, statement, place_, made)
                return made
            case Scatter(value=place_, axis=axis):
                sparse = statement.shape[axis]
                rarity = sparse.order if sparse.is_wide and axis not in place_.axes else None
                return self._moved(position, statement, place_, operands[0], rarity or ZERO)
            case Slice(value=place_):
                (value,) = self._through_multipliers(statement, (place_,), operands)
                return self._moved(position, statement, place_, value)
            case Concat(parts=parts):
                places = tuple(part for part in parts if part is not None)
                return self._join(position, statement, places, self._through_multipliers(statement, places, operands))
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
            found.append(_times(value, power) if power else value)
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
                plan, moved = self._plan(position, statement, places), values[k].change
                trained = tuple(moved if i == k else v.total for i, v in enumerate(values))
                untrained = tuple(moved if i == k else v.base for i, v in enumerate(values))
                self.contributions.append(
                    Contribution(
                        self.owner[place_.var],
                        position,
                        statement.origin.step,
                        leading_order(self._product(plan, trained, power)),
                        leading_order(self._product(plan, untrained, power)),
                    )
                )

    def _note_pick(
        self, position: int, statement: Statement, place_: Operand, value: Value, power: Order = ZERO
    ) -> None:
        """A parameter that enters as it is: a bias, a row of an embedding."""
        if statement.origin.phase == "forward" and place_.var in self.owner and power is not None:
            moved = leading_order(scaled(value.change, power))
            self.contributions.append(
                Contribution(self.owner[place_.var], position, statement.origin.step, moved, moved)
            )

    # -- one rule an instruction ------------------------------------------------------------------------------------

    def _leaf(self, position: int, statement: Statement, leaf: Leaf) -> Value:
        wide = len(statement.wide_axes)
        law = leaf.law
        shift = -self.exponents.initial.get(self.owner.get(position, ""), ZERO)
        constant = [Term(law.location.order)] if law.location.order is not None else []
        match law.kind:
            case "zero":
                return Value((), (), None, wide)
            case "data" | "array":
                return Value((Term(ZERO),), (), None, wide)
            case "index":
                return Value((Term(ZERO),), (), None, 0)
            case "constant":
                if law.location.order is not None and abs(law.location.at(1)) == float("inf"):
                    return Value((), (), None, wide)  # -inf marks what a softmax leaves out
                return Value(scaled(tuple(constant), shift), (), None, wide)
            case "bernoulli":
                noise = (
                    Term(ZERO, of_function(odd_in(self.sources.leaf(position)), "neither")) if wide == 1 else Term(ZERO)
                )
                return Value((noise,), (), None, wide)
            case "normal" | "uniform" | "iid":
                terms = list(constant)
                if law.scale.order is not None:
                    terms.append(self._noise(position, law.scale.order, wide))
                return Value(tidy(list(scaled(tuple(terms), shift)), wide), (), None, wide)
        assert_never(law.kind)

    def _noise(self, position: int, order: Fraction, wide: int) -> Term:
        if wide == 0:
            return Term(order)
        if wide == 1:
            return Term(order, odd_in(self.sources.leaf(position)))
        if wide == 2:
            return Term(order, EVEN, ZERO, Gaussian(position, (0, 1)))
        raise OutsideTheory(f"outside the theory: random entries along {wide} wide dims; expected at most two")

    def _contract(
        self,
        position: int,
        statement: Statement,
        places: tuple[Operand, ...],
        values: tuple[Value, ...],
        shift: Order,
    ) -> Value:
        plan = self._plan(position, statement, places)
        if shift is None:
            return Value((), (), None, plan.wide)
        base = self._product(plan, tuple(v.base for v in values), shift)
        if len(values) == 1:
            whole = self._product(plan, (values[0].whole,), shift) if values[0].whole is not None else None
            return Value(base, self._product(plan, (values[0].change,), shift), whole, plan.wide, values[0].at_most)
        x, y = values
        change: list[Term] = []
        for pair in ((x.change, y.base), (x.base, y.change), (x.change, y.change)):
            if pair[0] and pair[1]:
                change += self._product(plan, pair, shift)
        whole = None
        if x.whole is not None or y.whole is not None:
            whole = self._product(plan, (x.total, y.total), shift)
        return _consistent(Value(base, tidy(change, plan.wide), whole, plan.wide, x.at_most or y.at_most))

    def _product(self, plan: Layout, terms: tuple[Terms, ...], shift: Fraction) -> Terms:
        if len(terms) == 1:
            return total_sum(terms[0], plan, shift, self.sources)
        return contract(terms[0], terms[1], plan, shift, self.sources)

    def _combine(self, position: int, statement: Statement, combine: Combine, values: tuple[Value, ...]) -> Value:
        plan = self._plan(position, statement, tuple(operand for _, operand in combine.terms))
        base: list[Term] = []
        change: list[Term] = []
        whole: list[Term] = []
        for (scale, _), value, axes in zip(combine.terms, values, plan.operands, strict=True):
            order = scale.order
            if order is None:
                continue
            base += [place(term, axes).times(order) for term in value.base]
            change += [place(term, axes).times(order) for term in value.change]
            whole += [place(term, axes).times(order) for term in value.total]
        keep = any(value.whole is not None for value in values)
        if combine.constant.order is not None:
            negligible = combine.epsilon and not self.epsilon
            constant = Term(combine.constant.order)
            if negligible and change and not base:  # what is guarded is zero at the initialisation, but not later
                base, whole, keep = [constant], whole if keep else list(change), True
            elif not negligible or not whole:  # what guards a division by zero counts
                base, whole = [*base, constant], [*whole, constant]
        return Value(
            tidy(base, plan.wide),
            tidy(change, plan.wide),
            tidy(whole, plan.wide) if keep else None,
            plan.wide,
            any(value.at_most for value in values),
        )

    def _apply(self, position: int, statement: Statement, apply: Apply, values: tuple[Value, ...]) -> Value:
        plan = self._plan(position, statement, apply.operands)
        chain = _chain(apply.function, apply.parameters)
        function = chain[0]
        at_most = any(value.at_most for value in values)
        placed = tuple(
            tuple(tuple(place(term, axes) for term in terms) for terms in (value.base, value.change, value.total))
            for value, axes in zip(values, plan.operands, strict=True)
        )
        if function.arity > 1:
            if apply.function == "where":
                return self._where(placed, plan.wide, at_most)
            parts = tuple((p[0], p[1], p[2]) for p in placed)
            if (kept := self.guarded.get(position)) is not None:
                base, change, whole = larger_than_tiny(parts[kept], parts[1 - kept][0])
                return Value(base, change, whole if change else None, plan.wide, at_most)
            if apply.function == "minimum" and not plan.wide and self._nonnegative(apply.operands):
                base, change, whole = least_of(parts)
                return Value(base, change, whole if change else None, plan.wide, at_most)
            base = several_arguments(function, tuple(p[0] for p in placed), plan.wide)
            change = ()
            if any(p[1] for p in placed):
                change = self._change_of_several(chain, placed, base, plan.wide)
            return Value(base, change, None, plan.wide, at_most)
        base_, change_, total_ = placed[0]
        guarded = function.degree is not None and function.degree < 0
        base = () if guarded and not base_ else value_terms(chain, base_, plan.wide)
        if not change_:
            made = Value(base, (), None, plan.wide, at_most)
        else:
            change = change_terms(chain, base_, change_, total_, plan.wide)
            if guarded and not base_:
                change = value_terms(chain, total_, plan.wide)
            made = Value(base, change, value_terms(chain, total_, plan.wide), plan.wide, at_most)
            made = _consistent(made)
        if apply.along is not None and statement.shape[apply.along].is_wide and apply.function == "softmax":
            order = statement.shape[apply.along].order
            assert order is not None
            if (leading_order(total_) or ZERO) > 0:
                raise OutsideTheory(
                    "outside the theory: a softmax over a wide dim with logits that grow with the width"
                )
            made = _times(made, -order)
        return made

    def _nonnegative(self, operands: tuple[Operand, ...]) -> bool:
        return all(nonnegative(self.program, operand.var) for operand in operands)

    def _where(self, placed: tuple[tuple[Terms, ...], ...], wide: int, at_most: bool) -> Value:
        """`mask ? x : y`: the larger of the two; a mask that depends on x is as good as a factor of order 0."""
        mask, x, y = placed

        def choice(which: int) -> Terms:
            parity = of_function(mask[which][0].parity, "neither") if mask[which] else EVEN
            return tidy(
                [Term(t.order, product(t.parity, parity), t.rarity, t.gaussian) for t in (*x[which], *y[which])], wide
            )

        change = [*choice(0), *choice(2)] if mask[1] else [*choice(1)]
        return Value(choice(0), tidy(change, wide), None, wide, at_most)

    def _change_of_several(self, chain: Chain, placed: tuple[tuple[Terms, ...], ...], base: Terms, wide: int) -> Terms:
        function = chain[0]
        total = several_arguments(function, tuple(p[2] for p in placed), wide)
        size = max((o for p in placed if (o := leading_order(p[0])) is not None), default=None)
        moved = [term for p in placed for term in p[1]]
        top = max(term.rms_order for term in moved)
        if size is None or top >= size:
            return tidy([*base, *total], wide)
        parity = EVEN
        for p in placed:
            for term in (*p[0], *p[1]):
                parity = product(parity, of_function(term.parity, "neither"))
        if function.jumps:
            return (Term(ZERO, parity, size - top),)
        degree = function.degree
        return (Term(top + ((degree - 1) * size if degree is not None else ZERO), parity),)

    def _moved(
        self, position: int, statement: Statement, place_: Operand, value: Value, rarity: Fraction = ZERO
    ) -> Value:
        """Gather, scatter, slice: the same entries elsewhere. An axis that is picked from is no axis any more."""
        plan = self._plan(position, statement, (place_,))
        gone = [axis for axis, _ in plan.summed]

        def move(terms: Terms) -> Terms:
            found = []
            for term in terms:
                placed = place(term, plan.operands[0])
                parity = placed.parity
                for axis in gone:
                    parity = forget(parity, axis)
                gaussian = placed.gaussian
                if gaussian is not None and any(axis in gaussian.axes for axis in gone):
                    left = [axis for axis in gaussian.axes if axis not in gone]
                    if left:
                        row = self.sources.leaf(-1 - gaussian.matrix)
                        parity = product(parity, odd_in(row, left[0]))
                    gaussian = None
                rare = placed.rarity + rarity
                found.append(Term(placed.order, parity, largest([rare, ZERO]) if rarity < 0 else rare, gaussian))
            return tidy(found, plan.wide)

        whole = move(value.whole) if value.whole is not None else None
        return Value(move(value.base), move(value.change), whole, plan.wide, value.at_most)

    def _spectral(self, position: int, statement: Statement, spectral: Spectral, operands: tuple[Value, ...]) -> Value:
        assert self.ranges is not None
        weights, matrix = operands
        at = self.ranges.own_eigenvalues(spectral)

        def weight(order: Fraction) -> Order:
            probe = Value((Term(order),), (), None, len(self.program.statements[at].wide_axes))
            return leading_order(self._again(spectral.weights.var, {at: probe}).total)

        size = self.ranges.rows(spectral)
        lead = leading_order(matrix.total)
        if lead is not None and not vanishes_at_zero(weight, lead + size):
            self.ranges.expect_within(position)
        axes = self._plan(position, statement, (spectral.weights, spectral.value)).operands[1]
        base, change, whole = (
            terms and tuple(place(term, axes) for term in terms) for terms in (matrix.base, matrix.change, matrix.whole)
        )
        moved = Value(base or (), change or (), whole, matrix.wide, matrix.at_most)
        return function_of(moved, weights, weight, size)

    def _again(self, var: int, given: dict[int, Value]) -> Value:
        """The value of a statement if others were what is given."""
        if var not in given:
            instruction = self.program.statements[var].instruction
            if var < min(given) or isinstance(instruction, Leaf):
                return self.values[var]
            operands = tuple(self._again(operand.var, given) for operand in operands_of(instruction))
            given[var] = self._read(var, self.program.statements[var], operands)
        return given[var]

    def _join(
        self, position: int, statement: Statement, places: tuple[Operand, ...], values: tuple[Value, ...]
    ) -> Value:
        plan = self._plan(position, statement, places)
        parts = list(zip(values, plan.operands, strict=True))
        return Value(
            tidy([place(t, axes) for value, axes in parts for t in value.base], plan.wide),
            tidy([place(t, axes) for value, axes in parts for t in value.change], plan.wide),
            tidy([place(t, axes) for value, axes in parts for t in value.total], plan.wide)
            if any(value.whole is not None for value in values)
            else None,
            plan.wide,
            any(value.at_most for value in values),
        )


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


def _times(value: Value, power: Fraction) -> Value:
    whole = scaled(value.whole, power) if value.whole is not None else None
    return Value(scaled(value.base, power), scaled(value.change, power), whole, value.wide, value.at_most)


def _consistent(value: Value) -> Value:
    """A change is never larger than value and base together: use that where the product rule overshoots."""
    if value.whole is None or not value.change:
        return value
    moved = leading_order(value.change)
    bound = max((o for o in (leading_order(value.whole), value.size) if o is not None), default=None)
    if bound is None:
        return Value(value.base, (), value.whole, value.wide, value.at_most)
    assert moved is not None
    if moved <= bound:
        return value
    return Value(value.base, tidy([*value.whole, *value.base], value.wide), value.whole, value.wide, value.at_most)


def _is_round_off(scale: Scaling) -> bool:
    return all(abs(float(c)) < 1e-12 for c, _ in scale.terms)
