"""What does a script do at infinite width? Record it once, and show each loss and output in the limit with its error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, final

from tpdyn.claims.beside import Beside, beside, counted, distances
from tpdyn.commands.check import check_widths, recorded
from tpdyn.commands.failures import LONGEST, Watched, translated
from tpdyn.commands.simulate import float_type, listed, table
from tpdyn.limits.comparison import Approach, approach
from tpdyn.limits.limit import Limit, limit
from tpdyn.measuring.measure import measure
from tpdyn.measuring.measurement import Measurement
from tpdyn.program.program import Program
from tpdyn.reporting.document import named, numbers_of
from tpdyn.reporting.progress import Progress, silent

SHOWN = 4
"""So many entries of an output are printed; JSON has all."""


@final
@dataclass(frozen=True)
class Limits:
    """The limit of one script, in words, and how far networks of some widths are from it."""

    limit: Limit
    approach: Approach | None = None
    program: Program | None = None

    def show(self) -> str:
        """Show losses and outputs with their errors; of a value that stays random, the spread."""
        result = self.limit
        lines = [("", "limit", "error", "spread if random")]
        for kind, estimates in (("loss", result.losses), ("output", result.outputs)):
            for step, estimate in enumerate(estimates):
                values, errors, spreads = (each.flatten() for each in (estimate.value, estimate.error, estimate.spread))
                for index in range(min(SHOWN, len(values))):
                    entry = f"[{index}]" if len(values) > 1 else ""
                    spread = f"{float(spreads[index]):.3g}" if estimate.random else ""
                    error = f"{float(errors[index]):.1g}"
                    lines.append((f"{kind} {step}{entry}", f"{float(values[index]):.6g}", error, spread))
                if len(values) > SHOWN:
                    lines.append((f"  and {len(values) - SHOWN} more entries", "", "", ""))
        told = [f"random in the limit: a sum at {location}" for location in result.random]
        notes = [f"note: {note}" for note in result.notes]
        effort = f"{result.scrambles} scrambles of {result.points:,} points, {result.seconds:.1f} s"
        beside = ["", self.approach.show(), *self._said()] if self.approach is not None else []
        return "\n".join([table(lines), *told, *notes, effort, *beside])

    @cached_property
    def claims(self) -> tuple[Beside, ...]:
        """What the runs say of the limit: of values, powers and laws."""
        return () if self.approach is None else beside(self.approach)

    def _said(self) -> list[str]:
        assert self.approach is not None
        failed = [
            f"fails: {claim.what} of {claim.of} ({claim.told})" for claim in self.claims if claim.verdict == "fails"
        ]
        return [distances(self.approach), counted(self.claims), *failed[:SHOWN]]

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON, with kernels and distributions."""
        result, claims = self.limit, [asdict(claim) for claim in self.claims]
        return {
            **numbers_of(result, listed),
            "gradients": [
                {**named(key, each, listed), "order": str(result.gradient_orders[key])}
                for key, each in result.gradients.items()
            ],
            **({} if self.approach is None else {"approach": self.approach.to_dict() | {"claims": claims}}),
        }


def limits(
    train: Callable[[int], Any],
    *,
    record_widths: Sequence[int] | None = None,
    steps: int = 3,
    points: int | None = None,
    scrambles: int = 8,
    seed: int = 0,
    dtype: str = "float64",
    compare: Sequence[int] = (),
    seeds: int = 8,
    time_limit: float = LONGEST,
    progress: Progress = silent,
) -> Limits:
    """Record `train(width)` at small widths and take the limit; with `compare`, run the program at those widths beside it.

    Raises `BeyondTheory` where there is no limit (it is unstable) or no rule. Raises `BadInput` for a number of points that
    is not a width of the script, and for an unknown `dtype`.
    """
    kind = float_type(dtype)
    program = recorded(train, widths=record_widths, steps=steps, time_limit=time_limit, progress=progress)
    with translated():
        result = limit(
            program,
            points,
            scrambles,
            seed=seed,
            dtype=kind,
            progress=partial(progress, "taking the limit"),
        )
        if not compare:
            return Limits(result, program=program)
        return Limits(
            result,
            approach(
                program,
                compare,
                seeds,
                beside=result,
                seed=seed,
                progress=partial(progress, "comparing with the limit"),
            ),
            program,
        )


def measured(
    train: Callable[[int], Any],
    widths: Sequence[int],
    seeds: int,
    steps: int,
    time_limit: float = LONGEST,
    progress: Progress = silent,
) -> Measurement:
    """Measure the losses of real runs at growing widths. Raises `BadInput` for senseless widths, and as `measure` does."""
    check_widths(widths, "--widths")
    quiet = Watched(train, silent=True, seconds=time_limit)
    with translated():
        return measure(quiet, tuple(widths), seeds, steps, progress=partial(progress, "measuring"))
