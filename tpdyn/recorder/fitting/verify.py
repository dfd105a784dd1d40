"""Does the fitted program compute the same as the script at a further width?

Three links are checked one by one. The tape replays the live script bit for bit (`replay.verify_tape`). Run again in
float64, it gives the same values as the program at that width. The program is fed with the script's own leaves. Every dim
and constant of the program has the script's value. Float64 matters. Near zero, a sign or an Adam step turns the round-off
of a float32 gradient into a whole step. That happens in correct programs too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tpdyn.facts.signs import floor_of
from tpdyn.program.evaluation.views import from_view, to_view
from tpdyn.program.instructions import Combine, Eigenvalues
from tpdyn.program.program import Program, Statement, View
from tpdyn.recorder.canonical import Canonical
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.replay import double_by_default, double_type, replay
from tpdyn.recorder.live.tape import Ref, Tape, mapped
from tpdyn.recorder.lowered import Lowered, LoweredStatement
from tpdyn.recorder.lowering.evaluate import evaluate_some

RELATIVE = 1e-7
"""Allowed difference relative to the largest entry. Both sides are float64 (1.1e-16 an operation) and differ in the order
of sums only. Three steps of a GPT were seen to differ by 1e-12. A wrong power of the width differs by a factor.
"""
ABSOLUTE = 1e-11
"""Below this both count as zero. A gradient that is zero mathematically (a key's bias in attention) is round-off, about
1e-18. Adam divides it by its eps of 1e-8. So with a rate of 0.01 the bias moves by 1e-12 (2.5e-13 was seen).
"""

ROUND_OFF = 100
"""Functions of nearly singular matrices (negative powers with an epsilon) multiply round-off by up to largest eigenvalue over
epsilon. Change each leaf in its last digit. In programs with such functions a value may differ by so many times what it
differs by then. One change stands for all the roundings on the way.
"""
MOST_ROUND_OFF = 1e-3
"""But never by more than this share of the largest entry: a wrong power of the width is seen. Where round-off decides more
than that, a script has no values to compare with.
"""
NOTHING = 1e-5
"""Below this a value may be round-off altogether, in any program. It has to differ by then as said. A bias before a batch
normalisation has the gradient zero, computed as 1e-13 in a flow. Adam divides it by its eps of 1e-8. At a rate of 1e-4 entries
of 1.5e-9 were seen, half of them different, and of 5e-6 a step later. A value that a wrong power of the width has changed does
not change with last digits.
"""


def _grouped_mm(left: Tensor, right: Tensor, offsets: Tensor, *_: Any, **__: Any) -> Tensor:
    """Compute `aten._grouped_mm`, group by group: runs of rows of left, of columns of right, or of the summed dim."""
    ends = offsets.tolist()
    runs = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    if left.dim() == 2 and right.dim() == 2:
        return torch.stack([left[:, run] @ right[run] for run in runs])
    if left.dim() == 2:
        return torch.cat([left[run] @ matrix for run, matrix in zip(runs, right, strict=True)])
    return torch.cat([matrix @ right[:, run] for run, matrix in zip(runs, left, strict=True)], 1)


def _sort(x: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    return torch.sort(x, stable=True, dim=dim, descending=descending)


DEFINITIONS: dict[Any, Any] = {
    torch.ops.aten._grouped_mm.default: _grouped_mm,  # its kernel refuses float64
    torch.ops.aten.sort.default: _sort,  # may put equal entries (tokens of one expert) in any order; here the first first
}
"""What some kernels compute, said so that float64 values can be compared."""


def replay_in_double(tape: Tape) -> dict[Ref, Tensor]:
    """Return marks, versions and gradients of parameters, with all float arithmetic in float64."""

    def double(item: Any) -> Any:
        if isinstance(item, Tensor):
            return item.to(double_type(item.dtype))
        return double_type(item) if isinstance(item, torch.dtype) else item

    nodes = [
        replace(
            node,
            target=DEFINITIONS.get(node.target, node.target),
            args=mapped(node.args, double),
            kwargs=mapped(node.kwargs, double),
            value=mapped(node.value, double),
        )
        for node in tape.nodes
    ]
    with double_by_default():
        return replay(replace(tape, nodes=nodes), set(tape.named))


def specialised(program: Program, width: int) -> Lowered:
    """Return the program with its dims at one width (without leaf values)."""
    statements = [
        LoweredStatement(each.instruction, tuple(dim.size_at(width) for dim in each.shape), each.type, each.origin)
        for each in program.statements
    ]
    return Lowered(width, statements, steps=program.steps)


def shapes_of(program: Program, view: View, width: int) -> dict[int, tuple[int, ...]]:
    """Return the shape of each piece of a view, at one width."""
    return {piece: tuple(dim.size_at(width) for dim in program.statements[piece].shape) for piece in view.pieces}


def leaf_values(canonical: Canonical, lowered: Lowered) -> dict[int, Tensor]:
    """Return the live value of each leaf of the program, by position, in the program's layout.

    Raises:
        RecordingError: naming the first leaf whose shape the program does not foresee.
    """
    values: dict[int, Tensor] = {}
    for position, tensor in lowered.leaf_values.items():
        view = canonical.views.get(position)
        if view is not None:
            shapes = shapes_of(canonical.program, view, lowered.width)
            there = tuple(
                to_view(view, {piece: torch.empty(shape, device="meta") for piece, shape in shapes.items()}).shape
            )
            if there != tuple(tensor.shape):
                how = f"has shape {tuple(tensor.shape)} in the script and {there} in the program"
                raise _mismatch(canonical.program, view, "a leaf", lowered.width, how)
            values |= from_view(view, tensor, shapes)
    return values


def verify_program(canonical: Canonical, lowered: Lowered) -> dict[str, float]:
    """Run the program at the width of a recording that it was not fitted to, and compare every named value.

    lowered: that recording; `live` holds the values to compare with, in float64. Returns the typical sizes of what an
    epsilon is added to (see `Program.guarded`), which only a run can tell.

    Raises:
        RecordingError: naming the first value that differs.
    """
    program, width = canonical.program, lowered.width
    numbers = specialised(program, width)
    numbers.leaf_values = leaf_values(canonical, lowered)
    named = sorted(_named(canonical, lowered), key=lambda item: item[1].var)
    wanted = {piece for _, view, _ in named for piece in view.pieces}
    wanted |= {position for position, statement in enumerate(program.statements) if _is_guard(statement)}
    values = evaluate_some(numbers, wanted)
    shaken: dict[int, Tensor] = {}
    for position, view, what in named:
        if position not in lowered.live:
            continue
        live, computed = lowered.live[position], to_view(view, values)
        if live.numel() != computed.numel():
            how = f"has shape {tuple(live.shape)} in the script and {tuple(computed.shape)} in the program"
            raise _mismatch(program, view, what, width, how)
        live = live.reshape(computed.shape).to(computed.device, torch.float64)
        finite = live[live.isfinite()]
        largest = float(finite.abs().max()) if finite.numel() else 0.0
        lost = ~live.isfinite()  # infinity or NaN: which of them an overflow becomes depends on the order of sums
        gap = torch.where((live == computed) | (lost & ~computed.isfinite()), 0.0, (live - computed).abs())
        if not bool((gap <= RELATIVE * largest + ABSOLUTE).all()):
            singular = any(isinstance(statement.instruction, Eigenvalues) for statement in program.statements)
            if singular or largest < NOTHING:
                shaken = shaken or evaluate_some(_shaken(numbers), wanted)
                moved = float((to_view(view, shaken) - computed).abs().max())
                most = NOTHING if largest < NOTHING else MOST_ROUND_OFF * largest
                if float(gap.max()) <= min(ROUND_OFF * moved, most):
                    continue
            if bool(lost.any()):
                raise _overflow(program, view, what, width, int(lost.sum()))
            raise _mismatch(
                program,
                view,
                what,
                width,
                f"differs by up to {float(gap.max()):.3g}, its entries being of size {largest:.3g}",
            )
    return _guarded(program, values, width)


def _shaken(numbers: Lowered) -> Lowered:
    """Return the same program with each leaf changed in its last digit."""
    draws = torch.Generator().manual_seed(0)

    def changed(leaf: Tensor) -> Tensor:
        if not leaf.is_floating_point():
            return leaf
        signs = torch.randint(0, 2, leaf.shape, generator=draws).to(leaf.dtype) * 2 - 1
        return leaf * (1 + torch.finfo(torch.float64).eps * signs.to(leaf.device))

    return replace(numbers, leaf_values={at: changed(leaf) for at, leaf in numbers.leaf_values.items()})


def _is_guard(statement: Statement) -> bool:
    instruction = statement.instruction
    return (isinstance(instruction, Combine) and instruction.epsilon) or floor_of(statement) is not None


def _guarded(program: Program, values: Mapping[int, Tensor], width: int) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if _is_guard(statement):
            added = float(instruction.constant.at(width)) if isinstance(instruction, Combine) else 0.0
            entries = (values[position] - added).abs()
            entries = entries[(entries > ABSOLUTE) & entries.isfinite()]
            sizes[statement.name] = float(entries.mean()) if entries.numel() else 0.0
    return sizes


def _named(canonical: Canonical, lowered: Lowered) -> Iterator[tuple[int, View, str]]:
    """Yield (lowered position, view, description) of marks, versions and gradients."""
    program = canonical.program
    for mark, low in zip(program.marks, lowered.marks, strict=True):
        yield low.var, mark.view, f"the {mark.kind} {mark.name or '(root)'} of step {mark.step}"
    for parameter, own in zip(program.parameters, lowered.parameters, strict=True):
        for step, (view, position) in enumerate(zip(parameter.versions, own.versions, strict=True)):
            yield position, view, f"{parameter.name} after {step} steps"
        for step, (gradient, at) in enumerate(zip(parameter.gradients, own.gradients, strict=True)):
            if gradient is not None and at is not None:
                yield at, gradient, f"the gradient of {parameter.name} in step {step}"


def _mismatch(program: Program, view: View, what: str, width: int, how: str) -> RecordingError:
    source = program.statements[view.var].origin.source
    return RecordingError(
        f"the program fitted at the widths {', '.join(map(str, program.widths))} does not give what the script "
        f"computes at width {width}: {what} {how}. Suspected cause: a number that depends on the width in a way that "
        "the recorded widths cannot show. Try more widths, or other ones",
        source,
    )


def _overflow(program: Program, view: View, what: str, width: int, count: int) -> RecordingError:
    return RecordingError(
        f"the script overflows at width {width}: {what} has {count} entries that are NaN or infinite. Record fewer steps, or lower "
        "the learning rate",
        program.statements[view.var].origin.source,
    )
