"""Writes a lowered script by hand, one statement a call. Checks what becomes of it at a width that was not recorded."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, Concat, Contract, Instruction, Law, Leaf, Operand, Slice
from tpdyn.program.program import Origin, Program, Source, Type
from tpdyn.recorder.canonical import Canonical, canonical
from tpdyn.recorder.fitting.verify import verify_program
from tpdyn.recorder.fitting.widths import fit
from tpdyn.recorder.lowered import Lowered, LoweredMark, LoweredParameter, LoweredStatement, Reshape

WIDTHS, UNSEEN = (16, 24, 40), 56
N, ONE = Scaling.of(1, 1), Scaling.of(1)
NORMAL = Law("normal", Scaling(()), ONE)


class Script:
    """Writes a `Lowered` at one width the way a tensor library would; every value is marked."""

    def __init__(self, width: int) -> None:
        self.lowered = Lowered(width, steps=1)
        self.generator = torch.Generator().manual_seed(width)

    def add(self, instruction: Instruction | Reshape, *shape: int, type: Type = "float") -> int:
        statements = self.lowered.statements
        statements.append(
            LoweredStatement(instruction, shape, type, Origin(source=Source("net.py", len(statements), "")))
        )
        position = len(statements) - 1
        if not isinstance(instruction, Leaf):
            self.lowered.marks.append(LoweredMark("module", f"m{position}", 0, position))
        return position

    def leaf(self, name: str, *shape: int) -> int:
        position = self.add(Leaf("parameter", name, NORMAL), *shape)
        self.lowered.leaf_values[position] = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        self.lowered.parameters.append(LoweredParameter(name, [position], [None]))
        return position

    def shape(self, position: int) -> tuple[int, ...]:
        return self.lowered.statements[position].shape

    def full(self, position: int) -> Operand:
        return Operand(position, tuple(range(len(self.shape(position)))))

    def linear(self, x: int, w: int) -> int:
        *batch, inner = self.shape(x)
        labels = tuple(range(len(batch)))
        k = len(batch) + 1
        operands = (Operand(x, (*labels, k)), Operand(w, (len(batch), k)))
        assert self.shape(w)[1] == inner
        return self.add(Contract(operands), *batch, self.shape(w)[0])

    def view(self, x: int, *shape: int) -> int:
        return self.add(Reshape(x), *shape)

    def permute(self, x: int, *order: int) -> int:
        labels = tuple(order.index(axis) for axis in range(len(order)))
        return self.add(Combine(((ONE, Operand(x, labels)),)), *(self.shape(x)[axis] for axis in order))

    def cut(self, x: int, axis: int, start: int, length: int, step: int = 1) -> int:
        shape = list(self.shape(x))
        shape[axis] = length
        return self.add(Slice.of(self.full(x), axis, start, step, length), *shape)

    def select(self, x: int, axis: int, entry: int) -> int:
        shape = list(self.shape(x))
        del shape[axis]
        labels = [*range(axis), len(shape), *range(axis, len(shape))]
        return self.add(Slice.of(Operand(x, tuple(labels)), len(shape), entry, 1, 1), *shape)

    def cat(self, parts: list[int | None], lengths: list[int], axis: int, *shape: int) -> int:
        operands = tuple(None if part is None else self.full(part) for part in parts)
        return self.add(Concat(operands, tuple(map(Scaling.of, lengths)), axis), *shape)


def live(lowered: Lowered) -> Lowered:
    from tpdyn.recorder.lowering.evaluate import evaluate

    lowered.live = dict(enumerate(evaluate(lowered)))
    return lowered


def made(build: Callable[[Script, int], object]) -> Canonical:
    """The canonical program, verified at a width that was not recorded."""

    def at(width: int) -> Lowered:
        script = Script(width)
        build(script, width)
        return script.lowered

    result = canonical(fit([at(width) for width in WIDTHS]))
    verify_program(result, live(at(UNSEEN)))
    return result


def shapes(program: Program, kind: type = Leaf) -> dict[str, str]:
    return {s.name: ", ".join(map(str, s.shape)) for s in program.statements if isinstance(s.instruction, kind)}


def kinds(program: Program) -> set[str]:
    return {type(statement.instruction).__name__ for statement in program.statements}
