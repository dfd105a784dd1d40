"""How do random operations become instructions? As leaves that hold what was drawn, with the law it was drawn from."""

from __future__ import annotations

from typing import Any

import torch

from tpdyn.recorder.live.tape import Node, base_name
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.draws import argument, bernoulli_draw, draw_of
from tpdyn.recorder.lowering.values import Known, KnownKind, Refusal, Tensor

DETERMINISTIC_HERE = ("scaled_dot_product",)


def is_draw(node: Node) -> bool:
    """Tell whether the node draws: attention kernels are tagged random even without dropout."""
    return node.random and not any(part in node.op for part in DETERMINISTIC_HERE)


def drawn(b: LoweredBuilder, node: Node, args: tuple[Any, ...]) -> tuple[Tensor | None, ...]:
    """Return the outputs of a random operation."""
    values = node.value if isinstance(node.value, (tuple, list)) else (node.value,)
    name = base_name(node.op)
    if name == "native_dropout":
        return _dropout(b, node, args, values)
    if not all(isinstance(value, torch.Tensor) for value in values):
        raise Refusal("a random operation whose draws were not recorded")
    inside = node.origin.phase in ("forward", "backward") and (node.origin.module != "" or name == "bernoulli")
    kind: KnownKind = "random" if inside or name == "bernoulli" else "data"
    return tuple(Known(value, kind, draw_of(node)) for value in values)


def _dropout(b: LoweredBuilder, node: Node, args: tuple[Any, ...], values: Any) -> tuple[Tensor, Tensor]:
    """Return x * mask / (1 - p), and the mask."""
    p, train = float(argument(node, 1, "p", 0.5)), argument(node, 2, "train", True)
    if not train or p == 0:
        return args[0], Known(torch.ones(b.shape(args[0]), dtype=torch.bool))
    mask = Known(values[1].to(torch.float64), "random", bernoulli_draw(1 - p))
    return b.product(args[0], mask, scale=1 / (1 - p) if p < 1 else 0.0), mask


def dropout_backward(b: LoweredBuilder, grad: Any, mask: Any, scale: float) -> Tensor:
    """Return grad * mask * scale."""
    return b.product(grad, mask, scale=scale)


RULES = {"native_dropout_backward": dropout_backward}
