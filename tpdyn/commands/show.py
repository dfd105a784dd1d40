"""What is the tensor program of a script, or of a file that a callback wrote? Recorded or read, then printed with its orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tpdyn.commands.failures import BadInput, translated
from tpdyn.exponents import show_order
from tpdyn.program.program import Program
from tpdyn.program.show import show
from tpdyn.regimes.predict import predict

PHASES = ("initialization", "forward", "backward", "optimizer")


def program_in(path: Path) -> Program:
    """Read a program file. Raises `BadInput`, naming the file and what is wrong in it."""
    try:
        return Program.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{path}: there is no such file; Program.to_json() and the callbacks' `path=` write one"
        ) from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is not a program that tpdyn wrote: {error}") from error


def shown(program: Program, *, step: int | None = None, phases: Sequence[str] = (), orders: bool = False) -> str:
    """Write a program as text, on request each value with the exponents of its size and of its change.

    Raises `BadInput` for a missing step or phase, and for orders of a program recorded at one width.
    """
    if step is not None and not 0 <= step < program.steps:
        raise BadInput(f"--step {step}: the program has the steps 0 to {program.steps - 1}")
    unknown = [phase for phase in phases if phase not in PHASES]
    if unknown:
        raise BadInput(f"--phase {unknown[0]}: expected one of {', '.join(PHASES)}")
    beside = _orders(program) if orders else None
    text = show(program, step=step, phases=tuple(phases) or None, beside=beside)
    return f"size and change: powers of n\n\n{text}" if orders else text


def _orders(program: Program) -> Callable[[int], str]:
    """Return what stands beside a statement: the orders of its size and of its change in training."""
    with translated():
        try:
            prediction = predict(program, remedy=False, horizon="recorded")
        except ValueError as error:
            raise BadInput(f"--orders: {error}") from error

    def beside(position: int) -> str:
        size, change = prediction.sizes[position], prediction.changes[position]
        trained = "" if change is None else f"  change {show_order(change)}"
        return f"size {show_order(size):<5}{trained}".rstrip()

    return beside
