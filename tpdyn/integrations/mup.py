"""Where do the rules of the package `mup` differ from what is derived for a program? `compare` lists the differences.

`mup` (github.com/microsoft/mup, release 1.0.0) looks at shapes: how many dims of a parameter grow. It calls them
"infinite" dims, and tells them by two models of different width. tpdyn looks at what a program does with a parameter.
Where the two differ, the parameter is named with both powers. If mup's rules miss a requirement, it is named, too.

    comparison = compare(program, read_base_shapes("shapes.bsh"))      # or base_shapes_of(model)
    print(comparison.show())

The base shape of a parameter has a number for each infinite dim: its size in the base model. For a finite dim it has
None. You do not need the package itself. Files are read with pyyaml (`pip install 'tpdyn[mup]'`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from tpdyn.commands.failures import BadInput, BeyondTheory
from tpdyn.exponents import ZERO, Scaling, show_power
from tpdyn.facts.facts import Facts
from tpdyn.facts.sites import Site
from tpdyn.parametrizing.apply import plain_name, width_of
from tpdyn.parametrizing.derive import derive
from tpdyn.parametrizing.families import optimizer_of
from tpdyn.parametrizing.parametrization import ParameterFacts, Parametrization
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Contract
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, read
from tpdyn.regimes.cells import every_exponent
from tpdyn.regimes.judgement import judge
from tpdyn.regimes.maximal import look, maximal_update
from tpdyn.regimes.prediction import Regime

if TYPE_CHECKING:
    from torch import nn

BaseShape = tuple[int | None, ...]
Kind = Literal["sgd", "entrywise"]

HALF, ONE = Fraction(1, 2), Fraction(1)

INITIAL: Mapping[int, Fraction] = {0: ZERO, 1: ZERO, 2: -HALF}
"""mup/init.py, `constant_std_init_`, and `set_base_shapes` on torch's own. It is, by the number of infinite dims, the power
of `width_mult` by which initial entries move. There `width_mult` is
the growth of the last infinite dim.
"""

RATE: Mapping[Kind, Mapping[int, Fraction]] = {
    "entrywise": {0: ZERO, 1: ZERO, 2: -ONE},  # MuAdam, MuAdamW: matrix-like by width_mult
    "sgd": {0: ZERO, 1: ONE, 2: -ONE},  # MuSGD: vector-like by width_mult, matrix-like by fan-in over fan-out
}
"""mup/optim.py: the power of `width_mult` by which learning rates move. For MuSGD and two infinite dims it is the growth of
dim 1 over that of dim 0 (`fanin_fanout_mult_ratio`). Weight decay moves against it.
"""

READOUT = -ONE
"""mup/layer.py, MuReadout and MuSharedReadout: the input is divided by `width_mult`. Attention's 1/d is left to the user."""

OPTIMIZER: Mapping[Kind, str] = {"entrywise": "MuAdam", "sgd": "MuSGD"}


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """A number that mup's rules and the derivation move by different powers of the width.

    what: "learning rate", "initial entries" or "result". of: the parameter, or the product. mup: the power of the width by
    mup's rules, in all (0: it does not depend on the width). needed: the derived power.
    """

    what: str
    of: str
    mup: Fraction
    needed: Fraction

    def __str__(self) -> str:
        return f"{self.of}: {self.what} {_power(self.mup)} by mup, {_power(self.needed)} is needed"


@final
@dataclass(frozen=True)
class Comparison:
    """What mup's rules do to a program.

    optimizer: MuAdam or MuSGD, by what the script's optimizer does. regime: the regime under mup's rules. differences: what has
    to change to reach the maximal update nearest to mup's rules (empty: they are one). unmet: requirements that the rules miss.
    shapes: dims on whose growth the two disagree. refused: parameters without a rule in mup. base_width: the width of the
    base shapes (None: they fit none). derived: the parametrization, for `tpdyn.parametrize`.
    """

    optimizer: str
    regime: Regime
    differences: tuple[Difference, ...]
    unmet: tuple[str, ...]
    shapes: tuple[str, ...]
    refused: tuple[str, ...]
    base_width: int | None
    derived: Parametrization

    @property
    def agrees(self) -> bool:
        """Whether mup's rules are a maximal update parametrization of this program."""
        return not (self.differences or self.unmet or self.shapes or self.refused)

    def show(self) -> str:
        """Write it as text."""
        lines = [f"mup's rules ({self.optimizer}, MuReadout, MuSharedReadout) for this script: {self.regime.value}"]
        if self.agrees:
            lines.append("they are the maximal update: nothing differs")
        for title, items in (
            ("which dims grow is not as its base shapes say:", self.shapes),
            ("it has no rule for:", self.refused),
            ("what differs from the maximal update nearest to them:", self.differences),
            ("what its rules miss:", self.unmet),
        ):
            lines += [title, *(f"  {item}" for item in items)] if items else []
        base = "the width of the base shapes" if self.base_width is None else str(self.base_width)
        lines += [
            "to go on without it: plain layers for MuReadout, plain optimizers for Mu-optimizers, no set_base_shapes, and",
            f"  tpdyn.parametrize(model, optimizer, tpdyn.derive(program), base_width={base})",
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON; powers are strings, exact."""
        return {
            "optimizer": self.optimizer,
            "regime": self.regime.value,
            "agrees": self.agrees,
            "differences": [
                {"what": each.what, "of": each.of, "mup": str(each.mup), "needed": str(each.needed)}
                for each in self.differences
            ],
            "unmet": list(self.unmet),
            "shapes": list(self.shapes),
            "refused": list(self.refused),
            "base_width": self.base_width,
        }


def base_shapes_of(model: nn.Module) -> dict[str, BaseShape]:
    """Read the base shapes of a model, by parameter, after `mup.set_base_shapes(model, ...)`.

    Raises BadInput if a parameter has no `infshape`.
    """
    shapes: dict[str, BaseShape] = {}
    for name, parameter in model.named_parameters():
        shape = getattr(parameter, "infshape", None)
        if shape is None:
            raise BadInput(f"{name} has no infshape; call mup.set_base_shapes(model, ...) first")
        shapes[plain_name(name)] = tuple(dim.base_dim for dim in shape)
    return shapes


def read_base_shapes(path: str | Path) -> dict[str, BaseShape]:
    """Read the base shapes in a file that `mup.make_base_shapes(..., savefile=path)` wrote.

    Raises BadInput if the file lacks base shapes, or if pyyaml is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise BadInput(f"{path}: base shapes are YAML; install pyyaml: pip install 'tpdyn[mup]'") from error
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not content:
        raise BadInput(
            f"{path}: expected names of parameters with their base shapes, as mup.make_base_shapes writes them"
        )
    for name, shape in content.items():
        if not isinstance(shape, list) or any(not _is_base_dim(dim) for dim in shape):
            raise BadInput(
                f"{path}: {name}: {shape}; expected a list of numbers (infinite dims) and null (finite dims)"
            )
    names = {str(name): tuple(shape) for name, shape in content.items()}
    if all(name.startswith("module.") for name in names):  # written around DataParallel; mup takes this off, too
        names = {name.removeprefix("module."): shape for name, shape in names.items()}
    return {plain_name(name): shape for name, shape in names.items()}


def _is_base_dim(dim: object) -> bool:
    return dim is None or (isinstance(dim, int) and not isinstance(dim, bool) and dim > 0)


def compare(program: Program, base_shapes: Mapping[str, BaseShape]) -> Comparison:
    """Compare mup's rules for a program with its maximal update.

    program: the recorded script, with or without mup in it. Multipliers that it has already are not applied again.

    Raises BadInput for shapes of another model and for optimizers without rules in mup. Raises BeyondTheory where the
    theory has no rule.
    """
    try:
        derived = derive(program)
        kind = optimizer_of(program)
    except OutsideTheory as error:
        raise BeyondTheory(str(error)) from error
    if kind not in ("sgd", "entrywise"):
        raise BadInput(
            f"mup has rules for optimizers like SGD and like Adam; this script's is {kind or 'neither'}. See tpdyn.derive"
        )
    facts = {plain_name(name): fact for name, fact in derived.facts.items()}
    if set(facts) != set(base_shapes):
        lacking, unknown = sorted(set(facts) - set(base_shapes)), sorted(set(base_shapes) - set(facts))
        if lacking:
            raise BadInput(
                f"the base shapes are those of another model: they lack {', '.join(lacking)}"
                + (f" and name {', '.join(unknown)}" if unknown else "")
            )
    plain, _ = Facts.of(program).without_decay
    extra, refused = _rules(plain, kind, base_shapes, facts)
    coordinates = every_exponent(plain.program, ("b", "c"), extra, plain.shared_sites)
    start = (ZERO,) * len(coordinates.names)
    missing: dict[str, Fraction] = {}
    for requirement in look(plain, coordinates, start).unmet:
        missing[str(requirement)] = max(missing.get(str(requirement), ZERO), requirement.shortfall(start))
    maximum = maximal_update(plain, coordinates)
    return Comparison(
        optimizer=OPTIMIZER[kind],
        regime=judge(read(plain, extra)).regime,
        differences=tuple(_differences(dict(zip(coordinates.names, maximum.point, strict=True)), extra, plain)),
        unmet=tuple(f"{text} (missing: {show_power(power)})" for text, power in missing.items()),
        shapes=tuple(_disagreements(base_shapes, facts)),
        refused=tuple(refused),
        base_width=_base_width(base_shapes, facts),
        derived=derived,
    )


def _rules(
    plain: Facts, kind: Kind, base_shapes: Mapping[str, BaseShape], facts: Mapping[str, ParameterFacts]
) -> tuple[Exponents, list[str]]:
    """Write mup's rules as exponents on top of the script's own. Returns them and the parameters that mup refuses."""
    multiplier: dict[str, Fraction] = {}
    initial: dict[str, Fraction] = {}
    rate: dict[str, Fraction] = {}
    site: dict[int, Fraction] = {}
    refused = []
    readouts = set()
    for name, mine in plain.own.items():
        base, shape = base_shapes[plain_name(name)], facts[plain_name(name)].shape
        if len(base) != len(shape):
            raise BadInput(
                f"{name} has {len(shape)} dims, in the base shapes {len(base)}: they are those of another model"
            )
        growths = [dim.order or ZERO if size is not None else ZERO for size, dim in zip(base, shape, strict=True)]
        infinite = [axis for axis, size in enumerate(base) if size is not None]
        if len(infinite) > 2:
            refused.append(f"{name}: {len(infinite)} infinite dims (NotImplementedError)")
            continue
        width = growths[infinite[-1]] if infinite else ZERO
        power = INITIAL[len(infinite)] * width
        initial[name] = ZERO if mine.zero else -power - mine.b
        by = growths[1] - growths[0] if kind == "sgd" and len(infinite) == 2 else width
        rate[name] = -RATE[kind][len(infinite)] * by - mine.c
        # MuReadout is a Linear: its weight is (finite, infinite). Other layers that read out get no multiplier.
        if len(infinite) == 1 and infinite[0] == 1 and base[0] is None:
            readouts.add(name)
            if mine.role == "output-like":
                multiplier[name] = -READOUT * width - mine.a
    for shared in plain.shared_sites:
        if readouts & set(shared.parameters):  # MuSharedReadout
            there = ONE - _own_multiplier(plain, shared)
            site |= dict.fromkeys(shared.positions, there)
    return Exponents(multiplier, initial, rate, site=site), refused


def _own_multiplier(plain: Facts, site: Site) -> Fraction:
    """Return the p by which the script itself multiplies a product, n^-p."""
    position = site.positions[0]
    instruction = plain.program.statements[position].instruction
    assert isinstance(instruction, Contract)
    return -(instruction.scale.order or ZERO) - plain.folded.get(position, ZERO)


def _differences(moved: Mapping[str, Fraction], extra: Exponents, plain: Facts) -> list[Difference]:
    differences = []
    for name, mine in plain.own.items():
        for kind, what, here in (
            ("b", "initial entries", mine.b + extra.initial.get(name, ZERO)),
            ("c", "learning rate", mine.c + extra.rate.get(name, ZERO)),
        ):
            if more := moved[f"{name}:{kind}"]:
                differences.append(Difference(what, name, -here, -here - more))
    for site in plain.shared_sites:
        if more := moved[f"{site.name}:p"]:
            here = _own_multiplier(plain, site) + extra.site.get(site.positions[0], ZERO)
            differences.append(Difference("result", site.name, -here, -here - more))
    return differences


def _disagreements(base_shapes: Mapping[str, BaseShape], facts: Mapping[str, ParameterFacts]) -> list[str]:
    lines = []
    for name, fact in facts.items():
        for axis, (size, dim) in enumerate(zip(base_shapes[name], fact.shape, strict=True)):
            if dim.is_wide and size is None:
                lines.append(f"{name}: dim {axis} is finite in the base shapes, in the script it is {dim}")
            if not dim.is_wide and size is not None:
                lines.append(f"{name}: dim {axis} is infinite in the base shapes, in the script it is always {dim}")
    return lines


def _base_width(base_shapes: Mapping[str, BaseShape], facts: Mapping[str, ParameterFacts]) -> int | None:
    """Return the width at which the script has the base shapes."""
    shapes = {}
    for name, fact in facts.items():
        sizes = [_size(size, dim) for size, dim in zip(base_shapes[name], fact.shape, strict=True)]
        if None in sizes:
            return None
        shapes[name] = [size for size in sizes if size is not None]
    try:
        return width_of(shapes, facts)
    except ValueError:
        return None


def _size(size: int | None, dim: Scaling) -> int | None:
    if size is not None:
        return size
    return int(dim.constant) if dim.is_constant else None


def _power(power: Fraction) -> str:
    return show_power(power) or "1"
