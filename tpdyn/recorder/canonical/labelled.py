"""How are instructions with labelled axes written (all but slices and concatenations)? Piece by piece."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
    operands_of,
    with_operands,
)
from tpdyn.recorder.canonical.labels import Chosen, Labels
from tpdyn.recorder.canonical.pieces import Held, Index, Pieces
from tpdyn.recorder.canonical.unstacked import Product, Products, refusal
from tpdyn.recorder.fitting.atoms import ONE


def by_labels(pieces: Pieces, instruction: Instruction, dims: Products) -> Held:
    """Return the pieces of a Contract, Combine, Apply, Gather, Scatter, Eigenvalues or Spectral."""
    labels = Labels(pieces, dims, operands_of(instruction))
    along = _along(instruction)
    if along is not None:
        _refuse_products(pieces, instruction, labels, along)
    if isinstance(instruction, (Eigenvalues, Spectral)):
        _refuse_parts(pieces, instruction, labels)
    product = () if along is None else labels.products[along]
    emitted: dict[Instruction, int] = {}
    written: dict[Index, int | None] = {}
    for index, chosen in labels.results():
        new = _rewritten(instruction, labels, chosen)
        if isinstance(new, list):
            written[index] = _sum_of(pieces, new, labels.shape, emitted)
        elif new is None:
            written[index] = None
        else:
            if new not in emitted:
                plain = len(product) < 2
                emitted[new] = pieces.emit(new, labels.shape) if plain else _flat(pieces, new, labels.shape, product)
            written[index] = emitted[new]
    return Held(dims, written, pieces.current.type)


def _along(instruction: Instruction) -> int | None:
    """Return the label along which a softmax, a gather or a scatter acts."""
    match instruction:
        case Apply(along=axis) | Gather(axis=axis) | Scatter(axis=axis):
            return axis
        case Leaf() | Contract() | Combine() | Slice() | Concat() | Eigenvalues() | Spectral():
            return None
    assert_never(instruction)


def _refuse_products(pieces: Pieces, instruction: Instruction, labels: Labels, along: int) -> None:
    """Refuse a softmax, gather or scatter unless along one atom, or a product of finite ones, not written out."""
    product, sizes = labels.products.get(along, ()), pieces.atoms.sizes
    finite = all(sizes[atom].is_constant for atom in product)
    if not product or any(atom in pieces.expanded for atom in product) or not (finite or len(product) == 1):
        shown = " x ".join(str(sizes[atom]) for atom in product) or "1"
        what = "a softmax" if isinstance(instruction, Apply) else f"a {type(instruction).__name__.lower()}"
        raise refusal(pieces.current, f"{what} along an axis that is a product ({shown})")


def _refuse_parts(pieces: Pieces, spectrum: Eigenvalues | Spectral, labels: Labels) -> None:
    """Refuse a decomposition of parts of a matrix: its eigenvalues lie along one axis."""
    sides = [atom for label in (*spectrum.rows, *spectrum.columns) for atom in labels.products[label]]
    if any(atom in pieces.expanded for atom in sides):
        raise refusal(pieces.current, "the eigenvalues of a matrix whose rows are several parts of one tensor")
    if len(labels.products[spectrum.axis]) != 1 or labels.products[spectrum.axis][0] in pieces.expanded:
        raise refusal(pieces.current, "eigenvalues that are cut into parts")


def _rewritten(instruction: Instruction, labels: Labels, chosen: Chosen) -> Instruction | list[Contract] | None:
    """Return the instruction for one piece. None is a zero; a list has the terms of a sum over a written-out label."""
    match instruction:
        case Contract(operands=operands):
            every = [chosen | entries for _, entries in labels.choices(labels.summed)]
            terms = [
                replace(instruction, operands=tuple(labels.operand(operand, full) for operand in operands))
                for full in every
                if all(labels.piece(operand, full) is not None for operand in operands)
            ]
            return terms if labels.summed else terms[0] if terms else None
        case Combine(terms=pairs, constant=constant):
            kept = tuple(pair for pair in pairs if labels.piece(pair[1], chosen) is not None)
            if not kept and constant.is_zero:
                return None
            instruction = replace(instruction, terms=kept)
        case Gather(value=value) | Scatter(value=value) | Eigenvalues(value=value):
            if labels.piece(value, chosen) is None:
                return None
        case _:  # no other instruction of zeros is known to be zero
            pass
    new = with_operands(instruction, lambda operand: labels.operand(operand, chosen))
    match new:
        case Apply(along=int(along)):
            return replace(new, along=labels.numbers[along, 0])
        case Gather(axis=axis) | Scatter(axis=axis):
            return replace(new, axis=labels.numbers[axis, 0])
        case Eigenvalues() | Spectral():
            rows, columns, axis = labels.spectrum(new)
            return replace(new, rows=rows, columns=columns, axis=axis)
        case Combine() | Apply():
            return new
        case Contract() | Leaf() | Slice() | Concat():
            raise AssertionError(f"{type(instruction).__name__} is written elsewhere")
    assert_never(new)


def _sum_of(
    pieces: Pieces, parts: list[Contract], shape: tuple[Scaling, ...], known: dict[Instruction, int]
) -> int | None:
    """Return the sum over a written-out label."""
    emitted = []
    for part in parts:
        if part not in known:
            known[part] = pieces.emit(part, shape)
        emitted.append(known[part])
    if len(emitted) < 2:
        return emitted[0] if emitted else None
    everything = tuple(range(len(shape)))
    return pieces.emit(Combine(tuple((ONE, Operand(var, everything)) for var in emitted)), shape)


def _flat(pieces: Pieces, instruction: Instruction, shape: tuple[Scaling, ...], product: Product) -> int:
    """Return what acts along one axis, along a product of finite atoms: they are merged, and divided in the result."""
    count, first = len(product), _along(instruction)
    assert first is not None
    inside = first < len(shape)
    small = (*shape[:first], pieces.atoms.size(product), *shape[first + count :]) if inside else shape

    def merged(operand: Operand) -> Operand:
        axes = tuple(a - (count - 1) * (a >= first + count) for a in operand.axes)
        if first not in operand.axes:
            return Operand(operand.var, axes)
        at = operand.axes.index(first)
        return Operand(pieces.merged(operand.var, at, count), (*axes[: at + 1], *axes[at + count :]))

    var = pieces.emit(with_operands(instruction, merged), small)
    return pieces.divided(var, first, [pieces.count(atom) for atom in product]) if inside else var
