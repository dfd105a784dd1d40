"""What values does a program take at a width too big to store its matrices? Ask `simulate`.

The law of every value is that of a dense run at the same width, without error. Left out are only the entries of Gaussian
matrices that products never touched. A law of weights that is not Gaussian is replaced, and the notes say so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from tpdyn.program.evaluation.views import to_view
from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Mark, Program, Statement
from tpdyn.readings.interpret import interpret
from tpdyn.readings.sampled.matrix import Matrix
from tpdyn.readings.sampled.memory import expect_memory
from tpdyn.readings.sampled.noise import Independent
from tpdyn.readings.sampled.rule import Noise, Rule, Sampled

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@final
@dataclass(frozen=True)
class Simulated:
    """What one simulated training run did.

    outputs: each output of the network, in order. losses: one a step. sizes: mean absolute value of the entries of each named
    value, by (name, step). coordinates: the first entries of each named value along its wide dims, in the layout of the
    script. Without wide dims it is all of the value. notes: what was replaced, and where the run overflows. seconds: how long it
    took.
    """

    width: int
    seed: int
    outputs: tuple[Tensor, ...]
    losses: tuple[float, ...]
    sizes: Mapping[tuple[str, int], float]
    coordinates: Mapping[tuple[str, int], Tensor] = field(repr=False)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def value(self, name: str, step: int) -> Tensor:
        """Return the kept coordinates of a module's output, an output or a loss in a step. KeyError lists what there is."""
        if (name, step) not in self.coordinates:
            steps = sorted({s for n, s in self.coordinates if n == name})
            known = (
                f"it has steps {steps}"
                if steps
                else f"there are: {', '.join(sorted({n for n, _ in self.coordinates}))}"
            )
            raise KeyError(f"no value {name!r} in step {step}; {known}")
        return self.coordinates[name, step]


def simulate(
    program: Program,
    width: int = 1_000_000,
    seed: int = 0,
    *,
    leaves: Mapping[str, Tensor] | None = None,
    coordinates: int | None = 1024,
    dtype: Literal["float64", "float32"] = "float64",
    device: str | torch.device = "cpu",
    memory: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Train at any width without storing a wide matrix. The result has the law of a dense run (see the module).

    Args:
        program: recorded at several widths (see `tpdyn.record`).
        width: the number `n` of its dims.
        seed: of everything that is drawn.
        leaves: values by leaf name, for data that grow with the width; other data are in the program.
        coordinates: how many entries of a named value to keep along each wide dim; None keeps all.
        dtype: the float type of the computation.
        device: where to compute.
        memory: how many bytes it may take; what is free unless given.
        progress: called with (statements done, statements).

    Raises:
        ValueError: the program was recorded at one width, or a dim is not whole at this width. Data that are NaN, and
            memory that does not fit.
        OutsideTheory: the program reads entries of a Gaussian matrix in a way that lacks an exact rule. The message names
            the statement and its source line.
    """
    start = time.perf_counter()
    expect_width(program, width)
    if dtype not in DTYPES:
        raise ValueError(f"dtype = {dtype!r}; expected 'float64' or 'float32'")
    if coordinates is not None and coordinates < 1:
        raise ValueError(f"coordinates = {coordinates}; expected a positive number, or None for all")
    one = torch.ones((), dtype=DTYPES[dtype], device=torch.device(device))
    expect_memory(program, width, one, memory)
    noise = Independent(width, seed, one)
    rule = rule_for(program, width, noise, one, leaves=leaves, seed=seed)
    marks = Marks(program, coordinates)

    def heard(position: int, statement: Statement, value: Sampled) -> None:
        marks.listen(position, statement, value)
        if progress is not None:
            progress(position + 1, len(program))

    with torch.no_grad():
        interpret(program, rule, vars=(), listener=heard)
    early = [name for name, first in program.late.items() if width < first]
    notes = (
        *rule.notes,
        *(f"{name} has the initial size that it has from width {program.late[name]:.0f} on" for name in early),
    )
    return marks.simulated(width, seed, notes, time.perf_counter() - start)


def rule_for(
    program: Program,
    width: int,
    noise: Noise,
    one: Tensor,
    *,
    leaves: Mapping[str, Tensor] | None = None,
    operators: frozenset[str] = frozenset(),
    seed: int = 0,
) -> Rule:
    """Make the rule of the sampled reading; raise ValueError for leaves that the program does not have."""
    given = {} if leaves is None else leaves
    known = {statement.name for statement in program.statements if isinstance(statement.instruction, Leaf)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"leaves = {unknown}: the program has no such leaves; it has {', '.join(sorted(known))}")
    expect_numbers(program, given)
    return Rule(program, width, noise, one, leaves=given, operators=operators, seed=seed)


def expect_numbers(program: Program, leaves: Mapping[str, Tensor]) -> None:
    """Raise ValueError for data that hold NaN, unless the program asks which do. leaves: see `simulate`."""
    if any(getattr(statement.instruction, "function", "") == "isnan" for statement in program.statements):
        return
    for statement in program.statements:
        leaf = statement.instruction
        if isinstance(leaf, Leaf) and leaf.law.kind == "data":
            values = leaves.get(leaf.name, program.arrays.get(leaf.name))
            bad = 0 if values is None else int(torch.as_tensor(values).isnan().sum())
            if bad:
                raise ValueError(
                    f"the data {leaf.name} [{statement.origin.source}]: {bad} entries are NaN; expected numbers"
                )


def expect_width(program: Program, width: int) -> None:
    """Raise ValueError unless every dim of the program is a whole number at this width."""
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(f"width = {width!r}; expected a positive whole number")
    if len(set(program.widths)) == 1:
        raise ValueError(
            f"the program was recorded at width {program.widths[0]} only, so what grows with the width is not known. "
            "Record it at three, e.g. widths=(16, 24, 40)"
        )
    for statement in program.statements:
        for dim in statement.shape:
            try:
                dim.size_at(width)
            except ValueError as error:
                raise ValueError(f"{statement.name} [{statement.origin.source}]: {error}") from None


@final
class Marks:
    """What is kept of the values that have names."""

    def __init__(self, program: Program, coordinates: int | None) -> None:
        self.program, self.coordinates = program, coordinates
        self.wanted = {piece for mark in program.marks for piece in mark.view.pieces}
        self.kept: dict[int, Tensor] = {}
        self.sizes: dict[int, float] = {}
        self.entries: dict[int, int] = {}
        self.overflow = -1

    def listen(self, position: int, statement: Statement, value: Sampled) -> None:
        """Keep the size and the first coordinates of a value that is wanted."""
        if position not in self.wanted or isinstance(value, Matrix):
            return
        wide = statement.wide_axes
        value = value.double() if value.dtype != torch.float64 else value
        self.sizes[position], self.entries[position] = float(value.abs().mean()), value.numel()
        if self.overflow < 0 and not math.isfinite(self.sizes[position]):
            self.overflow = position
        first = slice(None, self.coordinates)
        part = value[tuple(first if axis in wide else slice(None) for axis in range(value.dim()))]
        self.kept[position] = part.to("cpu", copy=True)

    def simulated(self, width: int, seed: int, notes: tuple[str, ...], seconds: float) -> Simulated:
        """Collect the result, by the names of the script."""
        marks = [mark for mark in self.program.marks if all(piece in self.kept for piece in mark.view.pieces)]
        values = {(mark.name, mark.step): self._value(mark) for mark in reversed(marks)}
        sizes = {(mark.name, mark.step): self._size(mark) for mark in reversed(marks)}
        if self.overflow >= 0:
            notes = (*notes, self._overflown(width))
        return Simulated(
            width=width,
            seed=seed,
            outputs=tuple(self._value(mark) for mark in marks if mark.kind == "output"),
            losses=tuple(float(self._value(mark)) for mark in marks if mark.kind == "loss"),
            sizes=dict(reversed(sizes.items())),
            coordinates=dict(reversed(values.items())),
            notes=notes,
            seconds=seconds,
        )

    def _overflown(self, width: int) -> str:
        """Say which named value is the first that is NaN or infinite."""
        mark = next(mark for mark in self.program.marks if self.overflow in mark.view.pieces)
        source = self.program.statements[self.overflow].origin.source
        what = mark.name or "the output"
        return f"the run overflows at width {width:,}: {what} is NaN or infinite from step {mark.step} on [{source}]"

    def _value(self, mark: Mark) -> Tensor:
        return to_view(mark.view, self.kept)

    def _size(self, mark: Mark) -> float:
        sums = [self.sizes[piece] * self.entries[piece] for piece in mark.view.pieces]
        return sum(sums) / sum(self.entries[piece] for piece in mark.view.pieces)
