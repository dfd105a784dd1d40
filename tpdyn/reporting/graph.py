"""How does a tensor program look in TensorBoard's Graphs tab? One node a statement, scoped by step, phase and module.

Node names are `step_1/forward/fc2/h`: each prefix becomes a box that opens. The colour is the order of the value's
change (it grows, stays or vanishes): TensorBoard colours by device, so this is written as one ("color by: Device" in the
Graphs tab). The order itself is an attribute of the node.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tensorboard.compat.proto import attr_value_pb2, graph_pb2, node_def_pb2, tensor_shape_pb2, versions_pb2

from tpdyn.exponents import Order, Scaling, direction, show_order
from tpdyn.program.instructions import Apply, Leaf, operands_of
from tpdyn.program.program import Program, Statement
from tpdyn.program.show import show_statement

PRODUCER = 27  # any recent version; the Graphs tab asks for one


def graph_of(program: Program, sizes: Sequence[Order], changes: Sequence[Order]) -> Any:
    """Write the program as a `GraphDef`; `sizes[v]` and `changes[v]` are the orders of statement v and of its change."""
    names: list[str] = []
    taken: set[str] = set()
    nodes = []
    for position, statement in enumerate(program.statements):
        name = _node_name(statement, position)
        if name in taken:
            name = f"{name}_{position}"
        taken.add(name)
        names.append(name)
        node = node_def_pb2.NodeDef(
            name=name,
            op=_kind(statement),
            input=[names[operand.var] for operand in operands_of(statement.instruction)],
            device=device_of(changes[position]),
        )
        node.attr["formula"].s = show_statement(program, position).encode()
        node.attr["order of the size"].s = show_order(sizes[position]).encode()
        node.attr["order of the change"].s = show_order(changes[position]).encode()
        node.attr["shape in n"].s = ", ".join(map(str, statement.shape)).encode() or b"scalar"
        if statement.origin.source.file:
            node.attr["source"].s = f"{statement.origin.source} {statement.origin.source.text}".strip().encode()
        if program.widths:
            node.attr["_output_shapes"].CopyFrom(_shape_at(statement.shape, program.widths[-1]))
        nodes.append(node)
    return graph_pb2.GraphDef(node=nodes, versions=versions_pb2.VersionDef(producer=PRODUCER))


def device_of(order: Order) -> str:
    """Name what the change does as the width grows, as a device: the Graphs tab colours by device.

    Three colours: `/order/device:grows:0`, `stays` and `vanishes` (a change that is identically zero, too).
    """
    return f"/order/device:{'vanishes' if order is None else direction(order)}:0"


def _node_name(statement: Statement, position: int) -> str:
    origin = statement.origin
    scopes = (f"step_{origin.step}", origin.phase, *origin.module.split("."), statement.name or f"v{position}")
    if isinstance(statement.instruction, Leaf) and origin.phase in ("initialization", "data"):
        scopes = scopes[1:] if origin.phase == "initialization" else scopes
    # The Graphs tab knows letters, digits and a few marks; a scope must not be empty.
    return "/".join(re.sub(r"[^A-Za-z0-9_.\-]", "_", scope).lstrip("_-") or "_" for scope in scopes if scope)


def _kind(statement: Statement) -> str:
    instruction = statement.instruction
    if isinstance(instruction, Apply):
        return instruction.function
    return f"{instruction.kind} leaf" if isinstance(instruction, Leaf) else type(instruction).__name__


def _shape_at(shape: tuple[Scaling, ...], width: int) -> Any:
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=round(dim.at(width))) for dim in shape]
    proto = tensor_shape_pb2.TensorShapeProto(dim=dims)
    return attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue(shape=[proto]))
