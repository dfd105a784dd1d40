"""Which action does a policy take while it is recorded? At every width the one that it took at the first.

An action is drawn from probabilities that depend on the weights. An episode that ends when a pole falls has another length at
another width. Such recordings are not one program. A draw of whole numbers is data, like the labels of a batch. Whichever
comes out, the program is that of the training it leads to. So the recordings of one script share them, in the order in
which they are drawn. Their shapes must be equal, and what is shared must be possible at the other width.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, final

import torch
from torch import Tensor

aten = torch.ops.aten

DRAWN: frozenset[Any] = frozenset({aten.multinomial.default, aten.bernoulli.default})
"""What `Categorical` and `Bernoulli` draw by; dropout draws otherwise."""


@final
class Choices:
    """The draws that recordings of one script share. `begin` starts another run, which meets them from the first on."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], list[Tensor]] = {}
        self._met: Counter[tuple[Any, ...]] = Counter()

    def begin(self) -> None:
        """Start at the first draw."""
        self._met.clear()

    def shared(self, func: Any, args: Any, out: Any) -> None:
        """Replace what was drawn by what an earlier run drew there, or keep it for later ones."""
        if func not in DRAWN:
            return
        chances = args[0]
        key = (func, tuple(chances.shape), tuple(out.shape))
        turn = self._met[key]
        self._met[key] += 1
        known = self._known.setdefault(key, [])
        if turn == len(known):
            known.append(out.detach().clone())
        elif turn < len(known) and _is_possible(func, chances, known[turn].to(out.device)):
            out.copy_(known[turn])


def _is_possible(func: Any, chances: Tensor, drawn: Tensor) -> bool:
    if func is aten.multinomial.default:
        return bool((chances.gather(-1, drawn) > 0).all())
    return bool(torch.where(drawn > 0, chances > 0, chances < 1).all())
