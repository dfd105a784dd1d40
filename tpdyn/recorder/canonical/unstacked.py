"""Which atoms are written out piece by piece? Those that a cut picks from inside of a wide dim, and what they touch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Concat, Gather, Leaf, Operand, Scatter, Slice
from tpdyn.recorder.canonical.cuts import Cut, plan_slice
from tpdyn.recorder.fitting.atoms import Atoms, Node
from tpdyn.recorder.fitting.widths import FitError, Fitted, FittedStatement, describe

Product = tuple[Node, ...]
"""The atoms of one axis of the script, outermost first."""
Products = tuple[Product, ...]
"""The atoms of each axis."""


def refusal(statement: FittedStatement, problem: str) -> FitError:
    """Return what cannot be written in atoms, with its line."""
    return FitError(f"outside the theory, for now: {problem}\n  in {describe(statement)}", outside=True)


def atoms_along(products: Products, operand: Operand, label: int) -> Product:
    """Return the atoms of an operand's axis of that label, given those of all its axes. None where it has length 1."""
    return products[operand.axes.index(label)] if label in operand.axes else ()


def cuts_of(fitted: Fitted, atoms: Atoms, dims: Sequence[Products]) -> dict[int, list[Cut | None]]:
    """Find by position the cut of each slice. For a concatenation the cut by which each part would be taken from the result."""
    listed: dict[int, list[Cut | None]] = {}
    for position, statement in enumerate(fitted.statements):
        instruction = statement.instruction
        if isinstance(instruction, Slice):
            source, result = _ends_of_slice(position, statement, instruction, dims)
            cut = plan_slice(atoms, source, result, instruction.start, instruction.step, instruction.length)
            if cut is None:
                raise refusal(statement, "cuts across the factors of a dim that is a product of several")
            listed[position] = [cut]
        elif isinstance(instruction, Concat):
            whole_axis = dims[position][instruction.axis]
            cuts: list[Cut | None] = []
            start = Scaling(())
            for part, length in zip(instruction.parts, instruction.lengths, strict=True):
                if part is None:
                    cuts.append(None)
                else:
                    here = atoms_along(dims[part.var], part, instruction.axis)
                    cuts.append(plan_slice(atoms, whole_axis, here, start, 1, length))
                    if cuts[-1] is None:
                        raise refusal(statement, "lays parts end to end across the factors of a product of dims")
                start = start + length
            listed[position] = cuts
    return listed


def written_out(
    fitted: Fitted, atoms: Atoms, dims: Sequence[Products], cuts: Mapping[int, Sequence[Cut | None]]
) -> set[Node]:
    """Return the atoms that are written out.

    Let a finite axis be cut. The cut is written out if its atoms are factors of a parameter's wide dim (heads in a fused
    weight). It is not if something runs along that axis as a whole. Such are the rows of an image. A convolution looks them
    up, and a flattening makes them a factor of the readout's wide dim.
    """
    beside_wide: set[Node] = set()
    whole = _whole(fitted, dims)
    for statement, products in zip(fitted.statements, dims, strict=True):
        if isinstance(statement.instruction, Leaf) and statement.instruction.kind == "parameter":
            for product in products:
                if any(atoms.sizes[atom].is_wide for atom in product):
                    beside_wide.update(product)
    groups = [
        group
        for position, planned in cuts.items()
        for group in _touched(position, fitted.statements[position], atoms, dims, planned)
    ]
    before = -1
    while before != len(whole):  # what is cut from such an axis, or padded to one, is a row of an image as well
        before = len(whole)
        whole |= {atom for group, always in groups if not always and group & whole for atom in group}
    expanded: set[Node] = set()
    before = -1
    while before != len(expanded):
        before = len(expanded)
        for group, always in groups:
            if always or group & expanded or (group & beside_wide and not group & whole):
                expanded |= {atom for atom in group if atoms.sizes[atom].is_constant}
    return expanded


def _whole(fitted: Fitted, dims: Sequence[Products]) -> set[Node]:
    """Return the atoms of axes along which a lookup runs."""
    return {
        atom
        for statement, products in zip(fitted.statements, dims, strict=True)
        for operand, axis, own in _looked_up(statement, products, dims)
        for atom in atoms_along(own, operand, axis)
    }


def _looked_up(
    statement: FittedStatement, products: Products, dims: Sequence[Products]
) -> Iterator[tuple[Operand, int, Products]]:
    match statement.instruction:
        case Gather(value=value, axis=axis):
            yield value, axis, dims[value.var]
        case Scatter(value=value, axis=axis):
            yield Operand(value.var, tuple(range(len(products)))), axis, products
        case _:  # nothing else runs along an axis by an index
            return


def _touched(
    position: int, statement: FittedStatement, atoms: Atoms, dims: Sequence[Products], cuts: Sequence[Cut | None]
) -> Iterator[tuple[set[Node], bool]]:
    """Yield atoms of which all that are finite are written out if one is. Also yield whether they are in any case."""
    instruction = statement.instruction
    if isinstance(instruction, Slice):
        axis, result = _ends_of_slice(position, statement, instruction, dims)
        ends = [(result, cuts[0])]
    else:
        assert isinstance(instruction, Concat)
        axis = dims[position][instruction.axis]
        parts = zip(instruction.parts, cuts, strict=True)
        ends = [(atoms_along(dims[part.var], part, instruction.axis), cut) for part, cut in parts if part is not None]
    wide = any(atoms.sizes[atom].is_wide for atom in axis)
    for end, cut in ends:
        assert cut is not None
        for factor, _ in cut.fixed:
            yield {axis[factor]}, wide
        ranged = {axis[factor] for factor in cut.ranged} | set(end[: cut.taken])
        yield ranged, wide
        if isinstance(instruction, Concat) and any(factor > 0 for factor, _ in cut.fixed):
            # laid end to end along an inner factor
            yield ranged | {axis[factor] for factor, _ in cut.fixed}, wide
    if (
        isinstance(instruction, Concat)
        and None in instruction.parts
        and not any(cut is not None and (cut.ranged or cut.fixed) for cut in cuts)
    ):
        yield set(axis), wide


def _ends_of_slice(
    position: int, statement: FittedStatement, cut: Slice, dims: Sequence[Products]
) -> tuple[Product, Product]:
    """Return the atoms of the axis that is cut, and what is left of them in the result."""
    kept = cut.axis < len(statement.shape)
    return atoms_along(dims[cut.value.var], cut.value, cut.axis), dims[position][cut.axis] if kept else ()
