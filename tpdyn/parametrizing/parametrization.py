"""What is a parametrization? For each parameter three exponents (a, b, c), and multipliers at places that have no parameter.

A parameter w enters the network as `n^-a w`, its initial entries have standard deviation n^-b, its learning rate is
proportional to n^-c. Moving a parameter along `(a + s, b - s, c - k s)` changes nothing but the writing (k is 2 for SGD, 1 for
optimizers that normalise entry by entry; `rate_per_multiplier` holds what was found for the program). So each parametrization
can be written without multipliers, with one learning rate for all, or with unit initial entries: its **gauge**.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, final

from tpdyn.exponents import ZERO, show_power
from tpdyn.readings.orders.own import Own
from tpdyn.readings.orders.prediction import Regime

if TYPE_CHECKING:
    from tpdyn.parametrizing.face import Face
    from tpdyn.readings.orders.maximal import Maximum

Abc = tuple[Fraction, Fraction, Fraction]
Gauge = Literal["no multipliers", "same rate", "unit initial entries"]
GAUGES: tuple[Gauge, ...] = ("no multipliers", "same rate", "unit initial entries")


@final
@dataclass(frozen=True)
class Parametrization:
    """The exponents of every parameter of a program, in one gauge.

    exponents[name] is (a, b, c). multipliers: name of a place (module and line) -> p: its result is multiplied by n^-p, on top
    of what the script does. own: the exponents of the script itself and the roles of its parameters.
    rate_per_multiplier[name]: the k of the symmetry (a + s, b - s, c - k s), None where there is no such symmetry. regime: the
    verdict. conflicts: minimal sets of requirements that contradict each other, given_up: what was sacrificed and by how
    much it is missed; both empty for a maximal update parametrization.
    """

    exponents: Mapping[str, Abc]
    multipliers: Mapping[str, Fraction]
    own: Mapping[str, Own]
    rate_per_multiplier: Mapping[str, Fraction | None]
    regime: Regime
    conflicts: tuple[tuple[str, ...], ...] = ()
    given_up: tuple[tuple[str, Fraction], ...] = ()
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
        """The same parametrization, written otherwise.

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
        if missing and not k:
            raise ValueError(
                f"{name} cannot be written with {gauge}: no symmetry (a + s, b - s, c - k s) of its exponents was found in this "
                "program (a weight decay that is multiplied by the learning rate, or a norm over all gradients, breaks it)"
            )
        return (a + shift, b if self.own[name].zero else b - shift, c - (k or ZERO) * shift)

    def face(self) -> Face:
        """All optima: the exponents (multipliers as in the script) at which every requirement holds.

        Raises ValueError for a parametrization that was not derived from a program.
        """
        if self.maximum is None:
            raise ValueError("a face belongs to a derived parametrization; call tpdyn.derive(program).face()")
        from tpdyn.parametrizing.face import face_of

        return face_of(self.maximum)

    def edits(self) -> tuple[str, ...]:
        """What to change in the script: factors for initial entries and learning rates, and multipliers at places.

        Multipliers of parameters stay as they are in the script.
        """
        factors: dict[tuple[str, Fraction], list[str]] = {}
        for name, (a, b, c) in self.exponents.items():
            own = self.own[name]
            shift = own.a - a
            smaller = b - shift - own.b
            slower = c - (self.rate_per_multiplier[name] or ZERO) * shift - own.c
            if smaller and not own.zero:
                factors.setdefault(("initial entries", -smaller), []).append(name)
            if slower:
                factors.setdefault(("learning rate", -slower), []).append(name)
        lines = [
            f"multiply the {what} of {', '.join(names)} by {show_power(p)}" for (what, p), names in factors.items()
        ]
        lines += [f"multiply the result of {place} by {show_power(-p)}" for place, p in self.multipliers.items() if p]
        return tuple(lines)

    def show(self) -> str:
        """The table as text: each parameter's role, its exponents here and in the script; what to change; conflicts."""
        rows = [("parameter", "role", "a", "b", "c", "script: a", "b", "c")]
        for name, (a, b, c) in self.exponents.items():
            own = self.own[name]
            start = "zero" if own.zero else str(b)
            given = "zero" if own.zero else str(own.b)
            rows.append((name, own.role, str(a), start, str(c), str(own.a), given, str(own.c)))
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        title = "maximal update" if self.maximal else f"as far as possible ({self.regime.value})"
        lines.insert(0, f"{title}: entries enter as n^-a w, w ~ n^-b, learning rate ~ n^-c")
        edits = self.edits()
        lines += ["", *(edits or ("nothing to change: the script is there already",))]
        for text, missing in self.given_up:
            lines.append(f"given up: {text} (missing: {show_power(missing)})")
        for conflict in self.conflicts:
            lines += ["these contradict each other:", *(f"  - {text}" for text in conflict)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: exponents are strings, exact."""
        return {
            "regime": self.regime.value,
            "maximal": self.maximal,
            "parameters": {
                name: {
                    "role": self.own[name].role,
                    **dict(zip("abc", map(str, abc), strict=True)),
                    "script": {"a": str(self.own[name].a), "b": str(self.own[name].b), "c": str(self.own[name].c)},
                    "zero": self.own[name].zero,
                }
                for name, abc in self.exponents.items()
            },
            "multipliers": {place: str(power) for place, power in self.multipliers.items()},
            "edits": list(self.edits()),
            "given_up": [{"requirement": text, "missing": str(missing)} for text, missing in self.given_up],
            "conflicts": [list(conflict) for conflict in self.conflicts],
        }
