"""How does a tensor of the script lie in the program? There and back, along a `View`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tpdyn.program.program import View


def to_view(view: View, values: Sequence[Tensor] | Mapping[int, Tensor]) -> Tensor:
    """Assemble the script's tensor from the program's values (one, or the pieces of one).

    >>> to_view(View((0,), ((1,), (), (0,))), [torch.zeros(2, 3)]).shape
    torch.Size([3, 1, 2])
    """
    if view.along is not None:
        return torch.cat([to_view(part, values) for part in view.parts], view.along)
    pieces = torch.stack([values[piece] for piece in view.pieces])
    factors = view.factors
    counts = [factor.count for factor in factors]
    pieces = pieces.reshape((*counts, *pieces.shape[1:]))
    order, sizes = _layout(view)
    return pieces.permute(order).reshape([math.prod(pieces.shape[axis] for axis in axes) for axes in sizes])


def from_view(view: View, tensor: Tensor, shapes: Mapping[int, tuple[int, ...]]) -> dict[int, Tensor]:
    """Split a tensor of the script into the program's values, by position; `shapes` gives the shape of each piece.

    The inverse of `to_view`. Raises ValueError when the tensor has another number of entries.
    """
    if view.along is not None:
        lengths = [_sizes(part, shapes)[view.along] for part in view.parts]
        if sum(lengths) != tensor.shape[view.along]:
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} does not fill parts of lengths {lengths}")
        cut = zip(view.parts, torch.split(tensor, lengths, view.along), strict=True)
        return {piece: each for part, own in cut for piece, each in from_view(part, own, shapes).items()}
    order, _ = _layout(view)
    grid = (*(factor.count for factor in view.factors), *shapes[view.var])
    split = [grid[axis] for axis in order]
    if torch.Size(split).numel() != tensor.numel() or len(view.dims) != tensor.dim():
        raise ValueError(
            f"a tensor of shape {tuple(tensor.shape)} does not fill {len(view.pieces)} values of shape "
            f"{shapes[view.var]}"
        )
    inverse = sorted(range(len(order)), key=lambda axis: order[axis])
    pieces = tensor.reshape(split).permute(inverse).reshape((len(view.pieces), *shapes[view.var]))
    return {piece: pieces[number] for number, piece in enumerate(view.pieces)}


def _sizes(view: View, shapes: Mapping[int, tuple[int, ...]]) -> list[int]:
    """Return the shape of the script's tensor."""
    if view.along is not None:
        sizes = [_sizes(part, shapes) for part in view.parts]
        return [sum(dim) if k == view.along else dim[0] for k, dim in enumerate(zip(*sizes, strict=True))]
    sizes_of = [math.prod(shapes[view.var][axis] for axis in axes) for axes in view.dims]
    for factor in view.factors:
        sizes_of[factor.dim] *= factor.count
    return sizes_of


def _layout(view: View) -> tuple[list[int], list[list[int]]]:
    """Return the axes of the grid of pieces (factors, then a piece's axes), in the order of the script's dims."""
    factors = view.factors
    dims = [[len(factors) + axis for axis in dim] for dim in view.dims]
    for number, factor in sorted(enumerate(factors), key=lambda item: item[1].place):
        dims[factor.dim].insert(factor.place, number)
    return [axis for dim in dims for axis in dim], dims
