"""What does the orders reading say of a script? The prediction: a regime, its reasons, and the order of every value."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

from tpdyn.exponents import Order, direction, show_order
from tpdyn.program.program import Program, Source


@final
class Regime(enum.Enum):
    """How a script behaves as the width grows (Tensor Programs IV, arXiv 2011.14522; IVb, 2308.01814, for entrywise optimizers)."""

    UNSTABLE = "unstable"
    TRIVIAL = "trivial"
    KERNEL = "kernel"
    FEATURE_LEARNING = "feature learning"


@final
@dataclass(frozen=True, slots=True)
class Reason:
    """Why the regime is what it is: the value that decides, its line, and what to change."""

    text: str
    statement: str
    module: str
    source: Source
    fix: str = ""

    def told(self) -> str:
        """Write one sentence with its line and its remedy."""
        where = f" [{self.source}]" if self.source.file else ""
        return f"{self.text}{where}" + (f" Fix: {self.fix}" if self.fix else "")


@final
@dataclass(frozen=True, slots=True)
class Row:
    """The predicted orders of one named value in one step.

    kind: "value" is one that decides inside of a module (`tpdyn.regimes.unnamed`). name: module path, parameter name, or
    gradient's parameter name. size: order at the initial parameters (the base program); change: order of value - base; None
    is identically zero. at_most: the change is an upper bound, since known terms may cancel. learns: for a hidden
    representation, whether it changes at order 0 or more; None for other values. wide: whether it has entries along the
    width. mixed: it is a function of growing values, so that powers mix. Examples are a saturated tanh, or a small constant
    that still hides the growing part. Its orders hold only at widths where those values are large.
    """

    kind: Literal["module", "value", "output", "loss", "parameter", "gradient"]
    name: str
    step: int
    size: Order
    change: Order
    source: Source
    position: int
    at_most: bool = False
    learns: bool | None = None
    wide: bool = True
    mixed: bool = False


COMPARED = ("module", "value", "output")
"""The kinds of rows that are compared with runs."""


@final
@dataclass(frozen=True)
class Prediction:
    """The orders reading of a program.

    regime: that of the script. entrywise: the optimizer normalises entry by entry (Adam, sign): KERNEL is then IVb's operator
    regime. reasons: the decisive one first. sizes[v], changes[v]: order of statement v in the base program and of its
    change. epsilon: the width from which the epsilon of an optimizer or a normalisation matters, by parameter or module
    (`tpdyn.regimes.epsilon`). outside: the values that the theory does not reach ("outside the theory: ..."), empty for a full
    verdict. settles: all steps from this one on have the same orders, so their regime is the same. None if that is not
    known, or if the recorded steps are unstable. read: the regime was read from so many steps, recorded and further.
    """

    program: Program
    regime: Regime
    reasons: tuple[Reason, ...]
    table: tuple[Row, ...]
    sizes: tuple[Order, ...] = field(repr=False)
    changes: tuple[Order, ...] = field(repr=False)
    entrywise: bool = False
    outside: tuple[Reason, ...] = ()
    epsilon: Mapping[str, float] = field(default_factory=dict)
    settles: int | None = None
    read: int = 0

    def _repr_html_(self) -> str:
        from tpdyn.notebook import card, table

        last = {row.name: row for row in self.table if row.kind in COMPARED}
        rows = [
            (row.name or "(root)", show_order(row.size), f"{'<= ' if row.at_most else ''}{show_order(row.change)}")
            for row in last.values()
        ]
        told = [reason.told() for reason in (*self.outside, *self.reasons)][:2]
        tones = [direction(row.change) for row in last.values()]
        return card(
            "outside the theory" if self.outside else self.regime.value, told,
            table(("module", "size", f"change at step {max((r.step for r in last.values()), default=0)}"), rows, tones),
        )  # fmt: skip

    def rows(self) -> tuple[Row, ...]:
        """Return every module output, parameter and gradient, per step."""
        return self.table

    def order(self, name: str, what: Literal["size", "change"] = "change", *, step: int | None = None) -> Order:
        """Look up the order of a module's output, or of a parameter; None if it is identically zero.

        "size" is the order at initialisation, in step 0 unless `step` is given. "change" is the largest over the steps, or
        that of one `step`. Raises KeyError with the known names.
        """
        if what not in ("size", "change"):
            raise ValueError(f"what = {what!r}; expected 'size' or 'change'")
        for kinds in ((*COMPARED, "loss"), ("parameter",)):
            rows = [r for r in self.table if r.name == name and r.kind in kinds and (step is None or r.step == step)]
            if rows:
                break
        else:
            known = dict.fromkeys(row.name for row in self.table)
            raise KeyError(f"no module or parameter {name!r}; there are: {', '.join(known) or 'none'}")
        if what == "size":
            return rows[0].size
        changes = [row.change for row in rows if row.change is not None]
        return max(changes) if changes else None
