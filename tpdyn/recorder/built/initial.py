"""From which law were the entries of a built model drawn, and how does it depend on the width? A guess, stated as one.

The answers are tried in this order. The module's own reset (torch knows how it depends on the width). A constant. A standard
deviation that is one of the usual functions of the fans. Else the measured deviation, at every width or with the user's power.
One width cannot tell 0.02 from 0.16/sqrt(n). So each answer but the first two is an assumption, and is worded as one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Literal, final

import torch
from torch import Tensor, nn

from tpdyn.exponents import Number, show_power

SIGMAS = 4
"""Take N entries of one law. The logarithm of their deviation has an error of at most 1/sqrt(2N): a Gaussian's, a uniform
law's is smaller. Their mean has one of 1/sqrt(N) deviations. So a law is missed about once in 8,000 parameters.
"""
RESETS = 100_000
"""Resets, or one reset, draw so many entries to know their law. An error then comes from the model's own entries."""
FANS: Mapping[str, Callable[[int, int], float]] = {
    "1/sqrt(fan_in)": lambda fan_in, fan_out: 1 / fan_in,
    "sqrt(2/fan_in), He's": lambda fan_in, fan_out: 2 / fan_in,
    "sqrt(2/(fan_in + fan_out)), Glorot's": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "sqrt(2/fan_out), He's": lambda fan_in, fan_out: 2 / fan_out,
    "1/sqrt(3*fan_in), torch's": lambda fan_in, fan_out: 1 / (3 * fan_in),
    "1/sqrt(fan_out)": lambda fan_in, fan_out: 1 / fan_out,
}
Kind = Literal["reset", "constant", "fans", "measured"]


@final
@dataclass(frozen=True)
class Initial:
    """How the entries of one parameter are drawn at another width.

    mean, deviation: as measured. uniform: whether they were drawn from an interval. rule: one of `FANS`, for the kind "fans".
    power: of the width, in the deviation, for the kind "measured". stacked: matrices that
    lie on each other (experts).
    """

    kind: Kind
    mean: float = 0.0
    deviation: float = 0.0
    uniform: bool = False
    rule: str = ""
    power: Fraction = Fraction(0)
    stacked: bool = False

    @property
    def words(self) -> str:
        """What is assumed, in words."""
        match self.kind:
            case "reset":
                return "as its module's own reset draws them"
            case "constant":
                return f"{self.mean:.6g} at every width"
            case "fans":
                return f"standard deviation {self.rule}"
            case "measured":
                growth = f" at this width, growing like {show_power(self.power)}" if self.power else " at every width"
                return f"standard deviation {self.deviation:.3g}{growth}"

    def fill(self, tensor: Tensor, growth: float) -> None:
        """Draw new entries, in place; growth: the width over the model's own."""
        if self.kind == "constant":
            nn.init.constant_(tensor, self.mean)
            return
        mean = 0.0 if self.kind == "fans" else self.mean
        deviation = self.deviation * growth ** float(self.power)
        if self.kind == "fans":
            deviation = math.sqrt(FANS[self.rule](*fans(tensor, self.stacked)))
        if self.uniform:
            half = math.sqrt(3) * deviation
            nn.init.uniform_(tensor, mean - half, mean + half)
        else:
            nn.init.normal_(tensor, mean, deviation)


def fans(tensor: Tensor, stacked: bool) -> tuple[int, int]:
    """Return (fan in, fan out) of a weight whose rows are its outputs. stacked: the last two dims are those of a matrix."""
    if stacked:
        return tensor.shape[-1], tensor.shape[-2]
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def resetter(module: nn.Module) -> Callable[[], object] | None:
    """Return the method by which torch's modules draw their entries."""
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return reset if callable(reset) and not isinstance(reset, nn.Module) else None


def initials_of(
    model: nn.Module, powers: Mapping[str, Number], wide: Mapping[str, tuple[bool, ...]]
) -> dict[str, Initial]:
    """Find how each parameter was drawn, by name (of a tied one: its first).

    wide: which of its dims grow. What grows after its second dim is a stack of matrices, not a convolution. powers: of the
    width in its deviation, by name or pattern, where the user knows. A model is mostly drawn by one rule. If several
    functions of the fans fit a parameter, take the one that fits most of the others. Of two such, take the one that fits
    them better.
    """
    initials: dict[str, Initial] = {}
    fitting: dict[str, dict[str, float]] = {}
    first = {name for name, _ in model.named_parameters()}
    for path, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        drawn = _resets(module) if own else {}
        for name, parameter in own.items():
            full = f"{path}.{name}" if path else name
            if full not in first:
                continue
            power = next((p for pattern, p in powers.items() if fnmatchcase(full, pattern)), None)
            initials[full] = initial = _initial(parameter.detach(), drawn.get(name), power)
            if initial.kind == "measured" and power is None and initial.mean == 0 and parameter.dim() >= 2:
                initials[full] = initial = replace(initial, stacked=any(wide.get(full, ())[2:]))
                fitting[full] = _rules(parameter, initial)
    misses: dict[str, list[float]] = {}
    for missed in fitting.values():
        for rule, sigmas in missed.items():
            misses.setdefault(rule, []).append(sigmas**2)
    for full, missed in fitting.items():
        if missed:
            rule = max(missed, key=lambda rule: (len(misses[rule]), -sum(misses[rule])))
            initials[full] = replace(initials[full], kind="fans", rule=rule)
    return initials


def _rules(tensor: Tensor, measured: Initial) -> dict[str, float]:
    """Return the functions of the fans that give a measured deviation, and how many errors they miss it by."""
    error = 1 / math.sqrt(2 * tensor.numel())
    logs = {rule: math.log(variance(*fans(tensor, measured.stacked))) / 2 for rule, variance in FANS.items()}
    missed = {rule: abs(math.log(measured.deviation) - log) / error for rule, log in logs.items()}
    return {rule: sigmas for rule, sigmas in missed.items() if sigmas < SIGMAS}


def _resets(module: nn.Module) -> dict[str, Tensor]:
    """Return what resets of the module make of its own parameters, one beside the other. Nothing else of it is kept."""
    if resetter(module) is None:
        return {}
    count = max(1, min(20, RESETS // sum(p.numel() for p in module.parameters(recurse=False))))
    drawn: dict[str, list[Tensor]] = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            twin = copy.deepcopy(module)
            torch.manual_seed(1)
            reset = resetter(twin)
            assert reset is not None
            for _ in range(count):
                reset()
                for name, p in twin.named_parameters(recurse=False):
                    drawn.setdefault(name, []).append(p.detach().clone())
        except Exception:  # a user's method of that name that wants arguments, say
            return {}
    return {name: torch.stack(each) for name, each in drawn.items()}


def _initial(tensor: Tensor, drawn: Tensor | None, power: Number | None) -> Initial:
    entries = tensor.double()
    mean = float(entries.mean())
    count = entries.numel()
    if bool((entries == entries.flatten()[0]).all()):
        return Initial("constant", mean)
    deviation = float(entries.std(correction=0))
    uniform = count >= 64 and float((entries - mean).abs().max()) < 1.8 * deviation
    centred = abs(mean) < SIGMAS * deviation / math.sqrt(count)
    measured = Initial("measured", 0.0 if centred else mean, deviation, uniform, power=Fraction(power or 0))
    if power is not None:
        return measured
    if drawn is not None and drawn.shape[1:] == tensor.shape and _same_law(entries, drawn.double()):
        return Initial("reset", mean, deviation)
    return measured


def _same_law(entries: Tensor, drawn: Tensor) -> bool:
    """Tell whether entries have the mean, deviation and bounds of a law of which more were drawn, up to `SIGMAS`."""
    deviation = float(drawn.std(correction=0))
    if deviation == 0.0:
        return False
    error = SIGMAS / math.sqrt(entries.numel()) * math.sqrt(1 + entries.numel() / drawn.numel())
    centre, largest = drawn.mean(), (drawn - drawn.mean()).abs().max()
    bounded = drawn.numel() >= 64 and float(largest) < 1.8 * deviation
    # The largest of N uniform entries falls short of the bound by more than 9/N of it once in 8,000 times.
    inside = float((entries - centre).abs().max()) <= float(largest) * (1 + 9 / drawn.numel())
    close = abs(math.log(float(entries.std(correction=0)) / deviation)) < error / math.sqrt(2)
    return close and (inside or not bounded) and abs(float(entries.mean() - centre)) < error * deviation
