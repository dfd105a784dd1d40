"""How does a program read? Formulas as in a paper, one statement a line, always the same text for the same program.

    -- step 0, forward
    fc1@0 = x fc1.weight^T + fc1.bias       [7, n]   # train.py:12
    act@0 = tanh(fc1@0)                     [7, n]
    -- step 0, optimizer
    fc1.weight_1 = fc1.weight - 0.1 * d fc1.weight_0   [n, 5]   # train.py:15

Notation: `w_1` is parameter w after one step and `w` its initial value. `d w_0` is the gradient in step 0. `fc1@0` is the
output of module fc1 in step 0. `v17` is a value without a name. `A B`, `A^T B`, `x . y` are products summed over the inner
axis. `x * y` is entrywise, and `outer(x, y)` has no sum. Other products are written with indices: `sum_k x[i,j,k] w[l,k]`.
Without indices, axes match from the last one backwards, as in numpy. `[a = b]` is 1 where a equals b and 0 elsewhere.
`spectral(w; S)` is the matrix with the eigenvectors of S and the eigenvalues w. Dims are
in square brackets behind the formula. Values without a name that are read once are written where they are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import assert_never

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Law,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
    operands_of,
)
from tpdyn.program.program import Program, Source, Statement

LETTERS = "ijklmpqrstuvwxyzabcdefgh"
"""Of axes; n is the width and o looks like a zero."""
LONGEST_INLINED = 70
SUM, PRODUCT, ATOM = 1, 2, 3
_UNNAMED = re.compile(r"v\d+")
_GROUP = re.compile(r"(^|[ (])\(")
"""A parenthesis that groups (and does not call a function): formulas that hold one keep a line of their own."""


def show(
    program: Program,
    step: int | None = None,
    phases: tuple[str, ...] | None = None,
    beside: Callable[[int], str] | None = None,
) -> str:
    """Write the program as text: all of it, or one step, or some phases ("forward", "optimizer", ...).

    beside: what else stands in the line of a statement, given its position (its orders, say).
    """
    writer = _Writer(program, inline=True)
    blocks: list[tuple[str, list[tuple[str, str, Source]]]] = []
    for position, statement in enumerate(program.statements):
        origin = statement.origin
        if (step is not None and origin.step != step) or (phases is not None and origin.phase not in phases):
            continue
        if position in writer.inlined:
            continue
        title = origin.phase if origin.phase == "initialization" else f"step {origin.step}, {origin.phase}"
        if not blocks or blocks[-1][0] != title:
            blocks.append((title, []))
        dims = _dims(statement) if beside is None else f"{_dims(statement):<9} {beside(position)}"
        blocks[-1][1].append((writer.equation(position), dims, origin.source))
    return "\n\n".join(_block(title, lines) for title, lines in blocks)


def show_statement(program: Program, position: int) -> str:
    """Show one statement as text; safe on ill-formed programs, since it is how they are shown."""
    try:
        equation = _Writer(program, inline=False).equation(position)
    except (IndexError, KeyError, ValueError):
        statement = program.statements[position]
        equation = f"{statement.name} = {statement.instruction}"
    return f"{equation}   {_dims(program.statements[position])}"


def _dims(statement: Statement) -> str:
    kind = "" if statement.type == "float" else f" {statement.type}"
    return f"[{', '.join(map(str, statement.shape))}]{kind}"


def _block(title: str, lines: Sequence[tuple[str, str, Source]]) -> str:
    """Lay out a heading and its formulas, dims in one column; a source line where it changes."""
    column = max((len(equation) for equation, _, _ in lines if len(equation) <= 80), default=0)
    sizes = max(len(dims) for _, dims, _ in lines)
    text = [f"-- {title}"]
    before = Source()
    for equation, dims, source in lines:
        location = ""
        if source != before and source.file:
            location = f"   # {PurePath(source.file).name}:{source.line}"
        before = source
        text.append(f"{equation:<{column}}   {dims:<{sizes}}{location}".rstrip())
    return "\n".join(text)


@dataclass(frozen=True, slots=True)
class _Formula:
    """A right-hand side: how tightly it binds, and whether it uses the indices of the result."""

    text: str
    binds: int
    indexed: bool = False

    def inside(self, binds: int) -> str:
        return self.text if self.binds >= binds else f"({self.text})"


class _Writer:
    def __init__(self, program: Program, inline: bool) -> None:
        self.program = program
        self.inlined: dict[int, _Formula] = {}
        if inline:
            self._inline()

    def _inline(self) -> None:
        """Find the nameless values that are read once, without a change of axes, in the same step and phase."""
        reads: Counter[int] = Counter()
        reader: dict[int, int] = {}
        plain: set[int] = set()
        for position, statement in enumerate(self.program.statements):
            for operand in operands_of(statement.instruction):
                reads[operand.var] += 1
                reader[operand.var] = position
                if self._may_hold(statement, operand):
                    plain.add(operand.var)
        kept = {
            piece
            for p in self.program.parameters
            for view in (*p.versions, *p.gradients)
            if view
            for piece in view.pieces
        } | {piece for mark in self.program.marks for piece in mark.view.pieces}
        for position, statement in enumerate(self.program.statements):
            if reads[position] != 1 or position in kept or position not in plain:
                continue
            other = self.program.statements[reader[position]]
            same = (other.origin.step, other.origin.phase) == (statement.origin.step, statement.origin.phase)
            if not same or isinstance(statement.instruction, Leaf) or not _UNNAMED.fullmatch(statement.name):
                continue
            formula = self.formula(statement)
            if not formula.indexed and len(formula.text) <= LONGEST_INLINED and not _GROUP.search(formula.text):
                self.inlined[position] = formula

    def _may_hold(self, statement: Statement, operand: Operand) -> bool:
        """Tell whether the reader writes this operand without indices, so that a formula can replace it."""
        instruction = statement.instruction
        if isinstance(instruction, Contract):
            return not self._contract_is_indexed(instruction, len(statement.shape))
        if isinstance(instruction, Combine | Apply):
            return all(_trailing(other, len(statement.shape)) for other in operands_of(instruction))
        return False

    # -- values ---------------------------------------------------------------------------------------------------

    def name(self, var: int) -> str:
        return self.program.statements[var].name

    def value(self, operand: Operand, binds: int) -> str:
        """Write an operand without indices."""
        if operand.var in self.inlined:
            return self.inlined[operand.var].inside(binds)
        name = self.name(operand.var)
        return f"({name})" if " " in name and binds > PRODUCT else name

    def entry(self, operand: Operand, letters: Sequence[str]) -> str:
        """Write an operand with its indices."""
        name = self.name(operand.var)
        return f"{name}[{','.join(letters[label] for label in operand.axes)}]" if operand.axes else name

    def each(
        self, operands: Sequence[Operand], rank: int, letters: Sequence[str], binds: int
    ) -> tuple[list[str], bool]:
        """Write all operands without indices where numpy's matching of axes says the same, else all with; tell whether with."""
        if all(_trailing(operand, rank) for operand in operands):
            return [self.value(operand, binds) for operand in operands], False
        return [self.entry(operand, letters) for operand in operands], True

    # -- statements -------------------------------------------------------------------------------------------------

    def equation(self, position: int) -> str:
        statement = self.program.statements[position]
        if isinstance(statement.instruction, Leaf):
            return f"{statement.name} {_law(statement.instruction.law)}"
        formula = self.formula(statement)
        rank = len(statement.shape)
        indices = f"[{','.join(_letters(rank)[:rank])}]" if formula.indexed and rank else ""
        return f"{statement.name}{indices} = {formula.text}"

    def formula(self, statement: Statement) -> _Formula:
        instruction, rank = statement.instruction, len(statement.shape)
        labels = [label for operand in operands_of(instruction) for label in operand.axes]
        letters = _letters(max([rank, *(label + 1 for label in labels)]))
        match instruction:
            case Leaf():
                return _Formula(_law(instruction.law), ATOM)
            case Contract():
                return self.contract(instruction, rank, letters)
            case Combine():
                return self.combine(instruction, rank, letters)
            case Apply(function=function, operands=operands, parameters=parameters, along=along):
                parts, indexed = self.each(operands, rank, letters, SUM)
                text = ", ".join(parts)
                extras = [str(parameter) for parameter in parameters]
                extras += [] if along is None else [f"along axis {along}"]
                text += f"; {', '.join(extras)}" if extras else ""
                return _Formula(f"{function}({text})", ATOM, indexed)
            case Gather(value=value, index=index, axis=axis):
                where = self.entry(index, letters)
                inside = ",".join(where if label == axis else letters[label] for label in value.axes)
                return _Formula(f"{self.name(value.var)}[{inside}]", ATOM, True)
            case Scatter(value=value, index=index, axis=axis):
                summed = sorted({label for label in (*value.axes, *index.axes) if label >= rank})
                total = f"sum_{','.join(letters[label] for label in summed)} " if summed else ""
                hit = f"[{letters[axis]} = {self.entry(index, letters)}]"
                return _Formula(f"{total}{hit} {self.entry(value, letters)}", PRODUCT, True)
            case Slice(value=value, axis=axis, start=start, step=step, length=length):
                entry = str(start) if length == Scaling.of(1) else _affine(start, step, letters[axis])
                inside = ",".join(entry if label == axis else letters[label] for label in value.axes)
                return _Formula(f"{self.name(value.var)}[{inside}]", ATOM, True)
            case Concat(parts=parts, lengths=lengths, axis=axis):
                given = [part for part in parts if part is not None]
                plain = all(part.axes == tuple(range(rank)) for part in given)
                shown = [
                    f"zeros({length})"
                    if part is None
                    else self.value(part, SUM)
                    if plain
                    else self.entry(part, letters)
                    for part, length in zip(parts, lengths, strict=True)
                ]
                return _Formula(f"concat({', '.join(shown)}; axis {axis})", ATOM, not plain)
            case Eigenvalues() | Spectral():
                return self.spectral(instruction, rank, letters)
            case _:
                assert_never(instruction)

    def spectral(self, instruction: Eigenvalues | Spectral, rank: int, letters: Sequence[str]) -> _Formula:
        """Return `eigenvalues(S)` and `spectral(w; S)`; with indices where there is more than one matrix, or one with four axes."""
        value = instruction.value
        order = "; descending" if instruction.descending else ""
        plain = value.axes == (*instruction.rows, *instruction.columns) and len(value.axes) == 2
        if isinstance(instruction, Eigenvalues):
            inside = self.value(value, SUM) if plain else self.entry(value, letters)
            sides = "" if plain else f"; rows {self.listed(instruction.rows, letters)}"
            return _Formula(f"eigenvalues({inside}{sides}{order})", ATOM, not plain)
        weights = instruction.weights
        plain = plain and value.axes == (0, 1) and weights.axes == (instruction.axis,)
        shown = [self.value(each, SUM) if plain else self.entry(each, letters) for each in (weights, value)]
        sides = "" if plain else f"; rows {self.listed(instruction.rows, letters)}"
        return _Formula(f"spectral({'; '.join(shown)}{sides}{order})", ATOM, not plain)

    def listed(self, labels: Sequence[int], letters: Sequence[str]) -> str:
        return ",".join(letters[label] for label in labels)

    def combine(self, instruction: Combine, rank: int, letters: Sequence[str]) -> _Formula:
        pieces: list[tuple[bool, str]] = []
        values, indexed = self.each([operand for _, operand in instruction.terms], rank, letters, PRODUCT)
        for (scale, _), text in zip(instruction.terms, values, strict=True):
            negative, factor = _factor(scale)
            pieces.append((negative, f"{factor}{text}"))
        if not instruction.constant.is_zero or not pieces:
            single = len(instruction.constant.terms) <= 1
            negative = single and bool(instruction.constant.terms) and instruction.constant.terms[0][0] < 0
            number = -instruction.constant if negative else instruction.constant
            pieces.append((negative, str(number) if single else f"({number})"))
        text = "-" if pieces[0][0] else ""
        text += pieces[0][1]
        for negative, piece in pieces[1:]:
            text += f" - {piece}" if negative else f" + {piece}"
        lone = len(pieces) == 1 and not pieces[0][0]
        return _Formula(text, PRODUCT if lone else SUM, indexed)

    def _contract_is_indexed(self, instruction: Contract, rank: int) -> bool:
        operands = instruction.operands
        if len(operands) == 1:
            return not _trailing(operands[0], rank)
        if len(operands) != 2:
            return True
        return _product_form(operands[0], operands[1], rank) is None

    def contract(self, instruction: Contract, rank: int, letters: Sequence[str]) -> _Formula:
        negative, factor = _factor(instruction.scale)
        sign = "-" if negative else ""
        operands = instruction.operands
        if not self._contract_is_indexed(instruction, rank):
            if len(operands) == 1:
                return _Formula(f"{sign}{factor}{self.value(operands[0], PRODUCT)}", SUM if sign else PRODUCT)
            first, second = operands
            form = _product_form(first, second, rank)
            assert form is not None
            kind, swapped, left, right = form
            first, second = (second, first) if swapped else (first, second)
            if kind == "outer":
                text = f"outer({self.value(first, SUM)}, {self.value(second, SUM)})"
                return _Formula(f"{sign}{factor}{text}", SUM if sign else PRODUCT if factor else ATOM)
            joint = {"product": " ", "dot": " . ", "entrywise": " * "}[kind]
            a, b = self.value(first, ATOM) + left, self.value(second, ATOM) + right
            return _Formula(f"{sign}{factor}{a}{joint}{b}", SUM if sign else PRODUCT)
        summed = sorted({label for operand in operands for label in operand.axes if label >= rank})
        total = f"sum_{','.join(letters[label] for label in summed)} " if summed else ""
        text = " ".join(self.entry(operand, letters) for operand in operands)
        indexed = rank > 0 and any(label < rank for operand in operands for label in operand.axes)
        return _Formula(f"{sign}{factor}{total}{text}", SUM if sign else PRODUCT, indexed)


def _trailing(operand: Operand, rank: int) -> bool:
    """Tell whether numpy, matching axes from the last one backwards, would align the operand's axes as the labels do."""
    return operand.axes == tuple(range(rank - len(operand.axes), rank))


def _product_form(a: Operand, b: Operand, rank: int) -> tuple[str, bool, str, str] | None:
    """Return (kind, whether to swap, mark behind the first, mark behind the second) for products that need no indices."""
    labels = {*a.axes, *b.axes}
    summed = {label for label in labels if label >= rank}
    if not summed:
        if _trailing(a, rank) and _trailing(b, rank) and rank == max(len(a.axes), len(b.axes)):
            return "entrywise", False, "", ""
        if (a.axes, b.axes) == ((0,), (1,)) and rank == 2:
            return "outer", False, "", ""
        if (a.axes, b.axes) == ((1,), (0,)) and rank == 2:
            return "outer", True, "", ""
        return None
    if len(summed) != 1 or labels - summed != set(range(rank)) or not summed <= {*a.axes} & {*b.axes}:
        return None
    (inner,) = summed
    if rank == 0 and a.axes == b.axes == (inner,):
        return "dot", False, "", ""
    if rank == 1 and {len(a.axes), len(b.axes)} == {1, 2}:
        swapped = len(a.axes) == 1
        matrix, vector = (b, a) if swapped else (a, b)
        if sorted(matrix.axes) == [0, inner] and vector.axes == (inner,):
            return "product", swapped, "" if matrix.axes == (0, inner) else "^T", ""
    if rank == 2 and len(a.axes) == len(b.axes) == 2:
        swapped = 0 in b.axes
        left, right = (b, a) if swapped else (a, b)
        if {*left.axes} == {0, inner} and {*right.axes} == {1, inner}:
            return (
                "product",
                swapped,
                "" if left.axes == (0, inner) else "^T",
                "" if right.axes == (inner, 1) else "^T",
            )
    return None


def _factor(scale: Scaling) -> tuple[bool, str]:
    """Return (whether to subtract, the factor as text with its `*`)."""
    if len(scale.terms) == 1:
        negative = scale.terms[0][0] < 0
        size = -scale if negative else scale
        return negative, "" if str(size) == "1" else f"{size} * "
    return False, f"({scale}) * " if scale.terms else "0 * "


def _letters(count: int) -> list[str]:
    return [LETTERS[k] if k < len(LETTERS) else f"i{k}" for k in range(count)]


def _affine(start: Scaling, step: int, letter: str) -> str:
    if step == -1:
        return f"{start}-{letter}"
    stride = letter if step == 1 else f"{step}{letter}"
    return stride if start.is_zero else f"{start}+{stride}" if step > 0 else f"{start}{stride}"


def _law(law: Law) -> str:
    match law.kind:
        case "zero":
            return "= 0"
        case "constant":
            return f"= {law.location}"
        case "normal" | "uniform" | "iid" | "orthogonal":
            about = "some law" if law.kind == "iid" else law.kind
            return f"~ {about}({law.location} +- {law.scale})"
        case "bernoulli":
            return f"~ bernoulli({law.location})"
        case "data" | "index" | "array":
            return f": {law.kind}" + ("" if law.scale.is_zero else f" of size {law.scale}")
        case _:
            assert_never(law.kind)
