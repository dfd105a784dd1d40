"""Do shapes and constants, fitted at small widths, hold at the widths of real trainings? Recorded without any memory.

Under fake tensors a script runs with shapes only: at a width of 100,000 as fast as at 16. Each size and each number among the
arguments was fitted to the small widths (`tpdyn.recorder.fitting.powers`). Operation by operation, the fit must give the script's
own number at the large width. This finds branches on the width, rounded sizes, and constants that only looked like a power,
each with its line. Fake tensors have no values to compare.

A script may ask tensors for numbers (`loss.item()`, the order of its batches). Fake tensors answer with the numbers of the
smallest recorded width.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._foreach_utils import _foreach_supported_types
from torch.utils._python_dispatch import TorchDispatchMode

from tpdyn.exponents import Scaling
from tpdyn.home import PACKAGE
from tpdyn.program.program import Source
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting.powers import fit_float, fit_whole
from tpdyn.recorder.live.frames import user_source
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.tape import Ref, Tape

RELATIVE = 1e-6
"""Constants that passed through float32 are fitted up to its round-off; a wrong power differs by a factor."""


@final
@dataclass(frozen=True, slots=True)
class Signed:
    """One operation: what it is, with the numbers among its sizes and arguments taken out."""

    skeleton: Any
    numbers: tuple[int | float, ...]
    source: Source


@final
class Numbers:
    """The numbers that a script takes out of tensors at each line, in order. Noted in one run, given again in another."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, int], list[Any]] = {}
        self._given: dict[tuple[str, int], int] = {}

    def note(self, number: Any) -> Any:
        """Remember what the script was told here."""
        self.taken.setdefault(_asking(), []).append(number)
        return number

    def again(self) -> Any:
        """Return what it was told at this point of the other run."""
        line = _asking()
        told, count = self.taken.get(line, []), self._given.get(line, 0)
        if count == len(told):
            raise RecordingError(
                "the script asks a tensor for its value where it did not at the recorded widths. Expected the same steps "
                "at every width. Leave out the check at a large width",
                user_source(),
            )
        self._given[line] = count + 1
        return told[count]


def _asking() -> tuple[str, int]:
    """Return the line that asks a tensor for its value: of the script or a library, not of dispatch machinery."""
    frame = sys._getframe(1)
    while frame.f_back is not None and any(part in frame.f_code.co_filename for part in _MACHINERY):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


_MACHINERY = (
    PACKAGE,
    os.path.join("torch", "_subclasses"),
    os.path.join("torch", "utils", "_"),
    os.path.join("torch", "_tensor.py"),
    os.path.join("torch", "_ops.py"),
    os.path.join("torch", "overrides.py"),
    "<@beartype(",  # around functions of this package, where annotations are checked
    os.path.join("torch", "_compile.py"),
    os.path.join("torch", "_dynamo"),
)


@final
class _Asked(TorchDispatchMode):
    """Lets something else say which number leaves a tensor; it is given a way to ask the tensor."""

    def __init__(self, told: Callable[[Callable[[], Any]], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.told = told

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return self.told(lambda: func(*args))
        return func(*args, **(kwargs or {}))


@contextmanager
def noting(numbers: Numbers) -> Iterator[None]:
    """Note every number that leaves a tensor."""
    tolist = torch.Tensor.tolist

    def noted(tensor: torch.Tensor) -> Any:
        return numbers.note(tolist(tensor))

    torch.Tensor.tolist = noted  # type: ignore[method-assign, assignment]
    try:
        with _Asked(lambda ask: numbers.note(ask())):
            yield
    finally:
        torch.Tensor.tolist = tolist  # type: ignore[method-assign]


@contextmanager
def answering(numbers: Numbers) -> Iterator[None]:
    """Make fake tensors answer with the numbers noted."""
    tolist = FakeTensor.tolist

    def told(tensor: torch.Tensor) -> Any:
        return numbers.again()

    FakeTensor.tolist = told  # type: ignore[method-assign, assignment]
    _foreach_supported_types.append(FakeTensor)  # gradients are clipped by the kernels that real ones would take
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), _Asked(lambda ask: numbers.again()):
            yield
    finally:
        FakeTensor.tolist = tolist  # type: ignore[method-assign]
        _foreach_supported_types.remove(FakeTensor)


def signatures(tape: Tape) -> list[Signed]:
    """Return the operations on which named values depend, each after what it reads. The graph alone decides their order."""
    order: dict[int, int] = {}
    for root in tape.named:
        stack = [(root.node, False)]
        while stack:
            index, ready = stack.pop()
            if index in order:
                continue
            node = tape.nodes[index]
            if ready:
                order[index] = len(order)
                continue
            stack.append((index, True))
            reads = [ref.node for ref in node.reads]
            stack.extend((read, False) for read in reversed(reads) if read not in order)
    described = []
    for index in order:
        node = tape.nodes[index]
        numbers: list[int | float] = []
        arguments = _without_numbers((node.args, sorted(node.kwargs.items())), order, numbers)
        outputs = []
        for meta in node.outputs:
            outputs.append(None if meta is None else (len(meta.shape), meta.dtype))
            numbers.extend(meta.shape if meta is not None else ())
        origin = node.origin
        skeleton = (node.op, origin.phase, origin.step, arguments, tuple(outputs))
        described.append(Signed(skeleton, tuple(numbers), origin.source))
    return described


def _without_numbers(item: Any, order: dict[int, int], numbers: list[int | float]) -> Any:
    if isinstance(item, Ref):
        return ("value", order[item.node], item.output)
    if isinstance(item, (list, tuple)):
        return tuple(_without_numbers(part, order, numbers) for part in item)
    if isinstance(item, (int, float)) and not isinstance(item, bool):
        numbers.append(item)
        return "number"
    if isinstance(item, (bool, str, torch.dtype, torch.device, torch.layout, torch.memory_format)) or item is None:
        return item
    return type(item).__name__  # a generator


def signatures_at(train: Callable[[int], object], width: int, steps: int, seed: int, numbers: Numbers) -> list[Signed]:
    """Return what the script does at a large width, recorded under fake tensors.

    Raises RecordingError where it cannot run without values: it reads them through numpy, say.
    """
    try:
        with answering(numbers):
            return signatures(record_tape(train, width, steps, seed, evaluations=True))
    except RecordingError as error:
        raise RecordingError(
            f"the script does not run under fake tensors, so nothing was checked at width {width}: {error}"
        ) from error


def check_signatures(widths: Sequence[int], recorded: Sequence[list[Signed]], width: int, there: list[Signed]) -> int:
    """Compare what the recordings at `widths` foretell with what was recorded at `width`; how many numbers depend on it.

    Raises RecordingError at the first operation that differs: another one, or one with another size or constant.
    """
    fitted: dict[tuple[int | float, ...], Scaling | None] = {}
    growing = 0
    for position in range(max(len(there), len(recorded[0]))):
        versions = [signed[position] if position < len(signed) else None for signed in (*recorded, there)]
        now, first = versions[-1], versions[0]
        if now is None or first is None or any(v is None or v.skeleton != first.skeleton for v in versions):
            shown = [describe(v) for v in (first, now)]
            source = now.source if now is not None else first.source if first is not None else Source()
            raise RecordingError(
                f"the script does other things at width {width} than at the recorded widths "
                f"{', '.join(map(str, widths))}: {shown[1]} there, {shown[0]} here. A branch on the width? (Some libraries "
                "also take another path when they see a fake tensor. Leave out the check at a large width then)",
                source,
            )
        for index, actual in enumerate(now.numbers):
            key = tuple(v.numbers[index] for v in versions[:-1] if v is not None)
            if key not in fitted:
                whole = all(isinstance(number, int) for number in key)
                fitted[key] = fit_whole(widths, [int(n) for n in key]) if whole else fit_float(widths, key)
            law = fitted[key]
            if law is None:  # it enters nothing that counts, or the fit of the program has refused it
                continue
            growing += not law.is_constant
            foretold = float(law.at(width))
            if abs(foretold - actual) > RELATIVE * max(abs(foretold), abs(actual)):
                raise RecordingError(
                    f"at the widths {', '.join(map(str, widths))} a number of {describe(now)} is "
                    f"{', '.join(map(str, key))}, so {law} was expected. At width {width} it is {actual:g} and not "
                    f"{foretold:g}. Record at more widths, or at other ones",
                    now.source,
                )
    return growing


def describe(signed: Signed | None) -> str:
    """Return an operation in words."""
    return (
        "nothing more" if signed is None else f"{signed.skeleton[0]} [{signed.skeleton[1]}, step {signed.skeleton[2]}]"
    )
