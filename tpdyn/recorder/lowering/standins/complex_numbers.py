"""What is a complex tensor in real instructions? A pair of tensors, its real and its imaginary part.

A `Complex` never reaches a statement. Views, sums and lookups act on both parts alike, products on all four pairs. What
leaves the complex numbers (view_as_real, abs, a gradient's real part) is real again. Conjugation, which torch may delay
until a tensor is read, is a sign. A Fourier transform is a product with constant cosines and sines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch

from tpdyn.recorder.lowering.apart import apart
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.draws import Draw, normal_draw
from tpdyn.recorder.lowering.rules import elementwise, indexing, linear, reductions, strides, views
from tpdyn.recorder.lowering.rules.cumulative import RULES as CUMULATIVE
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.standins.known import known_inputs
from tpdyn.recorder.lowering.standins.standin import Call, StandIn, applied
from tpdyn.recorder.lowering.values import Handle, Known, Refusal, Shape, StandsIn, Tensor


@final
@dataclass(frozen=True, slots=True)
class Complex(StandsIn):
    """`real + i imag`, both of one shape."""

    real: Tensor
    imag: Tensor

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.real.shape


Product = Callable[..., Complex]


def is_complex(item: Any) -> bool:
    """Tell whether it is a complex tensor or number."""
    return isinstance(item, (Complex, complex)) or (isinstance(item, Known) and item.tensor.dtype.is_complex)


def read(b: LoweredBuilder, call: Call) -> tuple[Any, ...] | None:
    """Return what an operation makes that reads complex numbers or begins them."""
    dtype = call.kwargs.get("dtype")
    begins = call.name in STARTS or (isinstance(dtype, torch.dtype) and dtype.is_complex)
    if call.is_known or not (begins or _meets_complex(call)):
        return None
    rule, op = RULES.get(call.name), call.node.op
    if rule is None:
        raise Refusal(f"no rule for {op} of complex numbers")
    return applied(rule, f"the rule for {op} of complex numbers", b, call.args, call.options)


def _meets_complex(call: Call) -> bool:
    known = known_inputs(call.args, call.kwargs) if call.holds(Known) else ()
    return call.holds(Complex, complex) or any(map(is_complex, known))


def parts(b: LoweredBuilder, x: Any) -> Complex:
    """Return a tensor or number as a pair; a real one has the imaginary part zero."""
    if isinstance(x, Complex):
        return x
    if isinstance(x, complex):
        return Complex(Known.full((), x.real), Known.full((), x.imag))
    if isinstance(x, Known) and x.tensor.dtype.is_complex:
        if x not in b.pairs:
            b.pairs[x] = _parts_of_known(x)
        return Complex(*b.pairs[x])
    if isinstance(x, (int, float)):
        return Complex(Known.full((), x), Known.full((), 0.0))
    if isinstance(x, (Handle, Known)):
        return Complex(x, Known.full(x.shape, 0.0))
    raise Refusal(f"expected a complex tensor, got {type(x).__name__}")


def _parts_of_known(x: Known) -> tuple[Known, Known]:
    tensor = x.tensor.resolve_conj().resolve_neg().to(torch.complex128)
    real, imag = tensor.real.contiguous(), tensor.imag.contiguous()
    name = x.name or "complex"
    if not bool(imag.any()):
        return Known(real, x.kind, x.draw, x.name, x.notes), Known.full(x.shape, 0.0)
    draw = None if x.draw is None else _draw_of_a_part(x.draw)
    return tuple(  # type: ignore[return-value]
        Known(part, x.kind, draw, f"{name}.{which}", x.notes) for part, which in ((real, "real"), (imag, "imag"))
    )


def _draw_of_a_part(draw: Draw) -> Draw | None:
    """Return a complex normal draw of variance 1 has parts of variance 1/2."""
    law = draw.law
    if law is None or law.kind != "normal" or not law.location.is_zero:
        return None
    return normal_draw(0.0, float(law.scale.constant) / math.sqrt(2))


def named(pair: Complex) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
    """Return both parts, with what is added to the name of the whole."""
    return (".real", pair.real), (".imag", pair.imag)


def _by_parts(rule: Rule, *positions: int) -> Rule:
    """Return the same done to both parts of complex arguments. Masks, indices and sizes serve both.

    positions: of arguments that are taken for complex in any case, or lists of such. A real one has 0 for its imaginary part.
    """

    def part(b: LoweredBuilder, arg: Any, which: str) -> Any:
        if isinstance(arg, (list, tuple)):
            return [part(b, item, which) for item in arg]
        return getattr(parts(b, arg), which)

    def both(b: LoweredBuilder, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("dtype", None)
        taken = positions or [k for k, arg in enumerate(args) if is_complex(arg)]
        real, imag = (
            rule(b, *(part(b, arg, which) if k in taken else arg for k, arg in enumerate(args)), **kwargs)
            for which in ("real", "imag")
        )
        return tuple(map(Complex, real, imag)) if isinstance(real, tuple) else Complex(real, imag)

    return both


def _bilinear(rule: Rule) -> Product:
    """Return (a + ib)(c + id) = (ac - bd) + i(ad + bc), for any product."""

    def product(b: LoweredBuilder, x: Any, y: Any, *_: Any, **__: Any) -> Complex:
        p, q = parts(b, x), parts(b, y)
        rr, ii, ri, ir = (
            rule(b, u, v) for u, v in ((p.real, q.real), (p.imag, q.imag), (p.real, q.imag), (p.imag, q.real))
        )
        return Complex(b.combine([(1, rr), (-1, ii)]), b.combine([(1, ri), (1, ir)]))

    return product


mul = _bilinear(elementwise.mul)


def _plus(product: Product) -> Rule:
    def rule(b: LoweredBuilder, start: Any, x: Any, y: Any, *, beta: Any = 1, alpha: Any = 1, **_: Any) -> Any:
        return add(b, mul(b, beta, start), mul(b, alpha, product(b, x, y)))

    return rule


add, sub = _by_parts(elementwise.add, 0, 1), _by_parts(elementwise.sub, 0, 1)


def conj(b: LoweredBuilder, x: Any) -> Complex:
    """Return real - i imag."""
    z = parts(b, x)
    return Complex(z.real, b.combine([(-1, z.imag)]))


def vdot(b: LoweredBuilder, x: Any, y: Any) -> Complex:
    """Return conj(x) . y."""
    return _bilinear(linear.dot)(b, conj(b, x), y)


def squared_size(b: LoweredBuilder, z: Complex) -> Tensor:
    """Return |z|^2."""
    return b.combine([(1, b.product(z.real, z.real)), (1, b.product(z.imag, z.imag))])


def size(b: LoweredBuilder, x: Any) -> Tensor:
    """Return |z|."""
    squared = squared_size(b, parts(b, x))
    number = b.number(squared)
    return b.apply("sqrt", squared) if number is None else Known.full(b.shape(squared), math.sqrt(number))


def direction(b: LoweredBuilder, x: Any) -> Complex:
    """Return z / |z|, and zero at zero."""
    z = parts(b, x)
    length = size(b, z)
    inverse = b.apply("where", b.apply("equal", length, 0.0), 0.0, b.apply("reciprocal", length))
    return Complex(b.product(z.real, inverse), b.product(z.imag, inverse))


def angle(b: LoweredBuilder, x: Any) -> Tensor:
    """Return the angle of z to the positive numbers."""
    z = parts(b, x)
    return b.apply("atan2", z.imag, z.real)


def reciprocal(b: LoweredBuilder, x: Any) -> Complex:
    """Return conj(z) / |z|^2."""
    z = parts(b, x)
    inverse = b.apply("reciprocal", squared_size(b, z))
    return Complex(b.product(z.real, inverse), b.product(z.imag, inverse, scale=-1))


def div(b: LoweredBuilder, x: Any, y: Any, *, rounding_mode: str | None = None) -> Complex:
    """Return x / y: by a real number or tensor part by part, else x times the inverse of y."""
    z = parts(b, x)
    if is_complex(y):
        return mul(b, z, reciprocal(b, y))
    return Complex(elementwise.div(b, z.real, y), elementwise.div(b, z.imag, y))


MOST_FACTORS = 8


def power(b: LoweredBuilder, x: Any, exponent: Any) -> Complex:
    """Return z^p for a small whole number p."""
    p = 0 if is_complex(exponent) else b.number(exponent) or 0
    assert isinstance(p, (int, float))
    if p != int(p) or not 0 < abs(p) <= MOST_FACTORS:
        raise Refusal("a power of complex numbers other than a small whole one")
    z = reciprocal(b, x) if p < 0 else parts(b, x)
    product = z
    for _ in range(int(abs(p)) - 1):
        product = mul(b, product, z)
    return product


def exp(b: LoweredBuilder, x: Any) -> Complex:
    """Return e^real (cos imag + i sin imag)."""
    z = parts(b, x)
    return polar(b, b.apply("exp", z.real), z.imag)


def log(b: LoweredBuilder, x: Any) -> Complex:
    """Return log |z| + i angle."""
    z = parts(b, x)
    return Complex(b.combine([(0.5, b.apply("log", squared_size(b, z)))]), angle(b, z))


def polar(b: LoweredBuilder, length: Any, turned: Any) -> Complex:
    """Return length (cos angle + i sin angle)."""
    return Complex(b.product(length, b.apply("cos", turned)), b.product(length, b.apply("sin", turned)))


def from_parts(b: LoweredBuilder, real: Any, imag: Any) -> Complex:
    """Make a complex tensor, as torch.complex does."""
    shape = b.broadcast(real, imag)
    return Complex(b.expand(real, shape), b.expand(imag, shape))


def as_complex(b: LoweredBuilder, x: Any) -> Complex:
    """Return the last dim, of size 2, holds the parts."""
    last = len(b.shape(x)) - 1
    return Complex(apart(b, x, last, 0), apart(b, x, last, 1))


def as_real(b: LoweredBuilder, x: Any) -> Tensor:
    """Return the parts along a new last dim of size 2."""
    z = parts(b, x)
    return views.stack(b, [z.real, z.imag], len(z.shape))


def convert(b: LoweredBuilder, x: Any, *, dtype: torch.dtype | None = None, **_: Any) -> Any:
    """Convert to another type: to a real one the imaginary part is dropped, as torch does (with a warning)."""
    z = parts(b, x)
    return z.real if dtype is not None and not dtype.is_complex else z


def copy(b: LoweredBuilder, x: Any, source: Any, *_: Any) -> Any:
    """Return the source in the shape and type of x."""
    z, shape = parts(b, source), b.shape(x.real if isinstance(x, Complex) else x)
    return Complex(b.expand(z.real, shape), b.expand(z.imag, shape)) if is_complex(x) else b.expand(z.real, shape)


def equal(b: LoweredBuilder, x: Any, y: Any) -> Tensor:
    """Tell whether both parts are equal."""
    p, q = parts(b, x), parts(b, y)
    return b.apply("logical_and", b.apply("equal", p.real, q.real), b.apply("equal", p.imag, q.imag))


def vector_norm(b: LoweredBuilder, x: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Return the norm of the sizes of the entries."""
    kwargs.pop("dtype", None)
    return reductions.RULES["linalg_vector_norm"](b, size(b, x), *args, **kwargs)  # type: ignore[no-any-return]


# -- Fourier transforms: a product with constant cosines and sines ------------------------------------------------------


def _wave(
    b: LoweredBuilder, name: str, rows: int, columns: int, size: int, function: Callable[..., torch.Tensor]
) -> Known:
    """Return function(2 pi j k / size) for j < rows, k < columns."""
    key = (name, rows, columns, size)
    if key not in b.indices:
        turns = torch.outer(torch.arange(rows), torch.arange(columns)) % size
        b.indices[key] = Known(function(2 * math.pi / size * turns.to(torch.float64)), name=name)
    return b.indices[key]


def _scale(size: int, normalization: int) -> float:
    return (1.0, size**-0.5, 1.0 / size)[normalization]


def _transform(b: LoweredBuilder, z: Complex, dim: int, count: int, sign: int, scale: float) -> Complex:
    """Return sum_t z_t exp(sign 2 pi i t k / T) for k < count, along dim of size T."""
    size = z.shape[dim]
    cos, sin = (_wave(b, f.__name__, size, count, size, f) for f in (torch.cos, torch.sin))
    (cc, ss), (cs, sc) = (
        [b.along(part, dim, wave, transposed=True, scale=factor) for part, wave, factor in terms]
        for terms in (
            ((z.real, cos, scale), (z.imag, sin, -sign * scale)),
            ((z.real, sin, sign * scale), (z.imag, cos, scale)),
        )
    )
    return Complex(b.combine([(1, cc), (1, ss)]), b.combine([(1, cs), (1, sc)]))


def fft(b: LoweredBuilder, x: Any, dims: Any, normalization: int, forward: bool) -> Complex:
    """Transform complex to complex, along dims."""
    z = parts(b, x)
    for dim in dims:
        dim %= len(z.shape)
        z = _transform(b, z, dim, z.shape[dim], -1 if forward else 1, _scale(z.shape[dim], normalization))
    return z


def fft_of_real(b: LoweredBuilder, x: Any, dims: Any, normalization: int, onesided: bool) -> Complex:
    """Transform real to complex: the last of the dims keeps one side of the spectrum, which says it all."""
    z = parts(b, x)
    last = dims[-1] % len(z.shape)
    count = z.shape[last] // 2 + 1 if onesided else z.shape[last]
    z = _transform(b, z, last, count, -1, _scale(z.shape[last], normalization))
    return fft(b, z, dims[:-1], normalization, True)


def fft_to_real(b: LoweredBuilder, x: Any, dims: Any, normalization: int, size: int) -> Tensor:
    """Transform one side of a spectrum to the real signal of that size. Each frequency but the first (and a last one in the
    middle) counts twice, for its mirror image."""
    z = fft(b, x, dims[:-1], normalization, False)
    last = dims[-1] % len(z.shape)
    count = size // 2 + 1
    if z.shape[last] != count:
        raise Refusal(f"an inverse transform of {z.shape[last]} frequencies to {size} entries")
    times = torch.tensor([1.0 if k in (0, size / 2) else 2.0 for k in range(count)], dtype=torch.float64)

    def wave(function: Callable[..., torch.Tensor]) -> Known:
        return _wave(b, f"{function.__name__}_doubled", count, size, size, lambda turn: function(turn) * times[:, None])

    scale = _scale(size, normalization)
    return b.combine([
        (1, b.along(z.real, last, wave(torch.cos), transposed=True, scale=scale)),
        (-1, b.along(z.imag, last, wave(torch.sin), transposed=True, scale=scale)),
    ])  # fmt: skip


STARTS: dict[str, Rule] = {
    "view_as_complex": as_complex,
    "complex": from_parts,
    "polar": polar,
    "_fft_r2c": fft_of_real,
    "_fft_c2c": fft,
    "_fft_c2r": fft_to_real,
}
_ALIKE = (
    "clone detach alias lift_fresh lift_fresh_copy neg tril triu "
    "view _unsafe_view _reshape_alias t transpose permute unsqueeze squeeze expand slice "
    "select flip split split_with_sizes unsafe_split unsafe_split_with_sizes unbind slice_backward "
    "select_backward repeat roll constant_pad_nd diagonal diag_embed diagonal_backward as_strided cumsum sum mean "
    "index index_select gather embedding embedding_dense_backward"
).split()
_PLAIN: dict[str, Rule] = {
    **elementwise.RULES, **views.RULES, **strides.RULES, **reductions.RULES, **indexing.RULES, **CUMULATIVE,
}  # fmt: skip
RULES: dict[str, Rule] = {
    **{name: _by_parts(_PLAIN[name]) for name in _ALIKE},
    **STARTS,
    "view_as_real": as_real,
    "_conj": conj,
    "_conj_physical": conj,
    "add": add,
    "sub": sub,
    "rsub": _by_parts(elementwise.rsub, 0, 1),
    "mul": mul,
    "div": div,
    "addcmul": lambda b, x, y, z, *, value=1: add(b, x, mul(b, value, mul(b, y, z))),
    "where": _by_parts(elementwise.where, 1, 2),
    "masked_fill": lambda b, x, mask, number: RULES["where"](b, mask, number, x),
    "slice_scatter": _by_parts(views.slice_scatter, 0, 1),
    "select_scatter": _by_parts(views.select_scatter, 0, 1),
    "as_strided_scatter": _by_parts(strides.as_strided_scatter, 0, 1),
    "index_put": _by_parts(indexing.index_put, 0, 2),
    "index_add": _by_parts(indexing.index_add, 0, 3),
    "scatter_add": _by_parts(indexing.scatter_add, 0, 3),
    "cat": _by_parts(views.cat, 0),
    "stack": _by_parts(views.stack, 0),
    "reciprocal": reciprocal,
    "pow": power,
    "exp": exp,
    "log": log,
    "abs": size,
    "angle": angle,
    "sgn": direction,
    "eq": equal,
    "_to_copy": convert,
    "copy": copy,
    "mm": _bilinear(linear.mm),
    "bmm": _bilinear(linear.bmm),
    "mv": _bilinear(linear.mv),
    "dot": _bilinear(linear.dot),
    "vdot": vdot,
    "addmm": _plus(_bilinear(linear.mm)),
    "baddbmm": _plus(_bilinear(linear.bmm)),
    "addmv": _plus(_bilinear(linear.mv)),
    "linalg_vector_norm": vector_norm,
}
COMPLEX = StandIn("complex", read)
