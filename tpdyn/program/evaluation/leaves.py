"""Which values does a leaf have at one width? Those that are given, those stored with the program, or a draw of its law."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from tpdyn.program.errors import ReadingError
from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program


def known(
    program: Program, leaf: Leaf, shape: tuple[int, ...], width: int, leaves: Mapping[str, Tensor]
) -> Tensor | None:
    """Look up a leaf in `leaves`, or else in `program.arrays`; None where it is to be drawn from its law.

    Raises ReadingError where they have another shape, or where there are none and no law either.
    """
    if leaf.name in leaves:
        value = leaves[leaf.name].detach()
    elif leaf.name in program.arrays:
        value = torch.as_tensor(program.arrays[leaf.name])
    elif leaf.law.is_given:
        raise ReadingError(
            f"the leaf {leaf.name} is {leaf.law.kind}: it has no law to be drawn from; "
            f"give it by leaves={{{leaf.name!r}: ...}} with shape {shape}"
        )
    else:
        return None
    if tuple(value.shape) != shape:
        raise ReadingError(
            f"the leaf {leaf.name} was given with shape {tuple(value.shape)}; expected {shape} at width {width}"
        )
    return value


def draw(
    leaf: Leaf, shape: tuple[int, ...], width: int, dtype: torch.dtype, seed: int, out: Tensor | None = None
) -> Tensor:
    """Draw from the law. The stream depends on the seed and the leaf's name only: the same in every reading.

    out: where the entries may be drawn into; the result is what counts.
    """
    # torch's CPU generator reads the lowest 32 bits of its seed only
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {leaf.name}".encode()))
    return leaf.law.draw(shape, width, generator=generator, dtype=dtype, out=out)
