"""Is this program well formed? Every problem, each shown in rings.

A ring goes from the problem outwards. First comes what is wrong, then the instruction as text, then the user's line. The
statements around it are last. `check` runs at the end of each build. So a reading may rely on what is checked here and need
not check it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

from tpdyn.exponents import Scaling
from tpdyn.pointwise import lookup
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
)
from tpdyn.program.program import Program, Statement, View

MOST_PROBLEMS_SHOWN = 10
_ONE, _MINUS_ONE = Scaling.of(1), Scaling.of(-1)


class IllFormed(ValueError):
    """A program breaks the rules of the instruction set; the message shows every problem in rings."""


def check(program: Program) -> None:
    """Check the whole program.

    Raises:
        IllFormed: with all problems found (the first ten in full), each with its instruction and source line.
    """
    problems = [ring(program, position, message) for position, message in statement_problems(program)]
    problems += list(_table_problems(program))
    if not problems:
        return
    shown = problems[:MOST_PROBLEMS_SHOWN]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    rest = "" if len(problems) == len(shown) else f"\n\n... and {len(problems) - len(shown)} more"
    raise IllFormed(f"the program is ill-formed: {count}\n\n" + "\n\n".join(shown) + rest)


def ring(program: Program, position: int, message: str) -> str:
    """Show a problem at one statement in rings: problem / instruction / source line / neighbours.

    Safe on ill-formed programs, since it is how they are shown.
    """
    from tpdyn.program.show import show_statement

    statement = program.statements[position]
    source = statement.origin.source
    where = f"step {statement.origin.step}, {statement.origin.phase}"
    where += f", module {statement.origin.module}" if statement.origin.module else ""
    lines = [message, f"  --> {source} ({where})"]
    if source.text:
        lines += ["   |", f"   | {source.text.strip()}", "   |"]
    first, last = max(0, position - 2), min(len(program.statements), position + 3)
    digits = len(str(last - 1))
    for near in range(first, last):
        lines.append(f" {'>' if near == position else ' '} {near:{digits}} | {show_statement(program, near)}")
    return "\n".join(lines)


def statement_problems(program: Program) -> Iterator[tuple[int, str]]:
    """Yield (position, problem) of each statement that is wrong in itself or in what it reads."""
    seen: dict[str, int] = {}
    for position, statement in enumerate(program.statements):
        if statement.name in seen:
            yield position, f"the name {statement.name!r} is taken by statement {seen[statement.name]}"
        seen.setdefault(statement.name, position)
        for axis, dim in enumerate(statement.shape):
            if dim == _ONE:
                yield position, f"axis {axis} has size 1; a dim of size one is not an axis, leave it out"
            elif dim.is_zero or dim.terms[0][0] <= 0:
                yield position, f"axis {axis} has size {dim}; expected a positive size"
        backwards = True
        for operand in operands_of(statement.instruction):
            if not 0 <= operand.var < position:
                yield position, f"reads statement {operand.var}, which is not before it"
                backwards = False
            elif len(operand.axes) != len(program.statements[operand.var].shape):
                value = program.statements[operand.var]
                yield (
                    position,
                    (f"operand {value.name} has {len(value.shape)} axes but {len(operand.axes)} labels {operand.axes}"),
                )
                backwards = False
        if backwards:
            for problem in _instruction_problems(program, statement):
                yield position, problem


def _instruction_problems(program: Program, statement: Statement) -> Iterator[str]:
    instruction, shape = statement.instruction, statement.shape
    rank = len(shape)
    match instruction:
        case Leaf(name=name):
            if name != statement.name:
                yield f"the leaf {name!r} stands under another name, {statement.name!r}"
        case Contract(operands=operands, scale=scale):
            yield from _arity_problems(instruction)
            if scale.is_zero:
                yield "its scale is zero; expected a scale that is not zero (a zero is written as Combine of nothing)"
            yield from _label_problems(program, operands, shape, {})
        case Combine(terms=terms):
            operands = tuple(operand for _, operand in terms)
            yield from _label_problems(program, operands, shape, {})
            yield from _summed_problems(operands, rank)
        case Apply(operands=operands, along=along):
            yield from _label_problems(program, operands, shape, {})
            yield from _summed_problems(operands, rank)
            yield from _function_problems(instruction)
            if along is not None and not 0 <= along < rank:
                yield f"normalises along label {along}, but the result has axes 0 .. {rank - 1}"
        case Gather(value=value, index=index, axis=axis):
            if value.axes.count(axis) != 1:
                yield f"gathers along label {axis}, which should be on exactly one axis of the value {value.axes}"
            if axis < rank or axis in index.axes:
                yield f"the gathered label {axis} is summed away: expected one that result and index do not have"
            yield from _index_problems(program, index)
            yield from _label_problems(program, (value, index), shape, {})
            yield from _summed_problems((index,), rank)
            yield from _summed_problems((value,), rank, besides=(axis,))
        case Scatter(value=value, index=index, axis=axis):
            if not 0 <= axis < rank:
                yield f"fills label {axis}, but the result has axes 0 .. {rank - 1}"
            if axis in value.axes or axis in index.axes:
                yield f"the filled label {axis} is on the value or on the index; expected it on the result only"
            yield from _index_problems(program, index)
            yield from _label_problems(program, (value, index), shape, {})
            yield from _summed_problems((value,), rank, besides=index.axes)
        case Slice():
            yield from _slice_problems(program, instruction, shape)
        case Concat():
            yield from _concat_problems(program, instruction, shape)
        case Eigenvalues() | Spectral():
            yield from _spectral_problems(program, instruction, shape)
        case _:
            assert_never(instruction)


def arity_problem(instruction: Instruction) -> str | None:
    """Say what is wrong with the number of values or parameters that an instruction is given, or None."""
    match instruction:
        case Contract(operands=operands):
            return None if len(operands) in (1, 2) else f"contracts {len(operands)} values; expected one or two"
        case Apply(function=name, operands=operands, parameters=parameters, along=along):
            function = lookup(name)
            if len(operands) != function.arity:
                return f"{name} takes {function.arity} values, but {len(operands)} are given"
            if len(parameters) != len(function.parameters):
                expected = ", ".join(function.parameters) or "none"
                return f"{name} has {len(parameters)} parameters; expected {expected}"
            if (along is None) != (function.along is None):
                return f"{name} {'needs an' if function.along else 'has no'} axis to normalise along"
            return None
        case Concat(parts=parts, lengths=lengths):
            return None if len(parts) == len(lengths) else f"has {len(parts)} parts but {len(lengths)} lengths"
        case Leaf() | Combine() | Gather() | Scatter() | Slice() | Eigenvalues() | Spectral():
            return None  # as many as their fields hold
    assert_never(instruction)


def arity_problems(program: Program) -> Mapping[int, str]:
    """Collect this for the statements that have such a problem, and unknown functions, by position; looked for once."""
    kept = vars(program)  # as cached_property does: no field, so no part of what it equals
    if "_arity_problems" not in kept:
        wrong: dict[int, str] = {}
        for position, statement in enumerate(program.statements):
            try:
                problem = arity_problem(statement.instruction)
            except KeyError as error:
                problem = str(error.args[0])
            if problem is not None:
                wrong[position] = problem
        kept["_arity_problems"] = wrong
    problems: Mapping[int, str] = kept["_arity_problems"]
    return problems


def _label_problems(
    program: Program, operands: Sequence[Operand], shape: tuple[Scaling, ...], besides: dict[int, Scaling]
) -> Iterator[str]:
    """Check that equal labels stand on equal dims. `besides` gives the dims of labels that are not to agree with the result."""
    sizes = dict(enumerate(shape)) | besides
    owners = dict.fromkeys(sizes, "the result")
    for operand in operands:
        value = program.statements[operand.var]
        for axis, label in enumerate(operand.axes):
            if label < 0:
                yield f"operand {value.name} has the negative label {label}"
            elif label not in sizes:
                sizes[label], owners[label] = value.shape[axis], value.name
            elif sizes[label] != value.shape[axis]:
                yield (
                    f"label {label} has size {value.shape[axis]} on axis {axis} of {value.name} "
                    f"but {sizes[label]} on {owners[label]}"
                )


def _summed_problems(operands: Sequence[Operand], rank: int, besides: Sequence[int] = ()) -> Iterator[str]:
    """Check that only Contract sums: elsewhere the result has every label."""
    for label in sorted({label for operand in operands for label in operand.axes}):
        if label >= rank and label not in besides:
            yield f"label {label} is not an axis of the result; only a contraction sums"


def _index_problems(program: Program, index: Operand) -> Iterator[str]:
    value = program.statements[index.var]
    if value.type != "int":
        yield f"the index {value.name} has type {value.type}; expected int"


def _arity_problems(instruction: Instruction) -> Iterator[str]:
    problem = arity_problem(instruction)
    if problem is not None:
        yield problem


def _function_problems(apply: Apply) -> Iterator[str]:
    try:
        lookup(apply.function)
    except KeyError as error:
        yield f"applies {apply.function!r}, which is not a function of tpdyn.pointwise: {error.args[0]}"
        return
    yield from _arity_problems(apply)


def _is_below_zero(number: Scaling) -> bool:
    """Tell whether a number is negative at large widths."""
    return bool(number.terms) and number.terms[0][0] < 0


def _slice_problems(program: Program, instruction: Slice, shape: tuple[Scaling, ...]) -> Iterator[str]:
    value, axis, rank = instruction.value, instruction.axis, len(shape)
    start, step, length = instruction.start, instruction.step, instruction.length
    if value.axes.count(axis) != 1:
        yield f"slices label {axis}, which should be on exactly one axis of the value {value.axes}"
        return
    if _is_below_zero(length + _MINUS_ONE) or step == 0:
        yield f"takes {length} entries with step {step}; expected at least one, and a step that is not 0"
        return
    size = program.statements[value.var].shape[value.axes.index(axis)]
    ends = (start, start + Scaling.of(step) * (length + _MINUS_ONE))
    if any(map(_is_below_zero, ends)):
        yield f"reads before the first entry: start {start}, step {step}, length {length}"
    if any(_is_below_zero(size + _MINUS_ONE + -end) for end in ends):
        yield f"reads past the end of an axis of size {size}: start {start}, step {step}, length {length}"
    if length == _ONE and axis < rank:
        yield f"a slice of length 1 drops its axis: expected a label >= {rank}, got {axis}"
    if length != _ONE and (axis >= rank or shape[axis] != length):
        yield f"takes {length} entries along label {axis}, which is not an axis of that size in the result"
    besides = {axis: size}
    yield from _label_problems(program, (value,), shape, besides)
    yield from _summed_problems((value,), rank, besides=(axis,))


def _concat_problems(program: Program, instruction: Concat, shape: tuple[Scaling, ...]) -> Iterator[str]:
    axis, rank = instruction.axis, len(shape)
    if not 0 <= axis < rank:
        yield f"lays parts along axis {axis}, but the result has axes 0 .. {rank - 1}"
        return
    if problem := arity_problem(instruction):
        yield problem
        return
    if Scaling.sum(instruction.lengths) != shape[axis]:
        yield f"the lengths {_listed(instruction.lengths)} add up to {Scaling.sum(instruction.lengths)}, not {shape[axis]}"
    for part, length in zip(instruction.parts, instruction.lengths, strict=True):
        if part is None:
            continue
        if axis not in part.axes and length != _ONE:
            name = program.statements[part.var].name
            yield f"part {name} lacks the axis and so has length 1 there, not {length}"
        yield from _label_problems(program, (part,), shape, {axis: length})
        yield from _summed_problems((part,), rank)


def _spectral_problems(
    program: Program, instruction: Eigenvalues | Spectral, shape: tuple[Scaling, ...]
) -> Iterator[str]:
    """Check that the matrix is square, with its labels where they should be, and an eigenvalue a row."""
    value, rows, columns, axis = instruction.value, instruction.rows, instruction.columns, instruction.axis
    rank, matrix = len(shape), program.statements[value.var]
    labels = (*rows, *columns)
    if not rows or any(value.axes.count(label) != 1 for label in labels) or len(set(labels)) != len(labels):
        yield f"rows {rows} and columns {columns} should each be labels of the value {value.axes}, once"
        return
    sizes = [[matrix.shape[value.axes.index(label)] for label in side] for side in (rows, columns)]
    if sizes[0] != sizes[1]:
        yield f"the matrix is not square: its rows are {_listed(sizes[0])}, its columns {_listed(sizes[1])}"
        return
    count = math.prod(sizes[0], start=_ONE)
    if isinstance(instruction, Eigenvalues):
        if any(label < rank for label in labels):
            yield f"rows {rows} and columns {columns} are not axes of the result: expected labels >= {rank}"
        if not 0 <= axis < rank or axis in value.axes:
            yield f"lays the eigenvalues along label {axis}, which should be an axis of the result only"
        elif shape[axis] != count:
            yield f"a matrix of size {count} has as many eigenvalues, not {shape[axis]}"
        yield from _label_problems(program, (value,), shape, {})
        yield from _summed_problems((value,), rank, besides=labels)
        return
    weights = instruction.weights
    if any(label >= rank for label in labels):
        yield f"rows {rows} and columns {columns} should be axes of the result: 0 .. {rank - 1}"
    if axis < rank or weights.axes.count(axis) != 1 or axis in value.axes:
        yield f"the label {axis} of the eigenvalues should be on one axis of the weights {weights.axes} only"
    elif any(label in weights.axes for label in labels):
        yield f"the weights {weights.axes} have labels of the matrix; expected one number an eigenvalue"
    elif program.statements[weights.var].shape[weights.axes.index(axis)] != count:
        yield f"a matrix of size {count} has as many eigenvalues, but there are other weights"
    yield from _label_problems(program, (weights, value), shape, {})
    yield from _summed_problems((weights, value), rank, besides=(axis, *labels))


def _listed(lengths: Sequence[Scaling]) -> str:
    return ", ".join(str(length) for length in lengths)


def _table_problems(program: Program) -> Iterator[str]:
    """Check the side tables: parameters, marks, arrays."""
    for parameter in program.parameters:
        if not parameter.versions:
            yield f"parameter {parameter.name}: has no version 0"
            continue
        views = [(f"version {t}", view) for t, view in enumerate(parameter.versions)]
        views += [(f"gradient of step {t}", view) for t, view in enumerate(parameter.gradients) if view is not None]
        first: tuple[Scaling, ...] | None = None
        for what, view in views:
            problem = view_problem(program, view)
            if problem:
                yield f"parameter {parameter.name}, {what}: {problem}"
                continue
            shape = script_shape(program, view)
            first = shape if first is None else first
            if shape != first:
                yield f"parameter {parameter.name}, {what}: has shape ({_listed(shape)}), version 0 has ({_listed(first)})"
    for mark in program.marks:
        problem = view_problem(program, mark.view)
        if problem:
            yield f"{mark.kind} {mark.name!r} of step {mark.step}: {problem}"
    leaves = {s.name for s in program.statements if isinstance(s.instruction, Leaf)}
    for name in program.arrays:
        if name not in leaves:
            yield f"there is an array {name!r}, but no leaf of that name"


def view_problem(program: Program, view: View) -> str | None:
    """Say what is wrong with a view, or None."""
    if not view.pieces:
        return "the view has no value"
    if view.parts:
        return _packed_problem(program, view)
    for piece in view.pieces:
        if not 0 <= piece < len(program.statements):
            return f"the view names statement {piece}, which does not exist"
    shape = program.statements[view.var].shape
    for piece in view.pieces:
        if program.statements[piece].shape != shape:
            return "the pieces have different shapes"
    axes = [axis for dim in view.dims for axis in dim]
    if sorted(axes) != list(range(len(shape))):
        return f"the view's dims {view.dims} should name each of the {len(shape)} axes once"
    count = math.prod(factor.count for factor in view.factors)
    if count != len(view.pieces):
        return f"the view has {len(view.pieces)} pieces, but its stacked factors count {count}"
    for factor in view.factors:
        if not 0 <= factor.dim < len(view.dims):
            return f"the view stacks its pieces in dim {factor.dim}, but has {len(view.dims)} dims"
    return None


def _packed_problem(program: Program, view: View) -> str | None:
    if problem := next((problem for part in view.parts if (problem := view_problem(program, part))), None):
        return problem
    if view.pieces != tuple(piece for part in view.parts for piece in part.pieces):
        return "the view's pieces are not those of its parts"
    shapes = [script_shape(program, part) for part in view.parts]
    if view.along is None or not 0 <= view.along < min(map(len, shapes)):
        return f"the view lays its parts along dim {view.along}, which is none of its dims"
    if len({(*shape[: view.along], None, *shape[view.along + 1 :]) for shape in shapes}) > 1:
        return f"the parts of the view have different dims besides dim {view.along}"
    return None


def script_shape(program: Program, view: View) -> tuple[Scaling, ...]:
    """Return the shape of the script's tensor, from a view without problems."""
    if view.along is not None:
        shapes = [script_shape(program, part) for part in view.parts]
        length = Scaling.sum([each[view.along] for each in shapes])
        return (*shapes[0][: view.along], length, *shapes[0][view.along + 1 :])
    shape = program.statements[view.var].shape
    sizes: list[Scaling] = []
    for position, dim in enumerate(view.dims):
        count = math.prod(factor.count for factor in view.factors if factor.dim == position)
        sizes.append(math.prod((shape[axis] for axis in dim), start=Scaling.of(count)))
    return tuple(sizes)
