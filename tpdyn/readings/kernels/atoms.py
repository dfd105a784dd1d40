"""Which kernels have values that are not sums? Rules for leaves, matrix products, functions, products of independent
factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Apply, Contract, Gather, Leaf
from tpdyn.readings.kernels import gaussian
from tpdyn.readings.kernels.frame import Kind, Seen, Tile, level
from tpdyn.readings.kernels.gaussian import Applied, Gaussian
from tpdyn.readings.kernels.kinds import ONE
from tpdyn.readings.kernels.linear import Linear
from tpdyn.readings.kernels.sized import (
    Label,
    Labels,
    Sized,
    expanded,
    identity,
    product,
    reordered,
    repeated,
    scaled,
    summed,
    total,
)


class Atoms(Linear):
    """The rules for what is left when sums are taken apart."""

    def atoms(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Apply the rule for two values that are not sums."""
        one, other = (self.program.statements[x.var].instruction for x in (u, v))
        if isinstance(one, Gather) or isinstance(other, Gather):
            return self._rows(kind, tile, u, v, out)
        matrix, matrix_v = self.matrix(u.var), self.matrix(v.var)
        if matrix and matrix_v:
            return self._matrices(kind, tile, u, v, out) if matrix[0].var == matrix_v[0].var else None
        if isinstance(one, Leaf) and isinstance(other, Leaf):
            return self._leaves(kind, tile, u, v, out)
        if (matrix or isinstance(one, Leaf)) and (matrix_v or isinstance(other, Leaf)):
            return None  # a matrix is centred, and independent of leaves of vectors
        if isinstance(one, Apply) or isinstance(other, Apply):
            return self._functions(kind, tile, u, v, out)
        return self._products(kind, tile, u, v, out)

    def _rows(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Pair rows of one table of weights, picked by data (an embedding): equal rows are the same, others independent."""
        one, other = (self.program.statements[x.var].instruction for x in (u, v))
        if not (isinstance(one, Gather) and isinstance(other, Gather)):
            return self.independent(kind, tile, u, v, out)
        if one.value.var != other.value.var:
            return self.independent(kind, tile, u, v, out)
        leaf = self.program.statements[one.value.var].instruction
        if not isinstance(leaf, Leaf):
            raise self.refusal(u.var, "data pick entries of a value that is not a leaf")
        finite = [x for x in one.value.axes if x != one.axis and x in self.by_label(u)]
        if finite:
            raise self.refusal(u.var, "a table whose rows have finite axes")
        where, where_v = (self.operand(tile, x, i.index, self.by_label(x)) for x, i in ((u, one), (v, other)))
        a, b = (self.number(tile, x) for x in (where, where_v))
        every = tuple(dict.fromkeys((*a.labels, *b.labels)))
        equal = (expanded(a, every).value == expanded(b, every).value).to(tile.sides[u.side].dtype)
        std, location = leaf.law.std, leaf.law.mean
        rows: Sized | None
        if kind == "tangent":
            rows = Sized(equal, every) if leaf.kind == "parameter" else None
        else:
            rows = total([scaled(Sized(equal, every), std * std), level(every, location * location, tile)])
        return None if rows is None else summed(rows, out, {*u.labels, *v.labels})

    def _leaves(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Pair entries of leaves: those of one leaf are independent of each other, and of those of another."""
        leaf, leaf_v = (self.program.statements[x.var].instruction for x in (u, v))
        assert isinstance(leaf, Leaf)
        assert isinstance(leaf_v, Leaf)
        every = tuple(dict.fromkeys((*u.labels, *v.labels)))
        same = u.var == v.var
        parts: list[Sized | None] = []
        if same and (kind == "second" or leaf.kind == "parameter"):
            ones = torch.ones((), dtype=tile.sides[0].dtype)
            equal = identity(Sized(ones, ()), zip(u.labels, v.labels, strict=True), every)
            parts.append(equal if kind == "tangent" else scaled(equal, leaf.law.std * leaf.law.std))
        if kind == "second":
            parts.append(level(every, leaf.law.location * leaf_v.law.location, tile))
        kernel = total(parts)
        return None if kernel is None else summed(kernel, out, {*u.labels, *v.labels})

    def _matrices(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Pair `W x` with `W y`: `n Var(W) E[x y]`; in the tangent kernel of weights W also `n E[x y]`."""
        matrix, matrix_v = self.matrix(u.var), self.matrix(v.var)
        assert matrix is not None
        assert matrix_v is not None
        (w, x), (w_v, y) = matrix, matrix_v
        statement, statement_v = self.program.statements[u.var], self.program.statements[v.var]
        assert isinstance(statement.instruction, Contract)
        assert isinstance(statement_v.instruction, Contract)
        shape = self.program.statements[w.var].shape
        wide = [axis for axis, dim in enumerate(shape) if dim.is_wide]
        contracted = [axis for axis in wide if w.axes[axis] >= len(statement.shape)]
        if contracted != [axis for axis in wide if w_v.axes[axis] >= len(statement_v.shape)]:
            raise self.refusal(v.var, f"{self.program.statements[w.var].name} is used in both directions")
        names, names_v = dict(self.by_label(u)), dict(self.by_label(v))
        apart: list[tuple[Label, Label]] = []
        for axis in range(len(shape)):
            if axis in wide:
                continue
            mine, theirs = names.get(w.axes[axis]), names_v.get(w_v.axes[axis])
            if mine is None and theirs is None:
                names[w.axes[axis]] = names_v[w_v.axes[axis]] = Label(int(shape[axis].constant))
            elif mine is None or theirs is None:
                raise self.refusal(v.var, "an axis of a weight is summed in one operand and kept in another")
            elif mine is not theirs:
                apart.append((mine, theirs))
                names_v[w_v.axes[axis]] = mine
        read, read_v = self.operand(tile, u, x, names), self.operand(tile, v, y, names_v)
        one = {theirs: mine for mine, theirs in apart}
        inner = tuple(dict.fromkeys(one.get(label, label) for label in out))
        inside = {*read.labels, *read_v.labels}
        own = {names[w.axes[axis]] for axis in range(len(shape)) if axis not in wide}
        scale = statement.instruction.scale * statement_v.instruction.scale
        for axis in contracted:
            scale = scale * shape[axis]
        leaf = self.program.statements[w.var].instruction
        assert isinstance(leaf, Leaf)
        variance = leaf.law.std * leaf.law.std
        parts = []
        child = tuple(x for x in inner if x in inside)
        gone = {*own, *(one.get(x, x) for x in (*u.labels, *v.labels))} - inside
        if kind == "second" or leaf.kind == "parameter":
            parts.append(scaled(self.pair("second", tile, read, read_v, child), variance if kind == "second" else ONE))
        if kind == "tangent" and not variance.is_zero:
            parts.append(scaled(self.pair("tangent", tile, read, read_v, child), variance))
        kernel = scaled(total(parts), scale)
        if kernel is None:
            return None
        kernel = repeated(kernel, tuple(dict.fromkeys((*child, *inner))), inside | gone, summed_before=inside)
        return reordered(identity(kernel, apart, out), out)

    def _functions(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Pair `f(a)` with `g(b)`, a and b Gaussian; any other value counts as the identity of itself."""
        (f, a), (g, b) = self.function(tile, u), self.function(tile, v)
        if a is None or b is None or not self.is_gaussian(a.var) or not self.is_gaussian(b.var):
            return self.independent(kind, tile, u, v, out)
        every = tuple(dict.fromkeys((*a.labels, *b.labels)))
        key = (f, g, a.side, a.var, b.side, b.var, *(every.index(x) for x in (*a.labels, *b.labels)))
        if kind == "tangent" and key in tile.slopes:
            moving = self.pair("tangent", tile, a, b, every)
            slope = tile.slopes.pop(key)
            if moving is None:
                return None
            return summed(Sized(slope.mul_(moving.value), every, moving.order), out, {*u.labels, *v.labels})
        law, law_b = self.law_in(tile, a, every), self.law_in(tile, b, every)
        raw = self.pair("second", tile, a, b, every)
        shape = tuple(x.size for x in every)
        cov = torch.zeros(shape, dtype=tile.sides[0].dtype) if raw is None else self.of_order_zero(u.var, raw).value
        if law.mean is not None and law_b.mean is not None:
            cov = cov - law.mean * law_b.mean
        if kind == "second":
            at_once = gaussian.both(f, cov, law, law_b) if tile.tangents and f == g else None
            if at_once is not None:
                tile.slopes[key] = at_once[1]
            kernel = Sized(gaussian.second(f, g, cov, law, law_b) if at_once is None else at_once[0], every)
            return summed(kernel, out, {*u.labels, *v.labels})
        moving = self.pair("tangent", tile, a, b, every)
        if moving is None:
            return None
        slope = self._slopes(tile, u, v, f, g, cov, law, law_b)
        return summed(Sized(moving.value * slope, every, moving.order), out, {*u.labels, *v.labels})

    def _slopes(
        self, tile: Tile, u: Seen, v: Seen, f: Applied, g: Applied, cov: Tensor, law: Gaussian, law_b: Gaussian
    ) -> Tensor:
        """Compute `E[f'(a) g'(b)]`."""
        slopes = []
        for side, function in ((u, f), (v, g)):
            if function.name is not None and function.slope is None:
                raise self.refusal(side.var, f"{function.name} has no derivative to take")
            slopes.append(function.slope)
        one, other = slopes
        if one is None and other is None:
            return torch.ones_like(cov)
        if one is None or other is None:
            which, where = (other, law_b) if one is None else (one, law)
            assert which is not None
            return gaussian.mean(which, where).expand_as(cov)
        return gaussian.second(one, other, cov, law, law_b)

    def function(self, tile: Tile, u: Seen) -> tuple[Applied, Seen | None]:
        """Return a function and its argument; of any other value, the identity and the value itself."""
        instruction = self.program.statements[u.var].instruction
        if not isinstance(instruction, Apply):
            return Applied(), u
        if len(instruction.operands) != 1 or instruction.along is not None:
            return Applied(), None
        parameters = []
        for parameter in instruction.parameters:
            if not parameter.is_constant:
                raise self.refusal(u.var, "a function with a parameter that depends on the width")
            parameters.append(float(parameter.constant))
        read = self.operand(tile, u, instruction.operands[0], self.by_label(u))
        return Applied(instruction.function, tuple(parameters)), read

    def _products(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Compute the kernel of `a b` against `a' b'` where a and a' are independent of b and b' (gates, gains)."""
        mine, theirs = self.factors(tile, u), self.factors(tile, v)
        groups = self.grouped(u, [*((0, x) for x in mine[1]), *((1, x) for x in theirs[1])])
        every = {*u.labels, *v.labels, *(x for _, seen in groups for each in seen for x in each.labels)}
        seconds = [self.group("second", tile, pair) for _, pair in groups]
        scale = mine[0] * theirs[0]
        if kind == "second":
            factors = [each for each in seconds if each is not None]
            return scaled(product(factors, out, every), scale) if len(factors) == len(seconds) else None
        parts = []
        for k, (_, pair) in enumerate(groups):
            moving = self.group("tangent", tile, pair) if len(pair) == 2 else None
            others = [each for j, each in enumerate(seconds) if j != k]
            if moving is not None and all(each is not None for each in others):
                parts.append(product([moving, *(each for each in others if each is not None)], out, every))
        return scaled(total(parts), scale)

    def group(self, kind: Kind, tile: Tile, pair: Sequence[Seen]) -> Sized | None:
        """Compute the kernel of two factors, or the mean of one without a partner."""
        if len(pair) == 1:
            return self.mean(tile, pair[0], pair[0].labels)
        labels = tuple(dict.fromkeys((*pair[0].labels, *pair[1].labels)))
        return self.pair(kind, tile, pair[0], pair[1], labels)

    def grouped(self, u: Seen, factors: list[tuple[int, Seen]]) -> list[tuple[frozenset[int], list[Seen]]]:
        """Group factors that share sources of randomness: one of each side at most."""
        groups: list[tuple[frozenset[int], list[tuple[int, Seen]]]] = []
        for side, seen in factors:
            sources = self.sources[seen.var]
            touching = [group for group in groups if group[0] & sources]
            for group in touching:
                groups.remove(group)
            merged = [each for group in touching for each in group[1]] + [(side, seen)]
            groups.append((sources.union(*(group[0] for group in touching)), merged))
        for _, members in groups:
            if sorted(side for side, _ in members) not in ([0], [1], [0, 1]):
                raise self.refusal(u.var, "a product of values that depend on each other")
        return [(sources, [seen for _, seen in members]) for sources, members in groups]

    def factors(self, tile: Tile, u: Seen) -> tuple[Scaling, list[Seen]]:
        """List the factors of an entrywise product; any other value is its own factor."""
        statement = self.program.statements[u.var]
        instruction = statement.instruction
        if not isinstance(instruction, Contract) or self.matrix(u.var) or isinstance(instruction, Leaf):
            return ONE, [u]
        for operand in instruction.operands:
            if self.sums_wide(statement.shape, operand):
                raise self.refusal(u.var, "a sum over the width that stays random in the limit")
        names = self.with_summed(tile, u, instruction.operands)
        return instruction.scale, [self.operand(tile, u, operand, names) for operand in instruction.operands]

    def independent(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Pair two values without a common source: the product of their means."""
        if self.sources[u.var] & self.sources[v.var]:
            name = self.program.statements[v.var].name
            raise self.refusal(u.var, f"it depends on {name} in a way for which there is no rule")
        if kind == "tangent":
            return None
        means = [self.mean(tile, x, x.labels) for x in (u, v)]
        present = [each for each in means if each is not None]
        return product(present, out, {*u.labels, *v.labels}) if len(present) == 2 else None
