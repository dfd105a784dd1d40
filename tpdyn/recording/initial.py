"""From which law were the entries of a built model drawn, and how would that law depend on the width? A guess that is said.

In this order: what the module's own reset gives (torch knows how it depends on the width); a constant; a standard deviation
that is one of the usual functions of the fans; else the deviation as measured, at every width or with a power that the user gives.
One width cannot tell 0.02 from 0.16/sqrt(n): each answer but the first two is an assumption, and is worded as one.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Literal, final

import torch
from torch import Tensor, nn

from tpdyn.exponents import Number, show_power

SIGMAS = 4
"""Two samples of N entries of one law differ in the logarithm of their deviation by 1/sqrt(N) (a Gaussian's; others' less), and
in the mean by sqrt(2/N) deviations: a law is missed about once in 16,000 parameters."""
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
    """(fan in, fan out) of a weight whose rows are its outputs; stacked: the last two dims are those of a matrix."""
    if stacked:
        return tensor.shape[-1], tensor.shape[-2]
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def resetter(module: nn.Module) -> Callable[[], object] | None:
    """The method by which torch's modules draw their entries."""
    found = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return found if callable(found) and not isinstance(found, nn.Module) else None


def initials_of(
    model: nn.Module, powers: Mapping[str, Number], wide: Mapping[str, tuple[bool, ...]]
) -> dict[str, Initial]:
    """How each parameter was drawn, by name (of a tied one: its first).

    wide: which of its dims grow: a tensor that grows after its second dim is a stack of matrices, and no convolution. powers: of the
    width in its deviation, by name or pattern, where the user knows. A model is mostly drawn by one rule: of several functions of
    the fans that fit a parameter, that which fits most of the others is taken.
    """
    found: dict[str, Initial] = {}
    fitting: dict[str, list[str]] = {}
    first = {name for name, _ in model.named_parameters()}
    for path, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        drawn = _reset_copy(module) if own else {}
        for name, parameter in own.items():
            full = f"{path}.{name}" if path else name
            if full not in first:
                continue
            power = next((p for pattern, p in powers.items() if fnmatchcase(full, pattern)), None)
            found[full] = initial = _initial(parameter.detach(), drawn.get(name), power)
            if initial.kind == "measured" and power is None and initial.mean == 0 and parameter.dim() >= 2:
                found[full] = initial = replace(initial, stacked=any(wide.get(full, ())[2:]))
                fitting[full] = _rules(parameter, initial)
    most = Counter(rule for rules in fitting.values() for rule in rules)
    for full, rules in fitting.items():
        if rules:
            found[full] = replace(found[full], kind="fans", rule=max(rules, key=lambda rule: most[rule]))
    return found


def _rules(tensor: Tensor, measured: Initial) -> list[str]:
    """The functions of the fans that give a measured deviation."""
    error = SIGMAS / math.sqrt(2 * tensor.numel())
    return [
        rule
        for rule, variance in FANS.items()
        if abs(math.log(measured.deviation) - math.log(variance(*fans(tensor, measured.stacked))) / 2) < error
    ]


def _reset_copy(module: nn.Module) -> dict[str, Tensor]:
    """What a reset of the module makes of its own parameters; nothing of it is kept, the random numbers neither."""
    if resetter(module) is None:
        return {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            twin = copy.deepcopy(module)
            torch.manual_seed(1)
            reset = resetter(twin)
            assert reset is not None
            reset()
        except Exception:  # a user's method of that name that wants arguments, say
            return {}
    return {name: p.detach() for name, p in twin.named_parameters(recurse=False)}


def _initial(tensor: Tensor, drawn: Tensor | None, power: Number | None) -> Initial:
    entries = tensor.double()
    mean = float(entries.mean())
    count = entries.numel()
    if count == 1 or bool((entries == entries.flatten()[0]).all()):
        return Initial("constant", mean)
    deviation = float(entries.std(correction=0))
    uniform = count >= 64 and float((entries - mean).abs().max()) < 1.8 * deviation
    centred = abs(mean) < SIGMAS * deviation / math.sqrt(count)
    measured = Initial("measured", 0.0 if centred else mean, deviation, uniform, power=Fraction(power or 0))
    if power is not None:
        return measured
    if drawn is not None and drawn.shape == tensor.shape and _same_law(entries, drawn.double()):
        return Initial("reset", mean, deviation)
    return measured


def _same_law(one: Tensor, other: Tensor) -> bool:
    """Whether two samples have one mean and one deviation, up to `SIGMAS`."""
    deviations = float(one.std(correction=0)), float(other.std(correction=0))
    if 0.0 in deviations:
        return bool((one == other).all())
    error = SIGMAS / math.sqrt(one.numel())
    close = abs(math.log(deviations[0] / deviations[1])) < error
    return close and abs(float(one.mean() - other.mean())) < math.sqrt(2) * error * max(deviations)
