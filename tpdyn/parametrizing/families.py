"""Which parametrizations have names? Standard, neural tangent, mean field, maximal update, and the line between, as data.

Tables by role of a parameter and by optimizer. Roles are read off the program (`tpdyn.facts.own`). Sources:

* SGD: Tensor Programs IV (arXiv 2011.14522), Table 1. It gives SP with its largest stable rate (c = 1); here SP is what torch
  does, c = 0. Its mean field parametrization has one hidden layer; the row for hidden weights is ours.
* Adam and other optimizers that normalise entry by entry: Tensor Programs IVb (arXiv 2308.01814), Example 2.2.2 (SP),
  Definitions 2.4.1 (NTP) and 2.5.1 (muP). The exponents d are left out: a scale-invariant optimizer does not see them
  (Remark 2.2.6). MFP as we derive it.
* Optimizers whose steps are in proportion to the parameter (Adafactor with parameter scaling): as we derive them.
* The line from NTP to muP, after Yaida (arXiv 2210.04909). It is a one-parameter family with s = 0 at NTP and s = 1 at muP.
  Its exponents are as we derive them, from r = (1 - s)/2.

A weight that embeds and reads out is the embedding of each family. It has a multiplier where it reads out
(`Family.tied`). Products of activations (attention's logits) are left as the script has them. Biases follow their role
(input-like: those of hidden layers, as in Tensor Programs V, arXiv 2203.03466, Table 3). A family leaves smaller initial
entries than its own free, if they change the order of nothing that counts. Take torch's default bias, of size n^-1/2. It
belongs to each family in whose layers the weights contribute at order 0 (`families_of`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, final

from tpdyn.exponents import ZERO, show_order
from tpdyn.facts.facts import Facts
from tpdyn.facts.own import Own
from tpdyn.facts.sites import Site
from tpdyn.parametrizing.parametrization import Abc
from tpdyn.program.instructions import Contract, operands_of
from tpdyn.program.program import Parameter, Program
from tpdyn.readings.orders.reading import Exponents, read
from tpdyn.regimes.maximal import contributions_of
from tpdyn.regimes.naming import together

Optimizer = Literal["sgd", "entrywise", "parameter-scaled"]
"""How large an update is: like the gradient, of order 0, or like the parameter. The rate scales it in all three."""

HALF, ONE = Fraction(1, 2), Fraction(1)

TIED = "input-like and output-like"
"""The role of a weight that is embedding and readout at once."""


@final
@dataclass(frozen=True)
class Family:
    """A named parametrization: (a, b, c) for each role, in the form in which its source writes it."""

    name: str
    optimizer: Optimizer
    source: str
    table: Mapping[str, Abc]

    def exponents(
        self, own: Mapping[str, Own], readouts: Mapping[str, Sequence[Site]] | None = None
    ) -> Exponents | None:
        """Return the exponents that it adds to a script's own; None where a role has no entry.

        readouts: where a weight that also embeds reads out (`readouts_of`); without them such a weight has no entry.
        """
        exponents: dict[str, dict[str, Fraction]] = {"a": {}, "b": {}, "c": {}}
        site: dict[int, Fraction] = {}
        for name, mine in own.items():
            if mine.role == "unused":
                continue
            embeds = mine.role == TIED and bool(readouts and readouts.get(name))
            if mine.role not in self.table and not embeds:
                return None
            a, b, c = self.table["input-like" if embeds else mine.role]
            exponents["a"][name], exponents["c"][name] = a - (mine.uses["input-like"] if embeds else mine.a), c - mine.c
            exponents["b"][name] = ZERO if mine.zero else b - mine.b
            if embeds and readouts:
                less = self.tied - (mine.uses["output-like"] - mine.uses["input-like"])
                site |= {at: less for one in readouts[name] for at in one.positions if less}
        return Exponents(exponents["a"], exponents["b"], exponents["c"], site=site)

    @property
    def tied(self) -> Fraction:
        """The power by which the multiplier of a weight that embeds and reads out is smaller as a readout.

        It is that of the rows for input and output, without the difference of their initial entries. A family without any
        multiplier (SP) has none here either: as torch does, the embedding is used as it is.
        """
        if not any(a for a, _, _ in self.table.values()):
            return ZERO
        (a, b, _), (a_out, b_out, _) = self.table["input-like"], self.table["output-like"]
        return a_out + b_out - (a + b)


def _family(name: str, optimizer: Optimizer, source: str, *rows: tuple[Fraction | int, ...]) -> Family:
    """Make a family of rows for input, hidden, output; an output's bias, without width, is like an output without fan-in."""
    roles = ("input-like", "hidden", "output-like", "scalar-like")
    full = [*rows, (0, 0, 0)] if len(rows) == 3 else [*rows]
    table = {role: (Fraction(a), Fraction(b), Fraction(c)) for role, (a, b, c) in zip(roles, full, strict=True)}
    return Family(name, optimizer, source, table)


_IV, _IVB, _OURS = "Tensor Programs IV, Table 1", "Tensor Programs IVb", "as we derive it"
_SCALED: Optimizer = "parameter-scaled"

FAMILIES: tuple[Family, ...] = (
    _family("SP", "sgd", f"{_IV}, at torch's rate", (0, 0, 0), (0, HALF, 0), (0, HALF, 0)),
    _family("NTP", "sgd", _IV, (0, 0, 0), (HALF, 0, 0), (HALF, 0, 0)),
    _family("MFP", "sgd", f"{_IV}; hidden weights {_OURS}", (0, 0, -1), (HALF, 0, -1), (1, 0, -1)),
    _family("muP", "sgd", _IV, (-HALF, HALF, 0), (0, HALF, 0), (HALF, HALF, 0)),
    _family("SP", "entrywise", f"{_IVB}, Example 2.2.2", (0, 0, 0), (0, HALF, 0), (0, HALF, 0)),
    _family("NTP", "entrywise", f"{_IVB}, Definition 2.4.1", (0, 0, HALF), (HALF, 0, 1), (HALF, 0, HALF)),
    _family("MFP", "entrywise", _OURS, (0, 0, 0), (HALF, 0, HALF), (1, 0, 0)),
    _family("muP", "entrywise", f"{_IVB}, Definition 2.5.1", (0, 0, 0), (0, HALF, 1), (1, 0, 0)),
    _family("SP", _SCALED, _OURS, (0, 0, 0), (0, HALF, 0), (0, HALF, 0)),
    _family("muP", _SCALED, _OURS, (0, 0, 0), (0, HALF, HALF), (1, 0, 0)),
)


def between(s: Fraction | int, optimizer: Literal["sgd", "entrywise"] = "sgd") -> Family:
    """Return Yaida's family: NTP at s = 0, muP at s = 1, kernel with r = (1 - s)/2 between."""
    s = Fraction(s)
    if not 0 <= s <= 1:
        raise ValueError(f"s = {s}; expected 0 (NTP) to 1 (muP)")
    name, source = f"s = {s}", f"after Yaida 2022, {_OURS}"
    if optimizer == "sgd":
        return _family(name, optimizer, source, (0, 0, -s), (HALF, 0, -s), (HALF + s / 2, 0, -s))
    slow = (1 - s) / 2
    return _family(name, optimizer, source, (0, 0, slow), (HALF, 0, HALF + slow), (HALF + s / 2, 0, slow))


def optimizer_of(program: Program | Facts) -> Optimizer | None:
    """Say how a program's optimizer sizes its updates. None for an optimizer outside of the tables. It treats matrices as
    matrices (Muon), or there are several that size them differently.
    """
    facts = Facts.of(program)
    parameters = facts.program.parameters
    if any(_orthogonalised(facts, parameter) for parameter in parameters):
        return None
    if any(_scaled(facts, parameter) for parameter in parameters):
        return _SCALED
    normalising = frozenset(facts.normalising)
    normalised = {
        not normalising.isdisjoint(facts.updates[parameter.name])
        for parameter in parameters
        if any(facts.program.statements[var].wide_axes for var in parameter.versions[0].pieces)
        and parameter.versions[-1] != parameter.versions[0]
    }
    if len(normalised) > 1:
        return None
    return "entrywise" if normalised == {True} else "sgd"


def _orthogonalised(facts: Facts, parameter: Parameter) -> bool:
    """Tell whether wide matrices are multiplied with each other on the way to its update."""
    program = facts.program
    for position in facts.updates[parameter.name]:
        statement = program.statements[position]
        contract = statement.instruction
        if not isinstance(contract, Contract) or len(statement.wide_axes) < 2:
            continue
        for operand in contract.operands:
            wide = program.statements[operand.var].wide_axes
            if any(operand.axes[axis] >= len(statement.shape) for axis in wide):
                return True
    return False


def _scaled(facts: Facts, parameter: Parameter) -> bool:
    """Tell whether a number that is computed from the parameter alone (its norm) enters its update."""
    program = facts.program
    versions = {var for view in parameter.versions for var in view.pieces}
    if not any(program.statements[var].wide_axes for var in versions):
        return False
    own = set(versions)
    for position in sorted(set(facts.updates[parameter.name]) - versions):
        statement = program.statements[position]
        operands = operands_of(statement.instruction)
        if operands and all(operand.var in own for operand in operands):
            if not statement.wide_axes:
                return True
            own.add(position)
    return False


def families_of(program: Program | Facts) -> dict[str, Exponents]:
    """Return the named families for a program's optimizer, as extra exponents.

    Initial entries that are smaller in the script than in a family stay, if the orders that count stay. Those are of
    representations, logits, outputs, and contributions of updates.
    """
    facts = Facts.of(program)
    optimizer, readouts = optimizer_of(facts), readouts_of(facts)
    families = {}
    for family in FAMILIES:
        if family.optimizer == optimizer and (extra := family.exponents(facts.own, readouts)) is not None:
            families[family.name] = _leaving_free(facts, extra)
    return families


def readouts_of(facts: Facts) -> Mapping[str, Sequence[Site]]:
    """Return the products in which weights read out that are embeddings, too."""
    tied = [name for name, mine in facts.own.items() if mine.role == TIED]
    shared = facts.shared_sites if tied else ()
    return {name: [site for site in shared if name in site.parameters] for name in tied}


def _leaving_free(facts: Facts, extra: Exponents) -> Exponents:
    """Return the same family with the script's own initial sizes, where these are smaller and it makes no difference."""

    def left(names: list[str]) -> Exponents:
        return replace(extra, initial={**extra.initial, **{name: -extra.multiplier[name] for name in names}})

    smaller = [name for name in extra.multiplier if not facts.own[name].zero and _gauged(extra, name) < 0]
    if not smaller:
        return extra
    wanted = _what_counts(facts, extra)
    if _what_counts(facts, left(smaller)) == wanted:
        return left(smaller)
    kept: list[str] = []
    for name in smaller:
        if _what_counts(facts, left([*kept, name])) == wanted:
            kept.append(name)
    return left(kept)


def _gauged(extra: Exponents, name: str) -> Fraction:
    """Return the power by which initial entries are divided, without multipliers."""
    return extra.multiplier.get(name, ZERO) + extra.initial.get(name, ZERO)


def _what_counts(facts: Facts, extra: Exponents) -> tuple[object, ...]:
    """Collect orders in the base and in the change, and of contributions. Outputs may start as small as they like."""
    orders = read(facts, extra)
    sizes = []
    for position in facts.counting:
        size = orders.values[position].size
        sizes.append(max(size or ZERO, ZERO) if position in facts.outputs else size)
    changes = tuple(orders.values[position].moved for position in facts.counting)
    updates = {name: max(order for _, order in several) for name, several in contributions_of(orders).items()}
    return tuple(sizes), changes, updates


def differences(program: Program) -> dict[str, tuple[str, ...]]:
    """List how a script differs from each named family, up to symmetry: 'out.weight: c = 0, in muP 1 (without multipliers)'.

    Weight decay is set aside, as in `tpdyn.derive`. An empty tuple: the script is of that family. Empty for an optimizer
    outside of the tables.
    """
    from tpdyn.parametrizing.derive import symmetries

    facts, _ = Facts.of(program).without_decay
    own = facts.own
    differing = {}
    for name, extra in families_of(facts).items():
        k = symmetries(facts, extra)
        lines = []
        for parameter, mine in own.items():
            a, b, c = (each.get(parameter, ZERO) for each in (extra.multiplier, extra.initial, extra.rate))
            rate = k[parameter]
            # Both without multipliers, (0, b + a, c + k a), where that is the same; else each as it is written.
            moved = (a, b, c) if rate is None else (ZERO, b + a, c + rate * a)
            here = (mine.a, mine.b, mine.c) if rate is None else (ZERO, mine.b + mine.a, mine.c + rate * mine.a)
            parts = [
                f"{what} n^{show_order(-power)}, in {name} n^{show_order(-power - further)}"
                for what, power, further in zip(
                    ("multiplier", "initial size", "learning rate"), here, moved, strict=True
                )
                if further and not (mine.zero and what == "initial size")
            ]
            if parts:
                lines.append(f"{parameter}: {'; '.join(parts)}")
        for parameter, several in readouts_of(facts).items():
            less = {power for one in several for at in one.positions if (power := extra.site.get(at, ZERO))}
            lines += [f"{parameter} as a readout: multiplier n^0, in {name} n^{show_order(-power)}" for power in less]
        differing[name] = tuple(lines)
    return differing


def grouped(lines: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    """Group differences: one of several or all parameters is said once: 'blocks.*.up.weight, out.weight: ...'."""
    said: dict[str, list[str]] = {}
    for line in lines:
        name, _, what = line.partition(": ")
        said.setdefault(what, []).append(name)
    return tuple(f"{together(several, names)}: {what}" for what, several in said.items())
