"""Which values of a program decide the verdict? Representations, logits and outputs, with constant multipliers folded.

A constant multiplier `c n^p` belongs to the instruction that makes a value: under NTK parametrization `h = n^-1/2 W x` is
one value, and the bare `W x` of order 1/2 is no activation. So a value whose every forward use multiplies it by a power
of the width, at once or behind a sum with others, does not count. None of this depends on exponents: it is worked out
once a program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from tpdyn.exponents import ZERO
from tpdyn.pointwise import lookup
from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Eigenvalues, Leaf, Slice, operands_of
from tpdyn.program.program import Program, Source


@final
@dataclass(frozen=True, slots=True)
class Structure:
    """Positions of the values that count.

    representations: forward values with one wide axis that depend on data, folded, but for the factors of normalisations
    (`1/sqrt(var + eps)` of a batch norm, one a channel). scalars: (position of the value,
    position of the function) for values without wide axis that enter a function with a scale of its own. outputs: what
    the network returns, step by step. folded: values that do not count because a multiplier follows. normalising: where the
    optimizer normalises entry by entry. wide_data: forward values with two wide axes that depend on data. fixed: products
    that sum a representation with a fixed matrix of two wide dims (a Fourier transform over the width).
    """

    representations: tuple[int, ...]
    scalars: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]
    folded: Mapping[int, Fraction]
    normalising: tuple[int, ...]
    wide_data: tuple[int, ...]
    fixed: tuple[int, ...]

    @property
    def entrywise(self) -> bool:
        """Whether the optimizer normalises entry by entry (some parameters at least)."""
        return bool(self.normalising)


def structure(program: Program) -> Structure:
    """Read off a program which of its values decide."""
    size = len(program)
    from_data = [False] * size
    from_parameters = [False] * size
    from_inputs = [False] * size  # from data, but not through updates alone: a function of weights is as in step 0
    versions = {var for parameter in program.parameters for view in parameter.versions for var in view.pieces}
    spectrum = [False] * size  # functions of eigenvalues: what normalises them does not act entry by entry
    uses: list[list[tuple[Fraction, int | None]]] = [[] for _ in range(size)]
    wide = [len(statement.wide_axes) for statement in program.statements]
    scalars, representations, normalising, wide_data, fixed = [], [], [], [], []
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        places = operands_of(instruction)
        if isinstance(instruction, Leaf):
            from_data[position] = from_inputs[position] = instruction.kind == "data"
            from_parameters[position] = instruction.kind == "parameter"
            continue
        from_data[position] = any(from_data[place.var] for place in places)
        from_parameters[position] = any(from_parameters[place.var] for place in places)
        from_inputs[position] = position not in versions and any(from_inputs[place.var] for place in places)
        spectrum[position] = isinstance(instruction, Eigenvalues) or (
            isinstance(instruction, Apply | Combine) and any(spectrum[place.var] for place in places)
        )
        if statement.origin.phase == "optimizer":
            if (
                isinstance(instruction, Apply)
                and wide[position]
                and not spectrum[position]
                and instruction.function in _NORMALISING
            ):
                normalising.append(position)
            continue
        if statement.origin.phase != "forward":
            continue
        match instruction:
            case Combine(terms=terms):
                for scale, place in terms:
                    uses[place.var].append((scale.order or ZERO, position))
            case Contract(scale=scale):
                for place in places:
                    alone = len(places) == 1 and wide[place.var] == wide[position]
                    uses[place.var].append((scale.order or ZERO, position) if alone else (ZERO, None))
                if wide[position] and any(_is_fixed_matrix(program, place.var) for place in places):
                    if any(label >= len(statement.shape) for place in places for label in place.axes):
                        fixed.append(position)
            case _:
                for place in places:
                    uses[place.var].append((ZERO, None))
        if isinstance(instruction, Apply) and _has_scale(instruction):
            scalars += [(p.var, position) for p in places if wide[p.var] == 0 and from_parameters[p.var]]
        if statement.type == "float" and from_data[position] and from_parameters[position]:
            if wide[position] == 1 and not _is_mask(instruction) and not normalises(program, instruction):
                representations.append(position)
            elif wide[position] > 1 and from_inputs[position]:
                wide_data.append(position)
    folded = _folded(uses)
    outputs = tuple(var for mark in program.marks if mark.kind == "output" for var in mark.view.pieces)
    if not outputs:
        outputs = tuple(var for mark in program.marks if mark.kind == "loss" for var in mark.view.pieces)
    return Structure(
        tuple(position for position in representations if position not in folded),
        tuple(scalars),
        outputs,
        folded,
        tuple(normalising),
        tuple(wide_data),
        tuple(fixed),
    )


def _folded(uses: Sequence[Sequence[tuple[Fraction, int | None]]]) -> Mapping[int, Fraction]:
    """The multipliers that follow values, also behind a sum: in `n^-1 (W x + b)` it is that of W x and of b.

    uses: for each value the multiplier of each use, and the value that this makes, where it is a sum of multiples.
    """
    folded: dict[int, Fraction] = {}
    for position in reversed(range(len(uses))):
        powers = [power + (folded.get(made, ZERO) if made is not None else ZERO) for power, made in uses[position]]
        if powers and all(powers):
            folded[position] = max(powers)
    return folded


def _is_fixed_matrix(program: Program, position: int) -> bool:
    """Whether the entries along two wide dims are an array that the script computes."""
    statement = program.statements[position]
    leaf = statement.instruction
    fixed = isinstance(leaf, Leaf) and leaf.kind in ("constant", "buffer") and leaf.law.kind == "array"
    return fixed and statement.type == "float" and len(statement.wide_axes) > 1


_NORMALISING = frozenset({"sign", "sqrt", "rsqrt", "reciprocal", "power"})


def _has_scale(apply: Apply) -> bool:
    if apply.function in ("where", "log"):
        return False
    return lookup(apply.function, tuple(float(p.constant) for p in apply.parameters if p.is_constant)).scale_of_its_own


def normalises(program: Program, instruction: object) -> bool:
    """Whether it is the factor `1/sqrt(var + eps)` of a normalisation: no activation, only its product with one is."""
    if not isinstance(instruction, Apply) or instruction.function not in _NORMALISING - {"sign"}:
        return False
    inner = program.statements[instruction.operands[0].var].instruction
    return (isinstance(inner, Combine) and inner.epsilon) or normalises(program, inner)


def _is_mask(instruction: object) -> bool:
    return isinstance(instruction, Apply) and lookup(instruction.function).jumps


def maker(program: Program, position: int) -> int:
    """The contraction behind a value: masks, slices, multipliers and sums are walked through to the larger operand."""
    while True:
        instruction = program.statements[position].instruction
        match instruction:
            case Apply(function="where", operands=operands):
                position = operands[1].var
            case Combine(terms=terms) if len(terms) == 1:
                position = terms[0][1].var
            case Slice(value=value):
                position = value.var
            case Concat(parts=parts) if sum(part is not None for part in parts) == 1:
                position = next(part.var for part in parts if part is not None)
            case _:
                return position


def source_of(program: Program, position: int) -> Source:
    """The user's source line of a statement."""
    return program.statements[position].origin.source
