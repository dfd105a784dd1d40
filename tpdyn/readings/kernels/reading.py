"""Which second moments and tangent kernels do the values of a forward pass have, in the limit of infinite width?

The recursion runs over pairs of values, from the output down. A value with a wide axis is, in the limit, a family of random
coordinates. There is one for each index over its finite axes (samples, positions, heads). Two of them have

* a **second moment** `E[u(x) v(x')]`: a tensor over the finite axes of both;
* a **tangent kernel** `sum over weights of du(x)/dw dv(x')/dw`, likewise.

Both are bilinear, so that sums, multiples, slices, lookups and concatenations pass through; what remains are three rules:
*matrix*, *function* and *product*. A matrix, `W x` against `W y`, gives n Var(W) E[x y], and E[x y] more for the tangent
kernel. A function, `f(a)` against `g(b)`, goes by `gaussian`, its tangent kernel by `E[f'(a) g'(b)]`. A product has
independent factors. Values without wide axis whose fluctuation vanishes are numbers. All else is refused, by name and line.

Sources: Tensor Programs I (arXiv 1910.12478) for second moments, II (2006.14548) for tangent kernels. There W and its
transpose may be taken for independent. That holds since every rule here refuses a weight that is used in both directions.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import assert_never, final

import torch
from torch import Tensor

from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.readings.kernels import gaussian
from tpdyn.readings.kernels.atoms import Atoms
from tpdyn.readings.kernels.frame import Kind, Seen, Tile, level
from tpdyn.readings.kernels.gaussian import Gaussian
from tpdyn.readings.kernels.numbers import Number, Numbers
from tpdyn.readings.kernels.sized import (
    Label,
    Labels,
    Sized,
    end_to_end,
    expanded,
    product,
    reordered,
    rows_of,
    scaled,
    summed,
    total,
)


@final
class Kernels(Atoms):
    """The recursion for one program (see the module docstring)."""

    def pair(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Compute the kernel of two values; the pattern of their labels is found once."""
        used = {*u.labels, *v.labels}
        inner = tuple(label for label in out if label in used)
        number = {label: k for k, label in enumerate(dict.fromkeys((*u.labels, *v.labels)))}
        pattern = (tuple(number[x] for x in u.labels), tuple(number[x] for x in v.labels))
        key = (kind, u.side, u.var, v.side, v.var, pattern, tuple(number[x] for x in inner))
        if key not in tile.found:
            tile.found[key] = self._worked_out(kind, tile, u, v, inner)
        kernel = tile.found[key]
        return None if kernel is None else expanded(Sized(kernel.value, inner, kernel.order), out)

    def _worked_out(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        one, other = u.var in self.numeric, v.var in self.numeric
        if one or other:
            return self._with_number(kind, tile, u, v, out)
        for rule, x, y in ((self.alike, u, v), (self.linear, u, v), (self.linear, v, u)):  # both kernels are symmetric
            answered, kernel = rule(kind, tile, x, y, out)
            if answered:
                return kernel
        return self.atoms(kind, tile, u, v, out)

    def _with_number(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Pair a value with a number, which neither moves with the weights nor fluctuates."""
        if kind == "tangent":
            return None
        factors: list[Sized] = []
        for side in (u, v):
            factor = self.number(tile, side) if side.var in self.numeric else self.mean(tile, side, side.labels)
            if factor is None:
                return None
            factors.append(factor)
        return product(factors, out, {*u.labels, *v.labels})

    def mean(self, tile: Tile, u: Seen, out: Labels) -> Sized | None:
        """Compute `E[u]`, summed over labels that `out` lacks; None for zero."""
        instruction = self.program.statements[u.var].instruction
        names = self.by_label(u)
        mean: Sized | None = None
        if u.var in self.numeric:
            mean = self.number(tile, u)
        elif isinstance(instruction, Leaf):
            mean = level(u.labels, instruction.law.location, tile)
        elif not self.matrix(u.var):
            mean = self._mean_of(tile, u, instruction, names)
        return None if mean is None else summed(mean, out, set(u.labels))

    def _mean_of(self, tile: Tile, u: Seen, instruction: Instruction, names: dict[int, Label]) -> Sized | None:
        match instruction:
            case Combine(terms=terms, constant=constant):
                parts = []
                for scale, operand in terms:
                    read = self.operand(tile, u, operand, names)
                    mean = self.mean(tile, read, read.labels)
                    parts.append(None if mean is None else scaled(expanded(mean, u.labels), scale))
                parts.append(level(u.labels, constant, tile))
                return total(parts)
            case Contract():
                scale, factors = self.factors(tile, u)
                groups = self.grouped(u, [(0, x) for x in factors])
                means = [self.group("second", tile, pair) for _, pair in groups]
                present = [each for each in means if each is not None]
                every = {x for each in factors for x in each.labels} | set(u.labels)
                return scaled(product(present, u.labels, every), scale) if len(present) == len(means) else None
            case Apply():
                f, a = self.function(tile, u)
                if a is None or not self.is_gaussian(a.var):
                    raise self.refusal(u.var, "a function of a value that is not Gaussian in the limit")
                law = self.law_in(tile, a, a.labels)
                return expanded(Sized(gaussian.mean(f, law), a.labels), u.labels)
            case Gather(value=value, index=index, axis=axis):
                where = self.operand(tile, u, index, names)
                table = tile.sides[u.side].value(where.var, self).long()
                return self._mean_of_entries(tile, u, value, axis, table, where.labels)
            case Slice(value=value, axis=axis):
                entries = self.entries(u.var, instruction)
                along = names.get(axis)
                if along is None:  # one entry, whose axis is dropped
                    return self._mean_of_entries(tile, u, value, axis, entries[0], ())
                return self._mean_of_entries(tile, u, value, axis, entries, (along,))
            case Concat():
                return self._mean_of_parts(tile, u, instruction, names)
            case Leaf() | Scatter() | Eigenvalues() | Spectral():
                raise self.refusal(u.var, "no rule for its mean")
            case _:
                assert_never(instruction)

    def _mean_of_entries(
        self, tile: Tile, u: Seen, read: Operand, axis: int, table: Tensor, where: Labels
    ) -> Sized | None:
        """Take the mean of entries along one axis, those that a table names: those entries of the mean."""
        picked = Label(tile.sides[u.side].size(read, axis))
        whole = self.operand(tile, u, read, {**self.by_label(u), axis: picked})
        mean = self.mean(tile, whole, whole.labels)
        if mean is None:
            return None
        rest = tuple(x for x in whole.labels if x is not picked)
        value = rows_of(reordered(mean, (picked, *rest)).value, table)
        return expanded(Sized(value, (*where, *rest), mean.order), u.labels)

    def _mean_of_parts(self, tile: Tile, u: Seen, joined: Concat, names: dict[int, Label]) -> Sized | None:
        """Take the mean of values laid end to end: so are their means."""
        along = self.label_of(u, joined.axis)
        parts: list[Sized | int] = []
        for part, length in zip(joined.parts, joined.lengths, strict=True):
            size, mean = int(length.constant), None
            if part is not None:
                here = Label(size)
                read = self.operand(tile, u, part, {**names, joined.axis: here})
                mean = self.mean(tile, read, read.labels)
                if mean is not None:
                    mean = expanded(mean, tuple(here if x is along else x for x in u.labels))
            parts.append(size if mean is None else mean)
        return end_to_end(parts, u.labels.index(along), u.labels)

    def law_in(self, tile: Tile, a: Seen, every: Labels) -> Gaussian:
        """Return mean and variance of a Gaussian value on its own side, as broadcast over the labels of a pair."""
        variance, mean = (
            None if part is None else expanded(Sized(part, a.labels), every, broadcast=True).value
            for part in self.law(tile.sides[a.side], a.var)
        )
        assert variance is not None
        return Gaussian(variance, mean)

    def law(self, numbers: Numbers, var: int) -> tuple[Tensor, Tensor | None]:
        """Return variance and mean of a Gaussian value for all inputs of one side; found once."""
        if var not in numbers.laws:
            numbers.laws[var] = numbers.law_of_parent(var, self) or self._law_of(numbers, var)
        return numbers.laws[var]

    def _law_of(self, numbers: Numbers, var: int) -> tuple[Tensor, Tensor | None]:
        alone = Tile((numbers, numbers))
        own = self.seen(alone, 0, var)
        raw, level = self.pair("second", alone, own, own, own.labels), self.mean(alone, own, own.labels)
        shape = numbers.finite_shape(var)
        variance = torch.zeros(shape, dtype=numbers.dtype) if raw is None else self.of_order_zero(var, raw).value
        if level is None:
            return variance, None
        mean = self.of_order_zero(var, level).value
        return variance - mean * mean, mean

    def sum_over_width(self, numbers: Numbers, var: int) -> Number:
        """Sum over the width: n times a mean, and a fluctuation that is smaller by the root of n."""
        statement = self.program.statements[var]
        instruction = statement.instruction
        assert isinstance(instruction, Contract)
        tile = Tile((numbers, numbers))
        u = self.seen(tile, 0, var)
        wide = {
            label: dim
            for operand in instruction.operands
            for label, dim in zip(operand.axes, self.program.statements[operand.var].shape, strict=True)
            if dim.is_wide and label >= len(statement.shape)
        }
        scale = math.prod(wide.values(), start=instruction.scale)
        names = self.with_summed(tile, u, instruction.operands)
        read = [self.operand(tile, u, operand, names) for operand in instruction.operands]
        if len(read) == 1:
            mean = self.mean(tile, read[0], tuple(x for x in u.labels if x in read[0].labels))
        else:
            mean = self.pair("second", tile, read[0], read[1], u.labels)
        shape = tuple(x.size for x in u.labels)
        assert scale.order is not None
        fluctuation = scale.order - Fraction(1, 2)
        mean = None if mean is None else scaled(expanded(mean, u.labels), scale)
        if mean is None:
            return Number(torch.zeros(shape, dtype=numbers.dtype), None, fluctuation)
        return Number(mean.value, mean.order, fluctuation)
