"""How does CTC become instructions? Its sum over alignments is a product of small matrices, one a time step.

The rule is `alpha_t = p_t * (A alpha_{t-1})` (Graves et al. 2006, https://doi.org/10.1145/1143844.1143891, equation 6). `p_t` holds
the chances of the extended labels (blanks between them) at time t. A has ones where one may follow another. The loss is
`-log(end . alpha_T)`. Its dims are the same at every width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.values import Known, Refusal, Tensor


@final
@dataclass(frozen=True)
class _Labels:
    """The constants of a batch: rows of samples, columns of extended labels.

    chosen: (sample, label, class), one where the label is the class. follows: (sample, before, label). first, last: labels at
    which an alignment begins and ends. times: how many steps each sample has.
    """

    chosen: Known
    follows: Known
    first: Known
    last: Known
    times: tuple[int, ...]


def _numbers(given: Any) -> list[int]:
    if isinstance(given, Known):
        return [int(number) for number in given.tensor.reshape(-1)]
    if isinstance(given, Sequence):
        return [int(number) for number in given]
    raise Refusal("lengths that depend on parameters")


def _labels(b: LoweredBuilder, logs: Any, targets: Any, times: Any, lengths: Any, blank: int) -> _Labels:
    if not isinstance(targets, Known):
        raise Refusal("labels that depend on parameters")
    _, count, classes = b.shape(logs)
    sizes = _numbers(lengths)
    rows = targets.tensor.split(sizes) if targets.tensor.dim() == 1 else list(targets.tensor)  # type: ignore[no-untyped-call]
    extended = torch.full((count, 2 * max(sizes) + 1), blank)
    for number, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        extended[number, 1 : 2 * size : 2] = row[:size]
    states = extended.shape[1]
    here = torch.arange(states)
    gap = here[None, :] - here[:, None]
    skips = torch.zeros(count, states, dtype=torch.bool)
    skips[:, 2:] = (extended[:, 2:] != blank) & (extended[:, 2:] != extended[:, :-2])
    follows = ((gap == 0) | (gap == 1)).expand(count, -1, -1) | ((gap == 2) & skips[:, None, :])
    ends = torch.tensor(sizes)[:, None]
    last = (here == 2 * ends) | ((here == 2 * ends - 1) & (ends > 0))
    first = (here < 2).expand(count, -1)
    chosen = torch.nn.functional.one_hot(extended, classes)

    def known(tensor: torch.Tensor, name: str) -> Known:
        return Known(tensor.to(torch.float64), "data", None, name)

    named = known(chosen, "chosen"), known(follows, "follows"), known(first, "first"), known(last, "last")
    return _Labels(*named, tuple(_numbers(times)))


def _chances(b: LoweredBuilder, logs: Any, labels: _Labels) -> Tensor:
    return b.apply("exp", b.contract(["t", "n", "s"], (logs, ["t", "n", "c"]), (labels.chosen, ["n", "s", "c"])))


def _as_long_as(b: LoweredBuilder, labels: _Labels, time: int, new: Any, old: Any) -> Any:
    """Return the new value for samples that have this time step, the old one for the others."""
    has = torch.tensor([[float(time < length)] for length in labels.times], dtype=torch.float64)
    if bool(has.all()):
        return new
    kept, over = (Known(mask, "data", None, "within") for mask in (has, 1 - has))
    return b.combine([(1, b.product(new, kept)), (1, b.product(old, over))])


def _forward(b: LoweredBuilder, chances: Tensor, labels: _Labels) -> list[Any]:
    """Return alpha at each time: chances of all that may have come before, times the chance of the label."""
    alphas = [b.product(b.select(chances, 0, 0), labels.first)]
    for time in range(1, b.shape(chances)[0]):
        before = b.contract(["n", "s"], (alphas[-1], ["n", "r"]), (labels.follows, ["n", "r", "s"]))
        alphas.append(_as_long_as(b, labels, time, b.product(b.select(chances, 0, time), before), alphas[-1]))
    return alphas


def _likelihood(b: LoweredBuilder, alphas: Sequence[Any], labels: _Labels) -> Tensor:
    return b.contract(["n"], (alphas[-1], ["n", "s"]), (labels.last, ["n", "s"]))


def ctc(
    b: LoweredBuilder, logs: Any, targets: Any, times: Any, lengths: Any, blank: int = 0, zero_infinity: bool = False
) -> tuple[Tensor, Tensor]:
    """Return -log of the likelihood of each sample. Only the gradient reads the second result, and makes it anew."""
    labels = _labels(b, logs, targets, times, lengths, blank)
    alphas = _forward(b, _chances(b, logs, labels), labels)
    loss = b.combine([(-1, b.apply("log", _likelihood(b, alphas, labels)))])
    return loss, Known.full((), 0.0)


def ctc_backward(
    b: LoweredBuilder,
    grad: Any,
    logs: Any,
    targets: Any,
    times: Any,
    lengths: Any,
    losses: Any,
    alphas: Any,
    blank: int,
    zero_infinity: bool = False,
) -> Tensor:
    """Return grad * (exp(logs) - the chance that an alignment is at the class); torch counts log_softmax's gradient in."""
    labels = _labels(b, logs, targets, times, lengths, blank)
    chances = _chances(b, logs, labels)
    forward = _forward(b, chances, labels)
    share = b.product(grad, b.apply("reciprocal", _likelihood(b, forward, labels)))
    backward: Any = labels.last
    rows = []
    for time in range(b.shape(logs)[0] - 1, -1, -1):
        met = b.product(b.product(forward[time], backward), b.unsqueeze(share, 1))
        rows.append(b.contract(["n", "c"], (met, ["n", "s"]), (labels.chosen, ["n", "s", "c"])))
        if time:
            ahead = b.product(b.select(chances, 0, time), backward)
            before = b.contract(["n", "r"], (ahead, ["n", "s"]), (labels.follows, ["n", "r", "s"]))
            backward = _as_long_as(b, labels, time, before, backward)
    shape = b.shape(logs)
    met = b.concat([b.unsqueeze(row, 0) for row in reversed(rows)], 0, shape)
    all_of_it = b.product(b.apply("exp", logs), b.unsqueeze(b.unsqueeze(grad, 0), 2))
    result = b.combine([(1, all_of_it), (-1, met)])
    within = torch.tensor([[float(time < length) for length in labels.times] for time in range(shape[0])])
    return (
        result if bool(within.all()) else b.product(result, Known(within[:, :, None].double(), "data", None, "within"))
    )


RULES: dict[str, Rule] = {"_ctc_loss": ctc, "_ctc_loss_backward": ctc_backward}
