"""What would make this script learn features at every width? The nearest maximal update, less what the verdict does not need.

The search is that of `derive` (`tpdyn.regimes.maximal`), so both name the same exponents. A derivation also asks that every
value starts at order 0. A verdict does not: so initial entries that are made larger for values inside of a module, and
whatever follows from it, are left out of the remedy where all else still holds without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from tpdyn.exponents import ZERO, show_power
from tpdyn.facts.facts import Facts
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.regimes.cells import every_exponent
from tpdyn.regimes.judgement import judge
from tpdyn.regimes.maximal import Demand, Maximum, demanded, is_missed, maximal_update
from tpdyn.regimes.naming import grouped, pattern_of
from tpdyn.regimes.prediction import Regime

LARGEST_PROGRAM = 6000
"""Statements; above it a remedy would take longer than a person wants to wait."""

_WHAT = {"b": "initial entries of ", "c": "learning rates of ", "p": "the result of "}

Moves = Mapping[str, Fraction]
"""By how much each symbol moves, "fc1.weight:b" (zeros left out): what it belongs to is multiplied by n^-move."""


@final
@dataclass(frozen=True, slots=True)
class Remedy:
    """What to multiply with which power of the width, and the regime that results.

    moves: "fc1.weight:b" (initial entries), "fc1.weight:c" (learning rate), "attn:45:p" (the result of a product). names: of
    all parameters and products. decays: whether there is weight decay, which then has to move against the learning rate.
    """

    moves: Moves
    regime: Regime
    names: tuple[str, ...]
    decays: bool

    def __str__(self) -> str:
        parts = []
        for kind, what in _WHAT.items():
            by_power: dict[Fraction, list[str]] = {}
            for symbol, move in self.moves.items():
                name, _, of = symbol.rpartition(":")
                if of == kind:
                    by_power.setdefault(-move, []).append(name)
            decay = ", and their weight decay by the inverse" if self.decays and kind == "c" else ""
            parts += [
                f"{what}{_listed(grouped(several, self.names))} by {show_power(power)}{decay}"
                for power, several in sorted(by_power.items())
            ]
        return f"multiply {'; '.join(parts)} (then: {self.regime.value})"


def _listed(names: Sequence[str]) -> str:
    """A few names, and how many more."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


_FROM_WORST = (Regime.UNSTABLE, Regime.TRIVIAL, Regime.KERNEL, Regime.FEATURE_LEARNING)


def find_remedy(orders: Orders, regime: Regime) -> Remedy | None:
    """The fewest changes that lead to feature learning with every parameter maximally updated, or as far as can be.

    regime: that of the orders. None where nothing has to change or no change makes it better, and for programs that are outside
    of the theory.
    """
    facts = orders.facts
    if len(facts.program) > LARGEST_PROGRAM or facts.wide_data or facts.fixed_products:
        return None
    plain, _ = facts.without_decay
    try:
        maximum = nearest_maximum(plain, orders.exponents, epsilon=orders.epsilon)
        better = _FROM_WORST.index(maximum.regime) > _FROM_WORST.index(regime)
        if not (better or maximum.regime is Regime.FEATURE_LEARNING):
            return None
        moves = _needed(maximum, orders.epsilon)
    except OutsideTheory:
        return None
    names = (*(parameter.name for parameter in facts.program.parameters), *maximum.coordinates.places)
    return Remedy(moves, maximum.regime, names, plain is not facts) if moves else None


def nearest_maximum(
    facts: Facts, exponents: Exponents | None = None, *, epsilon: bool = False, places: bool = True
) -> Maximum:
    """The maximal update nearest to some exponents, in initial entries, learning rates and multipliers at shared places.

    For the script's own it is searched once: a verdict and a derivation share it.
    """

    def search() -> Maximum:
        at = facts.shared_places if places else ()
        return maximal_update(facts, every_exponent(facts.program, ("b", "c"), exponents, at), epsilon=epsilon)

    if epsilon or (exponents is not None and exponents != Exponents()):
        return search()
    return facts.once(("nearest maximum", places), search)


def _needed(maximum: Maximum, epsilon: bool) -> Moves:
    """The moves without those that can be left out, those of all layers together.

    The search minimises the sum of all moves, so none of them is needless for what it demands. Only where initial entries
    were raised for the sake of values that begin small is something to be tried.
    """
    moves = {name: x for name, x in zip(maximum.coordinates.names, maximum.point, strict=True) if x}
    if not any(name.endswith(":b") and move < 0 for name, move in moves.items()):
        return moves
    wanted = _missed(read(maximum.facts, maximum.exponents, epsilon=epsilon))

    def still_holds(others: Moves) -> bool:
        exponents = maximum.coordinates.at([others.get(name, ZERO) for name in maximum.coordinates.names])
        orders = read(maximum.facts, exponents, epsilon=epsilon)
        return _missed(orders) <= wanted and judge(orders).regime is maximum.regime

    for group in _groups(moves, _ranks(maximum.program)):
        without = {name: move for name, move in moves.items() if name not in group}
        if still_holds(without):
            moves = without
    return moves


def _groups(moves: Moves, ranks: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Symbols that are tried together: of one kind and power, in all layers.

    First initial entries that are made larger, those of biases before those of matrices: where one of them is enough, it is
    the matrix's.
    """
    found: dict[tuple[bool, int, str], list[str]] = {}
    for symbol, move in moves.items():
        name, _, kind = symbol.rpartition(":")
        raised = kind == "b" and move < 0
        found.setdefault((not raised, ranks.get(name, 0), f"{pattern_of(symbol)} {move}"), []).append(symbol)
    return [tuple(several) for _, several in sorted(found.items(), key=lambda item: item[0][:2])]


def _ranks(program: Program) -> Mapping[str, int]:
    return {p.name: len(program.statements[p.versions[0].var].shape) for p in program.parameters}


def _missed(orders: Orders) -> frozenset[tuple[Demand, str]]:
    """What a verdict asks for and does not get: all that is demanded, but that values inside of modules start at order 0."""
    named = {var for mark in orders.program.marks for var in mark.view.pieces}
    return frozenset(
        (demand, subject)
        for demand, subject, position, order in demanded(orders)
        if is_missed(demand, order) and (demand != "starts" or position in named)
    )
