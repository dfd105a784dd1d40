"""How does a program depend on the width? Several recordings, aligned statement by statement, give the answer.

The same script at another width takes the same steps with other numbers. So the structure (instructions, operands, labels)
must be equal. Each number (a dim, a constant, the standard deviation of an initialisation) is fitted as a function of the
width. See `tpdyn.recorder.fitting.powers`. A number without a fit, or another structure, is refused with its source line.
One width alone could not tell a dim of the batch from one of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never, final

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Law,
    Leaf,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.law import NOTHING
from tpdyn.program.program import Origin, Type
from tpdyn.recorder.fitting.few import Redrawn, law_of_few
from tpdyn.recorder.fitting.given import fitted_size, is_sparse, structure
from tpdyn.recorder.fitting.powers import (
    Number,
    fit_float,
    fit_measured,
    fit_quotient,
    fit_root,
    fit_whole,
    is_logarithm,
)
from tpdyn.recorder.lowered import Lowered, LoweredMark, LoweredParameter, LoweredStatement, Reshape


class FitError(ValueError):
    """Recordings at several widths do not make one program; the message names the statement and its source line.

    outside: the script does something that powers of the width do not describe (rather than: a bad choice of widths).
    """

    def __init__(self, message: str, *, outside: bool = False) -> None:
        super().__init__(message)
        self.outside = outside


@final
@dataclass(frozen=True, slots=True)
class FittedStatement:
    """`shape : instruction / over^(1/root)` in a symbolic width; axes are still those of the script's tensors."""

    instruction: Instruction | Reshape
    shape: tuple[Scaling, ...]
    type: Type = "float"
    origin: Origin = Origin()
    over: Scaling = Scaling.of(1)
    root: int = 1


@final
@dataclass(slots=True)
class Fitted:
    """Several `Lowered` as one, in a symbolic width. few: parameters whose size only
    several seeds can tell, and how many entries they have."""

    widths: tuple[int, ...]
    statements: list[FittedStatement]
    parameters: list[LoweredParameter] = field(default_factory=list)
    marks: list[LoweredMark] = field(default_factory=list)
    steps: int = 0
    notes: list[str] = field(default_factory=list)
    late: dict[str, float] = field(default_factory=dict)
    few: dict[str, int] = field(default_factory=dict)


LOGARITHM = " If it is a logarithm of the width (int(log2(n)), say), no widths make it a power. Give it a fixed number."

FEW = 256
"""So many entries tell powers that differ by 1/2 apart at 5 standard errors, at widths 16, 24, 40. Fewer need several seeds."""
ADVICE = "Build the model inside the recorded function, and draw it by torch: then its law is recorded, not measured."


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return the widths, sorted, each once.

    Raises FitError for fewer than two different widths, and for anything that is not a positive integer.
    """
    if not isinstance(widths, Iterable) or isinstance(widths, str):
        raise FitError(f"widths = {widths!r}: expected several whole numbers; try widths=(16, 24, 40)")
    for width in widths:
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise FitError(f"widths = {tuple(widths)!r}: {width!r} is not a positive integer; try widths=(16, 24, 40)")
    distinct = tuple(sorted(set(widths)))
    if len(distinct) < 2:
        raise FitError(
            f"widths = {tuple(widths)!r}: one width cannot tell a dim that grows from one that does not. "
            "Give at least two different widths, better three, e.g. widths=(16, 24, 40)"
        )
    return distinct


def fit(lowereds: Sequence[Lowered], redrawn: Mapping[str, Redrawn] | None = None) -> Fitted:
    """Fit one program in a symbolic width to the lowered recordings at several widths.

    redrawn: draws at several seeds of parameters with few entries, by name (see `Fitted.few`).

    Raises:
        FitError: fewer than two widths, or a different structure. A number that is not a power of the width, or every dim
            independent of it.
    """
    if len(lowereds) > 1:  # one recording is a program with the numbers of its width
        check_widths([lowered.width for lowered in lowereds])
    lowereds = sorted(lowereds, key=lambda lowered: lowered.width)
    widths = tuple(lowered.width for lowered in lowereds)
    fitter = _Fitter(widths, lowereds, redrawn or {})
    statements = [fitter.statement(position) for position in range(min(len(x.statements) for x in lowereds))]
    fitter.check_lengths()
    fitter.check_tables()
    if len(lowereds) > 1 and not any(dim.order for statement in statements for dim in statement.shape):
        trained = next((each.origin.source for each in statements if each.origin.phase == "optimizer"), None)
        raise FitError(
            f"no dim of any tensor depends on the width: the script made the same shapes at widths "
            f"{', '.join(map(str, widths))}. Is the width used to build the model?"
            + (
                f" The steps that were recorded are those at {trained}. If they train something else first, such as a small "
                "model when the file is imported, leave that out. Or take more --steps than it has"
                if trained is not None and trained.file
                else ""
            )
        )
    first = lowereds[0]
    return Fitted(
        widths, statements, list(first.parameters), list(first.marks), first.steps, [*first.notes, *fitter.notes],
        fitter.late, fitter.few,
    )  # fmt: skip


def check_same_structure(first: Lowered, other: Lowered, *, laws: bool = True) -> None:
    """Raise FitError where a recording at a further width takes other steps.

    laws: whether parameters must be drawn alike, too. The law of a built model is not known, only its entries.
    """
    if not laws:
        other = replace(other, statements=_with_laws_of(first, other))
    fitter = _Fitter((first.width, other.width), (first, other), {})
    for position in range(min(len(first.statements), len(other.statements))):
        fitter.check_same(position, [first.statements[position], other.statements[position]])
    fitter.check_lengths()
    fitter.check_tables()


class _Fitter:
    def __init__(self, widths: tuple[int, ...], lowereds: Sequence[Lowered], redrawn: Mapping[str, Redrawn]) -> None:
        self.widths, self.lowereds, self.redrawn = widths, lowereds, redrawn
        self.few: dict[str, int] = {}
        self.notes: list[str] = []
        self.late: dict[str, float] = {}
        self.whole: dict[tuple[int, ...], Scaling | None] = {}
        self.floats: dict[tuple[Number, ...], Scaling | None] = {}
        self.unchanged: dict[Any, Any] = {}

    def statement(self, position: int) -> FittedStatement:
        versions = [lowered.statements[position] for lowered in self.lowereds]
        first = versions[0]
        self.check_same(position, versions)
        shape = tuple(
            self.fit_dim(position, f"axis {axis}", [version.shape[axis] for version in versions])
            for axis in range(len(first.shape))
        )
        over, root = self.divisor([version.instruction for version in versions])
        if over != Scaling.of(1):
            pairs = zip(versions, self.widths, strict=True)
            versions = [_times(version, over.at(width) ** (1 / root)) for version, width in pairs]
        instruction = self.instruction(position, versions)
        return FittedStatement(instruction, shape, first.type, first.origin, over, root)

    def divisor(self, instructions: Sequence[Instruction | Reshape]) -> tuple[Scaling, int]:
        """Return what a factor is divided by besides a power of the width, and which root of it that is.

        It is 1 - 1/n where the script divides by n - 1 (see `fit_quotient`). Where heads have n + 4 entries, attention divides
        by their square root. Some kernels divide both factors by the fourth one. It is 1 where the factor is a power.
        """
        none = Scaling.of(1), 1
        factors = [_factor(instruction) for instruction in instructions]
        if len(self.widths) < 2 or _all_equal(factors) or any(factor is None for factor in factors):
            return none
        values = [factor.constant for factor in factors if factor is not None]
        if self.floats.setdefault(tuple(values), fit_float(self.widths, values)) is not None:
            return none
        for root in (1, 2, 4) if all(value > 0 for value in values) else (1,):
            divisor = fit_quotient(self.widths, [value**root for value in values])
            if divisor is not None:
                return divisor[1], root
        return none

    def check_same(self, position: int, versions: Sequence[LoweredStatement]) -> None:
        first = versions[0]
        skeleton = _skeleton(first)
        for width, version in zip(self.widths[1:], versions[1:], strict=True):
            if version.instruction == first.instruction and version.shape == first.shape:
                same = version.type == first.type and _scope_of(version.origin) == _scope_of(first.origin)
            else:
                same = _skeleton(version) == skeleton
            if not same:
                raise self.difference(position, width, version)

    def difference(self, position: int, width: int, version: LoweredStatement | None) -> FitError:
        """Make the error for the statement at which two recordings part."""
        first = self.lowereds[0].statements
        mine = describe(first[position]) if position < len(first) else "(the end of the recording)"
        other = "(the end of the recording)" if version is None else describe(version)
        return FitError(
            f"the script does different things at different widths; the first difference is statement {position}:\n"
            f"  at width {self.widths[0]}: {mine}\n"
            f"  at width {width}: {other}\n"
            "Recordings can be joined only if each width takes the same steps. If a branch depends on the width, or a "
            "dim becomes 1 at the smallest width, try other (larger) widths. Try others, too, if a mask of random numbers holds "
            "nowhere at one of them."
        )

    def check_lengths(self) -> None:
        count = len(self.lowereds[0].statements)
        for width, lowered in zip(self.widths[1:], self.lowereds[1:], strict=True):
            if len(lowered.statements) != count:
                position = min(count, len(lowered.statements))
                longer = lowered.statements[position] if len(lowered.statements) > position else None
                raise self.difference(position, width, longer)

    def check_tables(self) -> None:
        first = self.lowereds[0]
        for width, lowered in zip(self.widths[1:], self.lowereds[1:], strict=True):
            for what, mine, other in (
                ("parameters", first.parameters, lowered.parameters),
                ("named values", first.marks, lowered.marks),
                ("steps", [first.steps], [lowered.steps]),
            ):
                if mine == other:
                    continue
                pairs = zip(mine, other, strict=False)
                a, b = next(((a, b) for a, b in pairs if a != b), (f"{len(mine)} of them", f"{len(other)} of them"))
                raise FitError(
                    f"the script's {what} differ between widths: {a} at width {self.widths[0]}, {b} at width {width}"
                )

    def instruction(self, position: int, versions: Sequence[LoweredStatement]) -> Instruction | Reshape:
        first = versions[0].instruction
        if isinstance(first, Leaf):
            law = self.law(position, first, versions)
            return replace(first, law=self.sized(position, law, versions) if law.kind in ("data", "array") else law)
        if not isinstance(first, Slice | Concat) and _all_equal([version.instruction for version in versions]):
            return first
        columns = zip(*[_numbers(version.instruction) for version in versions], strict=True)
        fitted = iter([self.fit_number(position, column) for column in columns])
        return _with_numbers(first, lambda number: next(fitted))

    def fit_number(self, position: int, column: Sequence[_Number]) -> Scaling:
        """Fit one number of an instruction, as it is at each width."""
        first = column[0]
        if first.is_whole:
            return self.fit_dim(position, first.what, [int(each.value.constant) for each in column])
        if all(each.value == first.value for each in column):
            return first.value
        return self.fit_constant(position, first.what, [each.value.constant for each in column])

    def fit_dim(self, position: int, what: str, values: Sequence[int]) -> Scaling:
        key = tuple(values)
        if key not in self.whole:
            self.whole[key] = fit_whole(self.widths, key)
        dim = self.whole[key]
        if dim is None:
            raise FitError(
                self.message(
                    position,
                    f"{what} is {self.table(values)}: not a*n^p, a*n + b or a*n^2 + b*n",
                    "If it is rounded (int(8/3*n), say), choose widths at which nothing is rounded (squares for a root)."
                    + (LOGARITHM if is_logarithm(self.widths, values) else ""),
                )
            )
        return dim

    def fit_constant(self, position: int, what: str, values: Sequence[Number]) -> Scaling:
        key = tuple(values)
        if key not in self.floats:
            self.floats[key] = fit_float(self.widths, key)
        constant = self.floats[key]
        if constant is None:
            raise FitError(
                self.message(
                    position,
                    f"outside the theory: {what} is {self.table(values)}: a constant that is not c*n^p",
                    "A number that is computed from the loss, the data or the weights may leave a tensor through .item(). It is "
                    "followed while it meets + - * / ** only. float(...), numpy and math make a constant of it. Keep it a tensor, "
                    "or make it a power of the width.",
                ),
                outside=True,
            )
        return constant

    def law(self, position: int, first: Leaf, versions: Sequence[LoweredStatement]) -> Law:
        laws: list[Law] = [version.instruction.law for version in versions]  # type: ignore[union-attr]
        if all(law.kind in ("data", "iid") for law in laws):
            self.check_unstructured(position, versions)
        if {law.kind for law in laws} == {"orthogonal", "iid"}:
            laws = [replace(law, kind="iid") for law in laws]
        orthogonal = self.orthogonal(first, laws, [version.shape for version in versions])
        if orthogonal is not None:
            return orthogonal
        if _all_equal(laws):
            return laws[0]
        if len({law.kind for law in laws}) > 1:
            return Law("data")
        numbers = [
            [float(law.location.constant) for law in laws],
            [float(law.scale.constant) for law in laws],
        ]
        location, scale = (fit_float(self.widths, values) for values in numbers)
        if location is not None and scale is not None:
            return Law(laws[0].kind, location, scale)
        if laws[0].is_given:  # the numbers only describe the data
            return Law(laws[0].kind, *(Scaling.of(sum(values) / len(values)) for values in numbers))
        root = fit_root(self.widths, numbers[1])
        if location is not None and root is not None:
            self.late[first.name] = root[1]
            if root[1] > min(self.widths) / 4:
                self.notes.append(
                    f"the initial size of {first.name} falls only from width {root[1]:.0f} on. It depends on a growing and a fixed "
                    "number. It is read as for larger widths"
                )
            return Law(laws[0].kind, location, root[0])
        counts = [math.prod(version.shape) for version in versions]
        return self.measured_law(position, first, laws[0], numbers, counts)

    def check_unstructured(self, position: int, versions: Sequence[LoweredStatement]) -> None:
        """Refuse a matrix along two growing dims whose entries depend on each other."""
        tensors = [each.leaf_values[position] for each in self.lowereds if position in each.leaf_values]
        growing = sum(len(set(sizes)) > 1 for sizes in zip(*(version.shape for version in versions), strict=True))
        if growing == 2 and len(tensors) == len(versions) and (seen := structure(tensors)):
            raise FitError(
                self.message(
                    position,
                    f"outside the theory: the entries of a matrix of which both dims grow are {seen}. The theory knows matrices of "
                    "independent entries",
                    "Write the product with what it is made of: two thin factors, a convolution, a residual (x + f(x)).",
                ),
                outside=True,
            )

    def sized(self, position: int, law: Law, versions: Sequence[LoweredStatement]) -> Law:
        """Return the law of given entries, with their size where it depends on the width."""
        shapes = [version.shape for version in versions]
        growing = sum(len(set(sizes)) > 1 for sizes in zip(*shapes, strict=True))
        tensors = [each.leaf_values[position] for each in self.lowereds if position in each.leaf_values]
        if not growing or len(tensors) != len(shapes):
            return law
        if growing == 1 and is_sparse(tensors):
            raise FitError(
                self.message(
                    position,
                    "outside the theory: a fixed number of the entries along a wide dim differs from zero (one-hot rows, padding)",
                    "Look rows up by their index (nn.Embedding, x[:, index]), or keep the entries in a tensor of their own.",
                ),
                outside=True,
            )
        size = fitted_size(self.widths, tensors)
        if size.is_zero:
            return law
        name = versions[0].instruction.name  # type: ignore[union-attr]
        self.notes.append(f"{name}: the size of its entries was measured, {size}")
        return replace(law, scale=size)

    def orthogonal(self, leaf: Leaf, laws: Sequence[Law], shapes: Sequence[tuple[int, ...]]) -> Law | None:
        """Fit the law of an orthogonal matrix: entries have the size `c * larger^-1/2`, of its two sizes.

        A fixed size is the larger one at small widths only. So what grows counts, and a note says from which width on.
        """
        if any(law.kind != "orthogonal" for law in laws):
            return None
        sides = [(shape[0], math.prod(shape[1:])) for shape in shapes]
        grows = max((0, 1), key=lambda side: (sides[-1][side] / sides[0][side], sides[-1][side]))
        size = fit_whole(self.widths, [both[grows] for both in sides])
        scales = [float(law.scale.constant) for law in laws]
        length = fit_float(self.widths, [scale * max(both) ** 0.5 for scale, both in zip(scales, sides, strict=True)])
        fixed = len({both[1 - grows] for both in sides}) == 1 < len({both[grows] for both in sides})
        if size is None or len(size.terms) != 1 or length is None or (sides[-1][grows] < max(sides[-1]) and not fixed):
            return None
        ((coefficient, power),) = size.terms
        if any(both[grows] < max(both) for both in sides):
            self.late[leaf.name] = (sides[0][1 - grows] / float(coefficient)) ** (1 / float(power))
            self.notes.append(
                f"{leaf.name} has orthogonal entries that get smaller only from the width on at which its growing size exceeds "
                f"{sides[0][1 - grows]}. It is read as for larger widths"
            )
        return Law("orthogonal", scale=length * Scaling.of(float(coefficient) ** -0.5, -power / 2))

    def measured_law(
        self, position: int, leaf: Leaf, law: Law, numbers: Sequence[Sequence[float]], counts: Sequence[int]
    ) -> Law:
        """Return a law of which only mean and standard deviation of the entries were measured.

        Relative standard error of a standard deviation from N entries: 1/sqrt(2N), times 1.5 for heavier tails than a
        Gaussian's; of a mean: std/sqrt(N). A mean within 5 of its errors of zero at each width is zero.
        """
        means, deviations = numbers
        if (law.kind == "iid" or max(counts) == 1) and min(counts) == max(counts) < FEW:
            self.few[leaf.name] = counts[0]
            few = law_of_few(leaf.name, means, deviations, counts[0], self.redrawn.get(leaf.name))
            if few is None:
                problem = f"outside the theory: the size of {leaf.name}, drawn at many seeds, is no power of the width"
                raise FitError(self.message(position, problem, self.drawn_by_torch(leaf.name)), outside=True)
            self.notes.append(few[1])
            return few[0]
        errors = [1.5 / (2 * count) ** 0.5 for count in counts]
        fitted = fit_measured(self.widths, deviations, errors)
        centred = all(abs(m) <= 5 * d / c**0.5 for m, d, c in zip(means, deviations, counts, strict=True))
        mean: tuple[Scaling, bool] | None = (Scaling(()), True)
        if not centred:
            sign = 1 if means[0] > 0 else -1
            relative = [d / c**0.5 / max(abs(m), 1e-300) for m, d, c in zip(means, deviations, counts, strict=True)]
            mean = fit_measured(self.widths, [sign * m for m in means], relative)
            mean = None if mean is None else (mean[0] * Scaling.of(sign), mean[1])
        if fitted is None or mean is None:
            raise FitError(
                self.message(
                    position,
                    f"the initialisation of {leaf.name} has mean {self.table(means)} and standard deviation "
                    f"{self.table(deviations)}: no power of the width",
                    self.drawn_by_torch(leaf.name),
                ),
                outside=True,
            )
        if not (fitted[1] and mean[1]):
            self.notes.append(
                f"{leaf.name}: its initialisation was measured, not recorded. The power of the width in its standard "
                f"deviation, {fitted[0]}, is the likeliest but not certain. {self.drawn_by_torch(leaf.name)}"
            )
        return Law(law.kind, mean[0], fitted[0])

    def drawn_by_torch(self, name: str) -> str:
        """Say how the law of a parameter can be recorded. Its model was built elsewhere, or an operation made its entries."""
        made = self.lowereds[0].made.get(name)
        if made is None:
            return ADVICE
        return (
            f"Its entries are made by {made}, whose law is not known. Draw them by torch (normal_, uniform_, orthogonal_, "
            "xavier_...): then their law is recorded. Or keep such a parameter small and of fixed size."
        )

    def table(self, values: Sequence[Number]) -> str:
        return ", ".join(f"{_digits(value)} at width {width}" for width, value in zip(self.widths, values, strict=True))

    def message(self, position: int, problem: str, advice: str) -> str:
        return f"{problem}\n  in {describe(self.lowereds[0].statements[position])}\n{advice}"


def _with_laws_of(first: Lowered, other: Lowered) -> list[LoweredStatement]:
    """Return the statements of `other`; a parameter that `first` has at the same position is drawn as there."""
    statements = list(other.statements)
    for position, (mine, theirs) in enumerate(zip(first.statements, statements, strict=False)):
        one, two = mine.instruction, theirs.instruction
        if isinstance(one, Leaf) and isinstance(two, Leaf) and one.kind == two.kind == "parameter":
            statements[position] = replace(theirs, instruction=replace(two, law=one.law))
    return statements


def _skeleton(statement: LoweredStatement) -> tuple[Any, ...]:
    """Return all that must be equal at every width: the statement without its numbers."""
    instruction = statement.instruction
    shared: tuple[Any, ...] = (type(instruction), len(statement.shape), statement.type, _scope_of(statement.origin))
    if isinstance(instruction, Leaf):
        law = instruction.law
        # draws that share rows with others at some widths are data there (see `lowering.identity`)
        drawn = instruction.kind == "data" and law.kind in ("normal", "uniform", "iid")
        seen = "iid" if law.kind == "orthogonal" else law.kind
        return (*shared, instruction.kind, instruction.name, "data" if drawn else seen)
    return (*shared, _with_numbers(instruction, lambda number: NOTHING))


@final
@dataclass(frozen=True, slots=True)
class _Number:
    """A number of an instruction: what an error calls it, its value at one width, and whether it counts entries."""

    what: str
    value: Scaling
    is_whole: bool = False


def _numbers(instruction: Instruction | Reshape) -> list[_Number]:
    numbers: list[_Number] = []
    _with_numbers(instruction, lambda number: numbers.append(number) or number.value)  # type: ignore[func-returns-value]
    return numbers


def _with_numbers(instruction: Instruction | Reshape, new: Callable[[_Number], Scaling]) -> Instruction | Reshape:
    """Replace each number of an instruction, in order; a leaf has a law in place of numbers."""
    match instruction:
        case Leaf() | Gather() | Scatter() | Reshape() | Eigenvalues() | Spectral():
            return instruction
        case Contract(scale=scale):
            return replace(instruction, scale=new(_Number("the factor", scale)))
        case Combine(terms=terms, constant=constant):
            named = [(_Number(f"the factor of term {k}", scale), read) for k, (scale, read) in enumerate(terms, 1)]
            scaled = tuple((new(number), read) for number, read in named)
            return replace(instruction, terms=scaled, constant=new(_Number("the constant", constant)))
        case Apply(parameters=parameters):
            given = tuple(new(_Number(f"parameter {k}", each)) for k, each in enumerate(parameters, 1))
            return replace(instruction, parameters=given)
        case Slice(start=start, length=length):
            first = new(_Number("the start of the slice", start, True))
            return replace(instruction, start=first, length=new(_Number("the length of the slice", length, True)))
        case Concat(lengths=lengths):
            parts = [_Number(f"the length of part {k}", length, True) for k, length in enumerate(lengths, 1)]
            return replace(instruction, lengths=tuple(map(new, parts)))
        case _:
            assert_never(instruction)


def _factor(instruction: Instruction | Reshape) -> Scaling | None:
    """Return the one factor of a sum or of a multiple of one value."""
    match instruction:
        case Contract(scale=scale):
            return scale
        case Combine(terms=((scale, _),), constant=constant) if constant.is_zero:
            return scale
        case _:
            return None  # no other instruction has a factor


def _times(statement: LoweredStatement, factor: Number) -> LoweredStatement:
    instruction, by = statement.instruction, Scaling.of(factor)
    if isinstance(instruction, Contract):
        return replace(statement, instruction=replace(instruction, scale=instruction.scale * by))
    assert isinstance(instruction, Combine)
    ((scale, operand),) = instruction.terms
    return replace(statement, instruction=replace(instruction, terms=((scale * by, operand),)))


def _scope_of(origin: Origin) -> tuple[Any, ...]:
    return (origin.step, origin.phase, origin.module)


def describe(statement: LoweredStatement | FittedStatement) -> str:
    """Describe one statement for an error text."""
    instruction, origin = statement.instruction, statement.origin
    what = type(instruction).__name__
    what += f" {instruction.name}" if isinstance(instruction, Leaf) else ""
    what += f" {instruction.function}" if isinstance(instruction, Apply) else ""
    where = f"step {origin.step}, {origin.phase}" + (f", module {origin.module}" if origin.module else "")
    text = f"\n      {origin.source.text.strip()}" if origin.source.text else ""
    return f"{what} of shape ({', '.join(map(str, statement.shape))}), {where}, {origin.source}{text}"


def _all_equal(items: Sequence[Any]) -> bool:
    first = items[0]
    return all(item == first for item in items)


def _digits(value: Number) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)
