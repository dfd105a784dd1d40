"""Is a network a chain of dense layers and functions? Then its kernels are a recursion over two arrays, a block at a time.

    second  <- scale E[f(a) f(b)] + bias                    E over a, b Gaussian with covariance `second`
    tangent <- scale E[f'(a) f'(b)] tangent + trained E[f(a) f(b)] + trained_bias

The rules are those of `reading`, which defines what is meant. Here nothing is looked up by label, and arrays are overwritten in
place. A block of both arrays stays in a core's cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from tpdyn.exponents import ZERO, Scaling
from tpdyn.program.instructions import Apply, Combine, Contract, Leaf
from tpdyn.readings.kernels import gaussian
from tpdyn.readings.kernels.frame import Frame
from tpdyn.readings.kernels.gaussian import Applied, Gaussian
from tpdyn.readings.kernels.kinds import ONE

SIDE = 256
"""Samples on each side of a block: three blocks of float32 fill a third of a cache of 2 MiB."""


@final
@dataclass(frozen=True)
class Layer:
    """A function, then a dense layer (see the recursion in the module docstring)."""

    function: Applied
    scale: float
    trained: float
    bias: float
    trained_bias: float


@final
@dataclass(frozen=True)
class Chain:
    """The layers from the inputs to the output; the first has the identity for its function."""

    layers: tuple[Layer, ...]

    def covers(self, x1: Tensor, tangents: bool) -> bool:
        """Whether it tells what is asked: inputs are rows of numbers, and tangent kernels have a limit."""
        limited = all(math.isfinite(part) for layer in self.layers for part in (layer.trained, layer.trained_bias))
        return x1.dim() == 2 and x1.is_floating_point() and not x1.requires_grad and (limited or not tangents)

    def __call__(self, x1: Tensor, x2: Tensor | None, tangents: bool) -> tuple[Tensor, Tensor | None]:
        """Both kernels, "samples1 samples2", of inputs "samples features"."""
        other = x1 if x2 is None else x2
        laws = [self._variances(x) for x in ((x1,) if x2 is None else (x1, x2))]
        second = x1.new_empty(len(x1), len(other))
        tangent = torch.empty_like(second) if tangents else None
        for i in range(0, len(x1), SIDE):
            for j in range(0 if x2 is not None else i, len(other), SIDE):
                rows, columns = slice(i, i + SIDE), slice(j, j + SIDE)
                gram = x1[rows] @ other[columns].T
                variances = [(v[rows, None], w[None, columns]) for v, w in zip(laws[0], laws[-1], strict=True)]
                for whole, block in zip((second, tangent), self._block(gram, variances, tangents), strict=True):
                    if whole is not None and block is not None:
                        whole[rows, columns] = block
                        if x2 is None and j > i:
                            whole[columns, rows] = block.T
        if x2 is None:
            norms = x1.square().sum(1)
            alone = self._block(norms, [(v, v) for v in laws[0]], tangents)
            for whole, diagonal in zip((second, tangent), alone, strict=True):
                if whole is not None and diagonal is not None:
                    whole.diagonal().copy_(diagonal)
        return second, tangent

    def _variances(self, x: Tensor) -> list[Tensor]:
        """Of each function's argument, for each sample."""
        value = x.square().sum(1) * self.layers[0].scale + self.layers[0].bias
        variances = [value]
        for layer in self.layers[1:-1]:
            law = Gaussian(value)
            value = gaussian.second(layer.function, layer.function, value, law, law) * layer.scale + layer.bias
            variances.append(value)
        return variances

    def _block(
        self, gram: Tensor, variances: list[tuple[Tensor, Tensor]], tangents: bool
    ) -> tuple[Tensor, Tensor | None]:
        first = self.layers[0]
        tangent = gram * first.trained + first.trained_bias if tangents else None
        second = _affine(gram, first.scale, first.bias)
        for layer, (v, w) in zip(self.layers[1:], variances, strict=True):
            alone = v is w
            if alone:  # inputs against themselves: the very same numbers, so that no angle is round-off
                second = v
            f, law, law_b = layer.function, Gaussian(v), Gaussian(w)
            at_once = gaussian.both(f, second, law, law_b) if tangent is not None and not alone else None
            if at_once is not None:
                kernel, slopes = at_once
            else:
                kernel, slopes = gaussian.second(f, f, second, law, law_b), None
                if tangent is not None:
                    assert f.slope is not None
                    slopes = gaussian.second(f.slope, f.slope, second, law, law_b)
            if tangent is not None and slopes is not None:
                tangent.mul_(slopes)
                if layer.scale == layer.trained and not layer.trained_bias and not layer.bias:
                    second = _affine(kernel, layer.scale, 0.0)
                    tangent = _affine(tangent, layer.scale, 0.0).add_(second)
                    continue
                tangent = _affine(tangent, layer.scale, layer.trained_bias).add_(kernel, alpha=layer.trained)
            second = _affine(kernel, layer.scale, layer.bias)
        return second, tangent


def _affine(value: Tensor, scale: float, level: float) -> Tensor:
    """`scale value + level`, in place."""
    if scale != 1:
        value.mul_(scale)
    return value.add_(level) if level else value


def chain_of(frame: Frame, output: int) -> Chain | None:
    """Return the chain that ends in a statement. None where the network is none, or where a kernel has no limit."""
    layers: list[Layer] = []
    var = output
    while True:
        layer = _dense(frame, var)
        if layer is None:
            return None
        read, scale, trained, bias, trained_bias = layer
        statement = frame.program.statements[read]
        if read == frame.data:
            layers.append(Layer(Applied(), scale, trained, bias, trained_bias))
            return Chain(tuple(reversed(layers))) if len(statement.shape) == 2 else None
        instruction = statement.instruction
        if not isinstance(instruction, Apply) or len(instruction.operands) != 1 or instruction.along is not None:
            return None
        if not all(parameter.is_constant for parameter in instruction.parameters):
            return None
        function = Applied(instruction.function, tuple(float(p.constant) for p in instruction.parameters))
        if function.slope is None or gaussian.closed_form(function) is None:
            return None
        if gaussian.closed_form(function.slope) is None or instruction.operands[0].axes != (0, 1):
            return None
        layers.append(Layer(function, scale, trained, bias, trained_bias))
        var = instruction.operands[0].var


def _dense(frame: Frame, var: int) -> tuple[int, float, float, float, float] | None:
    """Return a dense layer: its input, and factors: of the second moment, of its weights' part, both of its bias."""
    statement = frame.program.statements[var]
    rank = len(statement.shape)  # one: a single output, without an axis of its own
    every = tuple(range(rank))
    if rank not in (1, 2) or frame.batch.get(var) != 0:
        return None
    terms = _terms(frame, var, ONE, every)
    products = [term for term in terms or () if frame.matrix(term[1])]
    if terms is None or len(products) != 1 or products[0][2] != every:
        return None
    bias, trained_bias = Scaling.of(0), Scaling.of(0)
    for scale, other, axes in terms:
        if other == products[0][1]:
            continue
        leaf = frame.program.statements[other].instruction
        if not isinstance(leaf, Leaf) or not leaf.law.location.is_zero or axes != every[1:] or not bias.is_zero:
            return None
        bias = scale * scale * leaf.law.std * leaf.law.std
        trained_bias = scale * scale if leaf.kind == "parameter" else trained_bias
    outer, var = products[0][0], products[0][1]
    matrix = frame.matrix(var)
    instruction = frame.program.statements[var].instruction
    if matrix is None or not isinstance(instruction, Contract):
        return None
    (w, x), leaf = matrix, frame.program.statements[matrix[0].var].instruction
    assert isinstance(leaf, Leaf)
    if len(x.axes) != 2 or x.axes[0] != 0 or x.axes[1] < rank or set(w.axes) != {*every[1:], x.axes[1]}:
        return None
    scale = outer * outer * instruction.scale * instruction.scale
    inner = frame.program.statements[x.var].shape[1]
    if inner.is_wide:
        scale = scale * inner
    trained = scale if leaf.kind == "parameter" else Scaling.of(0)
    second, level = _limit(scale * leaf.law.std * leaf.law.std), _limit(bias)
    if not math.isfinite(second + level):
        return None
    return x.var, second, _limit(trained), level, _limit(trained_bias)


def _terms(
    frame: Frame, var: int, scale: Scaling, axes: tuple[int, ...]
) -> list[tuple[Scaling, int, tuple[int, ...]]] | None:
    """Say what a value is a sum of: the factor, the statement and the axes of each. None where a constant is added."""
    instruction = frame.program.statements[var].instruction
    if not isinstance(instruction, Combine):
        return [(scale, var, axes)]
    if not instruction.constant.is_zero:
        return None
    terms = []
    for factor, operand in instruction.terms:
        part = _terms(frame, operand.var, scale * factor, tuple(axes[k] for k in operand.axes))
        if part is None:
            return None
        terms += part
    return terms


def _limit(scale: Scaling) -> float:
    """Return the limit of a factor, infinite where it grows."""
    if scale.is_zero or scale.terms[0][1] < ZERO:
        return 0.0
    coefficient, power = scale.terms[0]
    return math.inf if power > ZERO else float(coefficient)
