"""What does a script do at infinite width? Record it once, and show each loss and output in the limit with its error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from tpdyn.commands.check import Progress, check_widths, recorded
from tpdyn.commands.failures import translated
from tpdyn.commands.simulate import listed, table
from tpdyn.limits.comparison import Approach, approach
from tpdyn.limits.limit import Estimate, Limit, limit
from tpdyn.measuring.measure import measure
from tpdyn.measuring.measurement import Measurement
from tpdyn.program.program import Program

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
        found = self.limit
        lines = [("", "limit", "error", "spread if random")]
        for kind, estimates in (("loss", found.losses), ("output", found.outputs)):
            for step, estimate in enumerate(estimates):
                values, errors, spreads = (each.flatten() for each in (estimate.value, estimate.error, estimate.spread))
                for index in range(min(SHOWN, len(values))):
                    entry = f"[{index}]" if len(values) > 1 else ""
                    spread = f"{float(spreads[index]):.3g}" if estimate.random else ""
                    error = f"{float(errors[index]):.1g}"
                    lines.append((f"{kind} {step}{entry}", f"{float(values[index]):.6g}", error, spread))
                if len(values) > SHOWN:
                    lines.append((f"  and {len(values) - SHOWN} more entries", "", "", ""))
        told = [f"random in the limit: a sum at {location}" for location in found.random]
        notes = [f"note: {note}" for note in found.notes]
        made = f"{found.scrambles} scrambles of {found.points:,} points, {found.seconds:.1f} s"
        beside = ["", self.approach.show()] if self.approach is not None else []
        return "\n".join([table(lines), *told, *notes, made, *beside])

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON, with kernels and distributions."""
        found = self.limit
        return {
            "losses": [_estimate(each) for each in found.losses],
            "outputs": [_estimate(each) for each in found.outputs],
            "kernels": [_named(key, each) for key, each in found.kernels.items()],
            "gradients": [
                {**_named(key, each), "order": str(found.gradient_orders[key])} for key, each in found.gradients.items()
            ],
            "distributions": [_named(key, each) for key, each in found.distributions.items()],
            "levels": list(found.levels),
            "random": list(found.random),
            "notes": list(found.notes),
            "points": found.points,
            "scrambles": found.scrambles,
            "seconds": found.seconds,
            **({} if self.approach is None else {"approach": self.approach.to_dict()}),
        }


def limits(
    train: Callable[[int], Any],
    *,
    record_widths: Sequence[int] | None = None,
    steps: int = 3,
    points: int | None = None,
    scrambles: int = 8,
    seed: int = 0,
    compare: Sequence[int] = (),
    seeds: int = 8,
    progress: Progress | None = None,
) -> Limits:
    """Record `train(width)` at small widths and take the limit; with `compare`, run the program at those widths beside it.

    Raises `BeyondTheory` where there is no limit (it is unstable) or no rule; `BadInput` for a number of points that is no
    width of the script.
    """
    tell = progress or (lambda what, done, total: None)
    program = recorded(train, widths=record_widths, steps=steps, progress=progress)
    with translated():
        made = limit(
            program, points, scrambles, seed=seed, progress=lambda done, total: tell("taking the limit", done, total)
        )
        if not compare:
            return Limits(made, program=program)
        told = "comparing with the limit"
        return Limits(
            made,
            approach(
                program, compare, seeds, beside=made, seed=seed, progress=lambda done, total: tell(told, done, total)
            ),
            program,
        )


def measured(
    train: Callable[[int], Any], widths: Sequence[int], seeds: int, steps: int, progress: Progress | None = None
) -> Measurement:
    """Measure the losses of real runs at growing widths. Raises `BadInput` for senseless widths, and as `measure` does."""
    tell = progress or (lambda what, done, total: None)
    check_widths(widths, "--widths")
    with translated():
        return measure(train, tuple(widths), seeds, steps, progress=lambda done, total: tell("measuring", done, total))


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": listed(estimate.value),
        "error": listed(estimate.error),
        "spread": listed(estimate.spread),
        "random": estimate.random,
    }


def _named(key: tuple[str, int], estimate: Estimate) -> dict[str, Any]:
    return {"name": key[0], "step": key[1], **_estimate(estimate)}
