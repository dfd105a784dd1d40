"""Which kernels has a network in the limit of infinite width? `nngp(make, x1, x2)` and `ntk(make, x1, x2)`, for any inputs.

    make = lambda width: nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 1))
    tpdyn.nngp(make, x)                 # covariance of the output over initialisations, "samples samples"

The network is recorded once, on a small batch. Its program is then evaluated for all pairs of inputs, in blocks
(`tpdyn.readings.kernels`). The parametrization is the module's own. For the kernel of another one (NTK, muP), write the
module in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from tpdyn.exponents import show_order
from tpdyn.program.check import ring
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Contract, Gather, Leaf, operands_of
from tpdyn.program.program import Program
from tpdyn.readings.kernels.chain import chain_of
from tpdyn.readings.kernels.frame import Kind, Tile
from tpdyn.readings.kernels.numbers import Numbers
from tpdyn.readings.kernels.reading import Kernels as Recursion
from tpdyn.readings.kernels.sized import Sized
from tpdyn.recorder.record import record

Make = Callable[[int], nn.Module]

SAMPLES = 3
"""Size of the batch on which a network is recorded."""
WIDTHS = (16, 24, 40)
ENTRIES = 2**17
"""Numbers of a block of pairs that are held at once, about: a block should fit into a core's cache."""


@final
@dataclass(frozen=True)
class Forward:
    """The forward pass of a network as a program: which leaf is its input, which statement its output.

    batch: for each statement that has one, the axis that counts the samples.
    """

    program: Program
    data: int
    output: int
    batch: dict[int, int]


@final
@dataclass(frozen=True)
class Kernels:
    """Both kernels of one output, each "samples1 samples2" (None: not asked for)."""

    nngp: Tensor | None
    ntk: Tensor | None


def kernels(make: Make, x1: Tensor, x2: Tensor | None = None, *, widths: tuple[int, ...] = WIDTHS) -> Kernels:
    """Compute NNGP and NTK at once, for little more than the cost of the NTK. Arguments and errors as for `nngp`."""
    return _kernels(("second", "tangent"), make, x1, x2, widths)


def nngp(make: Make, x1: Tensor, x2: Tensor | None = None, *, widths: tuple[int, ...] = WIDTHS) -> Tensor:
    """Compute the covariance of one output of a network at initialisation, as its width goes to infinity (NNGP).

    Args:
        make: the network as a function of its width; `make(width)(x)` has one output a sample, or several that are alike.
        x1: inputs, "samples1 ...". x2: further inputs, "samples2 ..." (those of x1 unless given).
        widths: where the network is recorded.

    Returns:
        "samples1 samples2", of the inputs' float type.

    Raises:
        OutsideTheory: an operation whose kernel is not known, a weight used in both directions, samples that are mixed.
            The message names the line. ValueError: inputs of another shape, NaN.

    Source: Tensor Programs I (arXiv 1910.12478).
    """
    kernel = _kernels(("second",), make, x1, x2, widths).nngp
    assert kernel is not None
    return kernel


def ntk(make: Make, x1: Tensor, x2: Tensor | None = None, *, widths: tuple[int, ...] = WIDTHS) -> Tensor:
    """Compute the neural tangent kernel of one output at initialisation, over all parameters, as the width goes to infinity.

    `sum over parameters of df(x)/dw df(x')/dw`, for the parameters as the module has them. Under the standard
    parametrization it grows with the width, and is refused with its power. Arguments, shapes and errors as for `nngp`.

    Source: Tensor Programs II (arXiv 2006.14548).
    """
    kernel = _kernels(("tangent",), make, x1, x2, widths).ntk
    assert kernel is not None
    return kernel


def _kernels(kinds: tuple[Kind, ...], make: Make, x1: Tensor, x2: Tensor | None, widths: tuple[int, ...]) -> Kernels:
    for name, x in (("x1", x1), ("x2", x2)):
        if not isinstance(x, Tensor | None):
            raise TypeError(f"{name} is a {type(x).__name__}; expected a tensor, samples first")
        if x is not None and (x.dim() < 1 or not len(x)):
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected samples first, and at least one")
        if x is not None and x.is_floating_point() and not bool(torch.isfinite(x).all()):
            bad = int((~torch.isfinite(x)).sum())
            raise ValueError(f"{name} holds {bad} entries that are NaN or infinite; expected numbers")
    if x2 is not None and (x2.shape[1:] != x1.shape[1:] or x2.dtype != x1.dtype):
        raise ValueError(
            f"x2 has shape {tuple(x2.shape)} and type {x2.dtype}; expected samples like those of x1: "
            f"{tuple(x1.shape[1:])} each, {x1.dtype}"
        )
    return Evaluated(forward(make, x1, widths))(kinds, x1, x2)


def _expect_network(make: Make, few: Tensor, x: Tensor, width: int) -> None:
    """Raise ValueError if `make(width)` is not a network, or does not take such inputs."""
    network = make(width)
    if not isinstance(network, nn.Module):
        raise ValueError(f"make({width}) is of type {type(network).__name__}; expected a torch.nn.Module")
    try:
        with torch.no_grad():
            network(few)
    except RuntimeError as error:
        raise ValueError(
            f"the network does not take samples of shape {tuple(x.shape[1:])}, {x.dtype}: {error}"
        ) from error


def forward(make: Make, x: Tensor, widths: tuple[int, ...] = WIDTHS) -> Forward:
    """Record the forward pass of a network on a few samples like x. It keeps weights and laws, not values."""
    few = x[torch.arange(SAMPLES) % len(x)]
    if few.is_floating_point():
        few = few.float() + torch.randn(few.shape, generator=torch.Generator().manual_seed(0))

    _expect_network(make, few, x, min(widths))

    def train(width: int) -> None:
        model = make(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        result = model(few)
        if not isinstance(result, Tensor) or result.dim() not in (1, 2) or len(result) != SAMPLES:
            shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(
                f"make({width})(x) is {shape} for {SAMPLES} samples; expected one row of outputs for each sample"
            )
        result.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    program = record(train, widths=widths, steps=1, verify=False)
    data = [
        var
        for var, statement in enumerate(program.statements)
        if isinstance(statement.instruction, Leaf) and statement.instruction.kind == "data"
    ]
    outputs = [mark.view.pieces for mark in program.marks if mark.kind == "output" and mark.step == 0]
    if len(data) != 1 or len(outputs) != 1 or len(outputs[0]) != 1:
        names = ", ".join(program.statements[var].name for var in data) or "none"
        raise ValueError(
            f"the network reads the inputs {names} and returns {len(outputs)} outputs; expected one of each"
        )
    return Forward(program, data[0], outputs[0][0], _batch_axes(program, data[0]))


def _batch_axes(program: Program, data: int) -> dict[int, int]:
    """Find the axis that counts the samples, of each forward value that has one. Labels carry it from the data on."""
    axes = {data: 0}
    for var, statement in enumerate(program.statements):
        if statement.origin.phase != "forward":
            continue
        for operand in operands_of(statement.instruction):
            if operand.var not in axes:
                continue
            label = operand.axes[axes[operand.var]]
            cut = isinstance(statement.instruction, Gather) and label == statement.instruction.axis
            if label >= len(statement.shape) or cut:
                if (
                    isinstance(statement.instruction, Contract)
                    and not statement.shape
                    and statement.origin.module == ""
                ):
                    break  # the sum of the outputs, which the recording adds
                raise OutsideTheory(
                    ring(
                        program,
                        var,
                        "no kernel of two inputs: here samples are mixed (a batch norm?). Each output "
                        "depends on the whole batch",
                    )
                )
            axes[var] = label
    return axes


@final
class Evaluated:
    """A recorded network, evaluated for inputs."""

    def __init__(self, network: Forward) -> None:
        self.network = network
        self.kernels = Recursion(network.program, network.data, network.batch)
        self.chain = chain_of(self.kernels, network.output)

    def __call__(self, kinds: tuple[Kind, ...], x1: Tensor, x2: Tensor | None = None) -> Kernels:
        """Return the kernels of the first output, "samples1 samples2"; what they share is worked out once."""
        if self.chain is not None and self.chain.covers(x1, "tangent" in kinds):
            second, tangent = self.chain(x1, x2, "tangent" in kinds)
            return Kernels(second if "second" in kinds else None, tangent)
        network = self.network
        one = Numbers(network.program, network.data, network.batch, x1)
        other = one if x2 is None else Numbers(network.program, network.data, network.batch, x2)
        results = {kind: torch.zeros(one.samples, other.samples, dtype=one.dtype, device=x1.device) for kind in kinds}
        rows, columns = self._block(one, other)
        for i in range(0, one.samples, rows):
            for j in range(0, other.samples, columns):
                if x2 is None and j + columns <= i:
                    continue
                tile = Tile((one.rows(i, i + rows), other.rows(j, j + columns)), "tangent" in kinds)
                for kind, whole in results.items():
                    block = self._tile(kind, tile)
                    whole[i : i + rows, j : j + columns] = block
                    if x2 is None:
                        whole[j : j + columns, i : i + rows] = block.T
        if x2 is None:
            for i in range(0, one.samples, rows * columns):
                some = one.rows(i, i + rows * columns) if rows * columns < one.samples else one
                alone = Tile((some, some))
                for kind, whole in results.items():
                    whole.diagonal()[i : i + rows * columns].copy_(self._alone(kind, alone))
        return Kernels(results.get("second"), results.get("tangent"))

    def _block(self, one: Numbers, other: Numbers) -> tuple[int, int]:
        """Choose the rows and columns of a block: as many as keep the largest pair within `ENTRIES` numbers."""
        most = 1
        for var in self.network.batch:
            if self.network.program.statements[var].origin.phase == "forward" and var not in self.kernels.numeric:
                most = max(most, (math.prod(one.finite_shape(var)) // one.samples) ** 2)
        pairs = max(1, ENTRIES // most)
        columns = min(other.samples, max(1, min(1024, pairs)))
        return max(1, min(one.samples, pairs // columns)), columns

    def _tile(self, kind: Kind, tile: Tile) -> Tensor:
        u, v = (self.kernels.seen(tile, side, self.network.output) for side in (0, 1))
        batch = self.network.batch[self.network.output]
        for k in range(len(u.labels)):
            if k != batch:  # one output against the same output
                v = type(v)(v.side, v.var, (*v.labels[:k], u.labels[k], *v.labels[k + 1 :]))
        rest = tuple(label for k, label in enumerate(u.labels) if k != batch)
        out = (u.labels[batch], v.labels[batch], *rest)
        sized = self.kernels.pair(kind, tile, u, v, out)
        return self._first(kind, sized, tuple(side.samples for side in tile.sides))

    def _alone(self, kind: Kind, tile: Tile) -> Tensor:
        """Pair each input with itself: an equal pair keeps all its digits."""
        u = self.kernels.seen(tile, 0, self.network.output)
        batch = self.network.batch[self.network.output]
        out = (u.labels[batch], *(label for k, label in enumerate(u.labels) if k != batch))
        return self._first(kind, self.kernels.pair(kind, tile, u, u, out), (tile.sides[0].samples,))

    def _first(self, kind: str, sized: Sized | None, shape: tuple[int, ...]) -> Tensor:
        if sized is None or sized.order < 0:
            return torch.zeros(shape, dtype=torch.get_default_dtype())
        if sized.order > 0:
            what = "the tangent kernel" if kind == "tangent" else "the variance of the output"
            raise OutsideTheory(
                f"{what} grows with the width, as n^{show_order(sized.order)}: it has no limit in this parametrization. It has one "
                "under the NTK parametrization (entries of variance 1, multipliers 1/sqrt(fan_in) in the forward pass)"
            )
        value = sized.value
        while value.dim() > len(shape):
            value = value[..., 0]
        return value
