"""Which kernels has a network of a script at infinite width? NNGP and NTK for inputs in a file, and written to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from tpdyn.atomic import atomic_write
from tpdyn.commands.failures import BadInput, translated
from tpdyn.limits.kernels import Kernels, kernels

SHOWN = 4
"""So many rows and columns are printed; the file has all."""


@final
@dataclass(frozen=True)
class Found:
    """Both kernels, in words."""

    kernels: Kernels

    def show(self) -> str:
        """Show the upper left corner of each."""
        lines = []
        for name, kernel in (("NNGP", self.kernels.nngp), ("NTK", self.kernels.ntk)):
            if kernel is None:
                continue
            lines.append(f"{name}: {kernel.shape[0]} x {kernel.shape[1]}")
            corner = kernel[:SHOWN, :SHOWN]
            rows = ["  " + "".join(f"{float(value):>12.6g}" for value in row) for row in corner]
            lines += [row + (" ..." if kernel.shape[1] > SHOWN else "") for row in rows]
            lines += ["  ..."] if kernel.shape[0] > SHOWN else []
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write `nngp` and `ntk` as an .npz file, whole or not at all."""
        assert self.kernels.nngp is not None
        assert self.kernels.ntk is not None
        nngp, ntk = self.kernels.nngp.numpy(), self.kernels.ntk.numpy()
        atomic_write(path, lambda file: np.savez(file, nngp=nngp, ntk=ntk))


def kernels_of(make: Callable[[int], Any], x1: Path, x2: Path | None = None) -> Found:
    """Compute the kernels of `make(width)`, a module, for the arrays in two files.

    Raises `BadInput` for files without an array of samples. Raises `BeyondTheory` where a kernel is not known or lacks a
    limit.
    """

    def module(width: int) -> nn.Module:
        network = make(width)
        if not isinstance(network, nn.Module):
            raise BadInput(
                f"the function returned {type(network).__name__} at width {width}; expected a torch.nn.Module"
            )
        return network

    one, other = read(x1), None if x2 is None else read(x2)
    with translated():
        return Found(kernels(module, one, other))


def read(path: Path) -> Tensor:
    """Read samples from a .npy or .pt file; floats keep their type."""
    expected = "expected one array, samples first, in a .npy or .pt file"
    if not path.is_file():
        raise BadInput(f"{path}: no such file; {expected}")
    try:
        array = torch.from_numpy(np.load(path)) if path.suffix == ".npy" else torch.load(path, weights_only=True)
    except Exception as error:
        raise BadInput(f"{path} cannot be read ({type(error).__name__}: {error}); {expected}") from error
    if not isinstance(array, Tensor):
        raise BadInput(f"{path} holds a {type(array).__name__}; {expected}")
    return array.detach()
