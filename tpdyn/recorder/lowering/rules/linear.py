"""How do matrix products become instructions? Each is one Contract, and a Combine for what is added."""

from __future__ import annotations

from typing import Any

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.values import Number, Tensor


def _einsum(out: str, left: str, right: str) -> Rule:
    """Return the product of two tensors whose dims have these letters."""
    return lambda b, x, y, *_, **__: b.contract(out, (x, left), (y, right))


mm, bmm, mv = _einsum("ij", "ik", "kj"), _einsum("bij", "bik", "bkj"), _einsum("i", "ik", "k")
dot, outer = _einsum("", "k", "k"), _einsum("ij", "i", "j")


def trilinear(
    b: LoweredBuilder, x: Any, y: Any, z: Any, lacks_x: Any, lacks_y: Any, lacks_z: Any, summed: Any, *_: Any
) -> Tensor:
    """Return x * y * z over common dims, of which each lacks some, summed over some. Two products, one after the other."""
    rank = len(b.shape(x)) + len(lacks_x)
    dims = range(rank)
    has_x, has_y, has_z = ([d for d in dims if d not in lacks] for lacks in (lacks_x, lacks_y, lacks_z))
    out = [d for d in dims if d not in summed]
    between = [d for d in dims if (d in has_x or d in has_y) and (d in out or d in has_z)]
    return b.contract(out, (b.contract(between, (x, has_x), (y, has_y)), between), (z, has_z))


def _plus(product: Rule) -> Rule:
    def rule(b: LoweredBuilder, start: Any, x: Any, y: Any, *, beta: Number = 1, alpha: Number = 1, **_: Any) -> Tensor:
        term = product(b, x, y)
        return b.combine([(alpha, term), (beta, start)], shape=b.shape(term))

    return rule


RULES: dict[str, Rule] = {
    "mm": mm,
    "bmm": bmm,
    "mv": mv,
    "dot": dot,
    "vdot": dot,
    "_trilinear": trilinear,
    "addmm": _plus(mm),
    "_sparse_addmm": _plus(mm),
    "baddbmm": _plus(bmm),
    "addmv": _plus(mv),
    "addr": _plus(outer),
    "addbmm": _plus(_einsum("ij", "bik", "bkj")),
}
