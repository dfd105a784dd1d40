"""How much memory does a simulation take? Counted beforehand, from the program and its lifetimes alone.

Vectors live until nothing reads them, directly or as a factor of a matrix that is not carried out. An operator keeps each
direction that it is asked for, and its answer.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from tpdyn.program.instructions import Contract, Eigenvalues, Leaf
from tpdyn.program.lifetimes import dying
from tpdyn.program.program import Program
from tpdyn.readings.sampled.spheres import BLOCK

TEMPORARY = 3
"""Copies of the vectors of a matrix of low rank while its eigenvectors are found, besides these."""


def needed(program: Program, width: int, entry: int = 8) -> int:
    """Compute the most bytes that a simulation holds at once, at `entry` bytes an entry."""
    count = _Count([math.prod(dim.size_at(width) for dim in statement.shape) for statement in program.statements])
    reads, freed = program.reads, dying(program.reads, ())
    met: dict[int, int] = {}
    normed: dict[int, int] = {}
    kept = most = 0
    for position, statement in enumerate(program.statements):
        passing = 0
        if (
            isinstance(statement.instruction, Eigenvalues)
            and len(program.statements[reads[position][0]].wide_axes) >= 2
        ):
            passing = TEMPORARY * count.decompose(*reads[position])
        if len(statement.wide_axes) >= 2:
            count.hold(position, reads[position], isinstance(statement.instruction, Leaf))
        else:
            if isinstance(statement.instruction, Contract):
                if len(reads[position]) == 2 and statement.wide_axes:
                    both = frozenset.intersection(*(count.leaves.get(read, frozenset()) for read in reads[position]))
                    normed |= dict.fromkeys(both, count.entries[position])
                for leaf in {leaf for read in reads[position] for leaf in count.leaves.get(read, ())}:
                    kept += _asked(program, leaf, position, width, met)
            count.make(position)
        passing += sum(min(of_normed(rows, met.get(leaf, 0)), 2 * count.entries[leaf]) for leaf, rows in normed.items())
        most = max(most, count.stored + kept + passing)
        for var in freed.get(position, ()):
            count.free(var)
    return most * entry


@final
class _Count:
    """Which stored values stand behind which value, and how many entries live."""

    def __init__(self, entries: list[int]) -> None:
        self.entries, self.stored = dict(enumerate(entries)), 0
        self.behind: dict[int, frozenset[int]] = {}
        self.leaves: dict[int, frozenset[int]] = {}
        self.users: Counter[int] = Counter()

    def make(self, position: int) -> None:
        """Count a value that is stored."""
        self.stored += self.entries[position]
        self.behind[position] = frozenset({position})
        self.users[position] += 1

    def hold(self, position: int, reads: tuple[int, ...], leaf: bool) -> None:
        """Count a matrix: it is not stored, and keeps alive the values that it is made of."""
        self.behind[position] = frozenset(vector for read in reads for vector in self.behind[read])
        own = {position} if leaf else {each for read in reads for each in self.leaves.get(read, ())}
        self.leaves[position] = frozenset(own)
        self.users.update(self.behind[position])

    def decompose(self, var: int) -> int:
        """Count the eigenvectors of a matrix, which live as long as it and its functions; return their entries."""
        vectors = -1 - var
        if vectors not in self.entries:
            self.entries[vectors] = sum(self.entries[each] for each in self.behind[var])
            self.stored += self.entries[vectors]
            self.behind[var] |= {vectors}
            self.users[vectors] += 1
        return self.entries[vectors]

    def free(self, var: int) -> None:
        """Free a value that nothing reads any more."""
        for vector in self.behind.pop(var):
            self.users[vector] -= 1
            if not self.users[vector]:
                self.stored -= self.entries[vector]


def _asked(program: Program, leaf: int, position: int, width: int, met: dict[int, int]) -> int:
    """Count the entries that an operator keeps more after a product: a direction and an answer for each vector."""
    across, shape = program.statements[leaf].wide_axes[0], program.statements[leaf].shape
    sizes = [dim.size_at(width) for dim in shape]
    sides = sizes[across], math.prod(sizes) // sizes[across]
    statement = program.statements[position]
    vectors = math.prod(
        dim.size_at(width) for axis, dim in enumerate(statement.shape) if axis not in statement.wide_axes
    )
    new = max(0, min(vectors, min(sides) - met.get(leaf, 0)))
    met[leaf] = met.get(leaf, 0) + new
    return new * sum(sides)


def of_normed(rows: int, asked: int) -> int:
    """Count what `Spheres` holds for rows whose norms were told, half of the questions being sums: coordinates and links."""
    sums = asked // 2 + 1
    return rows * (TEMPORARY * (2 * BLOCK + sums) * 3 + 4 * 4 * sums**2 // BLOCK)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that are free; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = []
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        free.append(int(limit) - int(used))
    return min(free, default=None)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def expect_memory(program: Program, width: int, one: Tensor, allowed: float | None) -> None:
    """Raise ValueError, with numbers, if the simulation does not fit."""
    room = free_memory(one.device) if allowed is None else allowed
    if room is None:
        return
    bytes_needed = needed(program, width, one.element_size())
    if bytes_needed > room:
        other = "" if one.element_size() == 4 else ", dtype='float32'"
        raise ValueError(
            f"width {width} needs about {bytes_needed / 2**30:.1f} GiB and {room / 2**30:.1f} GiB are "
            f"{'free' if allowed is None else 'allowed'}; try width {int(width * room / bytes_needed)}{other} or fewer steps"
        )
