"""What does a script do at widths that nobody can train? Record it once, simulate it at each, show losses and sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, final

from tpdyn.commands.check import check_distinct, recorded
from tpdyn.commands.failures import LONGEST, BadInput, translated
from tpdyn.limits.forecast import Forecasts, forecast
from tpdyn.measuring.run import check_device
from tpdyn.readings.sampled.simulate import Simulated, simulate
from tpdyn.reporting.progress import Progress, silent


@final
@dataclass(frozen=True)
class Simulation:
    """One script at several widths, one run each, and where values leave the range of their number format, if asked."""

    runs: tuple[Simulated, ...]
    forecasts: Forecasts | None = None

    def show(self) -> str:
        """Show losses and sizes (mean absolute values), one column a width."""
        first, *_ = self.runs
        lines = [("", *(f"n = {run.width:,}" for run in self.runs))]
        for step in range(max(len(run.losses) for run in self.runs)):
            lines.append((f"loss, step {step}", *(f"{run.losses[step]:.6g}" for run in self.runs)))
        finite = {name for (name, _), value in first.coordinates.items() if not value.dim()}  # losses: they stand above
        names = [name for name in dict.fromkeys(name for name, _ in first.sizes) if name not in finite]
        lines.append(("", *("" for _ in self.runs)))
        for name in names:
            for step in sorted(s for n, s in first.sizes if n == name):
                word = f"size of {name or 'the output'}, step {step}"
                lines.append((word, *(f"{run.sizes[name, step]:.4g}" for run in self.runs)))
        notes = dict.fromkeys(note for run in self.runs for note in run.notes)
        ranges = ["", self.forecasts.show()] if self.forecasts is not None else []
        return "\n".join([table(lines), *(f"note: {note}" for note in notes), *ranges])

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON; a number that is not finite is a string."""
        return {
            "runs": [
                {
                    "width": run.width,
                    "seed": run.seed,
                    "losses": [number(loss) for loss in run.losses],
                    "outputs": [listed(output) for output in run.outputs],
                    "sizes": [
                        {"name": name, "step": step, "size": number(size)} for (name, step), size in run.sizes.items()
                    ],
                    "notes": list(run.notes),
                    "seconds": run.seconds,
                }
                for run in self.runs
            ],
            **({} if self.forecasts is None else {"forecast": self.forecasts.to_dict()}),
        }


def simulated(
    train: Callable[[int], Any],
    widths: Sequence[int],
    *,
    record_widths: Sequence[int] | None = None,
    steps: int = 3,
    seed: int = 0,
    dtype: str = "float64",
    device: str = "cpu",
    ranges: bool = False,
    time_limit: float = LONGEST,
    progress: Progress = silent,
) -> Simulation:
    """Record `train(width)` at small widths and simulate it at large ones; with `ranges`, forecast from those widths.

    Raises `BadInput` for a width that the script cannot have, or that needs more memory than there is. Raises
    `BeyondTheory` where the sampler has no rule.
    """
    kind = float_type(dtype)
    if not widths:
        raise BadInput("--widths names no width; expected e.g. 1000,100000")
    check_distinct(widths, "--widths")
    with translated():
        check_device(device)
    program = recorded(train, widths=record_widths, steps=steps, time_limit=time_limit, progress=progress)
    with translated():
        runs = tuple(
            simulate(
                program, width, seed, dtype=kind, device=device, progress=partial(progress, f"simulating n = {width:,}")
            )
            for width in widths
        )
        return Simulation(
            runs, forecast(program, widths, progress=partial(progress, "forecasting")) if ranges else None
        )


def float_type(dtype: str) -> Literal["float64", "float32"]:
    """Read the option --dtype. Raises `BadInput` for another word."""
    kinds: dict[str, Literal["float64", "float32"]] = {"float64": "float64", "float32": "float32"}
    if dtype not in kinds:
        raise BadInput(f"--dtype {dtype}: expected float64 or float32")
    return kinds[dtype]


def table(lines: Sequence[Sequence[str]]) -> str:
    """Lay words out in columns: the first to the left, numbers to the right."""
    wide = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = []
    for line in lines:
        cells = [line[0].ljust(wide[0]), *(cell.rjust(size) for cell, size in zip(line[1:], wide[1:], strict=True))]
        rows.append("  ".join(cells).rstrip())
    return "\n".join(rows)


def number(value: float) -> float | str:
    """Return a number as JSON knows it: one that is not finite is a word."""
    return value if value - value == 0 else str(value)


def listed(values: Any) -> Any:
    """Return a tensor as nested lists of such numbers."""
    return [listed(value) for value in values] if values.dim() else number(float(values))
