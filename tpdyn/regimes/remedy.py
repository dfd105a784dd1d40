"""What would make this script learn features at every width? The nearest maximal update, without moves the verdict does not need.

The search is that of `derive` (`tpdyn.regimes.maximal`), so both name the same exponents. A derivation also asks that every
value starts at order 0; a verdict does not. So the remedy does not enlarge initial entries for values inside of a module,
if all else still holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import final

from tpdyn.exponents import ZERO, show_power
from tpdyn.facts.facts import Facts
from tpdyn.program.continued import continued
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.regimes.cells import every_exponent
from tpdyn.regimes.judgement import judge
from tpdyn.regimes.maximal import Demand, Maximum, demanded, is_missed, maximal_update
from tpdyn.regimes.naming import grouped, pattern_of
from tpdyn.regimes.prediction import Regime
from tpdyn.regimes.settling import carried, settled

LARGEST_PROGRAM = 6000
"""The most statements for which a remedy is searched: larger programs take too long."""

_WHAT = {"b": "initial entries of ", "c": "learning rates of ", "p": "the result of "}

Moves = Mapping[str, Fraction]
"""How far each symbol moves, "fc1.weight:b" (zeros left out): a move multiplies its subject by n^-move."""


@final
@dataclass(frozen=True, slots=True)
class Remedy:
    """The powers of the width to multiply by, and the regime that results.

    moves: "fc1.weight:b" (initial entries), "fc1.weight:c" (learning rate), "attn:45:p" (the result of a product). names: of
    all parameters and products. decays: whether there is weight decay, which must then move against the learning rate.
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
    """List a few names, and count the rest."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


_FROM_WORST = (Regime.UNSTABLE, Regime.TRIVIAL, Regime.KERNEL, Regime.FEATURE_LEARNING)


def find_remedy(orders: Orders, regime: Regime) -> Remedy | None:
    """Find the fewest changes that update every parameter maximally and so lead to feature learning, as far as possible.

    regime: that of the orders. Returns None if nothing must change, if changes do not help, or outside the theory.
    """
    facts = orders.facts
    if len(facts.program) > LARGEST_PROGRAM or facts.wide_data or facts.fixed_products or facts.unfed:
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
    names = (*(parameter.name for parameter in facts.program.parameters), *maximum.coordinates.sites)
    return Remedy(moves, maximum.regime, names, plain is not facts) if moves else None


def nearest_maximum(
    facts: Facts, exponents: Exponents | None = None, *, epsilon: bool = False, sites: bool = True
) -> Maximum:
    """Search the maximal update nearest to some exponents: initial entries, learning rates, multipliers at shared sites.

    It holds at all later steps, where the program can be continued. A parameter behind a gate that starts at zero moves only
    after the recorded steps. For the script's own exponents this is done once: a verdict and a derivation share it.
    """

    def search() -> Maximum:
        return _lasting(facts, exponents or Exponents(), epsilon, sites)

    if epsilon or (exponents is not None and exponents != Exponents()):
        return search()
    return facts.once(("nearest maximum", sites), search)


def _lasting(facts: Facts, exponents: Exponents, epsilon: bool, sites: bool) -> Maximum:
    """Search on the recorded steps. Where later ones ask for more, search on a program that shows them."""

    def search(facts: Facts, exponents: Exponents) -> Maximum:
        at = facts.shared_sites if sites else ()
        return maximal_update(facts, every_exponent(facts.program, ("b", "c"), exponents, at), epsilon=epsilon)

    maximum = search(facts, exponents)
    orders = read(facts, maximum.exponents, epsilon=epsilon)
    end = settled(orders).orders
    if _missed(end) <= _missed(orders):
        return maximum
    for further in range(1, end.program.steps - facts.program.steps + 1):  # the fewest steps that show what is missed
        longer = continued(facts.program, further)
        if longer is None or len(longer.program) > LARGEST_PROGRAM:
            break
        shown = read(longer.program, carried(maximum.exponents, longer), epsilon=epsilon)
        if _missed(end) <= _missed(shown):
            return search(shown.facts, carried(exponents, longer))
    return replace(maximum, regime=judge(end).regime)


def _needed(maximum: Maximum, epsilon: bool) -> Moves:
    """Leave out the moves that the verdict does not need, those of all layers together.

    The search minimises the sum of all moves, so its demands need each of them. Only raised initial entries, for the sake of
    values that begin small, can be left out.
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
    """Group the symbols to try together: of one kind and power, in all layers.

    Raised initial entries come first, those of biases before those of matrices. If one of them is enough, it is the
    matrix's.
    """
    groups: dict[tuple[bool, int, str], list[str]] = {}
    for symbol, move in moves.items():
        name, _, kind = symbol.rpartition(":")
        raised = kind == "b" and move < 0
        groups.setdefault((not raised, ranks.get(name, 0), f"{pattern_of(symbol)} {move}"), []).append(symbol)
    return [tuple(several) for _, several in sorted(groups.items(), key=lambda item: item[0][:2])]


def _ranks(program: Program) -> Mapping[str, int]:
    return {p.name: len(program.statements[p.versions[0].var].shape) for p in program.parameters}


def _missed(orders: Orders) -> frozenset[tuple[Demand, str]]:
    """Return the demands of a verdict that are missed: all, except that values inside of modules start at order 0."""
    named = {var for mark in orders.program.marks for var in mark.view.pieces}
    return frozenset(
        (demand, subject)
        for demand, subject, position, order in demanded(orders)
        if is_missed(demand, order) and (demand != "starts" or position in named)
    )
