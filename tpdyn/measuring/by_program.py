"""What would the script do at a width and seed, by its recorded program? Many seeds at once, the base program beside.

The program is the script: it was recorded and verified. So its runs are observed as the live ones are, value by value. A change
is exactly the predicted one: value minus base value, in one pass and with one set of draws. Leaves are drawn from their laws,
hence other numbers than those of a live run with the same seed. `tpdyn.measuring.one_law` asks whether both come from one law.
They do not where a script draws its data anew with every seed. Runs of the program have the data of the recording: inputs and
labels belong together.

Seeds are run in batches that stay in the caches. A batch that runs out of memory is run again in halves. A width at which one
dense run does not fit is simulated (`tpdyn.simulate`), and a note says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpdyn.measuring.observe import FIELDS, Observation
from tpdyn.program.base import later_versions
from tpdyn.program.check import script_shape
from tpdyn.program.program import Program, Statement, View
from tpdyn.readings.batched import Batched
from tpdyn.readings.finite import entries
from tpdyn.readings.interpret import Pair, Rule, beside, interpret
from tpdyn.readings.sampled.memory import expect_memory, free_memory
from tpdyn.readings.sampled.noise import Independent
from tpdyn.readings.sampled.simulate import rule_for
from tpdyn.store.workers import freed, is_out_of_memory

BATCH = 64 * 2**20
"""Bytes of a batch of seeds: larger ones leave the caches, and were slower per seed from width 256 on."""

TILE = 2**16
"""Entries of which sizes are taken at once."""

SHARE = 0.8
"""Of the memory that is free, so much may be used."""


def observed(
    program: Program,
    width: int,
    seeds: Sequence[int],
    steps: int,
    *,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    memory: float | None = None,
    simulate: bool = False,
) -> Iterator[tuple[int, Observation]]:
    """Run a program at one width, seed by seed. Yield what `Observer` sees of a live run, but for the linear split.

    program: recorded for `steps` steps or more. dtype: of the computation. memory: the bytes that may be used; what is free
    unless given. simulate: even where a dense run fits into memory.

    Raises ValueError for a program with fewer steps, or a dim that is not whole at this width. Raises it, too, if not even
    a simulation fits into memory. Raises OutsideTheory if the width has to be simulated, and the program cannot be.
    """
    if program.steps < steps:
        raise ValueError(f"the program has {program.steps} steps; expected {steps}: record it with steps={steps}")
    where, size = torch.device(device), torch.empty(0, dtype=dtype).element_size()
    room = free_memory(where) if memory is None else memory
    one = entries(program, width) * size
    if simulate or (room is not None and one > SHARE * room):
        for seed in seeds:
            yield seed, _simulated(program, width, seed, steps, one, dtype, where, memory)
        return
    count = max(1, int(min(BATCH if where.type == "cpu" else SHARE * (room or BATCH), SHARE * (room or BATCH)) // one))
    waiting = list(seeds)
    seen = _Seen(program, width, steps)
    batched = Batched(program, width, seen.wanted, seen.alone, dtype=dtype, device=where)
    while waiting:
        batch = tuple(waiting[:count])
        try:
            observations = _batch(batched, _Seen(program, width, steps), batch)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            freed(error)
            count = max(1, len(batch) // 2)
            continue
        del waiting[: len(batch)]
        yield from zip(batch, observations, strict=True)


def fits(
    program: Program,
    width: int,
    memory: float | None = None,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> bool:
    """Tell whether a dense run at this width fits into memory: `memory` bytes, or what is free on the device."""
    room = free_memory(torch.device(device)) if memory is None else memory
    return room is None or entries(program, width) * torch.empty(0, dtype=dtype).element_size() <= SHARE * room


def _batch(batched: Batched, seen: _Seen, seeds: tuple[int, ...]) -> list[Observation]:
    with torch.inference_mode():
        seen.listen_to(batched.rule(seeds))
        return seen.observations(len(seeds), torch.finfo(batched.dtype).eps)


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
        result = rule(position, statement, operands)
        if position in firsts:
            initial[position] = result
        return result

    def of_base(position: int, statement: Statement) -> Any:
        return initial[later[position].first]

    seen = _Seen(program, width, steps)
    with torch.no_grad():
        seen.listen_to(beside(program, value, of_base, seen.wanted, seen.alone))
    (run,) = seen.observations(1, torch.finfo(dtype).eps)
    run.simulated = True
    run.notes = [
        f"width {width} was simulated: a dense run needs about {dense / 2**30:.1f} GiB",
        *(f"width {width}: {note}" for note in rule.notes),
    ]
    return run


@final
class _Seen:
    """What is measured of the values that have names. Numbers stay where they are computed until a batch is done."""

    def __init__(self, program: Program, width: int, steps: int) -> None:
        self.program, self.steps = program, steps
        self.shapes = {each.name: _shape(program, each.versions[0], width) for each in program.parameters}
        self.marks = [mark for mark in program.marks if mark.step < steps]
        self.outputs = {piece for mark in self.marks if mark.kind != "loss" for piece in mark.view.pieces}
        self.losses = {piece for mark in self.marks if mark.kind == "loss" for piece in mark.view.pieces}
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
        self.wanted = self.outputs | {piece for _, _, view in self.versions for piece in view.pieces}
        self.alone = self.losses | {
            piece for _, _, view in self.gradients for piece in view.pieces
        }  # the base is of no interest
        self.later = {
            piece for parameter in program.parameters for view in parameter.versions[1:] for piece in view.pieces
        } - {piece for parameter in program.parameters for piece in parameter.versions[0].pieces}
        self.singles = {piece for _, _, view in (*self.versions, *self.gradients) for piece in view.pieces}
        self.counts: dict[int, int] = {}
        self.sizes: dict[int, Tensor] = {}
        self.sums: dict[int, Tensor] = {}

    def listen_to(self, rule: Rule[Pair[Any]]) -> None:
        """Read the program by this rule, and note what is measured."""
        looked_at = self.wanted | self.alone

        def heard(position: int, statement: Statement, pair: Pair[Any]) -> None:
            if position in looked_at and isinstance(pair[0], Tensor):
                rank, base = len(statement.shape), pair[1] if isinstance(pair[1], Tensor) else pair[0]
                live = _rows(pair[0], rank)
                base = live if base is pair[0] else _rows(base, rank)
                self.counts[position] = live.shape[1]
                if position in self.outputs:
                    first = base.double()
                    self.sizes[position] = _sizes(first if live is base else live.double(), first)
                if position in self.losses:
                    self.sums[position] = live.double().sum(1, keepdim=True)
                if position in self.singles:
                    self.sums[position] = _sum_of_sizes(live, base if position in self.later else None)

        interpret(self.program, rule, vars=(), until=max(looked_at, default=0), listener=heard)

    def observations(self, count: int, epsilon: float) -> list[Observation]:
        """Return one observation for each seed of the batch."""
        runs = [Observation(steps=self.steps, shapes=self.shapes) for _ in range(count)]
        means = {position: total / self.counts[position] for position, total in _on_the_cpu(self.sums).items()}
        sizes = {
            position: np.where(SQUARED, np.sqrt(total / self.counts[position]), total / self.counts[position])
            for position, total in _on_the_cpu(self.sizes).items()
        }
        for mark in self.marks:
            if mark.kind != "loss" and (numbers := self._together(sizes, mark.view, count)) is not None:
                for run, row in zip(runs, numbers.tolist(), strict=True):
                    for what, value in zip(FIELDS, [*row, epsilon], strict=True):
                        run.values.setdefault((mark.step, mark.name, what), value)
        for name, t, view in self.versions:
            size = self._together(means, self.program.parameter(name).versions[0], count)
            change = np.zeros((count, 1)) if self.later.isdisjoint(view.pieces) else self._together(means, view, count)
            if size is not None and change is not None:
                for run, first, second in zip(runs, size[:, 0].tolist(), change[:, 0].tolist(), strict=True):
                    run.values[t, name, "parameter size"] = first
                    run.values[t, name, "parameter change"] = second
        named = [(name, t, "gradient size", view) for name, t, view in self.gradients]
        named += [("", mark.step, "loss", mark.view) for mark in self.marks if mark.kind == "loss"]
        for name, t, what, view in named:
            if (numbers := self._together(means, view, count)) is not None:
                for run, value in zip(runs, numbers[:, 0].tolist(), strict=True):
                    run.values[t, name, what] = run.values.get((t, name, what), 0.0) + value
        return runs

    def _together(self, by_position: dict[int, Numbers], view: View, count: int) -> Numbers | None:
        """Average the numbers [run, number] of a tensor's pieces, by their entries; None if one is unknown."""
        known = [by_position.get(piece) for piece in view.pieces]
        pieces = [each for each in known if each is not None]
        if len(pieces) < len(known):
            return None
        every = np.stack([np.broadcast_to(each, (count, each.shape[1])) for each in pieces])
        weights = [self.counts[piece] for piece in view.pieces]
        means: Numbers = np.average(every, 0, weights)
        if means.shape[1] == len(SQUARED):
            means[:, SQUARED] = np.sqrt(np.average(np.square(every[:, :, SQUARED]), 0, weights))
        return means


Numbers = NDArray[np.float64]
SQUARED = np.array([False, True, False, True, False, False])
"""Which of `FIELDS` are sums of squares before they are root mean squares."""


def _on_the_cpu(sums: dict[int, Tensor]) -> dict[int, Numbers]:
    """Fetch numbers [run, number] of many values in one go."""
    if not sums:
        return {}
    together: Numbers = torch.cat(list(sums.values())).cpu().numpy()
    arrays, at = {}, 0
    for position, each in sums.items():
        arrays[position] = together[at : at + each.shape[0]]
        at += each.shape[0]
    return arrays


def _sizes(live: Tensor, base: Tensor) -> Tensor:
    """Sum what is averaged for `FIELDS` (but epsilon); one row a seed. Both [seed or 1, entry], float64."""
    if live is base:
        rows = [*_sums(base), *[base.new_zeros(len(base))] * 4]
    else:
        live, base = torch.broadcast_tensors(live, base)  # type: ignore[no-untyped-call]
        rows = [*_sums(base), *_sums(live - base), *[base.new_zeros(len(base))] * 2]
    sizes = torch.stack(rows, 1)
    if math.isfinite(float(sizes.sum())):
        return sizes
    # inf - inf: entries that the base has too (a mask of -inf) do not change
    difference = torch.where(live == base, torch.zeros_like(live), live - base)
    wrong = ~torch.isfinite(live)
    bad = [wrong.double().sum(1), (wrong & torch.isfinite(base)).double().sum(1)]
    return torch.stack([*_sums(base), *_sums(difference), *bad], 1)


def _sums(value: Tensor) -> list[Tensor]:
    """Sum sizes and squares, a row a seed."""
    return [value.abs().sum(1), torch.linalg.vector_norm(value, dim=1).square_()]


def _shape(program: Program, view: View, width: int) -> tuple[int, ...]:
    """Return the shape of a tensor of the script."""
    return tuple(dim.size_at(width) for dim in script_shape(program, view))


def _rows(value: Tensor, rank: int) -> Tensor:
    """Flatten to one row a seed; a value of one run lacks the axis in front."""
    return value.reshape(len(value), -1) if value.dim() > rank else value.reshape(1, -1)


def _sum_of_sizes(value: Tensor, base: Tensor | None) -> Tensor:
    """Sum the absolute entries, or those of the difference from a base; one row a seed."""
    if value.shape[1] <= TILE:
        return (value.abs() if base is None else torch.sub(value, base).abs_()).sum(1, keepdim=True).double()
    parts = torch.split(value, TILE, 1)  # what is in between stays in the caches
    if base is None:
        sums = [part.abs().sum(1, keepdim=True) for part in parts]
    else:
        sums = [
            torch.sub(*pair).abs_().sum(1, keepdim=True) for pair in zip(parts, torch.split(base, TILE, 1), strict=True)
        ]
    return torch.cat(sums, 1).double().sum(1, keepdim=True)
