"""What would the script do at a width and seed, by its recorded program? Many seeds at once, the base program beside.

The program is the script: it was recorded and verified. So its runs are observed as the live ones are, value by value. A change
is exactly the predicted one: value minus base value, in one pass and with one set of draws. Leaves are drawn from their laws,
hence other numbers than those of a live run with the same seed; `tpdyn.measuring.one_law` asks whether both come from one law.

Seeds are run in batches that stay in the caches. A batch that runs out of memory is run again in halves. A width at which
one dense run does not fit is simulated (`tpdyn.simulate`), and a note says so.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor

from tpdyn.measuring.observe import FIELDS, PARTS, Observation
from tpdyn.program.base import later_versions
from tpdyn.program.program import Program, Statement, View
from tpdyn.readings.finite import beside_base, entries
from tpdyn.readings.interpret import Pair, Rule, beside, interpret
from tpdyn.readings.sampled.memory import expect_memory, free_memory
from tpdyn.readings.sampled.noise import Independent
from tpdyn.readings.sampled.simulate import rule_for

BATCH = 64 * 2**20
"""Bytes of a batch of seeds: larger ones leave the caches, and were slower per seed from width 256 on."""

SHARE = 0.8
"""Of the memory that is free, so much may be used."""

NAN = float("nan")


def observed(
    program: Program,
    width: int,
    seeds: Sequence[int],
    steps: int,
    *,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    memory: float | None = None,
) -> Iterator[tuple[int, Observation]]:
    """Run a program at one width, seed by seed: yield what `Observer` sees of a live run, but for the linear split.

    program: recorded for `steps` steps or more. dtype: of the computation. memory: the bytes that may be used; what is free
    unless given.

    Raises ValueError for a program with fewer steps, a dim that is not whole at this width, or if not even a simulation fits;
    OutsideTheory if the width has to be simulated, and the program cannot be.
    """
    if program.steps < steps:
        raise ValueError(f"the program has {program.steps} steps; expected {steps}: record it with steps={steps}")
    where, size = torch.device(device), torch.empty(0, dtype=dtype).element_size()
    room = free_memory(where) if memory is None else memory
    one = entries(program, width) * size
    if room is not None and one > SHARE * room:
        for seed in seeds:
            yield seed, _simulated(program, width, seed, steps, one, dtype, where, memory)
        return
    count = max(1, int(min(BATCH if where.type == "cpu" else SHARE * (room or BATCH), SHARE * (room or BATCH)) // one))
    waiting = list(seeds)
    while waiting:
        batch = tuple(waiting[:count])
        try:
            found = _batch(program, width, batch, steps, dtype, where)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if len(batch) == 1 or not _out_of_memory(error):
                raise
            count = max(1, len(batch) // 2)
            gc.collect()
            continue
        del waiting[: len(batch)]
        yield from zip(batch, found, strict=True)


def fits(program: Program, width: int, memory: float | None = None, entry: int = 8) -> bool:
    """Tell whether a dense run at this width fits into the memory of the CPU (`memory` bytes, or what is free)."""
    room = free_memory(torch.device("cpu")) if memory is None else memory
    return room is None or entries(program, width) * entry <= SHARE * room


def _out_of_memory(error: BaseException) -> bool:
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _batch(
    program: Program, width: int, seeds: tuple[int, ...], steps: int, dtype: torch.dtype, device: torch.device
) -> list[Observation]:
    seen = _Seen(program, width, steps)
    rule = beside_base(program, width, seeds, seen.wanted, seen.alone, dtype=dtype, device=device)
    seen.listen_to(rule)
    return seen.observations(len(seeds), torch.finfo(dtype).eps)


def _simulated(
    program: Program,
    width: int,
    seed: int,
    steps: int,
    dense: int,
    dtype: torch.dtype,
    device: torch.device,
    memory: float | None,
) -> Observation:
    """Simulate one run without storing a wide matrix. Sizes of parameters and gradients that are not stored stay unknown."""
    one = torch.ones((), dtype=dtype, device=device)
    expect_memory(program, width, one, memory)
    rule = rule_for(program, width, Independent(width, seed, one), one, seed=seed)
    later = later_versions(program)
    initial: dict[int, Any] = {}
    firsts = {each.first for each in later.values()}

    def value(position: int, statement: Statement, operands: tuple[Any, ...]) -> Any:
        made = rule(position, statement, operands)
        if position in firsts:
            initial[position] = made
        return made

    def of_base(position: int, statement: Statement) -> Any:
        return initial[later[position].first]

    seen = _Seen(program, width, steps)
    with torch.no_grad():
        seen.listen_to(beside(program, value, of_base, seen.wanted, seen.alone))
    (found,) = seen.observations(1, torch.finfo(dtype).eps)
    found.notes = [
        f"width {width} was simulated: a dense run needs about {dense / 2**30:.1f} GiB",
        *(f"width {width}: {note}" for note in rule.notes),
    ]
    return found


@final
class _Seen:
    """What is measured of the values that have names."""

    def __init__(self, program: Program, width: int, steps: int) -> None:
        self.program, self.steps = program, steps
        self.shapes = {each.name: _shape(program, each.versions[0], width) for each in program.parameters}
        self.marks = [mark for mark in program.marks if mark.step < steps]
        self.whole = {piece for mark in self.marks for piece in mark.view.pieces}
        self.versions = [
            (parameter.name, t, view)
            for parameter in program.parameters
            for t, view in enumerate(parameter.versions[:steps])
        ]
        self.gradients = [
            (parameter.name, t, view)
            for parameter in program.parameters
            for t, view in enumerate(parameter.gradients[:steps])
            if view is not None
        ]
        self.wanted = self.whole | {piece for _, _, view in self.versions for piece in view.pieces}
        self.alone = {piece for _, _, view in self.gradients for piece in view.pieces}  # of no interest in the base
        self.later = {
            piece for parameter in program.parameters for view in parameter.versions[1:] for piece in view.pieces
        } - {piece for parameter in program.parameters for piece in parameter.versions[0].pieces}
        self.stats: dict[int, Tensor] = {}
        self.single: dict[int, Tensor | None] = dict.fromkeys(
            piece for _, _, view in (*self.versions, *self.gradients) for piece in view.pieces
        )

    def listen_to(self, rule: Rule[Pair[Any]]) -> None:
        def heard(position: int, statement: Statement, pair: Pair[Any]) -> None:
            if (position in self.wanted or position in self.alone) and isinstance(pair[0], Tensor):
                rank, base = len(statement.shape), pair[1] if isinstance(pair[1], Tensor) else pair[0]
                live = _rows(pair[0], rank)
                base = live if base is pair[0] else _rows(base, rank)
                if position in self.whole:
                    first = base.double()
                    self.stats[position] = _sizes(first if live is base else live.double(), first).cpu()
                if position in self.single:
                    differs = position in self.later
                    self.single[position] = _mean_size(live - base if differs else live).cpu()

        interpret(self.program, rule, vars=(), until=max((*self.wanted, *self.alone), default=0), listener=heard)

    def observations(self, count: int, epsilon: float) -> list[Observation]:
        """Return one observation for each seed of the batch."""
        made = []
        for number in range(count):
            run = Observation(steps=self.steps)
            for mark in self.marks:
                values = self._of(mark.view, number)
                if values is None:
                    continue
                if mark.kind == "loss":
                    run.losses[mark.step] = run.losses.get(mark.step, 0.0) + values[-1]
                else:
                    run.outputs.setdefault(
                        (mark.step, mark.name), [*values[: len(FIELDS) - 1], epsilon, *[NAN] * PARTS]
                    )
            for name, t, view in self.versions:
                size = self._single(self.program.parameter(name).versions[0], number)
                change = 0.0 if self.later.isdisjoint(view.pieces) else self._single(view, number)
                if size is not None and change is not None:
                    run.parameters[t, name] = (size, change)
            for name, t, view in self.gradients:
                if (value := self._single(view, number)) is not None:
                    run.gradients[t, name] = value
            run.shapes = self.shapes
            made.append(run)
        return made

    def _single(self, view: View, number: int) -> float | None:
        """Average the size over the pieces of a parameter (of its change, for a later version) or of a gradient."""
        found = [self.single.get(piece) for piece in view.pieces]
        known = [float(each[min(number, len(each) - 1)]) for each in found if each is not None]
        return sum(known) / len(known) if len(known) == len(found) else None

    def _of(self, view: View, number: int) -> list[float] | None:
        """Combine the numbers of a tensor's pieces, which have equally many entries; None if one is unknown."""
        if any(piece not in self.stats for piece in view.pieces):
            return None
        pieces = torch.stack([self.stats[piece][min(number, len(self.stats[piece]) - 1)] for piece in view.pieces])
        means = pieces.mean(0)
        for squared in (1, 3):
            means[squared] = pieces[:, squared].square().mean().sqrt()
        return [float(each) for each in means]


def _sizes(live: Tensor, base: Tensor) -> Tensor:
    """Compute `FIELDS` without epsilon, then the mean of the live value; one row a seed. Both [seed or 1, entry], float64."""
    same = live is base
    live, base = torch.broadcast_tensors(live, base)  # type: ignore[no-untyped-call]
    difference = None if same else live - base
    rows = _norms(base, difference)
    zero = torch.zeros_like(rows[0])
    bad = [zero, zero]
    if not torch.isfinite(torch.stack(rows)).all():
        whole = live - base if difference is None else difference
        rows = _norms(base, torch.where(live == base, torch.zeros_like(live), whole))  # inf - inf: does not change
        wrong = ~torch.isfinite(live)
        bad = [wrong.double().mean(1), (wrong & torch.isfinite(base)).double().mean(1)]
    return torch.stack([*rows, *bad, live.mean(1)], 1)


def _norms(base: Tensor, difference: Tensor | None) -> list[Tensor]:
    """Compute mean absolute and root mean square entry of the base and of the change (none: it is zero)."""
    found = []
    for value in (base, difference):
        for power in (1, 2):
            made = base.new_zeros(len(base)) if value is None else torch.linalg.vector_norm(value, power, dim=1)
            found.append(made / value[0].numel() ** (1 / power) if value is not None else made)
    return found


def _shape(program: Program, view: View, width: int) -> tuple[int, ...]:
    """Return the shape of a tensor of the script."""
    dims = [dim.size_at(width) for dim in program.statements[view.var].shape]
    sizes = [math.prod(dims[axis] for axis in axes) for axes in view.dims]
    for factor in view.factors:
        sizes[factor.dim] *= factor.count
    return tuple(sizes)


def _rows(value: Tensor, rank: int) -> Tensor:
    """Flatten to one row a seed; a value of one run has no axis in front."""
    return value.reshape(len(value), -1) if value.dim() > rank else value.reshape(1, -1)


def _mean_size(value: Tensor) -> Tensor:
    return value.abs().mean(1).double()
