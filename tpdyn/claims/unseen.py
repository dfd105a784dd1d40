"""What do runs of the recorded program say where live runs cannot tell? Of values without a module, and of very large
widths.

The program is the script: it was recorded and verified. Before its runs count, a permutation test compares them with the live
ones at the same widths (`tpdyn.measuring.one_law`). At widths where a dense run takes too much, runs are simulated: the same law,
without wide matrices (`tpdyn.simulate`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import torch

from tpdyn.claims.parts import leading_of, rest_of
from tpdyn.claims.statistics import estimate_order, judge
from tpdyn.measuring.assembled import assembled, joined
from tpdyn.measuring.by_program import fits
from tpdyn.measuring.measurement import Measurement
from tpdyn.measuring.observe import Observation
from tpdyn.measuring.one_law import ALPHA, difference
from tpdyn.measuring.runs import program_runs
from tpdyn.program.errors import OutsideTheory, ReadingError
from tpdyn.program.program import Mark, Program, View
from tpdyn.regimes.prediction import COMPARED, Prediction
from tpdyn.store.means import HERE, Means

FEWEST, MOST = 8, 16
"""Runs of the program at each width: as many as live ones, within these bounds."""

LONGEST = 60.0
"""Seconds that one run of the program may take. A longer one is not begun, as far as runs at smaller widths tell."""

FARTHEST = 65536
"""The largest width that is simulated."""

ALONE = "change by "
"""So begins the note of runs in which the change is that of some parameters alone."""

DOUBLINGS = 4
"""Far widths are so many, each twice the one before."""


def marked(prediction: Prediction) -> Program:
    """Return the program with names, like those of modules, for the values that decide inside of modules."""
    program = prediction.program
    marks = [
        Mark("module", row.name, row.step, View.plain(row.position, len(program.statements[row.position].shape)))
        for row in prediction.rows()
        if row.kind == "value"
    ]
    return replace(program, marks=(*program.marks, *marks)) if marks else program


def unseen(prediction: Prediction) -> tuple[str, ...]:
    """Name the values that live runs do not show."""
    return tuple(dict.fromkeys(row.name for row in prediction.rows() if row.kind == "value"))


@final
@dataclass
class ProgramRuns:
    """The runs of a prediction's program that were made, and what was found of them.

    live: the live runs with which they are compared. means: where finished runs are kept. on: asked before each run.
    measurement: at the widths of live runs. far: at larger ones. parts: of rows that are judged by their leading part. refused:
    why no more are made. notes: what is to be told of them.
    """

    prediction: Prediction
    live: Measurement
    means: Means = HERE
    on: Callable[[], bool] = lambda: True
    measurement: Measurement | None = None
    far: Measurement | None = None
    parts: dict[str, Measurement] = field(default_factory=dict)
    refused: str = ""
    notes: list[str] = field(default_factory=list)
    slowest: dict[int, float] = field(default_factory=dict)

    def of_values(self) -> dict[str, Measurement]:
        """Measure the values that live runs do not show, at the widths of live runs. Empty if there are none, or it cannot
        be.
        """
        names = unseen(self.prediction)
        found = self.beside() if names else None
        return {} if found is None else dict.fromkeys(names, found)

    def beside(self, widths: Sequence[int] = (), seeds: int = 0) -> Measurement | None:
        """Run the program at those widths too, with at least so many seeds. None if its runs are not to be trusted."""
        if self.measurement is None and not self.refused:
            self._first()
        if self.measurement is None:
            return None
        wide = tuple(sorted({*self.measurement.widths, *widths}))
        count = max(seeds, len(self.measurement.seeds))
        self.measurement = self._made(self.measurement, wide, count, simulated=False) or self.measurement
        return self.measurement

    def at(self, widths: Sequence[int], seeds: int) -> Measurement | None:
        """Simulate the program at these large widths. None if it cannot be, or takes too long."""
        if self.beside() is None:
            return None
        made = self._made(self.far, tuple(widths), seeds, simulated=True)
        self.far = made or self.far
        return made

    def part(self, name: str, step: int, seeds: int) -> Measurement | None:
        """Measure a row's change by its leading parameters alone: what is lost when they are frozen.

        A change is that part and the rest, which the other parameters make. If the part has the order of the row, and the rest at
        most that, so has the change. None unless the rest is measured to be so, or if all parameters lead.
        """
        rows = [row for row in self.prediction.rows() if row.name == name and row.kind in COMPARED and row.step == step]
        leading = leading_of(self.prediction, rows[0]) if rows else frozenset()
        if not leading or self.beside() is None:
            return None
        known = self.parts.get(name)
        if known is None:
            rest = rest_of(self.prediction, rows[0], leading, self.live.widths)
            order = None if rest is None else estimate_order(self.live.widths, rest)
            if judge(rows[0].change, order, at_most=True) != "agrees":
                return None
        program = marked(self.prediction)
        alone = replace(program, parameters=tuple(each for each in program.parameters if each.name in leading))
        made = self._made(known, self.live.widths, seeds, simulated=False, program=alone)
        if made is not None:
            note = f"{ALONE}{', '.join(sorted(leading))}"
            self.parts[name] = replace(made, notes=tuple(dict.fromkeys((*made.notes, note))))
        return None if made is None else self.parts[name]

    def _first(self) -> None:
        """Make the first runs, and compare them with the live ones."""
        live, program = self.live, self.prediction.program
        here = int(live.completed.all(axis=0).sum())
        count = min(MOST, max(FEWEST, here))
        while count < MOST and math.comb(here + count, here) * ALPHA < 1:
            count += 1
        if math.comb(here + count, here) * ALPHA < 1:
            self.refused = f"{here} live runs are too few to compare those of the recorded program with them"
        elif not all(fits(program, width) for width in live.widths):
            self.refused = "the recorded program does not fit into memory at these widths"
        else:
            found = self._made(None, live.widths, count, simulated=False)
            other = None if found is None else difference(_completed(live), found)
            if other is not None:
                self.refused = (
                    f"runs of the recorded program are not of the law of the live ones: they differ in {other.told()}"
                )
            else:
                self.measurement = found
        if self.refused:
            self.notes.append(f"{', '.join(unseen(self.prediction)) or 'no value'} was not measured: {self.refused}")

    def _made(
        self,
        known: Measurement | None,
        widths: tuple[int, ...],
        count: int,
        *,
        simulated: bool,
        program: Program | None = None,
    ) -> Measurement | None:
        """Add the runs that are missing; None if one fails, or the time is used up."""
        program, steps = program or marked(self.prediction), self.live.steps
        first = max(self.live.seeds) + 1_000_001  # numbers that no live run has: other draws in the notes and the store
        seeds = tuple(range(first, first + count))
        runs: dict[tuple[int, int], Observation] = {}
        single = np.nanmax(self.live.epsilon, initial=0.0) > torch.finfo(torch.float64).eps and not simulated
        where = "cpu" if self.live.device in ("script", "auto") else self.live.device
        try:
            for width in widths:
                have = known.seeds if known is not None and width in known.widths else ()
                waiting = [seed for seed in seeds if seed not in have]
                start = time.monotonic()
                if waiting and (not self.on() or self._expected(width) > LONGEST):
                    return None
                for seed, seen in program_runs(
                    program, width, waiting, steps, self.means,
                    dtype=torch.float32 if single else torch.float64, device=where, simulate=simulated,
                ):  # fmt: skip
                    runs[width, seed] = seen
                    if not self.on():
                        return None
                if waiting:
                    self.slowest[width] = (time.monotonic() - start) / len(waiting)
        except (ReadingError, OutsideTheory, ValueError, MemoryError) as error:
            self.refused = self.refused or f"the recorded program cannot be run at width {width}: {error}"
            return None
        if not runs:
            return known
        made = assembled(
            tuple(sorted({width for width, _ in runs})),
            tuple(sorted({seed for _, seed in runs})),
            steps,
            runs,
            where,
            [],
        )
        return made if known is None else joined(known, made)

    def _expected(self, width: int) -> float:
        """Estimate the seconds of a run by the largest smaller width: they grow with the square at most."""
        smaller = [other for other in self.slowest if other <= width]
        return self.slowest[max(smaller)] * (width / max(smaller)) ** 2 if smaller else 0.0


def far_widths(report_widths: Sequence[int], epsilon: Mapping[str, float]) -> tuple[int, ...]:
    """Return the widths at which parts that cross late have crossed: the largest below `FARTHEST`, doubled from a measured one.

    They stay below the width from which an optimizer's epsilon matters. Empty if that leaves nothing larger than was measured.
    """
    top = max(report_widths)
    most = min(FARTHEST, *(width / 4 for width in epsilon.values()), math.inf)
    farthest = 0
    while top * 2 ** (farthest + 1) <= most:
        farthest += 1
    return tuple(top * 2**k for k in range(max(1, farthest - DOUBLINGS + 1), farthest + 1))


def _completed(live: Measurement) -> Measurement:
    """Return the seeds of which all widths were run."""
    kept = [s for s in range(len(live.seeds)) if live.completed[:, s].all()]
    if len(kept) == len(live.seeds):
        return live
    arrays = {
        name: getattr(live, name)[:, kept]
        for name in live.__dataclass_fields__
        if isinstance(getattr(live, name), np.ndarray)
    }
    return replace(live, seeds=tuple(live.seeds[s] for s in kept), **arrays)
