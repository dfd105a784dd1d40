"""Which axes are the same axis, and which dims are products of smaller ones? Atoms: the axes that nothing splits.

A script's dim is an ordered product of **atoms**: `view(B, T, 3, H, n/H)` shows that a dim of size 3n is 3 . H . n/H.
Two dims that meet in an elementwise operation or in a contraction are the same product of the same atoms. A reshape regroups one
product as another. So unification finds the atoms. Each dim is a node of a union-find forest; a node may be split into an
ordered pair. If two products meet, both are refined until they agree, from the outermost factor inwards. Sizes are
symbolic. If n is a multiple of 8 at each width, it is split into 8 . n/8.

A slice of a wide dim, or a concatenation along one, cuts it at multiples of some part. Then the dim is (number of parts) . (part),
and the slice picks among a finite number of parts (a fused qkv projection). This module finds the parts;
`tpdyn.recorder.canonical` then writes the program in atoms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Concat, Eigenvalues, Operand, Slice, Spectral, operands_of
from tpdyn.recorder.fitting.powers import plain
from tpdyn.recorder.fitting.widths import FitError, Fitted, FittedStatement, describe
from tpdyn.recorder.lowered import Reshape

Node = int
ONE = Scaling.of(1)


class Misfit(Exception):
    """Two products of dims cannot be refined to agree; caught and shown with its source line."""


@final
class Atoms:
    """A forest of dims: nodes that are equal are joined, nodes that are products are split."""

    def __init__(self, widths: Sequence[int]) -> None:
        self.widths = tuple(widths)
        self.sizes: list[Scaling] = []
        self.parents: list[Node] = []
        self.children: list[tuple[Node, ...]] = []
        self.changes = 0
        self._quotients: dict[tuple[Scaling, Scaling], Scaling | None] = {}

    def new(self, size: Scaling, children: Sequence[Node] = ()) -> Node:
        """Return a node of that size, distinct from all others."""
        self.sizes.append(size)
        self.parents.append(len(self.parents))
        self.children.append(tuple(children))
        return len(self.parents) - 1

    def root(self, node: Node) -> Node:
        """Return the representative of all nodes that are equal to this one."""
        while self.parents[node] != node:
            self.parents[node] = self.parents[self.parents[node]]
            node = self.parents[node]
        return node

    def of(self, node: Node | None) -> list[Node]:
        """Return the atoms of a node, outermost first (none for a dim of size 1)."""
        if node is None:
            return []
        node = self.root(node)
        if not self.children[node]:
            return [node]
        return [atom for child in self.children[node] for atom in self.of(child)]

    def size(self, nodes: Sequence[Node]) -> Scaling:
        """Return the product of their sizes."""
        product = ONE
        for node in nodes:
            product = product * self.sizes[node]
        return product

    def unify(self, left: Sequence[Node], right: Sequence[Node]) -> None:
        """Make two products equal, splitting what must be split. Raises Misfit when that is impossible."""
        mine, other = list(reversed(left)), list(reversed(right))
        while mine and other:
            a, b = self._pop(mine), self._pop(other)
            if a == b:
                continue
            size_a, size_b = self.sizes[a], self.sizes[b]
            if size_a == size_b:
                self.parents[b] = a
                self.changes += 1
            elif (rest := self.quotient(size_b, size_a)) is not None:
                other.append(self._split(b, a, rest))
            elif (rest := self.quotient(size_a, size_b)) is not None:
                mine.append(self._split(a, b, rest))
            else:
                raise Misfit(
                    f"sizes {size_a} and {size_b} overlap, and neither divides the other at the widths "
                    f"{', '.join(map(str, self.widths))}"
                )
        if mine or other:
            raise Misfit(f"the sizes {self.size(left)} and {self.size(right)} differ")

    def _pop(self, stack: list[Node]) -> Node:
        """Return the next atom (what was an atom when it was pushed may have been split since)."""
        node = self.root(stack.pop())
        while self.children[node]:
            stack.extend(reversed(self.children[node]))
            node = self.root(stack.pop())
        return node

    def _split(self, node: Node, outer: Node, rest: Scaling) -> Node:
        inner = self.new(rest)
        self.children[node] = (outer, inner)
        self.changes += 1
        return inner

    def quotient(self, size: Scaling, by: Scaling) -> Scaling | None:
        """Compute `size / by` when it is a whole number above 1 at each recorded width, else None."""
        key = (size, by)
        if key not in self._quotients:
            self._quotients[key] = self._divide(size, by)
        return self._quotients[key]

    def _divide(self, size: Scaling, by: Scaling) -> Scaling | None:
        ratio = divide(size, by)
        if ratio is None or any(power < 0 for _, power in ratio.terms):
            return None
        try:
            return ratio if all(ratio.size_at(width) > 1 for width in self.widths) else None
        except ValueError:
            return None


def divide(size: Scaling, by: Scaling) -> Scaling | None:
    """Compute `size / by`, exactly, when it is a sum of powers."""
    if by.is_zero:
        return None
    if len(by.terms) > 1:
        ratio = Fraction(size.terms[0][0]) / Fraction(by.terms[0][0]) if size.terms else Fraction(0)
        return Scaling.of(plain(ratio)) if by * Scaling.of(ratio) == size else None
    coefficient, power = by.terms[0]
    return Scaling(tuple((plain(Fraction(c) / Fraction(coefficient)), p - power) for c, p in size.terms))


def whole(size: Scaling, by: Scaling) -> int | None:
    """Compute `size / by` as a whole number that does not depend on the width, else None."""
    ratio = divide(size, by)
    if ratio is None or not ratio.is_constant or Fraction(ratio.constant).denominator != 1:
        return None
    return int(ratio.constant)


def find_atoms(fitted: Fitted) -> tuple[Atoms, list[tuple[Node | None, ...]]]:
    """Return the forest, and the node of each axis of each statement (None: size 1).

    Raises:
        FitError: dims that overlap without one dividing the other; a wide dim that is cut into parts without a common
            measure. The message names the statement and its source line.
    """
    return _Search(fitted).result()


class _Search:
    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self.atoms = Atoms(fitted.widths)
        self.nodes: list[tuple[Node | None, ...]] = []

    def result(self) -> tuple[Atoms, list[tuple[Node | None, ...]]]:
        cutting: list[int] = []
        for position, statement in enumerate(self.fitted.statements):
            try:
                self.nodes.append(self.axes(statement))
            except Misfit as error:
                raise FitError(f"the dims do not fit together: {error}\n  in {describe(statement)}") from error
            if isinstance(statement.instruction, (Slice, Concat)):
                cutting.append(position)
        before = -1
        while before != self.atoms.changes:  # refining one slice may split what another slices
            before = self.atoms.changes
            for position in cutting:
                statement = self.fitted.statements[position]
                try:
                    self.align(position, statement)
                except Misfit as error:
                    raise FitError(f"the dims do not fit together: {error}\n  in {describe(statement)}") from error
        return self.atoms, self.nodes

    def fresh(self, size: Scaling) -> Node | None:
        return None if size == ONE else self.atoms.new(size)

    def axes(self, statement: FittedStatement) -> tuple[Node | None, ...]:
        """Return the nodes of the result's axes, after unifying what the statement makes equal."""
        instruction, shape = statement.instruction, statement.shape
        if isinstance(instruction, Reshape):
            nodes = tuple(self.fresh(size) for size in shape)
            old = [node for node in self.nodes[instruction.value] if node is not None]
            self.atoms.unify(old, [node for node in nodes if node is not None])
            return nodes
        if isinstance(instruction, Slice):
            return self.slice_axes(statement, instruction)
        if isinstance(instruction, Concat):
            return self.concat_axes(statement, instruction)
        by_label: dict[int, Node] = {}
        for operand in operands_of(instruction):
            self.bind(by_label, operand)
        if isinstance(instruction, (Eigenvalues, Spectral)):  # rows and columns of a symmetric matrix are one space
            sides = ([by_label[label] for label in side] for side in (instruction.rows, instruction.columns))
            self.atoms.unify(*sides)
        return self.result_nodes(by_label, shape)

    def bind(self, by_label: dict[int, Node], operand: Operand, besides: int | None = None) -> None:
        """Unify the axes of an operand with those of the same label, but for one label."""
        for label, node in zip(operand.axes, self.nodes[operand.var], strict=True):
            if node is None or label == besides:
                continue
            if label not in by_label:
                by_label[label] = node
            elif by_label[label] != node:
                self.atoms.unify([by_label[label]], [node])

    def along(self, operand: Operand, label: int) -> Node | None:
        """Return the operand's axis of that label, where it has one."""
        return self.nodes[operand.var][operand.axes.index(label)] if label in operand.axes else None

    def result_nodes(self, by_label: dict[int, Node], shape: Sequence[Scaling]) -> tuple[Node | None, ...]:
        nodes: list[Node | None] = []
        for label, size in enumerate(shape):
            known = by_label.get(label)
            if known is not None and self.atoms.sizes[known] != size:
                raise Misfit(f"axis {label} has size {size}, but what it is made of has {self.atoms.sizes[known]}")
            nodes.append(self.fresh(size) if known is None else known)
        return tuple(nodes)

    def slice_axes(self, statement: FittedStatement, cut: Slice) -> tuple[Node | None, ...]:
        by_label: dict[int, Node] = {}
        self.bind(by_label, cut.value, besides=cut.axis)
        part = self.part_taken(statement, cut, self.along(cut.value, cut.axis))
        if part is not None and cut.axis < len(statement.shape):
            by_label[cut.axis] = part
        return self.result_nodes(by_label, statement.shape)

    def part_taken(self, statement: FittedStatement, cut: Slice, source: Node | None) -> Node | None:
        """Return the node of what a slice leaves of an axis; splits the axis when it is wide."""
        if source is None:
            return None
        size = self.atoms.sizes[source]
        if cut.step == 1 and cut.start.is_zero and cut.length == size:
            return source
        if not size.is_wide or (cut.start.is_constant and cut.length.is_constant):
            return self.fresh(cut.length)
        if cut.step > 1 and cut.start.is_constant and divide(size, Scaling.of(cut.step)) == cut.length:
            outer, inner = self.atoms.new(cut.length), self.atoms.new(Scaling.of(cut.step))
            self.atoms.unify([source], [outer, inner])
            return outer
        measure = common_measure([size, cut.start, cut.length]) if cut.step == 1 else None
        if measure is None:
            what = f"takes {cut.length} of {size} entries, from {cut.start} on in steps of {cut.step}"
            raise self.outside(statement, what, [cut.start, cut.length])
        return self.parts(source, measure, cut.length)

    def parts(self, source: Node, measure: Scaling, length: Scaling) -> Node:
        """Split the source into equal parts of the size `measure`; the node of `length/measure` such parts."""
        count, taken = whole(self.atoms.sizes[source], measure), whole(length, measure)
        assert count is not None
        assert taken is not None
        part = self.atoms.new(measure)
        self.atoms.unify([source], [part] if count == 1 else [self.atoms.new(Scaling.of(count)), part])
        return part if taken == 1 else self.atoms.new(length, (self.atoms.new(Scaling.of(taken)), part))

    def concat_axes(self, statement: FittedStatement, concat: Concat) -> tuple[Node | None, ...]:
        by_label: dict[int, Node] = {}
        size = statement.shape[concat.axis]
        ends: list[Node | None] = []
        for part in concat.parts:
            if part is None:
                continue
            ends.append(self.along(part, concat.axis))
            self.bind(by_label, part, besides=concat.axis)
        if size.is_wide:
            measure = common_measure([size, *concat.lengths])
            if measure is None:
                what = f"lays parts of sizes {', '.join(map(str, concat.lengths))} end to end"
                raise self.outside(statement, what, concat.lengths)
            whole_axis = self.atoms.new(size)
            by_label[concat.axis] = whole_axis
            part_node = self.parts(whole_axis, measure, measure)
            for node in ends:
                if node is not None:
                    taken = whole(self.atoms.sizes[node], measure)
                    assert taken is not None
                    count = [self.atoms.new(Scaling.of(taken))] if taken > 1 else []
                    self.atoms.unify([node], [*count, part_node])
        return self.result_nodes(by_label, statement.shape)

    def outside(self, statement: FittedStatement, what: str, sizes: Sequence[Scaling]) -> FitError:
        """Return the refusal of a cut: by a fixed number of coordinates, or into parts without a common measure."""
        if any(not size.is_zero and _has_fixed_part(size) for size in sizes):
            problem = f"a fixed number of coordinates is cut out of a wide dim or added to it: the script {what}"
            advice = (
                "The coordinates of a wide dim are many of one kind. The theory knows their law, and none of them by its index "
                "(the first two, or the next neighbour). Keep special coordinates in a tensor of their own."
            )
        else:
            problem = f"the script {what}: this cuts a wide dim into parts without a common measure"
            advice = (
                "Parts of a wide dim must be whole multiples of one part (as in a fused qkv projection). Keep "
                "parts of other sizes in tensors of their own."
            )
        where = f"\n  in {describe(statement)}\n"
        return FitError(f"outside the theory, for now: {problem}{where}{advice}", outside=True)

    def align(self, position: int, statement: FittedStatement) -> None:
        """Split both sides of a finite slice or concatenation alike, where one of them is a product of atoms."""
        instruction = statement.instruction
        if isinstance(instruction, Slice):
            source = self.along(instruction.value, instruction.axis)
            if source is None or instruction.axis >= len(statement.shape) or instruction.step != 1:
                return
            result = self.nodes[position][instruction.axis]
            if result is None or self.atoms.sizes[source].is_wide:
                return
            self.share_inner([source, result], [instruction.start])
        elif isinstance(instruction, Concat) and not statement.shape[instruction.axis].is_wide:
            result = self.nodes[position][instruction.axis]
            ends = [self.along(part, instruction.axis) for part in instruction.parts if part is not None]
            nodes = [node for node in [result, *ends] if node is not None]
            self.share_inner(nodes, list(instruction.lengths))

    def share_inner(self, nodes: Sequence[Node], cuts: Sequence[Scaling]) -> None:
        """Give all nodes the same inner factors: the first node's whose inner part measures all sizes and cuts. Where none
        does, the nodes stay as they are (and their pieces are written out one by one)."""
        if all(len(self.atoms.of(node)) == 1 for node in nodes):
            return
        sizes = [*(self.atoms.sizes[node] for node in nodes), *(cut for cut in cuts if not cut.is_zero)]
        for node in nodes:
            atoms = self.atoms.of(node)
            for start in range(1, len(atoms)):
                inner = atoms[start:]
                if all(whole(size, self.atoms.size(inner)) is not None for size in sizes):
                    for other in nodes:
                        count = whole(self.atoms.sizes[other], self.atoms.size(inner))
                        assert count is not None
                        outer = [self.atoms.new(Scaling.of(count))] if count > 1 else []
                        if self.atoms.of(other)[-len(inner) :] != inner:
                            self.atoms.unify([other], [*outer, *inner])
                    return


def common_measure(sizes: Sequence[Scaling]) -> Scaling | None:
    """Return the largest size of which all sizes are whole multiples; None when they are of different powers."""
    present = [size for size in sizes if not size.is_zero]
    if any(len(size.terms) != 1 for size in present):
        return None
    power = present[0].terms[0][1]
    if any(size.terms[0][1] != power for size in present):
        return None
    fractions = [Fraction(size.terms[0][0]) for size in present]
    denominator = math.lcm(*(fraction.denominator for fraction in fractions))
    numerator = math.gcd(*(int(fraction * denominator) for fraction in fractions))
    return Scaling.of(plain(Fraction(numerator, denominator)), power)


def _has_fixed_part(size: Scaling) -> bool:
    return any(power == 0 for _, power in size.terms)
