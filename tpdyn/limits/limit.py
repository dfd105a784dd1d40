"""What values does a training run take in the limit of infinite width? Ask `limit`; each number comes with its error.

The width of the simulation becomes a number of points that stand for a space's infinitely many coordinates. Sums that
stay random in the limit are drawn. Then the draws, one a scramble, are a sample of the limit's distribution.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, final

import torch
from torch import Tensor

from tpdyn.exponents import ZERO, show_order
from tpdyn.facts.facts import Facts
from tpdyn.limits.points import Crowded, Points
from tpdyn.limits.randomness import data_met, random_sums, readouts, summed_axes
from tpdyn.limits.statistics import LEVELS, Statistics, backpropagated
from tpdyn.program.check import ring
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Apply, operands_of
from tpdyn.program.program import Program
from tpdyn.readings.interpret import interpret
from tpdyn.readings.orders.reading import Orders, read
from tpdyn.readings.sampled.memory import expect_memory
from tpdyn.readings.sampled.simulate import DTYPES, expect_width, rule_for
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Regime

Name = tuple[str, int]
"""(name, step)"""


@final
@dataclass(frozen=True)
class Estimate:
    """A value in the limit.

    value: the mean over scrambles. error: two standard errors of it, and a third of the difference to runs with a
    quarter of the points. The bias is proportional to 1/points. draws: one value a scramble, (scrambles, ...). random:
    it depends on a sum that stays random in the limit; then `draws` are a sample of its distribution.
    """

    value: Tensor
    error: Tensor
    draws: Tensor = field(repr=False)
    random: bool = False

    @property
    def spread(self) -> Tensor:
        """Standard deviation over the draws: of the limit's own distribution if `random`, else of the method."""
        return self.draws.std(0)


@final
@dataclass(frozen=True)
class Limit:
    """The limit of infinite width of one program.

    outputs, losses: in order. values: these and other finite values that have names, by (name, step). kernels: mean over the
    width of products of two rows of a module's output. gradients: the same of the vectors that come back to a weight,
    by its name, times n^(-2 order). gradient_orders: those orders. distributions: quantiles of the coordinates of a
    module's output at `levels`, (rows, levels). sizes: as `tpdyn.measure` takes them: means of absolute coordinates
    (root mean squares of values without a wide dim). random: the source lines of sums that stay random.
    """

    outputs: tuple[Estimate, ...]
    losses: tuple[Estimate, ...]
    kernels: Mapping[Name, Estimate] = field(repr=False)
    gradients: Mapping[Name, Estimate] = field(repr=False)
    gradient_orders: Mapping[Name, Fraction] = field(repr=False)
    distributions: Mapping[Name, Estimate] = field(repr=False)
    values: Mapping[Name, Estimate] = field(repr=False)
    random: tuple[str, ...]
    notes: tuple[str, ...]
    points: int
    scrambles: int
    seconds: float
    levels: tuple[float, ...] = LEVELS
    sizes: Mapping[Name, Estimate] = field(default_factory=dict, repr=False)

    def _repr_html_(self) -> str:
        from tpdyn.notebook import card, table

        rows = [
            (str(step), f"{float(each.error):.1g}", f"{float(each.value):.6g}") for step, each in enumerate(self.losses)
        ]
        facts = [f"{self.scrambles} scrambles of {self.points:,} points, {self.seconds:.1f} s", *self.notes[:2]]
        return card("losses at infinite width", facts, table(("step", "error", "loss"), rows))

    def value(self, name: str, step: int) -> Estimate:
        """Return a value without a wide dim (output, loss, module's output) by name and step; KeyError lists what there is."""
        if (name, step) not in self.values:
            known = ", ".join(f"{n} (step {s})" for n, s in self.values)
            raise KeyError(f"no finite value {name!r} in step {step}; there are: {known or 'none'}")
        return self.values[name, step]


def limit(
    program: Program,
    points: int | None = None,
    scrambles: int = 8,
    *,
    seed: int = 0,
    leaves: Mapping[str, Tensor] | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    progress: Callable[[int, int], None] | None = None,
) -> Limit:
    """Compute the values of a training run in the limit of infinite width, with errors.

    Args:
        program: recorded at several widths (see `tpdyn.record`).
        points: how many stand for the coordinates of a space. They replace the width, so dims must be whole at this
            number and at a quarter of it. 2^16 unless given; 2^12 where functions of matrices, entry by entry, cost the
            square of it (Adam).
        scrambles: independent repetitions, for the error; at least two.
        seed: of everything that is drawn. Leaves without a wide dim (data, biases of the output) are drawn once. The
            limit is the one for that draw.
        leaves: values by leaf name, for data that the program does not have.
        dtype: the float type of the computation. "float32" takes half of the time, and adds about 1e-6.
        progress: called with (runs done, runs).

    Raises:
        ValueError: recorded at one width, or a dim is not whole at this number of points.
        ReadingError: the run asks for more directions of a space than the points can hold.
        OutsideTheory: the program is unstable, so it lacks a limit; the message says where and in which step. Or the
            sampler lacks a rule for something in it.

    Source: the Master Theorem of Tensor Programs III (arXiv 2009.10685), as an algorithm.
    """
    start = time.perf_counter()
    if scrambles < 2:
        raise ValueError(f"scrambles = {scrambles}; expected at least 2, since the error comes from their differences")
    if dtype not in DTYPES:
        raise ValueError(f"dtype = {dtype!r}; expected 'float64' or 'float32'")
    if points is None:
        points = _points(program)
    if points < 16:
        raise ValueError(f"points = {points}; expected at least 16, better a power of two such as 65536")
    _expect_points(program, points)
    facts = Facts.of(program)
    orders, notes = _orders(facts)
    one = torch.ones((), dtype=DTYPES[dtype])
    with _points_for_width(points):
        expect_memory(program, points, one, None)
    random = random_sums(facts, orders)
    loud = frozenset(facts.spaces[axis].number for sum_ in random for axis in summed_axes(facts, sum_))
    operators = frozenset(
        name for name in readouts(facts, orders) if name not in (leaves or {}) and name not in program.arrays
    )
    met = data_met(program, leaves or {})
    coming_back = {
        at: (order, names) for at, names in backpropagated(program).items() if (order := _size(orders, at)) is not None
    }

    def run(count: int, scramble: int, paired: bool) -> Statistics:
        noise = Points(facts.spaces, count, one, scramble, common=seed, independent=loud, met=met, paired=paired)
        rule = rule_for(program, count, noise, one, leaves=leaves, operators=operators, seed=scramble)
        statistics = Statistics(program, {at: float(count) ** -float(order) for at, (order, _) in coming_back.items()})
        with torch.no_grad():
            interpret(program, rule, vars=(), listener=statistics.listen)
        notes.update(rule.notes)
        return statistics

    def all_runs(paired: bool) -> tuple[list[Statistics], list[Statistics]]:
        rough: list[Statistics] = []
        fine: list[Statistics] = []
        for number in range(scrambles):
            for index, (count, runs) in enumerate(((points // 4, rough), (points, fine))):
                runs.append(run(count, seed + 1 + number, paired))
                if progress is not None:
                    progress(2 * number + index + 1, 2 * scrambles)
        return rough, fine

    try:
        rough, fine = all_runs(paired=any(statement.origin.phase == "backward" for statement in program.statements))
    except Crowded:  # pairs have room for half as many directions
        rough, fine = all_runs(paired=False)
    depends = _downstream(facts, random)

    def estimates(kind: str) -> dict[Name, Estimate]:
        at_points, at_quarter = ([getattr(each, kind) for each in runs] for runs in (fine, rough))
        return {
            name: _estimate([each[name] for each in at_points], [each[name] for each in at_quarter], name in depends)
            for name in at_points[0]
        }

    values = estimates("values")
    return Limit(
        outputs=_of_kind(program, values, "output"),
        losses=_of_kind(program, values, "loss"),
        kernels=estimates("kernels"),
        gradients=estimates("gradients"),
        gradient_orders={name: order for order, names in coming_back.values() for name in names},
        distributions=estimates("quantiles"),
        sizes=estimates("sizes"),
        values=values,
        random=tuple(dict.fromkeys(str(program.statements[position].origin.source) for position in random)),
        notes=tuple(notes),
        points=points,
        scrambles=scrambles,
        seconds=time.perf_counter() - start,
    )


def _size(orders: Orders, position: int) -> Fraction | None:
    value = orders.values[position]
    return max((order for order in (value.size, value.moved) if order is not None), default=None)


def _points(program: Program) -> int:
    squares = any(isinstance(s.instruction, Apply) and len(s.wide_axes) > 1 for s in program.statements)
    return 2**12 if squares else 2**16


def _of_kind(program: Program, values: Mapping[Name, Estimate], kind: str) -> tuple[Estimate, ...]:
    names = dict.fromkeys((mark.name, mark.step) for mark in program.marks if mark.kind == kind)
    return tuple(values[name] for name in names if name in values)


def _estimate(fine: Sequence[Tensor], rough: Sequence[Tensor], random: bool) -> Estimate:
    draws, others = torch.stack(list(fine)), torch.stack(list(rough))
    mean = draws.mean(0)
    standard = draws.std(0) / math.sqrt(len(draws))
    bias = (others.mean(0) - mean).abs() / 3
    return Estimate(mean, 2 * standard + bias, draws, random)


@contextmanager
def _points_for_width(points: int) -> Iterator[None]:
    """Say of an error about a width that points stand for it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"points = {points} (they stand for the width): {error}") from error


def _expect_points(program: Program, points: int) -> None:
    """Raise ValueError if a dim is not whole at this number of points, or at a quarter of it."""
    with _points_for_width(points):
        for count in (points, points // 4):
            expect_width(program, count)


def _orders(facts: Facts) -> tuple[Orders, dict[str, None]]:
    """Return the orders of a program that has a limit, and notes on it. Raises OutsideTheory for one that has none."""
    program = facts.program
    notes: dict[str, None] = {}
    if program.steps >= 2:
        prediction = predict(program, remedy=False)
        if prediction.outside:
            raise OutsideTheory(prediction.outside[0].told())
        if prediction.regime is Regime.UNSTABLE:
            raise OutsideTheory(f"there is no limit, the run is unstable: {prediction.reasons[0].told()}")
        if prediction.regime is Regime.TRIVIAL:
            notes[f"the run is trivial, so that its limit does not move: {prediction.reasons[0].told()}"] = None
    orders = read(facts)
    for mark in program.marks:
        for piece in mark.view.pieces:
            power = facts.folded.get(piece, ZERO)
            size = _size(orders, piece)
            if size is not None and size + power > Fraction(0):
                raise OutsideTheory(
                    ring(
                        program,
                        piece,
                        f"there is no limit: {mark.name or mark.kind} has order {show_order(size + power)} in step {mark.step}",
                    )
                )
    return orders, notes


def _downstream(facts: Facts, sources: Sequence[int]) -> frozenset[Name]:
    """Return the names of values that depend on any of some values."""
    reached = set(sources)
    for position, statement in enumerate(facts.program.statements):
        if any(operand.var in reached for operand in operands_of(statement.instruction)):
            reached.add(position)
    return frozenset((mark.name, mark.step) for mark in facts.program.marks if reached & set(mark.view.pieces))
