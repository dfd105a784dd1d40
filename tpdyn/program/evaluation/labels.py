"""How do axes find each other? By labels: a value is laid out for a result whose axes are the labels `0 .. rank-1`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def aligned(value: Tensor, labels: Sequence[int], rank: int) -> Tensor:
    """Align a value: one axis for each label of the result, in order. A label that it lacks gets size 1.

    labels: of the axes of the value. An axis whose label the result lacks is dropped: it has size 1, as in scripts. Raises
    ValueError where it has another size: only a contraction sums.
    """
    dropped = tuple(axis for axis, label in enumerate(labels) if label >= rank)
    if any(value.shape[axis] != 1 for axis in dropped):
        raise ValueError(
            f"a value of shape {tuple(value.shape)} and labels {tuple(labels)} has an axis beyond the result's rank {rank}; "
            "only a contraction sums"
        )
    kept = [label for label in labels if label < rank]
    value = value.squeeze(dropped) if dropped else value
    value = value.permute(sorted(range(len(kept)), key=kept.__getitem__))
    for label in range(rank):
        if label not in kept:
            value = value.unsqueeze(label)
    return value
