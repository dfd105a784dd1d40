"""Which optimizers do something else in their first steps? torch's RAdam does: until step 5 it is SGD with momentum.

Its recording at three steps looks like a loop whose steps are all alike. It is none, so it must not be continued.
"""

from __future__ import annotations

import torch

from tpdyn.program.continued import BEGINNING


def first_steps(optimizer: torch.optim.Optimizer) -> int:
    """Return the number of steps that an optimizer makes in another way than later ones; 0 for most.

    RAdam divides by the size of gradients once their average is long enough: rho_t > 5 (arXiv 1908.03265, Algorithm 2).
    """
    if not isinstance(optimizer, torch.optim.RAdam):
        return 0
    count = 0
    for group in optimizer.param_groups:
        beta = float(group["betas"][1])
        longest = 2 / (1 - beta) - 1
        if longest <= 5:  # it never does
            continue
        step = 1
        while longest - 2 * step * beta**step / (1 - beta**step) <= 5:
            step += 1
        count = max(count, step - 1)
    return count


def told(optimizer: torch.optim.Optimizer, steps: int) -> str | None:
    """Say that a recording of so many steps shows the beginning only, and how many steps show more."""
    first = first_steps(optimizer)
    if steps > first:
        return None
    return (
        f"{BEGINNING} {type(optimizer).__name__}: from step {first} on it divides by the size of gradients. Record "
        f"{first + 3} steps (steps={first + 3}, --steps {first + 3})"
    )
