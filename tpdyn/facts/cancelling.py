"""Which sums cancel? Those that take a value away from itself: `W + e - e`, or f(x) less the same f of initial weights.

Signs of terms are not kept by the orders, so a difference counts as large as its larger side. Here sums of sums are written
out over **atoms**, values that are not sums. Where coefficients of an atom add up to zero, the sum is what is left.

Two statements hold the same value if they apply the same instruction to the same values. Each value has a *number*. In
the base program it has another: there later versions of a parameter are its leaf. So `f(W_t) - f(W_0)` has no base, and
its change is that of `f(W_t)`. A later version is its leaf and increments. So what averages of versions leave of the
leaf is exact (Lookahead, schedule-free, the outer step of DiLoCo).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.facts.layouts import Layout, layout
from tpdyn.program.base import later_versions
from tpdyn.program.instructions import Combine, Leaf, Operand, with_operands
from tpdyn.program.program import Program, Statement

MOST = 64
"""Sums with more atoms are atoms themselves: then a cancellation in them is not seen, and orders are upper bounds."""
ROUND_OFF = 1e-12
"""Relative to what cancels: coefficients are floats of the script."""

Names = tuple[str, ...]
Atom = tuple[int, tuple[int, ...], Names]
"""A position of the value, the labels of its axes in the sum, and the parameters whose exponents multiply it."""
Form = Mapping[Atom | None, Scaling]
"""A sum over atoms; under None its constant."""
ONE = Scaling.of(1)


@final
@dataclass(frozen=True)
class Sum:
    """A sum over atoms: operands with coefficients and names of parameters, a constant, and the layout."""

    terms: tuple[tuple[Scaling, Operand, Names], ...]
    constant: Scaling
    layout: Layout


@final
@dataclass(frozen=True)
class Cancelled:
    """What is left of a sum: the bases that make its base, and the changes that make its change.

    For a later version of a parameter `base` is None, since its base is the leaf; `change` sums whole values.
    """

    base: Sum | None
    change: Sum


def cancelled(program: Program, owner: Mapping[int, str], gradient_of: Mapping[int, str]) -> Mapping[int, Cancelled]:
    """Find the sums in which something cancels, with what is left of them.

    owner, gradient_of: the parameter of which a value is a version, or a gradient: multipliers belong to their readers.
    """
    return _Forms(program, owner, gradient_of).cancelled()


@final
class _Forms:
    def __init__(self, program: Program, owner: Mapping[int, str], gradient_of: Mapping[int, str]) -> None:
        self.program, self.owner, self.gradient_of = program, owner, gradient_of
        self.later = {var: later.first for var, later in later_versions(program).items()}
        self.previous = {var: later.previous for var, later in later_versions(program).items()}
        self.value, self.initial = self._numbered()
        self.base: dict[int, Form] = {}
        self.change: dict[int, Form] = {}
        self.whole: dict[int, Form] = {}

    def _numbered(self) -> tuple[list[int], list[int]]:
        """Find for each value a position of the same value, and one of the same in the base program.

        Initial values that are independent of later versions are the same in both.
        """
        value: list[int] = []
        initial: list[int] = []
        known: dict[Hashable, int] = {}
        bases: dict[Hashable, int] = {}
        for position, statement in enumerate(self.program.statements):
            now = known.setdefault(self._key(position, statement, value), position)
            if position in self.later:
                before = initial[self.later[position]]
            else:
                before = bases.setdefault(self._key(position, statement, initial), position)
            both = known.setdefault((now, before), position)  # the same value, and the same in the base program
            value.append(both)
            initial.append(before)
        return value, initial

    def _key(self, position: int, statement: Statement, numbers: list[int]) -> Hashable:
        instruction = statement.instruction
        if isinstance(instruction, Leaf):
            return position
        same = with_operands(instruction, lambda operand: Operand(numbers[operand.var], operand.axes))
        return same, statement.shape, statement.origin.phase == "optimizer"

    def cancelled(self) -> Mapping[int, Cancelled]:
        """Write all sums over atoms, and keep those in which something cancels."""
        cancelled: dict[int, Cancelled] = {}
        for position, statement in enumerate(self.program.statements):
            combine = statement.instruction
            if not isinstance(combine, Combine) or combine.epsilon:
                continue
            if position in self.later:
                self.whole[position], anew = self._of_version(position, statement, combine)
                if anew:
                    left = dict(self.whole[position])
                    leaf = self._atom(self.later[position], statement)
                    left[leaf], _ = _added([left.get(leaf, Scaling(())), -ONE])
                    cancelled[position] = Cancelled(None, self._sum(statement, left))
                continue
            self.base[position], less = self._of(statement, combine, self.base, self.initial, dict(self.later))
            self.change[position], too = self._of(statement, combine, self.change, self.value, {})
            if less or too:
                moved: Form = {atom: scale for atom, scale in self.change[position].items() if atom is not None}
                cancelled[position] = Cancelled(self._sum(statement, self.base[position]), self._sum(statement, moved))
        return cancelled

    def _atom(self, var: int, statement: Statement) -> Atom:
        return self.value[var], tuple(range(len(statement.shape))), ()

    def _of(
        self,
        statement: Statement,
        combine: Combine,
        forms: Mapping[int, Form],
        numbers: list[int],
        instead: dict[int, int],
    ) -> tuple[Form, bool]:
        """Write a sum over atoms, and say whether something cancels. instead: what is read instead of later versions."""
        names = self.gradient_of if statement.origin.phase == "optimizer" else self.owner
        parts: list[tuple[Atom | None, Scaling]] = [(None, combine.constant)]
        for scale, operand in combine.terms:
            var = instead.get(operand.var, operand.var)
            name = (names[operand.var],) if operand.var in names else ()
            inner = forms.get(var) if operand.var not in self.later else None
            parts += self._read(scale, operand, inner, numbers[var], name)
        return _collected(parts)

    def _of_version(self, position: int, statement: Statement, combine: Combine) -> tuple[Form, bool]:
        """Write a version as leaf and increments; say whether others than the version before bring parts of leaves.

        What a script writes itself holds no learning rate, but for those that it takes from versions.
        """
        name = () if statement.origin.phase == "data" else (self.owner[position],)
        anew = False
        parts: list[tuple[Atom | None, Scaling]] = [(None, combine.constant)]
        for scale, operand in combine.terms:
            var = operand.var
            read = self._read(scale, operand, self._unfolded(var), self.value[var], ())
            versions = [atom for atom, _ in read if atom is not None and self._is_version(atom)]
            anew = anew or (var != self.previous[position] and bool(versions))
            parts += [
                ((atom[0], atom[1], name), part)
                if atom is not None and not atom[2] and not self._is_version(atom)
                else (atom, part)
                for atom, part in read
            ]
        return _collected(parts)[0], anew

    def _unfolded(self, var: int) -> Form | None:
        """Write a sum of the optimizer over parameters and whatever is not a sum; None for any other value."""
        statement = self.program.statements[var]
        combine, of_optimizer = statement.instruction, statement.origin.phase == "optimizer"
        if var in self.whole or var in self.owner or not of_optimizer:
            return self.whole.get(var)
        if not isinstance(combine, Combine) or combine.epsilon:
            return None
        parts: list[tuple[Atom | None, Scaling]] = [(None, combine.constant)]
        for scale, operand in combine.terms:
            parts += self._read(scale, operand, self._unfolded(operand.var), self.value[operand.var], ())
        self.whole[var] = _collected(parts)[0]
        return self.whole[var]

    def _is_version(self, atom: Atom) -> bool:
        return atom[0] in self.owner

    def _read(
        self, scale: Scaling, operand: Operand, inner: Form | None, number: int, names: Names
    ) -> Iterable[tuple[Atom | None, Scaling]]:
        """Write an operand over atoms."""
        if inner is None or len(inner) > MOST:
            return [((number, operand.axes, names), scale)]
        return [
            (None, scale * part)
            if atom is None
            else (
                (atom[0], tuple(operand.axes[label] for label in atom[1]), tuple(sorted((*atom[2], *names)))),
                scale * part,
            )
            for atom, part in inner.items()
        ]

    def _sum(self, statement: Statement, form: Form) -> Sum:
        kept = [(atom, scale) for atom, scale in form.items() if atom is not None and not scale.is_zero]
        operands = [Operand(atom[0], atom[1]) for atom, _ in kept]
        axes = layout(statement, operands, [self.program.statements[operand.var] for operand in operands])
        assert axes is not None, "the axes of a sum's parts are axes of the sum"
        terms = tuple((scale, operand, atom[2]) for (atom, scale), operand in zip(kept, operands, strict=True))
        return Sum(terms, form.get(None, Scaling(())), axes)


def _collected(parts: Iterable[tuple[Atom | None, Scaling]]) -> tuple[Form, bool]:
    """Add up coefficients, and say whether some cancel."""
    several: dict[Atom | None, list[Scaling]] = {}
    for atom, scale in parts:
        several.setdefault(atom, []).append(scale)
    form: dict[Atom | None, Scaling] = {}
    cancels = False
    for atom, scales in several.items():
        form[atom], less = _added(scales)
        cancels = cancels or (less and atom is not None)
    return {atom: scale for atom, scale in form.items() if not scale.is_zero}, cancels


def _added(scales: list[Scaling]) -> tuple[Scaling, bool]:
    """Add up coefficients without round-off, and say whether a power of the width is gone."""
    if len(scales) == 1:
        return scales[0], False
    sizes: dict[object, float] = {}
    for scale in scales:
        for c, power in scale.terms:
            sizes[power] = sizes.get(power, 0.0) + abs(float(c))
    total = Scaling.sum(scales)
    kept = tuple((c, power) for c, power in total.terms if abs(float(c)) > ROUND_OFF * sizes[power])
    return Scaling(kept), len(kept) < len(sizes)
