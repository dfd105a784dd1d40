"""Which dims of a built model could be its width? Those that meet neither data nor targets: all others are fixed.

One recording shows sizes, not how they depend on the width. But dims that meet data cannot grow with a hidden layer. Those
are the features of an input, the batch, tokens, classes, rows of a table, the dim of a softmax. So the atoms of the
recording (`tpdyn.recorder.fitting.atoms`) that meet these are marked fixed, along cuts and joints too. Several factors of a
dim may remain, as heads and the size of a head. Then the innermost counts as the wide one. The result is a proposal to try,
not a fact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import assert_never, final

from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.recorder.fitting.atoms import Atoms, Node, find_atoms
from tpdyn.recorder.fitting.widths import FitError, FittedStatement, describe, fit
from tpdyn.recorder.lowered import Lowered, Reshape

OUTER = "the outer factor of a dim"


@final
@dataclass(frozen=True)
class Candidates:
    """The dims of a model that could be its width.

    wide: for each parameter and buffer of the recording, whether each of its dims would grow. why: for those dims that would not,
    by "name:dim", the reason. factors: sizes of the factors that grow; sizes: of dims that hold one; fixed: of what does not grow.
    shapes: as the model has them. grows: the same for each axis of each statement of the recording.
    """

    wide: Mapping[str, tuple[bool, ...]]
    why: Mapping[str, str]
    factors: frozenset[int]
    sizes: frozenset[int]
    fixed: frozenset[int]
    shapes: Mapping[str, tuple[int, ...]]
    grows: tuple[tuple[bool, ...], ...]

    @property
    def base(self) -> int | None:
        """The size that counts as the width: the commonest growing size that weights read; None if nothing grows.

        Those are the dims after the first. A Linear's rows are what it makes: four gates for each hidden unit, say. Of two
        equally common sizes it is the smaller.
        """
        dims = [
            (dim, size) for name, shape in self.shapes.items() for dim, size in enumerate(shape) if self.wide[name][dim]
        ]
        count = Counter([size for dim, size in dims if dim > 0] or [size for _, size in dims])
        return min(count, key=lambda size: (-count[size], size)) if count else None

    def unit(self, base: int) -> int:
        """Find the width at whose multiples every growing factor is a whole number."""
        return math.lcm(*(base // math.gcd(size, base) for size in self.factors))


def find_candidates(
    lowered: Lowered, finite: Sequence[str] = (), fixed_sizes: frozenset[int] = frozenset()
) -> Candidates:
    """Return the candidates of one recording.

    finite: dims that do not grow, "name:dim", with wildcards. fixed_sizes: sizes of factors that do not grow.

    Raises FitError where the dims of the recording do not fit together.
    """
    fitted = fit([lowered])
    atoms, nodes = find_atoms(fitted)
    search = _Search(atoms, nodes, fitted.statements)
    positions = {
        statement.instruction.name: position
        for position, statement in enumerate(fitted.statements)
        if isinstance(statement.instruction, Leaf) and statement.instruction.kind in ("parameter", "buffer")
    }
    for name, position in positions.items():
        for dim in range(len(nodes[position])):
            if any(fnmatchcase(f"{name}:{dim}", pattern) for pattern in finite):
                search.fix(nodes[position][dim], "declared to be finite")
    search.fix_sizes(fixed_sizes)
    search.seeds([mark.var for mark in lowered.marks if mark.kind == "output"])
    search.spread([node for position in positions.values() for node in nodes[position]])
    wide = {name: tuple(search.is_wide(node) for node in nodes[position]) for name, position in positions.items()}
    every = {node for axes in nodes for node in axes if node is not None}
    leaves = {atom for node in every for atom in atoms.of(node)}
    return Candidates(
        wide,
        {
            f"{name}:{dim}": search.reason(node)
            for name, position in positions.items()
            for dim, node in enumerate(nodes[position])
            if not search.is_wide(node)
        },
        frozenset(search.size(atom) for atom in leaves if atom not in search.fixed),
        frozenset(search.size(node) for node in every if search.is_wide(node)),
        frozenset(
            [search.size(node) for node in every if not search.is_wide(node)]
            + [search.size(atom) for atom in leaves if atom in search.fixed]
        ),
        {name: lowered.statements[position].shape for name, position in positions.items()},
        tuple(tuple(search.is_wide(node) for node in axes) for axes in nodes),
    )


def check_growth(candidates: Candidates, itself: Lowered, copied: Lowered, base: int) -> None:
    """Raise FitError unless exactly those dims of a copy's recording have grown that should, each by the same ratio."""
    for statement, other, grows in zip(itself.statements, copied.statements, candidates.grows, strict=True):
        wanted = tuple(
            size * copied.width // base if wide else size for size, wide in zip(statement.shape, grows, strict=True)
        )
        if other.shape != wanted:
            raise FitError(
                f"a value of shape {statement.shape} has shape {other.shape} at width {copied.width}; expected {wanted}\n"
                f"  in {describe(other)}"
            )


@final
class _Search:
    """Marks atoms as fixed; `fixed` holds the reason of each."""

    def __init__(self, atoms: Atoms, nodes: list[tuple[Node | None, ...]], statements: list[FittedStatement]) -> None:
        self.atoms, self.nodes, self.statements = atoms, nodes, statements
        self.fixed: dict[Node, str] = {}
        self.changes = 0

    def size(self, node: Node) -> int:
        return int(self.atoms.sizes[node].constant)

    def is_wide(self, node: Node | None) -> bool:
        return any(atom not in self.fixed for atom in self.atoms.of(node))

    def reason(self, node: Node | None) -> str:
        return next((self.fixed[atom] for atom in self.atoms.of(node)), "of size 1")

    def fix(self, node: Node | None, why: str) -> None:
        for atom in self.atoms.of(node):
            if atom not in self.fixed:
                self.fixed[atom] = why
                self.changes += 1

    def fix_sizes(self, sizes: frozenset[int]) -> None:
        """Fix the innermost factors of these sizes, and whole dims of them."""
        for axes in self.nodes:
            for node in axes:
                product = self.atoms.of(node)
                if product and self.size(product[-1]) in sizes:
                    self.fix(product[-1], "declared to be finite")

    def seeds(self, outputs: Sequence[int]) -> None:
        for position, statement in enumerate(self.statements):
            instruction, axes = statement.instruction, self.nodes[position]
            match instruction:
                case Leaf(law=law) if law.is_given and instruction.kind != "parameter":
                    for node in axes:
                        self.fix(node, f"met by {instruction.name}")
                case Gather(value=value, axis=axis):
                    self.fix(self.along(value, axis), "looked up by an index")
                case Scatter(axis=axis):
                    self.fix(axes[axis], "looked up by an index")
                case Apply(along=along) if along is not None:
                    self.fix(axes[along], "what a softmax runs along")
                case Leaf() | Contract() | Combine() | Apply() | Eigenvalues() | Spectral():
                    pass  # what is computed from values of one space ties no dim to data
                case Slice() | Concat() | Reshape():
                    pass  # `spread` follows cuts and joints
                case _:
                    assert_never(instruction)
        for position in outputs:
            for node in self.nodes[position]:
                self.fix(node, "a dim of the output")

    def along(self, operand: Operand, label: int) -> Node | None:
        """Return the operand's axis of that label."""
        return self.nodes[operand.var][operand.axes.index(label)] if label in operand.axes else None

    def spread(self, parameters: Sequence[Node | None]) -> None:
        """Spread along cuts and joints, and between the factors of a dim, until nothing changes."""
        before = -1
        while before != self.changes:
            before = self.changes
            for position, statement in enumerate(self.statements):
                instruction = statement.instruction
                if isinstance(instruction, Slice) and instruction.axis < len(statement.shape):
                    self.join([self.along(instruction.value, instruction.axis), self.nodes[position][instruction.axis]])
                elif isinstance(instruction, Slice):
                    self.fix(self.along(instruction.value, instruction.axis), "an entry of it is picked")
                elif isinstance(instruction, Concat):
                    parts = [self.along(part, instruction.axis) for part in instruction.parts if part is not None]
                    self.join([self.nodes[position][instruction.axis], *parts])
            if before == self.changes:
                self.choose(parameters)

    def choose(self, parameters: Sequence[Node | None]) -> None:
        """Choose one growing factor in each dim: the innermost, unless a parameter's dim has only another left."""
        only: set[Node] = set()
        for node in parameters:
            product = self.atoms.of(node)
            growing = [atom for atom in product if atom not in self.fixed]
            if len(growing) == 1 and len(product) > 1 and all(self.fixed.get(atom) != OUTER for atom in product):
                only.update(growing)
        for axes in self.nodes:
            for node in axes:
                growing = [atom for atom in self.atoms.of(node) if atom not in self.fixed]
                kept = next((atom for atom in growing if atom in only), growing[-1] if growing else None)
                for atom in growing:
                    if atom != kept:
                        self.fix(atom, OUTER if kept == growing[-1] else "a factor of a dim that grows by another")

    def join(self, nodes: Sequence[Node | None]) -> None:
        known = [node for node in nodes if node is not None]
        fixed = next((node for node in known if not self.is_wide(node)), None)
        if fixed is not None:
            for node in known:
                self.fix(node, self.reason(fixed))
