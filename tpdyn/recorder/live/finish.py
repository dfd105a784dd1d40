"""Which operations of a raw recording are kept? Those that marks, parameters and gradients depend on, named as in the script.

Operations without a named result (metrics, dead optimizer counters) are dropped, and values get their names. Operations before
the first forward pass are initialisation if parameters or buffers depend on them, else data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from tpdyn.recorder.live.hooks import Watch
from tpdyn.recorder.live.tape import Node, Ref, Tape, TapeMark, TapeParameter, behind, mapped


def used(marks: list[TapeMark], nodes: list[Node], parameters: list[TapeParameter]) -> list[TapeMark]:
    """Leave out the marks of forward passes on which neither loss nor update depends, and number the others anew.

    How often a policy acts before it is trained may depend on the width. A pass that only chose an action teaches nothing.
    """
    roots = [mark.ref for mark in marks if mark.kind == "loss"]
    needed = set(behind(nodes, [*roots, *(ref for parameter in parameters for ref in parameter.refs)]))
    forwards = {mark.forward for mark in marks if mark.ref.node in needed}
    calls: Counter[tuple[str, str, int]] = Counter()
    kept = []
    for mark in marks:
        if mark.kind == "loss" or mark.forward in forwards:
            name = mark.name.partition("#")[0]
            key = (mark.kind, name, mark.step)
            calls[key] += 1
            kept.append(replace(mark, name=name if calls[key] == 1 else f"{name}#{calls[key]}"))
    return kept


def returned(marks: list[TapeMark], trained: Mapping[str, bool]) -> list[TapeMark]:
    """Take a teacher for none of the outputs: it returns targets, and others beside it are trained.

    trained: of each module that the script calls, whether a step changes it; "" is the root.
    """
    teaches = not trained.get("", True) and any(trained.values())
    return [replace(mark, kind="module") if mark.kind == "output" and teaches else mark for mark in marks]


def finished_tape(
    raw: Tape,
    watch: Watch,
    parameters: list[tuple[Tensor, TapeParameter]],
    inputs: list[tuple[int, Tensor]],
    now: dict[str, Ref],
) -> Tape:
    """Return the tape in its final form. now: the last values of all parameters and buffers known by name."""
    nodes = raw.nodes
    order = {name: position for position, name in enumerate(watch.parameters())}
    for tensor, parameter in parameters:
        parameter.name = watch.name_of(tensor)
        parameter.gradients.extend([None] * (raw.steps - len(parameter.gradients)))
    kept = sorted((p for _, p in parameters), key=lambda p: order.get(p.name, len(order)))
    _name_inputs(nodes, watch, kept, inputs)

    stepped = {p.name for p in kept}
    begins = [p.versions[0] for p in kept] + [ref for name, ref in now.items() if name not in stepped]
    initial = set(behind(nodes, begins))
    for index, node in enumerate(nodes):
        if node.origin.phase == "initialization" and index not in initial:
            node.origin = replace(node.origin, phase="data")

    marks = [mark for mark in raw.marks if mark.step < raw.steps]
    needed = sorted(behind(nodes, [*(mark.ref for mark in marks), *(ref for p in kept for ref in p.refs)]))
    moved_to = {old: new for new, old in enumerate(needed)}

    def moved(value: Any) -> Any:
        return Ref(moved_to[value.node], value.output, value.number) if isinstance(value, Ref) else value

    for index in needed:
        node = nodes[index]
        node.args, node.kwargs = mapped(node.args, moved), mapped(node.kwargs, moved)
    for parameter in kept:
        parameter.versions = [moved(ref) for ref in parameter.versions]
        parameter.gradients = [moved(ref) for ref in parameter.gradients]
    return Tape(
        raw.width,
        [nodes[index] for index in needed],
        kept,
        [replace(mark, ref=moved(mark.ref)) for mark in marks],
        raw.steps,
        {moved(ref): value for ref, value in raw.live.items() if ref.node in moved_to},
        raw.notes + [note for note in watch.notes if note not in raw.notes],
        default=raw.default,
    )


def _name_inputs(nodes: list[Node], watch: Watch, kept: list[TapeParameter], inputs: list[tuple[int, Tensor]]) -> None:
    """Rename inputs that turn out to be parameters or buffers."""
    first = {parameter.versions[0].node: parameter.name for parameter in kept if parameter.versions}
    names = {tensor.untyped_storage()._cdata: name for name, tensor in watch.parameters().items()}
    buffers = {tensor.untyped_storage()._cdata: name for name, tensor in watch.buffers().items()}
    for index, tensor in inputs:
        node, storage = nodes[index], tensor.untyped_storage()._cdata
        if index in first:
            node.input_kind, node.name = "parameter", first[index]
        elif node.input_kind == "parameter":
            node.name = names.get(storage, node.name)
        elif storage in buffers:
            node.input_kind, node.name = "buffer", buffers[storage]
