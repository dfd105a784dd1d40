"""Which leaves are one and the same? Those that hold the same numbers, however often the script drew them.

Two layers drawn after one seed are one random matrix, which meets itself; two batches that share rows are correlated. The
theory takes different leaves for independent ones, so equal draws become one leaf. Of data that overlap in part, or are
multiples of others, only the size is assumed: their law is "data". A parameter that starts as a multiple or as the
transpose of another is refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import final

import torch

from tpdyn.recorder.lowering.values import Handle, Known, Refusal, Shape

FEWEST = 4
"""Entries below which a coincidence is none: continuous draws of so many entries are never equal by chance."""
KEPT, GRID = 16, 1e-4
"""Of a row so many entries are compared, up to this step of their ratios."""
CLOSE = 1e-5
"""Relative round-off of a multiple of a tensor in single precision, and room."""


@final
class Drawn:
    """The leaves of draws so far, by their entries."""

    def __init__(self) -> None:
        self.overlapping: set[int] = set()
        self._data: dict[Hashable, Handle] = {}
        self._rows: dict[Hashable, int] = {}
        self._parameters: dict[Shape, list[tuple[str, torch.Tensor, Handle]]] = {}

    def same_data(self, known: Known) -> Handle | None:
        """Return the leaf that holds the same draws already."""
        return self._data.get(_entries(known.tensor)) if _is_continuous(known) else None

    def add_data(self, known: Known, leaf: Handle) -> None:
        """Add a leaf of data or noise. Rows (along the last dim) that are multiples of another leaf's make both overlapping."""
        if not _is_continuous(known):
            return
        self._data[_entries(known.tensor)] = leaf
        if known.tensor.ndim < 2 or known.shape[-1] < FEWEST:
            return
        for key in _directions(known.tensor.reshape(-1, known.shape[-1])):
            other = self._rows.setdefault(key, leaf.var)
            if other != leaf.var:
                self.overlapping |= {other, leaf.var}

    def same_parameter(self, name: str, known: Known) -> Handle | None:
        """Return the leaf of another parameter that starts with the same draws. Raises Refusal for a multiple or a transpose."""
        if not _is_continuous(known):
            return None
        tensor = known.tensor.double()
        for other, entries, leaf in self._parameters.get(known.shape, ()):
            if torch.equal(entries, tensor):
                return leaf
            _refuse_multiple(name, tensor, other, entries, "")
        if tensor.ndim == 2:
            for other, entries, _ in self._parameters.get(known.shape[::-1], ()):
                _refuse_multiple(name, tensor, other, entries.t(), "the transpose of ")
        return None

    def add_parameter(self, name: str, known: Known, leaf: Handle) -> None:
        """Add the leaf of a parameter."""
        if _is_continuous(known):
            self._parameters.setdefault(known.shape, []).append((name, known.tensor.double(), leaf))


def _is_continuous(known: Known) -> bool:
    """Tell whether equal entries cannot be a chance."""
    if known.draw is None or not known.tensor.dtype.is_floating_point or known.tensor.numel() < FEWEST:
        return False
    some = known.tensor.flatten()[:64]
    return bool(2 * torch.unique(some).numel() > some.numel())  # else rounded, or a mask


def _entries(tensor: torch.Tensor) -> Hashable:
    return tuple(tensor.shape), tensor.detach().cpu().contiguous().numpy().tobytes()


def _directions(rows: torch.Tensor) -> Iterator[Hashable]:
    """Give rows keys that multiples share: ratios of their first entries. They are rounded in two ways: one may fall on an edge."""
    first = rows.detach().double().cpu()[:, :KEPT]
    ratios = first / first.gather(1, first.abs().argmax(1, keepdim=True))
    for shift in (0.0, 0.5):
        for number, key in enumerate(torch.round(ratios / GRID + shift).numpy()):
            if bool(first[number].any()):
                yield shift, rows.shape[-1], key.tobytes()


def _refuse_multiple(name: str, tensor: torch.Tensor, other: str, entries: torch.Tensor, how: str) -> None:
    at = tuple(int(k) for k in torch.unravel_index(entries.abs().argmax(), entries.shape))
    ratio = float(tensor[at] / entries[at])
    if ratio != 0 and bool(((tensor - ratio * entries).abs() <= CLOSE * tensor.abs().max()).all()):
        times = "" if abs(ratio - 1) < CLOSE else f"{ratio:.6g} times "
        raise Refusal(
            f"outside the theory, for now: {name} starts as {times}{how}{other}, which is not an independent draw. Share one "
            "parameter, or draw them one after the other without seeding again"
        )
