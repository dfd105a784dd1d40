"""What becomes of a number that leaves the tensors? It stays a float for the script, and remembers how it was made.

While a script is recorded, `tensor.item()` returns a `TracedNumber`. It is a float in every respect. But the tape also
holds its sums and products, as tensors without dims, in Python's float64. Some operations read such a number: the rate of
Adafactor, the trust ratio of LAMB. Torch first turns it into a plain float. So the recorder watches the calls of torch. A
float that an operation reads is the traced argument of the call. If the script itself converts it to a plain float, its
bits identify it. That fails for numbers that a script could contain. Comparisons are not followed: the program takes the
branch that the recording took.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, final

import torch
from torch import Tensor, overrides
from torch.overrides import TorchFunctionMode
from torch.utils._device import DeviceContext

from tpdyn.recorder.live.tape import Ref

aten = torch.ops.aten

SHORT = 12
"""Numbers with at most so many binary digits (0.5, 3, 1/64) stand in any script. So their bits do not identify them."""
SHORT_DECIMAL = 6
"""Nor are numbers of so many decimal digits: 0.001 * 0.01, the rate of a bias that is zero, has the bits of an eps, 1e-05."""
_current_node = torch._C._current_autograd_node
_next_sequence = torch._C._autograd._get_sequence_nr
_modes: Callable[[], list[TorchFunctionMode]] = overrides._get_current_function_mode_stack
_push: Callable[[TorchFunctionMode], None] = overrides._push_mode
_pop: Callable[[], TorchFunctionMode] = overrides._pop_mode

Append = Callable[[Any, tuple[Any, ...]], Ref]


@final
class Numbers:
    """The numbers of one recording: which value of the tape each of them is.

    append(overload, operands) writes an operation on tensors without dims and gives its value. Once left, it is let go of: numbers
    that the script still holds are plain ones in all that follows.
    """

    def __init__(self, append: Append) -> None:
        self._append: Append | None = append
        self._by_bits: dict[float, Ref] = {}
        self._given: list[dict[float, Ref]] = []  # to the calls of torch that run now
        self._saved: dict[
            int, dict[float, Ref]
        ] = {}  # by autograd's number: the gradient of a product reads its factor again
        self._calls = _Calls(self)
        self._taken: Ref | None = None
        self._item: Any = None
        self._max: Any = None

    def __enter__(self) -> Numbers:
        """Make `tensor.item()` trace while entered."""
        import torch.optim._adafactor as adafactor

        self._item = item = Tensor.item

        def traced(tensor: Tensor) -> Any:
            self._taken = None
            number = item(tensor)
            taken, self._taken = self._taken, None
            if taken is None or not isinstance(number, float):
                return number
            self._calls.begin()
            return TracedNumber(number, taken, self)

        Tensor.item = traced  # type: ignore[method-assign, assignment]
        self._max = vars(adafactor).get("max")  # of a recording around this one
        adafactor.max = _maximum  # type: ignore[attr-defined]  # its floors, which are not to be branches
        return self

    def __exit__(self, *_: object) -> None:
        import torch.optim._adafactor as adafactor

        self._calls.end()
        Tensor.item = self._item  # type: ignore[method-assign]
        if self._max is None:
            del adafactor.max  # type: ignore[attr-defined]
        else:
            adafactor.max = self._max  # type: ignore[attr-defined]
        self._append = None

    def __bool__(self) -> bool:
        """Tell whether any number has left the tensors."""
        return bool(self._by_bits)

    def take(self, number: float, ref: Ref) -> None:
        """Note that a number leaves the tensor `ref` now."""
        assert self._append is not None
        self._taken = self._append(aten._to_copy.default, (ref,))
        self.know(number, self._taken)

    def know(self, number: float, ref: Ref) -> None:
        """Note that a float with these bits may be the value `ref` from now on."""
        self._by_bits[number] = Ref(ref.node, ref.output, number=True)

    def find(self, argument: Any) -> Any:
        """Return the value that a float is, where it is one; else the argument as it is."""
        if not isinstance(argument, float) or argument not in self._by_bits:
            return argument
        node = _current_node()
        saved = {} if node is None else self._saved.get(node._sequence_nr(), {})
        for given in (*reversed(self._given), saved):
            if argument in given:
                return given[argument]
        return argument if _could_be_written(argument) else self._by_bits[argument]

    def calling(self, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return the result of a call of torch, whose traced numbers are known as long as it runs."""
        if not self._by_bits or not (traced := _traced((args, kwargs))):
            return call(*args, **kwargs)
        given = {float(x): Ref(x.ref.node, x.ref.output, number=True) for x in traced}
        first = _next_sequence()
        self._given.append(given)
        try:
            return call(*args, **kwargs)
        finally:
            self._given.pop()
            self._saved.update(dict.fromkeys(range(first, _next_sequence()), given))

    def made(self, overload: Any, result: Any, *operands: Any) -> Any:
        """Return the result of arithmetic, traced where its operands can be written down."""
        if self._append is None or not isinstance(result, float):
            return result
        if not all(type(x) in (int, float, TracedNumber) for x in operands):
            return result
        written = (x.ref if isinstance(x, TracedNumber) else float(x) for x in operands)
        ref = self._append(overload, tuple(written))
        self.know(result, ref)
        return TracedNumber(result, ref, self)


@final
class _Calls(TorchFunctionMode):
    """Tells the numbers of each call of torch, while they still are what the script gave.

    Every call is slower by it. So it begins with the first number that a script gets. The script's own modes lie above it,
    and end in their own order. Torch's default device stays at the bottom. A mode that handles a call is off the stack
    meanwhile. Then this one begins with a later number.
    """

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        self._numbers = numbers

    def begin(self) -> None:
        """Be told of all calls from now on."""
        if self not in _modes() and not _in_a_mode():
            above = [_pop() for _ in _modes()]
            if above and isinstance(above[-1], DeviceContext):
                _push(above.pop())
            for mode in (self, *reversed(above)):
                _push(mode)

    def end(self) -> None:
        """Be told of no call any more."""
        if self in _modes():
            modes = [_pop() for _ in _modes()]
            for mode in reversed(modes):
                if mode is not self:
                    _push(mode)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._numbers.calling(func, args, kwargs or {})


def _in_a_mode() -> bool:
    """Tell whether a mode handles a call now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "__torch_function__":
        frame = frame.f_back
    return frame is not None


def _traced(items: Any) -> list[TracedNumber]:
    """List the traced numbers in nested arguments. (Each call of torch asks: no generators here.)"""
    traced: list[TracedNumber] = []
    for item in items:
        kind = type(item)
        if kind is TracedNumber:
            traced.append(item)
        elif kind is tuple or kind is list:
            traced += _traced(item)
        elif kind is dict:
            traced += _traced(item.values())
    return traced


def _could_be_written(number: float) -> bool:
    """Tell whether a script may hold this number as a constant of its own."""
    if not math.isfinite(number) or number == float(f"{number:.{SHORT_DECIMAL}g}"):
        return True
    return math.ldexp(math.frexp(number)[0], SHORT).is_integer()


@final
class TracedNumber(float):
    """A float that is the value `ref` of the tape. Copied, pickled or converted it is a plain float."""

    __slots__ = ("_numbers", "ref")
    ref: Ref
    _numbers: Numbers

    def __new__(cls, number: float, ref: Ref, numbers: Numbers) -> TracedNumber:
        """Return the float, and where it is on the tape."""
        traced = super().__new__(cls, number)
        traced.ref, traced._numbers = ref, numbers
        return traced

    def __reduce_ex__(self, protocol: Any) -> Any:
        return float, (float(self),)

    def __pos__(self) -> Any:
        return self


def _followed(method: str, overload: Any) -> Callable[..., Any]:
    """Return a method of floats whose result is traced."""
    plain, reflected = getattr(float, method), method.startswith("__r")

    def traced(self: TracedNumber, *others: Any) -> Any:
        operands = (*others[:1], self) if reflected else (self, *others[:1])
        return self._numbers.made(overload, plain(self, *others), *operands)

    return traced


_ARITHMETIC = {
    "add": aten.add.Tensor, "sub": aten.sub.Tensor, "mul": aten.mul.Tensor, "truediv": aten.div.Tensor,
    "pow": aten.pow.Tensor_Tensor,
}  # fmt: skip
for _name, _overload in _ARITHMETIC.items():
    for _method in (f"__{_name}__", f"__r{_name}__"):
        setattr(TracedNumber, _method, _followed(_method, _overload))
for _method, _overload in (("__neg__", aten.neg.default), ("__abs__", aten.abs.default)):
    setattr(TracedNumber, _method, _followed(_method, _overload))


def _maximum(*numbers: Any) -> Any:
    """Return a `max` of two numbers that does not branch; of anything else, Python's."""
    largest = max(*numbers)
    traced = next((x for x in numbers if isinstance(x, TracedNumber)), None)
    if traced is None or len(numbers) != 2:
        return largest
    return traced._numbers.made(aten.maximum.default, float(largest), *numbers)
