"""What was measured? Sizes and changes of every module's output, by width, seed and step: plain arrays with names.

Conventions: the **size** of a tensor is the mean absolute value of its entries. Its **change** is the mean absolute
difference from the base. The base is the same forward pass with the initial parameters. Its step, data and random draws are
the same. `step` t counts completed optimizer steps, so step 0 is the initial network and its changes are
0. NaN in an array means "does not exist" (that module was not called) or "not a number" (the run diverged). `diverged`
tells the two apart.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from tpdyn.atomic import atomic_write

FORMAT = 1
SPLIT = ("W0 dx", "dW x0", "dW dx", "bias")
"""The parts of a linear layer's change: h - h0 = W0 dx + dW x0 + dW dx + db."""


@final
@dataclass(frozen=True, eq=False)
class Measurement:
    """The runs of one script at several widths and seeds.

    names: module outputs in the order in which they were first made. The network's output is "output", a module's
    second call in a step "fc2#2". parameters: names of trained tensors.

    Arrays, float64, with axes [width, seed, step, name]: size, rms (root mean square), change, change_rms, nonfinite,
    epsilon. There `nonfinite` is the fraction of entries that are NaN or Inf. `epsilon` is the machine epsilon of the
    value's dtype. `split` [width, seed, step, name, part] has the mean absolute parts of a linear layer's change (`SPLIT`),
    NaN for others. With axes [width, seed, step, parameter]: parameter_size (of the initial values), parameter_change (from
    the initial values), gradient_size. The last is of the gradient as the optimizer received it, after clipping. `loss`
    [width, seed, step] is summed over the backward passes of a step. `diverged` [width, seed, step]: the loss, an output or
    a parameter was NaN or Inf by then. `completed` [width, seed]: whether that run was made (all of them, unless the
    measurement was cut). runs: width, seed and key of each finished run in the store; they are not saved.
    """

    widths: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int
    names: tuple[str, ...]
    parameters: tuple[str, ...]
    size: Float[NDArray[np.float64], "width seed step name"] = field(repr=False)
    rms: Float[NDArray[np.float64], "width seed step name"] = field(repr=False)
    change: Float[NDArray[np.float64], "width seed step name"] = field(repr=False)
    change_rms: Float[NDArray[np.float64], "width seed step name"] = field(repr=False)
    nonfinite: Float[NDArray[np.float64], "width seed step name"] = field(repr=False)
    epsilon: Float[NDArray[np.float64], "width seed step name"] = field(repr=False)
    split: Float[NDArray[np.float64], "width seed step name part"] = field(repr=False)
    parameter_size: Float[NDArray[np.float64], "width seed step parameter"] = field(repr=False)
    parameter_change: Float[NDArray[np.float64], "width seed step parameter"] = field(repr=False)
    gradient_size: Float[NDArray[np.float64], "width seed step parameter"] = field(repr=False)
    loss: Float[NDArray[np.float64], "width seed step"] = field(repr=False)
    diverged: Bool[NDArray[np.bool_], "width seed step"] = field(repr=False)
    completed: Bool[NDArray[np.bool_], "width seed"] = field(repr=False)
    device: str = "cpu"
    notes: tuple[str, ...] = ()
    runs: tuple[tuple[int, int, str], ...] = field(default=(), repr=False)

    def index(self, name: str) -> int:
        """Return the position of a module's name in the last axis; raises KeyError with the names there are."""
        if name not in self.names:
            raise KeyError(f"no module {name!r} was measured; there are: {', '.join(self.names) or 'none'}")
        return self.names.index(name)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one file (an npz archive; '.npz' is added when missing), at once or not at all.

        Returns the path written. Raises OSError if the folder cannot be written.
        """
        target = Path(path)
        if target.suffix != ".npz":
            target = target.with_name(target.name + ".npz")
        facts, arrays = {"format": FORMAT}, {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, np.ndarray):
                arrays[each.name] = value
            elif each.name != "runs":
                facts[each.name] = value
        arrays["facts"] = np.array(json.dumps(facts))
        return atomic_write(target, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays), parents=True)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Measurement:
        """Read what `save` wrote; raises ValueError when the file is something else."""
        target = Path(path)
        if not target.exists() and target.suffix != ".npz":
            target = target.with_name(target.name + ".npz")
        try:
            with np.load(target, allow_pickle=False) as archive:
                content: dict[str, Any] = {key: archive[key] for key in archive.files}
            facts = json.loads(str(content.pop("facts")))
        except (KeyError, ValueError, EOFError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{target} is not a measurement that tpdyn saved ({error})") from error
        if facts.pop("format", None) != FORMAT:
            raise ValueError(f"{target} was written in another format; expected format {FORMAT}: measure again")
        content |= {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
        return Measurement(**content)
