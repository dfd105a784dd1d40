"""How is a program tidied once it is written in atoms? Permutations and unread values are dropped, the rest gets names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace

from tpdyn.exponents import Scaling
from tpdyn.program.check import script_shape
from tpdyn.program.instructions import (
    Combine,
    Contract,
    Leaf,
    Operand,
    operands_of,
    with_operands,
)
from tpdyn.program.program import Mark, Parameter, Program, Statement, View
from tpdyn.recorder.canonical.packed import rows_of
from tpdyn.recorder.fitting.atoms import ONE


def tidied(
    statements: list[Statement], parameters: list[Parameter], marks: list[Mark], leaves: Iterable[View] = ()
) -> tuple[Program, Callable[[View], View | None]]:
    """Return the program of what parameters and marks depend on, and where a view lies in it (None: left out).

    leaves: of these, either all pieces are kept or none.
    """
    statements, followed = without_permutations(statements)
    views = [view for p in parameters for view in (*p.versions, *p.gradients) if view is not None]
    views += [mark.view for mark in marks]
    alive = {piece for view in views for piece in followed(view).pieces}
    statements = with_scales_in_products(statements, alive)
    for position in range(len(statements) - 1, -1, -1):
        if position in alive:
            alive.update(operand.var for operand in operands_of(statements[position].instruction))
    for view in leaves:
        if alive.intersection(view.pieces):
            alive.update(view.pieces)
    number = {old: new for new, old in enumerate(sorted(alive))}

    def moved(view: View) -> View | None:
        view = followed(view)
        if any(piece not in number for piece in view.pieces):
            return None
        return view.moved(number.__getitem__)

    def there(view: View) -> View:
        moved_view = moved(view)
        assert moved_view is not None
        return moved_view

    parameters = [
        Parameter(p.name, tuple(map(there, p.versions)), tuple(g and there(g) for g in p.gradients)) for p in parameters
    ]
    marks = [replace(mark, view=there(mark.view)) for mark in marks]
    kept = named([renumbered(statements[old], number) for old in number], parameters, marks)
    return Program(kept, tuple(parameters), tuple(marks)), moved


def renumbered(statement: Statement, number: dict[int, int]) -> Statement:
    """Return the statement after others were left out."""
    moved = with_operands(statement.instruction, lambda operand: Operand(number[operand.var], operand.axes))
    return replace(statement, instruction=moved)


def _multiple_in(statement: Statement) -> tuple[Scaling, Operand] | None:
    """Return the constant and the operand, if a statement is a constant multiple of a value, axes in any order."""
    match statement.instruction:
        case Contract(operands=(operand,), scale=scale):
            pass
        case Combine(terms=((scale, operand),), constant=constant) if constant.is_zero:
            pass
        case _:
            return None  # anything else computes: it stays
    return (scale, operand) if sorted(operand.axes) == list(range(len(statement.shape))) else None


def permutation_in(statement: Statement) -> Operand | None:
    """Return the operand, when the statement is that value with its axes in another order (or a copy of it)."""
    multiple = _multiple_in(statement)
    return multiple[1] if multiple is not None and multiple[0] == ONE else None


def without_permutations(statements: list[Statement]) -> tuple[list[Statement], Callable[[View], View]]:
    """Read through permutations of axes; return the statements, and how a view of a permutation becomes one of its source.

    Where the pieces of one view would be permuted in different ways, the permutations stay.
    """
    origin: dict[
        int, Operand
    ] = {}  # a permutation -> its source; axes: the axis of the permutation of each source axis

    def through(operand: Operand) -> Operand:
        source = origin.get(operand.var)
        if source is None:
            return operand
        return Operand(source.var, tuple(operand.axes[axis] for axis in source.axes))

    result: list[Statement] = []
    for position, statement in enumerate(statements):
        statement = replace(statement, instruction=with_operands(statement.instruction, through))
        result.append(statement)
        operand = permutation_in(statement)
        if operand is not None and result[operand.var].type == statement.type:
            origin[position] = operand

    def followed(view: View) -> View:
        if view.along is not None:
            return View.packed([followed(part) for part in view.parts], view.along)
        sources = [origin.get(piece) for piece in view.pieces]
        first = sources[0]
        if first is None or any(source is None or source.axes != first.axes for source in sources):
            return view
        back = {axis: number for number, axis in enumerate(first.axes)}
        return replace(
            view,
            pieces=tuple(source.var for source in sources if source is not None),
            dims=tuple(tuple(back[axis] for axis in dim) for dim in view.dims),
        )

    return result, followed


def multiple_in(statement: Statement) -> tuple[Scaling, Operand] | None:
    """Return the constant and the operand of a multiple in a forward pass that guards no denominator."""
    guards = isinstance(statement.instruction, Combine) and statement.instruction.epsilon
    return None if guards or statement.origin.phase != "forward" else _multiple_in(statement)


def with_scales_in_products(statements: list[Statement], kept: set[int]) -> list[Statement]:
    """Move multiples that only products read into these, and leave them unread: `sum_j (s x_j) y_j` is `s sum_j x_j y_j`.

    So readings do not see where a script puts the multiplier. Attention may scale its queries or its logits, a readout its
    input or its output. The multiplier is one of the product, the vector is what it was. What is read from a matrix of
    activations (`q @ (k.T @ v) / d`) keeps the multiplier behind it. kept: positions that have a name.
    """
    from_data = _from_data(statements)
    multiples = {
        position: multiple
        for position, statement in enumerate(statements)
        if position not in kept
        and (multiple := multiple_in(statement)) is not None
        and not _read_from_activations(statements, multiple[1].var, from_data)
    }
    for statement in statements:
        for operand in operands_of(statement.instruction):
            if operand.var in multiples and not _summed_over(statement, operand, statements):
                del multiples[operand.var]
    result = []
    for statement in statements:
        instruction = statement.instruction
        if isinstance(instruction, Contract):
            operands, scale = list(instruction.operands), instruction.scale
            for k, operand in enumerate(operands):
                while operand.var in multiples:
                    factor, source = multiples[operand.var]
                    axes = tuple(operand.axes[axis] for axis in source.axes)
                    operand, scale = Operand(source.var, axes), scale * factor
                operands[k] = operand
            instruction = Contract(tuple(operands), scale)
            statement = replace(statement, instruction=instruction)
        result.append(statement)
    return result


def _from_data(statements: list[Statement]) -> list[bool]:
    """Mark the values of forward passes that depend on data otherwise than through trained weights."""
    marks: list[bool] = []
    for statement in statements:
        is_data = isinstance(statement.instruction, Leaf) and statement.instruction.kind == "data"
        forward = statement.origin.phase == "forward"
        marks.append(is_data or (forward and any(marks[operand.var] for operand in operands_of(statement.instruction))))
    return marks


def _read_from_activations(statements: list[Statement], position: int, from_data: list[bool]) -> bool:
    """Tell whether a value is a product with a matrix of activations, summed over a wide dim."""
    statement = statements[position]
    return any(
        from_data[operand.var]
        and len(statements[operand.var].wide_axes) == 2
        and _summed_over(statement, operand, statements)
        for operand in operands_of(statement.instruction)
    )


def _summed_over(statement: Statement, operand: Operand, statements: list[Statement]) -> bool:
    """Tell whether a statement is a product that sums over a wide axis of the operand."""
    if not isinstance(statement.instruction, Contract) or len(statement.instruction.operands) != 2:
        return False
    wide = statements[operand.var].wide_axes
    # In the backward pass the same factor stands in outer products: a step of the gradient's way through the product.
    return statement.origin.phase == "backward" or any(operand.axes[axis] >= len(statement.shape) for axis in wide)


def named(statements: list[Statement], parameters: list[Parameter], marks: list[Mark]) -> tuple[Statement, ...]:
    """Name statements: leaves keep theirs; `w_1` versions, `d w_0` gradients, `fc1@0` outputs of modules; others `v17`."""
    wanted: dict[int, str] = {}
    program = Program(tuple(statements))

    def want(view: View | None, name: str) -> None:
        if view is None:
            return
        if view.along is not None:
            lengths = [script_shape(program, part)[view.along] for part in view.parts]
            for number, part in enumerate(view.parts):
                want(part, name + rows_of(view.along, lengths, number))
            return
        grid = [range(factor.count) for factor in view.factors]
        for piece, index in zip(view.pieces, itertools.product(*grid), strict=True):
            wanted.setdefault(piece, name + (f"[{','.join(map(str, index))}]" if index else ""))

    for parameter in parameters:
        for version, view in enumerate(parameter.versions):
            want(view, f"{parameter.name}_{version}")
    for kind in ("loss", "module", "output"):
        for mark in marks:
            if mark.kind == kind and (mark.name or kind != "module"):
                want(mark.view, f"{mark.name or kind}@{mark.step}")
    for parameter in parameters:
        for step, gradient in enumerate(parameter.gradients):
            want(gradient, f"d {parameter.name}_{step}")
    taken: set[str] = {s.instruction.name for s in statements if isinstance(s.instruction, Leaf)}
    leaves: set[str] = set()
    result: list[Statement] = []
    for position, statement in enumerate(statements):
        if isinstance(statement.instruction, Leaf):
            name = _free(statement.instruction.name, leaves)
            leaves.add(name)
            taken.add(name)
            result.append(replace(statement, name=name, instruction=replace(statement.instruction, name=name)))
            continue
        name = _free(wanted.get(position, f"v{position}"), taken)
        taken.add(name)
        result.append(replace(statement, name=name))
    return tuple(result)


def _free(name: str, taken: set[str]) -> str:
    """Return the name, or the first of name~2, name~3, ... that is not taken."""
    candidates = (name if k == 1 else f"{name}~{k}" for k in itertools.count(1))
    return next(candidate for candidate in candidates if candidate not in taken)
