"""Which value decides the regime where module outputs do not show it? It gets a name, so that it can be measured.

Attention logits lie inside of a module, and so does what happens in an RNN. The recorded program holds them all the same,
and it can be run (`tpdyn.claims.unseen`).
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from pathlib import PurePath
from typing import NamedTuple

from tpdyn.exponents import ZERO, Order
from tpdyn.facts.facts import Facts
from tpdyn.facts.makers import unfilled
from tpdyn.program.instructions import Apply, Slice
from tpdyn.program.program import Mark, Program, View
from tpdyn.readings.orders.reading import Orders
from tpdyn.regimes.judgement import Judgement, largest_change
from tpdyn.regimes.prediction import Regime


class Unnamed(NamedTuple):
    """A value that decides: its name (module and line, "attn:45"), and its position in each step that has it."""

    name: str
    positions: tuple[int, ...]

    def marks(self, program: Program) -> tuple[Mark, ...]:
        """Mark it in each step, as if a module had made it."""
        each = [(position, program.statements[position]) for position in self.positions]
        return tuple(Mark("module", self.name, s.origin.step, View.plain(p, len(s.shape))) for p, s in each)


def unnamed(orders: Orders, judgement: Judgement) -> Unnamed | None:
    """Find the value that decides a regime, if it is neither a module's output nor the network's. judgement: of these
    orders.

    Unstable: the first value that grows. Feature learning: the first representation of the last step that learns. Kernel: the
    representation that changes most. None where a module's output decides, or a regime of outputs (trivial).
    """
    facts, program = orders.facts, orders.program
    named = {piece for mark in program.marks for piece in _seen_in(program, mark.view)}
    last = max((mark.step for mark in program.marks), default=0)
    if judgement.regime is Regime.UNSTABLE:
        position = _unmasked(program, judgement.position)
        deciding = [judgement.position, position]
        if _shown(orders, judgement):
            return None
    elif judgement.regime is Regime.FEATURE_LEARNING:
        deciding = [p for p in judgement.learning if program.statements[p].origin.step == last]
        position = deciding[0] if deciding else -1
    elif judgement.regime is Regime.KERNEL:
        deciding = [p for p in facts.hidden if program.statements[p].origin.step == last]
        most = largest_change(orders, deciding)
        position = next((p for p in deciding if most is not None and orders.counted(p).moved == most), -1)
    else:
        return None
    if position < 0 or any(p in named for p in deciding):
        return None
    return Unnamed(_name(facts, position), counterparts(program, position))


def _shown(orders: Orders, judgement: Judgement) -> bool:
    """Tell whether the module in which a value grows has an output of the same order, bias added."""
    program, origin = orders.program, orders.program.statements[judgement.position].origin

    def order(position: int) -> Order:
        value = orders.counted(position)
        return value.size if judgement.what == "size" else value.moved

    return any(
        mark.name.partition("#")[0] == origin.module
        and mark.step == origin.step
        and any(order(piece) == judgement.order for piece in _seen_in(program, mark.view))
        for mark in program.marks
    )


def shares_of(program: Program, view: View) -> list[Fraction]:
    """Return the power of the width in each piece's share of all entries: 0, but for narrow parts of a packed tensor."""
    counts = [sum((dim.order or ZERO for dim in program.statements[var].shape), ZERO) for var in view.pieces]
    return [count - max(counts) for count in counts]


def _seen_in(program: Program, view: View) -> list[int]:
    """Return the pieces that show in the size of the whole. A fixed part beside wide ones does not."""
    return [piece for piece, share in zip(view.pieces, shares_of(program, view), strict=True) if share == 0]


def counterparts(program: Program, position: int) -> tuple[int, ...]:
    """List the statements that do in each step of the loop what that statement does in its own.

    It is among them. They are told by place: phase, module, line, kind of instruction, shape, and the number among
    these.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    mine = program.statements[position]

    def place(k: int) -> tuple[object, ...]:
        each = program.statements[k]
        return each.origin.phase, each.origin.module, each.origin.source, type(each.instruction), each.shape

    for k, statement in enumerate(program.statements):
        if place(k) == place(position):
            alike[statement.origin.step].append(k)
    own = alike[mine.origin.step]
    number, count = own.index(position), len(own)
    return tuple(each[number] for _, each in sorted(alike.items()) if len(each) == count)


def _unmasked(program: Program, position: int) -> int:
    """Walk from a masked or sliced value to the one behind it. Entries that a mask fills with -inf have no size."""
    while True:
        match program.statements[position].instruction:
            case Apply(operands=operands) as apply if apply.facts.chooses == "masked":
                position = unfilled(program, operands[1].var, operands[2].var)
            case Slice(value=value):
                position = value.var
            case _:  # a value of its own
                return position


def _name(facts: Facts, position: int) -> str:
    """Name a value by its module (or file) and line; by its statement where no line is known."""
    statement = facts.program.statements[position]
    origin = statement.origin
    if not origin.source.file:
        return f"{origin.module}:{statement.name}" if origin.module else statement.name
    return f"{origin.module or PurePath(origin.source.file).name}:{origin.source.line}"
