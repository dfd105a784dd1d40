"""How far does a training script come? Recorded, replayed, fitted and verified at a held-out width, given orders, simulated."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.coupled import coupled
from tpdyn.recorder.canonical import canonical
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting.widths import fit
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import replay, verify_tape
from tpdyn.recorder.lowering import lower
from tpdyn.recorder.record import How, check_at, common_arrays, further_width
from tpdyn.regimes.predict import predict

Train = Callable[[int], object]


@dataclass(frozen=True)
class Case:
    """A script as a function of the width. outside: a pattern that the refusal of a script outside matches."""

    family: str
    model: str
    optimizer: str
    train: Train
    widths: tuple[int, ...] = (8, 12, 20)
    steps: int = 2
    outside: str = ""
    needs: str = ""
    slow: bool = False

    @property
    def name(self) -> str:
        """What a test calls it."""
        return f"{self.model}, {self.optimizer}"


@dataclass(frozen=True)
class Outcome:
    """What was seen of a case. gap: the largest difference of a replay, relative to its value's size (0: bitwise).

    coupled: of a simulated run from a dense one, None where it was not asked for or refused. refusal: in the sampler's words.
    """

    recorded: bool = False
    gap: float | None = None
    fitted: bool = False
    orders: str = ""
    statements: int = 0
    seconds: float = 0.0
    why: str = ""
    coupled: float | None = None
    refusal: str = ""


def examine(case: Case, *, simulated: bool = False) -> Outcome:
    """Take a case as far as it goes. simulated: up to the coupled check, which takes as long again."""
    begin = time.perf_counter()
    seen: dict[str, Any] = {}
    try:
        _stages(case, seen, simulated=simulated)
    except Exception as error:
        seen["why"] = f"{type(error).__name__}: {error}"
    return Outcome(**seen, seconds=time.perf_counter() - begin)


def agrees(case: Case, outcome: Outcome) -> bool:
    """Whether a case came as far as it should: to orders, or to the refusal that is expected of it.

    Replays are bitwise, but for kernels that are recorded as their formulas (see the recording's notes): those to 1e-4.
    """
    if case.outside:
        return re.search(case.outside, outcome.why) is not None
    return bool(outcome.orders) and outcome.gap is not None and outcome.gap <= 1e-4


def _stages(case: Case, seen: dict[str, Any], *, simulated: bool) -> None:
    lowereds = []
    for width in case.widths:
        tape = record_tape(case.train, width, case.steps, 0)
        seen["recorded"] = True
        seen["gap"] = max(seen.get("gap", 0.0), replay_gap(tape))
        verify_tape(tape)
        lowereds.append(lower(tape))
    made = canonical(fit(lowereds))
    seen["statements"] = len(made.program.statements)
    check_at(case.train, made, lowereds[0], further_width(case.widths), How(case.steps, 0))
    seen["fitted"] = True
    if lowereds[0].steps < case.steps:
        raise RecordingError(f"{lowereds[0].steps} steps were recorded instead of {case.steps}")
    if simulated:
        seen["coupled"], seen["refusal"] = coupled(replace(made.program, arrays=common_arrays(made, lowereds)))
    prediction = predict(made.program, remedy=False)
    seen["orders"] = prediction.regime.value
    seen["why"] = "; ".join(dict.fromkeys(reason.text for reason in prediction.outside))


def replay_gap(tape: Any) -> float:
    """The largest difference between a replay and the live script, relative to the size of the value."""
    values = replay(tape)
    largest = 0.0
    for ref, live in tape.live.items():
        found = values[ref]
        if not live.is_floating_point() or torch.equal(live, found):
            continue
        gap = (live.double() - found.double()).abs().nan_to_num(0.0).max()
        largest = max(largest, float(gap / live.double().abs().max().clamp_min(1e-30)))
    return largest


# -- loops that many scripts share -----------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
}


def numbers(*shape: int) -> Tensor:
    """The same draw at every width."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def labels(classes: int, *shape: int) -> Tensor:
    """The same classes at every width."""
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(2))


def fitting(
    model_of: Callable[[int], nn.Module], x: Tensor, optimizer: str | Callable[[Any], Any] = "SGD", outputs: int = 3
) -> Train:
    """Classification of a fixed batch: the model's output is pooled over all dims but the first and the classes'."""
    make = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer

    def train(width: int) -> None:
        model = model_of(width)
        step_by = make(model.parameters())
        y = labels(outputs, x.shape[0])
        for _ in range(5):
            step_by.zero_grad()
            F.cross_entropy(model(x), y).backward()
            step_by.step()

    return train
