"""What is a parametrization? For each parameter three exponents (a, b, c), and multipliers at sites that belong to none.

A parameter w enters the network as `n^-a w`. Its initial entries have standard deviation n^-b, and its learning rate is
proportional to n^-c. Moving a parameter along `(a + s, b - s, c - k s)` changes nothing but the writing. Here k is 2 for
SGD and 1 for optimizers that normalise entry by entry; `rate_per_multiplier` holds the program's. So each parametrization
can be written without multipliers, with one learning rate for all, or with unit initial entries. This choice is its
**gauge**.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final

from tpdyn.exponents import ZERO, Scaling, show_power
from tpdyn.facts.own import Own
from tpdyn.program.instructions import Law
from tpdyn.regimes.naming import patterns, together
from tpdyn.regimes.prediction import Regime

if TYPE_CHECKING:
    from tpdyn.parametrizing.maps.face import Face
    from tpdyn.regimes.maximal import Maximum

T = TypeVar("T")
Abc = tuple[Fraction, Fraction, Fraction]
Gauge = Literal["no multipliers", "same rate", "unit initial entries"]
GAUGES: tuple[Gauge, ...] = ("no multipliers", "same rate", "unit initial entries")


@final
@dataclass(frozen=True, slots=True)
class Shift:
    """What to change about a parameter: powers of the width that multiply its initial entries, rate, decay and eps."""

    initial: Fraction = ZERO
    rate: Fraction = ZERO
    decay: Fraction = ZERO
    guard: Fraction = ZERO


@final
@dataclass(frozen=True, slots=True)
class ParameterFacts:
    """What the program knows of a parameter, for those who apply a parametrization to a model.

    shape: its dims in the script, functions of the width. law: what its initial entries are drawn from in the script; None
    where that takes several laws. guard: the power of the width that keeps its eps in proportion to what it is added to. It
    is 0 without an eps. decay: the power by which its weight decay has to move; None for the inverse of its rate's.
    """

    shape: tuple[Scaling, ...]
    law: Law | None = None
    guard: Fraction = ZERO
    decay: Fraction | None = None


@final
@dataclass(frozen=True)
class Parametrization:
    """The exponents of every parameter of a program, in one gauge.

    exponents[name] is (a, b, c). multipliers: name of a site (module and line) -> p. Its result is multiplied by n^-p, on
    top of what the script does. own: the exponents of the script itself and the roles of its parameters.
    `rate_per_multiplier[name]`: the k of the symmetry (a + s, b - s, c - k s); None if it lacks this symmetry. regime: the
    verdict. conflicts: minimal sets of requirements that contradict each other. given_up: what was sacrificed and by how
    much it is missed. Both are empty for a maximal update parametrization. facts: what applying it to a model needs.
    """

    exponents: Mapping[str, Abc]
    multipliers: Mapping[str, Fraction]
    own: Mapping[str, Own]
    rate_per_multiplier: Mapping[str, Fraction | None]
    regime: Regime
    conflicts: tuple[tuple[str, ...], ...] = ()
    given_up: tuple[tuple[str, Fraction], ...] = ()
    facts: Mapping[str, ParameterFacts] = field(default_factory=dict, repr=False)
    maximum: Maximum | None = field(default=None, compare=False, repr=False)

    @property
    def maximal(self) -> bool:
        """Whether every requirement of the maximal update holds."""
        return not self.given_up and self.regime is Regime.FEATURE_LEARNING

    @property
    def roles(self) -> Mapping[str, str]:
        """Input-like, hidden, output-like or scalar-like: read off the program, not off names."""
        return {name: own.role for name, own in self.own.items()}

    def in_gauge(self, gauge: Gauge, rate: Fraction = ZERO) -> Parametrization:
        """Write the same parametrization in another gauge.

        "no multipliers": a = 0, as torch does. "same rate": c = `rate` for all. "unit initial entries": b = 0, sizes are
        multipliers. Raises ValueError for parameters that lack the symmetry.
        """
        if gauge not in GAUGES:
            raise ValueError(f"gauge = {gauge!r}; expected one of {', '.join(map(repr, GAUGES))}")
        return replace(
            self, exponents={name: self._moved(name, abc, gauge, rate) for name, abc in self.exponents.items()}
        )

    def _moved(self, name: str, abc: Abc, gauge: Gauge, rate: Fraction) -> Abc:
        a, b, c = abc
        k = self.rate_per_multiplier[name]
        if gauge == "same rate":
            missing, shift = c - rate, (c - rate) / k if k else ZERO
        elif gauge == "no multipliers":
            missing = shift = -a
        else:
            missing = shift = ZERO if self.own[name].zero else b
        # With k = 0 (updates in proportion to the parameter: Adafactor) rates do not move, all else does.
        if missing and (k is None or (gauge == "same rate" and not k)):
            raise ValueError(
                f"{name} cannot be written with {gauge}: no symmetry (a + s, b - s, c - k s) was found. "
                "A weight decay that is multiplied by the learning rate, or a norm over all gradients, breaks it"
            )
        return (a + shift, b if self.own[name].zero else b - shift, c - (k or ZERO) * shift)

    def face(self) -> Face:
        """Find all optima: the exponents (multipliers as in the script) at which every requirement holds.

        Raises ValueError for a parametrization that was not derived from a program.
        """
        if self.maximum is None:
            raise ValueError("a face belongs to a derived parametrization; call tpdyn.derive(program).face()")
        from tpdyn.parametrizing.maps.face import face_of

        return face_of(self.maximum)

    def joined(self, names: Iterable[str]) -> Parametrization:
        """Return the parametrization of a model's parameters: a complex one is two real ones in a program, its parts.

        names: of the model's parameters. Raises ValueError if parts of one have exponents of their own.
        """
        kept: dict[str, str] = {}
        for name in names:
            real, imag = f"{name}.real", f"{name}.imag"
            if name in self.exponents or not {real, imag} <= self.exponents.keys():
                continue
            if self.exponents[real] != self.exponents[imag]:
                raise ValueError(
                    f"the parts of {name} have exponents of their own, but one parameter has one size and one rate"
                )
            kept |= {real: name, imag: ""}

        def whole(table: Mapping[str, T]) -> dict[str, T]:
            return {kept.get(key, key): value for key, value in table.items() if kept.get(key, key)}

        facts = {k: replace(fact, law=None) if k in kept.values() else fact for k, fact in whole(self.facts).items()}
        return replace(
            self,
            exponents=whole(self.exponents),
            own=whole(self.own),
            rate_per_multiplier=whole(self.rate_per_multiplier),
            facts=facts,  # the law is that of a part
        )

    def shifts(self) -> Mapping[str, Shift]:
        """Return for each parameter the difference to the script, in every gauge the same: multipliers stay as in the script."""
        shifts = {}
        for name, (a, b, c) in self.exponents.items():
            own = self.own[name]
            moved = own.a - a
            rate = own.c + (self.rate_per_multiplier[name] or ZERO) * moved - c
            facts = self.facts.get(name)
            shifts[name] = Shift(
                initial=ZERO if own.zero else own.b + moved - b,
                rate=rate,
                decay=-rate if facts is None or facts.decay is None else facts.decay,
                guard=ZERO if facts is None else facts.guard,
            )
        return shifts

    def edits(self) -> tuple[str, ...]:
        """List what to change in the script: factors for initial entries and learning rates, and multipliers at sites.

        Multipliers of parameters stay as they are in the script.
        """
        factors: dict[tuple[str, Fraction], list[str]] = {}
        for name, shift in self.shifts().items():
            if shift.initial:
                factors.setdefault(("initial entries", shift.initial), []).append(name)
            if shift.rate:
                factors.setdefault(("learning rate", shift.rate), []).append(name)
        lines = [
            f"multiply the {what} of {together(names, self.exponents)} by {show_power(p)}"
            for (what, p), names in factors.items()
        ]
        return (*lines, *self.products())

    def products(self) -> tuple[str, ...]:
        """List the products of the forward pass whose result takes a multiplier."""
        names: dict[Fraction, list[str]] = {}
        for site, power in self.multipliers.items():
            if power:
                names.setdefault(-power, []).append(str(site))
        known = [str(site) for site in self.multipliers]
        return tuple(f"multiply the result of {together(each, known)} by {show_power(p)}" for p, each in names.items())

    def show(self) -> str:
        """Show the table as text: each parameter's role, its exponents here and in the script; what to change; conflicts."""
        rows = [("parameter", "role", "a", "b", "c", "script: a", "b", "c"), *self._rows()]
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        title = "maximal update" if self.maximal else f"as far as possible ({self.regime.value})"
        lines.insert(0, f"{title}: entries enter as n^-a w, w ~ n^-b, learning rate ~ n^-c")
        edits = self.edits()
        nothing = "the script is there already" if self.maximal else "no change of these kinds helps"
        lines += ["", *(edits or (f"nothing to change: {nothing}",))]
        for text, missing in self.given_up:
            lines.append(f"given up: {text} (missing: {show_power(missing)})")
        for conflict in self.conflicts:
            lines += ["these contradict each other:", *(f"  - {text}" for text in conflict)]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, ...]]:
        """Return a row of texts for each parameter; layers that have the same are named by one pattern."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for name, (a, b, c) in self.exponents.items():
            own = self.own[name]
            start, given = ("zero", "zero") if own.zero else (str(b), str(own.b))
            alike.setdefault((own.role, str(a), start, str(c), str(own.a), given, str(own.c)), []).append(name)
        rows = {
            name: (pattern, *row)
            for row, names in alike.items()
            for name, pattern in patterns(names, self.exponents).items()
        }
        return list(dict.fromkeys(rows[name] for name in self.exponents))

    def _repr_html_(self) -> str:
        from tpdyn.notebook import card, table

        rows = [row[:5] for row in self._rows()]
        title = "maximal update" if self.maximal else f"as far as possible ({self.regime.value})"
        heads = ("parameter", "role", "enters n^-a", "starts n^-b", "rate n^-c")
        return card(title, list(self.edits())[:4], table(heads, rows))

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON: exponents are strings, exact."""
        return {
            "regime": self.regime.value,
            "maximal": self.maximal,
            "parameters": {
                name: {
                    "role": self.own[name].role,
                    **dict(zip("abc", map(str, abc), strict=True)),
                    "script": {"a": str(self.own[name].a), "b": str(self.own[name].b), "c": str(self.own[name].c)},
                    "zero": self.own[name].zero,
                    **(_facts_to_dict(self.facts[name]) if name in self.facts else {}),
                }
                for name, abc in self.exponents.items()
            },
            "rate_per_multiplier": {
                name: None if k is None else str(k) for name, k in self.rate_per_multiplier.items()
            },
            "multipliers": {site: str(power) for site, power in self.multipliers.items()},
            "edits": list(self.edits()),
            "given_up": [{"requirement": text, "missing": str(missing)} for text, missing in self.given_up],
            "conflicts": [list(conflict) for conflict in self.conflicts],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Parametrization:
        """Read what `to_dict` wrote (the face, which only a derivation knows, is left out). Raises ValueError on anything else."""
        try:
            parameters = data["parameters"]
            return Parametrization(
                exponents={name: _abc(row) for name, row in parameters.items()},
                multipliers={site: Fraction(power) for site, power in data["multipliers"].items()},
                own={
                    name: Own(*_abc(row["script"]), zero=bool(row["zero"]), role=row["role"])
                    for name, row in parameters.items()
                },
                rate_per_multiplier={
                    name: None if k is None else Fraction(k) for name, k in data["rate_per_multiplier"].items()
                },
                regime=Regime(data["regime"]),
                conflicts=tuple(tuple(conflict) for conflict in data["conflicts"]),
                given_up=tuple((row["requirement"], Fraction(row["missing"])) for row in data["given_up"]),
                facts={name: _facts_from_dict(row) for name, row in parameters.items() if "shape" in row},
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is not a parametrization that `to_dict` wrote: {error!r}") from error


def _abc(row: Mapping[str, str]) -> Abc:
    return Fraction(row["a"]), Fraction(row["b"]), Fraction(row["c"])


def _facts_to_dict(facts: ParameterFacts) -> dict[str, Any]:
    law = None
    if facts.law is not None:
        law = {"kind": facts.law.kind, "location": _terms(facts.law.location), "scale": _terms(facts.law.scale)}
    decay = None if facts.decay is None else str(facts.decay)
    return {"shape": [_terms(dim) for dim in facts.shape], "law": law, "guard": str(facts.guard), "decay": decay}


def _facts_from_dict(row: Mapping[str, Any]) -> ParameterFacts:
    law = row["law"]
    return ParameterFacts(
        shape=tuple(_scaling(dim) for dim in row["shape"]),
        law=None if law is None else Law(law["kind"], _scaling(law["location"]), _scaling(law["scale"])),
        guard=Fraction(row["guard"]),
        decay=None if row["decay"] is None else Fraction(row["decay"]),
    )


def _terms(scaling: Scaling) -> list[list[Any]]:
    """Write a scaling as `[[coefficient, power], ...]`: exact numbers as text, floats as they are."""
    return [[c if isinstance(c, float) else str(c), str(power)] for c, power in scaling.terms]


def _scaling(terms: Sequence[Sequence[Any]]) -> Scaling:
    return Scaling(tuple((c if isinstance(c, float) else Fraction(c), Fraction(power)) for c, power in terms))
