"""What are the parameters after a script's first steps? Run as it is, at one width, to tell whether two scripts do the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tpdyn.recorder.live.hooks import Watch
from tpdyn.recorder.live.surroundings import seed_everything


def after_first_steps(train: Callable[[int], object], width: int, steps: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Return copies of all parameters, by name, after `steps` optimizer steps of `train(width)`, which is then stopped.

    torch, numpy and random are seeded first. What the script raises is raised.
    """
    seed_everything(seed)
    with Watch(limit=steps, detect_hand_written_steps=False) as watch:
        train(width)
    return {name: tensor.detach().clone() for name, tensor in watch.parameters().items()}


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Tell whether two scripts ended with the same parameters, bit for bit (not a number equals itself)."""
    return one.keys() == other.keys() and all(
        torch.equal(torch.nan_to_num(one[name]), torch.nan_to_num(other[name])) for name in one
    )
