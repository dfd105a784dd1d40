"""What becomes of a number that leaves the tensors? It stays a float for the script, and remembers how it was made.

`tensor.item()` gives a `TracedNumber` while a script is recorded: a float in every respect, whose sums and products are written
on the tape, too (as tensors without dims, in float64, which is what Python computes in). When such a number comes back as the
argument of an operation (the rate of Adafactor, the trust ratio of LAMB), torch has made a plain float of it: it is known
again by its bits. Comparisons are not followed: a branch on a number is the branch that the recording took.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from tpdyn.recorder.live.tape import Ref

aten = torch.ops.aten

SHORT = 12
"""Numbers with at most so many binary digits (0.5, 3, 1/64) stand in any script: they are not known by their bits."""

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
        self._taken: Ref | None = None
        self._item: Any = None

    def __enter__(self) -> Numbers:
        """While entered, `tensor.item()` traces."""
        import torch.optim._adafactor as adafactor

        self._item = item = Tensor.item

        def traced(tensor: Tensor) -> Any:
            self._taken = None
            number = item(tensor)
            taken, self._taken = self._taken, None
            return TracedNumber(number, taken, self) if taken is not None and isinstance(number, float) else number

        Tensor.item = traced  # type: ignore[method-assign, assignment]
        adafactor.max = _maximum  # type: ignore[attr-defined]  # its floors, which are not to be branches
        return self

    def __exit__(self, *_: object) -> None:
        import torch.optim._adafactor as adafactor

        Tensor.item = self._item  # type: ignore[method-assign]
        del adafactor.max  # type: ignore[attr-defined]
        self._append = None

    def __bool__(self) -> bool:
        """Whether any number has left the tensors."""
        return bool(self._by_bits)

    def take(self, number: float, ref: Ref) -> None:
        """A number leaves the tensor `ref` now."""
        assert self._append is not None
        self._taken = self._append(aten._to_copy.default, (ref,))
        self.know(number, self._taken)

    def know(self, number: float, ref: Ref) -> None:
        """From now on a float with these bits is the value `ref`."""
        mantissa = math.ldexp(math.frexp(number)[0], SHORT) if math.isfinite(number) else 0.0
        if mantissa != int(mantissa):
            self._by_bits[number] = Ref(ref.node, ref.output, number=True)

    def find(self, argument: Any) -> Any:
        """The value that a float is, where it is one; else the argument as it is."""
        return self._by_bits.get(argument, argument) if isinstance(argument, float) else argument

    def made(self, overload: Any, result: Any, *operands: Any) -> Any:
        """The result of arithmetic, traced where its operands can be written down."""
        if self._append is None or not isinstance(result, float):
            return result
        if not all(type(x) in (int, float, TracedNumber) for x in operands):
            return result
        written = (x.ref if isinstance(x, TracedNumber) else float(x) for x in operands)
        ref = self._append(overload, tuple(written))
        self.know(result, ref)
        return TracedNumber(result, ref, self)


@final
class TracedNumber(float):
    """A float that is the value `ref` of the tape. Copied, pickled or converted it is a plain float."""

    __slots__ = ("_numbers", "ref")
    ref: Ref
    _numbers: Numbers

    def __new__(cls, number: float, ref: Ref, numbers: Numbers) -> TracedNumber:
        """The float, and where it is on the tape."""
        made = super().__new__(cls, number)
        made.ref, made._numbers = ref, numbers
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return float, (float(self),)

    def __add__(self, other: Any) -> Any:
        return self._numbers.made(aten.add.Tensor, float.__add__(self, other), self, other)

    def __radd__(self, other: Any) -> Any:
        return self._numbers.made(aten.add.Tensor, float.__radd__(self, other), other, self)

    def __sub__(self, other: Any) -> Any:
        return self._numbers.made(aten.sub.Tensor, float.__sub__(self, other), self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._numbers.made(aten.sub.Tensor, float.__rsub__(self, other), other, self)

    def __mul__(self, other: Any) -> Any:
        return self._numbers.made(aten.mul.Tensor, float.__mul__(self, other), self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._numbers.made(aten.mul.Tensor, float.__rmul__(self, other), other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._numbers.made(aten.div.Tensor, float.__truediv__(self, other), self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._numbers.made(aten.div.Tensor, float.__rtruediv__(self, other), other, self)

    def __pow__(self, other: Any, modulus: None = None) -> Any:
        return self._numbers.made(aten.pow.Tensor_Tensor, float.__pow__(self, other), self, other)

    def __rpow__(self, other: Any, modulus: None = None) -> Any:
        return self._numbers.made(aten.pow.Tensor_Tensor, float.__rpow__(self, other), other, self)

    def __neg__(self) -> Any:
        return self._numbers.made(aten.neg.default, float.__neg__(self), self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self._numbers.made(aten.abs.default, float.__abs__(self), self)


def _maximum(*numbers: Any) -> Any:
    """`max` of two numbers that does not branch; of anything else, Python's."""
    largest = max(*numbers)
    traced = next((x for x in numbers if isinstance(x, TracedNumber)), None)
    if traced is None or len(numbers) != 2:
        return largest
    return traced._numbers.made(aten.maximum.default, float(largest), *numbers)
