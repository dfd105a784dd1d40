"""What are the parameters after a script's first steps? Run as it is, at one width, to tell whether two scripts do the same."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tpdyn.recorder.live.hooks import Watch


def after_first_steps(train: Callable[[int], object], width: int, steps: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Return copies of all parameters, by name, after `steps` optimizer steps of `train(width)`, which is then stopped.

    torch, numpy and random are seeded first. What the script raises is raised.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - scripts use the global generator
    random.seed(seed)
    with Watch(limit=steps, detect_hand_written_steps=False) as watch:
        train(width)
    return {name: tensor.detach().clone() for name, tensor in watch.parameters().items()}


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Tell whether two scripts ended with the same parameters, bit for bit (not a number equals itself)."""
    return one.keys() == other.keys() and all(
        torch.equal(torch.nan_to_num(one[name]), torch.nan_to_num(other[name])) for name in one
    )
