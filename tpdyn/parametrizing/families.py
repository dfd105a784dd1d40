"""Which parametrizations have names? Standard, neural tangent, mean field, maximal update, and the line between, as data.

Tables by role of a parameter and by optimizer. Roles are read off the program (`tpdyn.readings.orders.own`). Sources:

* SGD: Tensor Programs IV (arXiv 2011.14522), Table 1; the mean field parametrization there has one hidden layer.
* Adam and other optimizers that normalise entry by entry: Tensor Programs IVb (arXiv 2308.01814).
* The line from NTP to muP: Yaida (arXiv 2210.04909), a one-parameter family with s = 0 at NTP and s = 1 at muP.
* Rates that let every layer of any of these be updated maximally by itself ("full alignment"): Everett et al.
  (arXiv 2407.05872). Their assumption about initial weights is weaker than what is true of a readout: see `EVERETT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, final

from tpdyn.exponents import ZERO, show_order
from tpdyn.parametrizing.parametrization import Abc
from tpdyn.program.program import Program
from tpdyn.readings.orders.own import Own, own_exponents
from tpdyn.readings.orders.reading import Exponents
from tpdyn.readings.orders.structure import structure

Optimizer = Literal["sgd", "entrywise"]
HALF, ONE = Fraction(1, 2), Fraction(1)


@final
@dataclass(frozen=True)
class Family:
    """A named parametrization: (a, b, c) for each role, in the form in which its source writes it."""

    name: str
    optimizer: Optimizer
    source: str
    table: Mapping[str, Abc]

    def exponents(self, own: Mapping[str, Own]) -> Exponents | None:
        """What it adds to a script's own exponents; None where a role has no entry (a weight that plays two roles)."""
        found: dict[str, dict[str, Fraction]] = {"a": {}, "b": {}, "c": {}}
        for name, mine in own.items():
            if mine.role == "unused":
                continue
            if mine.role not in self.table:
                return None
            a, b, c = self.table[mine.role]
            found["a"][name], found["c"][name] = a - mine.a, c - mine.c
            found["b"][name] = ZERO if mine.zero else b - mine.b
        return Exponents(found["a"], found["b"], found["c"])


def _family(name: str, optimizer: Optimizer, source: str, *rows: tuple[Fraction | int, ...]) -> Family:
    """Rows for input, hidden, output; what has no width (the output's bias) is like an output without fan-in."""
    roles = ("input-like", "hidden", "output-like", "scalar-like")
    full = [*rows, (0, 0, 0)] if len(rows) == 3 else [*rows]
    table = {role: (Fraction(a), Fraction(b), Fraction(c)) for role, (a, b, c) in zip(roles, full, strict=True)}
    return Family(name, optimizer, source, table)


_IV, _IVB = "Tensor Programs IV, Table 1", "Tensor Programs IVb"

FAMILIES: tuple[Family, ...] = (
    _family("SP", "sgd", _IV, (0, 0, 0), (0, HALF, 0), (0, HALF, 0)),
    _family("NTP", "sgd", _IV, (0, 0, 0), (HALF, 0, 0), (HALF, 0, 0)),
    _family("MFP", "sgd", _IV, (0, 0, -1), (HALF, 0, -1), (1, 0, -1), (0, 0, 0)),
    _family("muP", "sgd", _IV, (-HALF, HALF, 0), (0, HALF, 0), (HALF, HALF, 0), (0, 0, 0)),
    _family("SP", "entrywise", _IVB, (0, 0, 0), (0, HALF, 0), (0, HALF, 0)),
    _family("NTP", "entrywise", _IVB, (0, 0, HALF), (HALF, 0, 1), (HALF, 0, HALF)),
    _family("MFP", "entrywise", _IVB, (0, 0, 0), (HALF, 0, HALF), (1, 0, 0)),
    _family("muP", "entrywise", _IVB, (0, 0, 0), (0, HALF, 1), (1, 0, 0)),
)

EVERETT: tuple[Family, ...] = (
    _family("SP", "sgd", "Everett et al. 2024", (0, 0, -HALF), (0, HALF, HALF), (0, HALF, 1)),
    _family("NTP", "sgd", "Everett et al. 2024", (0, 0, -HALF), (HALF, 0, -HALF), (HALF, 0, 0)),
    _family("muP", "sgd", "Everett et al. 2024", (-HALF, HALF, 0), (0, HALF, 0), (HALF, HALF, 0)),
    _family("MFP", "sgd", "Everett et al. 2024", (0, 0, -1), (HALF, 0, -1), (1, 0, -1)),
    _family("SP", "entrywise", "Everett et al. 2024", (0, 0, 0), (0, HALF, 1), (0, HALF, 1)),
    _family("NTP", "entrywise", "Everett et al. 2024", (0, 0, 0), (HALF, 0, HALF), (HALF, 0, HALF)),
    _family("muP", "entrywise", "Everett et al. 2024", (-HALF, HALF, HALF), (0, HALF, 1), (HALF, HALF, HALF)),
    _family("MFP", "entrywise", "Everett et al. 2024", (0, 0, 0), (HALF, 0, HALF), (1, 0, 0)),
)
"""Per-layer rates under "full alignment". Each layer's own update then contributes at order 0, in all of them. But SP and NTP
keep a readout of order n^-1/2, which training aligns with the changes of its input, so that the output changes by n^1/2
(Tensor Programs IV): they are unstable as the width grows. muP and MFP are the maximal update parametrization."""


def between(s: Fraction | int, optimizer: Optimizer = "sgd") -> Family:
    """Yaida's family: NTP at s = 0, muP at s = 1, kernel with r = (1 - s)/2 between."""
    s = Fraction(s)
    if not 0 <= s <= 1:
        raise ValueError(f"s = {s}; expected 0 (NTP) to 1 (muP)")
    name = f"s = {s}"
    if optimizer == "sgd":
        return _family(name, optimizer, "Yaida 2022", (0, 0, -s), (HALF, 0, -s), (HALF + s / 2, 0, -s), (0, 0, 0))
    slow = (1 - s) / 2
    return _family(name, optimizer, "Yaida 2022", (0, 0, slow), (HALF, 0, HALF + slow), (HALF + s / 2, 0, slow))


def families_of(program: Program, own: Mapping[str, Own] | None = None) -> dict[str, Exponents]:
    """The named families for a program's optimizer, as extra exponents; none where a weight plays two roles."""
    optimizer: Optimizer = "entrywise" if structure(program).entrywise else "sgd"
    mine = own or own_exponents(program)
    found = {}
    for family in FAMILIES:
        if family.optimizer == optimizer and (extra := family.exponents(mine)) is not None:
            found[family.name] = extra
    return found


def differences(program: Program) -> dict[str, tuple[str, ...]]:
    """How a script differs from each named family, up to symmetry: 'out.weight: c = 0, in muP 1 (without multipliers)'.

    An empty tuple: the script is of that family.
    """
    from tpdyn.parametrizing.derive import symmetries

    own = own_exponents(program)
    found = {}
    for name, extra in families_of(program, own).items():
        k = symmetries(program, extra)
        lines = []
        for parameter, mine in own.items():
            a, b, c = (
                extra.multiplier.get(parameter, ZERO),
                extra.initial.get(parameter, ZERO),
                extra.rate.get(parameter, ZERO),
            )
            rate = k[parameter]
            # Both without multipliers: (a, b, c) is (0, b + a, c + k a).
            shift = rate if rate is not None else ZERO
            parts = []
            if not mine.zero and a + b:
                here = mine.a + mine.b
                parts.append(f"initial size n^{show_order(-here)}, in {name} n^{show_order(-here - a - b)}")
            if c + shift * a:
                here = mine.c + shift * mine.a
                parts.append(f"learning rate n^{show_order(-here)}, in {name} n^{show_order(-here - c - shift * a)}")
            if parts:
                lines.append(f"{parameter}: {'; '.join(parts)}")
        found[name] = tuple(lines)
    return found
