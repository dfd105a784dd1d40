"""What values does a program take for many seeds at once, its base program beside? Those of `finite`, up to round-off.

A value has an axis in front, one entry a seed. Its size is 1 where the value is the same for every seed. What does not
depend on the seeds is worked out once: which statements are needed, their sizes and constants. Then each statement is few
passes over its entries. That is what makes seeds cheap. At small widths the statements cost more than the numbers, at large
ones the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from tpdyn.program.base import later_versions
from tpdyn.program.errors import ReadingError
from tpdyn.program.evaluation.evaluate import evaluate
from tpdyn.program.evaluation.labels import aligned
from tpdyn.program.evaluation.leaves import draw, known
from tpdyn.program.evaluation.stacked import stacked, stacked_view
from tpdyn.program.evaluation.views import from_view, to_view
from tpdyn.program.instructions import Apply, Combine, Contract, Instruction, Leaf, Operand
from tpdyn.program.program import Program, Statement
from tpdyn.readings.interpret import Pair, Rule, cones

Step = Callable[[list[Tensor]], Tensor]
"""One statement, ready to be computed from the values of its operands."""

KEPT = 31 * 2**20
"""Bytes. Once so many were freed, glibc keeps what is freed next. Else the system clears new pages each time. Its threshold
for that follows the largest block that was freed, up to 32 MiB.
"""


@final
class Batched:
    """The program and its base program at one width, ready to be run for any seeds.

    Only what `wanted` and `alone` need is computed (see `interpret.beside`). leaves, dtype, device: as in `finite`.

    Raises ReadingError for a dim that is not whole at this width, or a leaf of another shape. The message shows the
    statement.
    """

    def __init__(
        self,
        program: Program,
        width: int,
        wanted: Collection[int],
        alone: Collection[int] = (),
        *,
        leaves: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> None:
        self.program, self.width, self.wanted, self.alone = program, width, wanted, alone
        self.leaves, self.dtype, self.device = leaves or {}, dtype, torch.device(device)
        self.later = later_versions(program)
        self.kept = {piece for later in self.later.values() for piece in later.initial.pieces}
        self.mine, self.base = cones(program, wanted, alone)
        self.shared = _shared(program, self.base, self.later)
        twice = self.base - self.shared - set(self.later)
        self.spent = _spent(program, self.mine, twice, {*self.shared, *self.later}, self.kept, width)
        self.steps: dict[int, Step] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.known: dict[int, Tensor | None] = {}

    def rule(self, seeds: Sequence[int]) -> Rule[Pair[Tensor]]:
        """Make the rule for these seeds, for one pass of `interpret`."""
        if self.device.type == "cpu":
            torch.empty(KEPT, dtype=torch.uint8)
        initial: dict[int, Tensor] = {}

        def value(position: int, statement: Statement, operands: list[Tensor]) -> Tensor:
            if isinstance(statement.instruction, Leaf):
                result = self._leaf(position, statement, statement.instruction, seeds)
            else:
                step = self.steps.get(position)
                if step is None:
                    step = self.steps[position] = self._step(position, statement)
                result = step(operands)
            if position in self.kept:
                initial[position] = result
            return result

        def rule(position: int, statement: Statement, operands: tuple[Pair[Tensor], ...]) -> Pair[Tensor]:
            if position not in mine:
                return None, None
            result = value(position, statement, [each for each, _ in operands])  # type: ignore[misc]
            if position in shared:
                return result, result
            if position not in base:
                return result, None
            if position in self.later:
                return result, self._of_base(position, statement, initial)
            return result, value(position, statement, [each for _, each in operands])  # type: ignore[misc]

        mine, base, shared = self.mine, self.base, self.shared
        return rule

    def _shape(self, position: int, statement: Statement) -> tuple[int, ...]:
        if position not in self.shapes:
            try:
                self.shapes[position] = tuple(dim.size_at(self.width) for dim in statement.shape)
            except ValueError as error:
                raise ReadingError(str(error)) from error
        return self.shapes[position]

    def _of_base(self, position: int, statement: Statement, values: Mapping[int, Tensor]) -> Tensor:
        """Return the value that the base program reads instead of a later version of a parameter."""
        later = self.later[position]
        view, first = later.view, later.initial
        if view.layout == first.layout:
            return values[later.first]
        runs = max(values[piece].shape[0] for piece in first.pieces)
        shape = (runs, *self._shape(position, statement))
        return from_view(stacked_view(view), to_view(stacked_view(first), values), dict.fromkeys(view.pieces, shape))[
            position
        ]

    def _leaf(self, position: int, statement: Statement, leaf: Leaf, seeds: Sequence[int]) -> Tensor:
        shape = self._shape(position, statement)
        if position not in self.known:
            entries = known(self.program, leaf, shape, self.width, self.leaves)
            self.known[position] = None if entries is None else self._placed(entries, statement).unsqueeze(0)
        if (value := self.known[position]) is not None:
            return value
        chosen = seeds[:1] if leaf.law.is_number else seeds
        rows = torch.empty((len(chosen), *shape), dtype=self.dtype)
        for row, seed in zip(rows, chosen, strict=True):
            drawn = draw(leaf, shape, self.width, self.dtype, seed, row)
            if drawn.data_ptr() != row.data_ptr():
                row.copy_(drawn)
        return self._placed(rows, statement)

    def _placed(self, value: Tensor, statement: Statement) -> Tensor:
        return value.to(self.device, torch.int64 if statement.type == "int" else self.dtype)

    def _step(self, position: int, statement: Statement) -> Step:
        """Prepare a statement. What has no short way is evaluated as it stands."""
        shape, dtype = self._shape(position, statement), self.dtype
        instruction = stacked(statement.instruction)
        spent = self.spent.get(position)
        short = None if statement.type == "int" else _short(instruction, len(shape) + 1, self.width, spent)

        def plain(operands: list[Tensor]) -> Tensor:
            runs = max((each.shape[0] for each in operands), default=1)
            return evaluate(
                instruction, operands, (runs, *shape), self.width, dtype=dtype, type=statement.type, device=self.device
            )

        def quick(operands: list[Tensor]) -> Tensor:
            assert short is not None
            result = short([each if each.dtype is dtype else each.to(dtype) for each in operands])
            if result.shape[1:] != shape:
                result = result.expand(result.shape[0], *shape)
            return result if result.dtype == dtype else result.to(dtype)

        return plain if short is None else quick


def _short(
    instruction: Instruction, rank: int, width: int, spent: int | None
) -> Callable[[list[Tensor]], Tensor] | None:
    """Prepare an instruction whose operands are of the float type; None if it has no short way.

    spent: the operand whose memory may hold the result.
    """
    match instruction:
        case Contract(operands=reads, scale=scale) if reads:
            return _contraction(reads, scale.at(width), rank, spent)
        case Combine(terms=terms, constant=constant) if terms:
            scales = [each.at(width) for each, _ in terms]
            return _combination(scales, constant.at(width), [read for _, read in terms], rank, spent)
        case Apply(function=name, operands=(read,)) if name in IN_PLACE and _is_whole(read, rank):
            return _in_place(name, spent, instruction.facts.value)
        case Apply(operands=reads, parameters=parameters, along=None):
            numbers = [each.at(width) for each in parameters]
            function, lay = instruction.facts.value, _laid(reads, rank)
            return lambda values: function(torch, *lay(values), *numbers)
        case _:  # the plain definition, which is always right
            return None


IN_PLACE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sqrt": lambda x: x.rsqrt_().reciprocal_(),  # a root of zero takes MKL thirty times as long
    "rsqrt": Tensor.rsqrt_,
    "reciprocal": Tensor.reciprocal_,
    "tanh": Tensor.tanh_,
    "relu": torch.relu_,
}
"""What can write its result over its operand."""


def _in_place(name: str, spent: int | None, usual: Callable[..., Any]) -> Callable[[list[Tensor]], Tensor]:
    over = IN_PLACE[name]
    apart = (lambda x: torch.rsqrt(x).reciprocal_()) if name == "sqrt" else lambda x: usual(torch, x)
    if spent is None:
        return lambda values: apart(values[0])
    return lambda values: over(values[0]) if values[0].is_contiguous() else apart(values[0])


def _shared(program: Program, base: Collection[int], later: Collection[int]) -> set[int]:
    """Collect the values that are the same in the base program: nothing that they are made of was trained."""
    shared: set[int] = set()
    for position in sorted(base):
        if position not in later and all(read in shared for read in program.reads[position]):
            shared.add(position)
    return shared


def _spent(
    program: Program,
    mine: Collection[int],
    twice: Collection[int],
    given: Collection[int],
    kept: Collection[int],
    width: int,
) -> Mapping[int, int]:
    """Tell for each statement which of its operands nobody reads afterwards, and whose memory is not shared.

    Its memory can hold the result then. twice: statements that the base program makes anew. given: values that it does not make:
    what it shares, and leaves that it reads instead of later versions. Those are not spent by statements made twice.
    """
    fresh: set[int] = set()
    last: dict[int, int] = {}
    for position in sorted(mine):
        reads, instruction = program.reads[position], program.statements[position].instruction
        last |= dict.fromkeys(reads, position)
        if position not in kept and _is_fresh(instruction, width):
            fresh.add(position)
        else:
            fresh.difference_update(reads)  # it may be a view of them
    spent: dict[int, int] = {}
    for position in mine:
        reads = program.reads[position]
        for number, read in enumerate(reads):
            alone = last[read] == position and reads.count(read) == 1 and not (position in twice and read in given)
            if alone and read in fresh:
                spent.setdefault(position, number)
    return spent


def _is_fresh(instruction: Instruction, width: int) -> bool:
    """Tell whether the value surely has memory of its own."""
    match instruction:
        case Contract(operands=reads):
            return len(reads) > 1
        case Combine(terms=terms, constant=constant):
            return len(terms) > 1 or constant.at(width) != 0 or any(scale.at(width) != 1 for scale, _ in terms)
        case Apply(function=name):
            return name in IN_PLACE
        case _:  # it may be a view of an operand
            return False


def _is_whole(read: Operand, rank: int) -> bool:
    return read.axes == tuple(range(rank))


def _laid(reads: Sequence[Operand], rank: int) -> Callable[[list[Tensor]], list[Tensor]]:
    """Prepare to align the operands with the result; most are so already."""
    whole = tuple(range(rank))
    if all(read.axes == whole for read in reads):
        return lambda values: values
    return lambda values: [
        value if read.axes == whole else aligned(value, read.axes, rank)
        for read, value in zip(reads, values, strict=True)
    ]


def _combination(
    scales: list[float], constant: float, reads: list[Operand], rank: int, spent: int | None
) -> Callable[[list[Tensor]], Tensor]:
    """Add one term in one pass. The first that stands alone, or is spent, is what the others are added to."""
    lay = _laid(reads, rank)
    over = spent if spent is not None and _is_whole(reads[spent], rank) else None
    first = over if over is not None else scales.index(1.0) if 1.0 in scales else 0
    others = [k for k in range(len(scales)) if k != first]

    def combined(values: list[Tensor]) -> Tensor:
        values = lay(values)
        total = values[first]
        alike = all(total.shape == values[k].shape for k in others)
        own = alike and over is not None and total.is_contiguous()
        if scales[first] != 1:
            total, own = (total.mul_(scales[first]) if own else total * scales[first]), alike
        for k in others:
            total = total.add_(values[k], alpha=scales[k]) if own else torch.add(total, values[k], alpha=scales[k])
            own = alike
        if constant == 0:
            return total
        return total.add_(constant) if own else total + constant

    return combined


def _contraction(
    reads: Sequence[Operand], factor: float, rank: int, spent: int | None
) -> Callable[[list[Tensor]], Tensor]:
    """Sum over the labels that the result lacks; a product of entries alone is one."""
    if len(reads) == 2 and all(_is_whole(read, rank) for read in reads):
        return _product(factor, spent)
    labels = sorted({label for read in reads for label in read.axes})
    letter = {label: chr(97 + number) if number < 26 else chr(39 + number) for number, label in enumerate(labels)}
    present = [label for label in labels if label < rank]
    words = ["".join(letter[label] for label in read.axes) for read in reads]
    equation = f"{','.join(words)}->{''.join(letter[label] for label in present)}"
    missing = [label for label in range(rank) if label not in present]

    def contracted(values: list[Tensor]) -> Tensor:
        result: Tensor = torch.einsum(equation, *values)
        if factor != 1:
            result = result * factor if len(values) == 1 else result.mul_(factor)
        for label in missing:
            result = result.unsqueeze(label)
        return result

    return contracted


def _product(factor: float, spent: int | None) -> Callable[[list[Tensor]], Tensor]:
    def product(values: list[Tensor]) -> Tensor:
        one, other = values
        if spent is not None and one.shape == other.shape and values[spent].is_contiguous():
            result = values[spent].mul_(values[1 - spent])
        else:
            result = one * other
        return result if factor == 1 else result.mul_(factor)

    return product


__all__: list[Any] = ["Batched"]
