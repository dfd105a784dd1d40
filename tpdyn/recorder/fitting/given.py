"""How big are the entries of data and tables? Their typical size, fitted across widths where it depends on the width.

Rows of norm one, orthogonal rows, or features divided by a root of their number have entries of size n^-1/2. Products with them
are smaller by as much. If a size fits none of the powers, it counts as independent of the width. Rows with a fixed number
of nonzero entries (one-hot rows of length n) are refused: their typical entry is zero. So are matrices of low rank, and
those that are constant along diagonals: their entries depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tpdyn.exponents import Scaling
from tpdyn.recorder.fitting.powers import fit_float, fit_measured

NOTHING = Scaling(())
HEAVY = 1.5
"""The standard error of a root mean square from N Gaussian entries is 1/sqrt(2N). For heavier tails it is times this."""


def fitted_size(widths: Sequence[int], tensors: Sequence[torch.Tensor]) -> Scaling:
    """Return the root mean square of the entries as a power of the width. Nothing where it does not (surely) depend on it."""
    if len(widths) < 2 or not all(tensor.is_floating_point() and tensor.numel() for tensor in tensors):
        return NOTHING
    sizes = [float(tensor.double().square().mean().sqrt()) for tensor in tensors]
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        return NOTHING
    exact = fit_float(widths, sizes)
    if exact is not None and len(widths) > 2:
        return exact if exact.order and len(exact.terms) == 1 else NOTHING
    measured = fit_measured(widths, sizes, [HEAVY / (2 * tensor.numel()) ** 0.5 for tensor in tensors])
    return measured[0] if measured is not None and measured[1] and measured[0].order else NOTHING


def is_sparse(tensors: Sequence[torch.Tensor]) -> bool:
    """Tell whether the same number of entries differs from zero at each width, and others are zero."""
    counts = {int(torch.count_nonzero(tensor)) for tensor in tensors}
    return len(tensors) > 1 and len(counts) == 1 and counts != {0} and all(t.numel() > max(counts) for t in tensors)


FEWEST_ROWS = 8
"""Smaller matrices are not looked at: a few columns have few ranks."""


def structure(tensors: Sequence[torch.Tensor]) -> str:
    """Say on what the entries of a matrix depend, at each width: its rank, or its diagonals. Nothing if nothing is seen."""
    if not all(t.ndim == 2 and min(t.shape) >= FEWEST_ROWS and t.is_floating_point() for t in tensors):
        return ""
    if all(bool((t[1:, 1:] == t[:-1, :-1]).all()) or bool((t[1:, :-1] == t[:-1, 1:]).all()) for t in tensors):
        return "equal along each diagonal"
    ranks = [int(torch.linalg.matrix_rank(t.double(), rtol=1e-5)) for t in tensors]
    if all(0 < 2 * rank <= min(t.shape) for rank, t in zip(ranks, tensors, strict=True)):
        return f"those of a matrix of rank {ranks[0]}" if len(set(ranks)) == 1 else "those of a matrix of low rank"
    return ""
