"""What would a built model do at other widths? `widened` proposes copies, tries them, and states what they assume.

    net = MyModel(...)                       # built, at the one size that it has
    wide = tpdyn.widened(net, fit)           # fit(model): an ordinary training loop of a model that is given to it
    program = tpdyn.record(wide)             # `wide` is a function of the width, as any other

`candidates` proposes the dims that grow, and `resizing` builds the copies. A copy is accepted only if it runs the same
operations, statement by statement. Only the proposed dims may have grown. `record` then verifies the program of the copies
against the model itself, at its own size. One model cannot show everything: the verdict's notes list every assumption.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

from torch import nn

from tpdyn.exponents import Number
from tpdyn.recorder.built.candidates import Candidates, check_growth, find_candidates
from tpdyn.recorder.built.initial import initials_of
from tpdyn.recorder.built.resizing import Group, Plan, own_copy, planned, resized
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting.declared import is_dim, numbers_named
from tpdyn.recorder.fitting.widths import FitError, check_same_structure
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.lowering import lower
from tpdyn.recorder.lowering.values import LoweringError

MOST_TRIES = 32
MULTIPLES = (8, 12, 20, 28)
MOST_NAMES = 4


@final
class Widened:
    """A model that exists, as a function of the width: `wide(width)` trains a copy of that width.

    base: the model's own width. unit: widths are multiples of it. widths: three small ones to record at. assumptions: what was
    taken for granted, in words.
    """

    def __init__(
        self, model: nn.Module, train: Callable[[Any], object], plan: Plan, unit: int, assumptions: Sequence[str]
    ) -> None:
        self._model, self._train, self._plan = model, train, plan
        self.base, self.unit = plan.base, unit
        self.widths = recorded_widths(unit, plan.base)
        self.assumptions = tuple(assumptions)

    def __call__(self, width: int) -> None:
        """Train a copy of that width, with new initial entries."""
        if width < 1 or width % self.unit:
            raise RecordingError(
                f"width {width}: the copies of {type(self._model).__name__} have whole dims at multiples of {self.unit}; "
                f"try {', '.join(str(self.unit * k) for k in (4, 6, 10))}"
            )
        self._train(resized(self._model, self._plan, width))

    def original(self, width: int) -> None:
        """Train a copy of the model as it is, with its own entries; width: its own."""
        if width != self.base:
            raise RecordingError(f"width {width}: the model itself is of width {self.base}")
        self._train(own_copy(self._model))


def recorded_widths(unit: int, base: int) -> tuple[int, ...]:
    """Choose three small widths, without the model's own: that is where the program is verified."""
    return tuple([unit * k for k in MULTIPLES if unit * k != base][:3])


def built_model(train: Callable[[int], object]) -> Widened | None:
    """Return the built model behind a function of the width, if there is one."""
    inner = inspect.unwrap(train)
    return inner if isinstance(inner, Widened) else None


def widened(
    model: nn.Module,
    train: Callable[[Any], object],
    *,
    finite: Sequence[str | int] = (),
    initial: Mapping[str, Number] | None = None,
    seed: int = 0,
) -> Widened:
    """Return a model that exists as a function of the width, if copies of other widths do what it does.

    model: it is copied, and stays as it is. train: an ordinary training loop, of the model that it is given; data must not depend
    on the model's width. finite: what does not grow. It is a dim of a parameter as "name:dim" (with wildcards), or a number
    that modules keep. Give that number or its name, such as "head_dim"; then the number of heads grows. initial: powers of
    the width in the standard deviation of initial entries, where you know them. The key is the name of the parameter (with
    wildcards): {"*.weight": Fraction(-1, 2)}.

    Raises RecordingError when every copy is refused, with the first difference. Raises it, too, when the model or its loop
    cannot be recorded.
    """
    if not isinstance(model, nn.Module):
        raise RecordingError(f"the model is {type(model).__name__}; expected a torch.nn.Module that is built already")
    itself = lower(record_tape(lambda width: train(own_copy(model)), 0, 1, seed))
    names = {name for name, _ in model.named_parameters()}
    strange = [parameter.name for parameter in itself.parameters if parameter.name not in names]
    if strange:
        raise RecordingError(
            f"the loop trains {', '.join(strange[:MOST_NAMES])}, which {type(model).__name__} does not have under that name. "
            "Expected a loop that calls the model it is given, and trains nothing else. Put the rest into one module"
        )
    dims, numbers = _declared(model, finite)
    candidates = find_candidates(itself, dims, numbers)
    if candidates.base is None:
        fixed = "; ".join(f"{dim} is {why}" for dim, why in itertools.islice(candidates.why.items(), MOST_NAMES))
        raise RecordingError(
            f"no dim of {type(model).__name__} could be its width: {fixed}. Give a function of the width"
        )
    unit = candidates.unit(candidates.base)
    powers = dict(initial or {})
    plan, ambiguous = planned(model, candidates, initials_of(model, powers, candidates.wide))
    width = recorded_widths(unit, plan.base)[0]
    first: Exception | None = None
    for tried in itertools.islice(_alternatives(plan, ambiguous), MOST_TRIES):
        try:
            copied = lower(record_tape(lambda w, tried=tried: train(resized(model, tried, w)), width, 1, seed))  # type: ignore[misc]
            check_same_structure(itself, copied, laws=False)
            check_growth(candidates, itself, copied, plan.base)
        except (RecordingError, LoweringError, FitError) as error:
            first = first or error
            continue
        return Widened(model, train, tried, unit, list(_assumptions(model, candidates, tried, ambiguous)))
    raise RecordingError(
        f"no copy of {type(model).__name__} with other widths does what the model does; taken to grow with the width "
        f"{plan.base}: {_sizes(plan, candidates)}. At width {width}: {first}\nGive a function of the width, or say with `finite` "
        "which dims do not grow"
    )


def _declared(model: nn.Module, finite: Sequence[str | int]) -> tuple[list[str], frozenset[int]]:
    """Split declarations into patterns of dims and finite sizes, by the name of an attribute or as they are."""
    dims = [pattern for pattern in finite if isinstance(pattern, str) and is_dim(pattern)]
    numbers = {size for size in finite if isinstance(size, int)}
    for name in finite:
        if name in dims or isinstance(name, int):
            continue
        values = numbers_named(model.modules(), name)
        if not values:
            raise RecordingError(
                f"finite = {name!r}: no module of {type(model).__name__} keeps a whole number of that name. Expected such a "
                "name, or a dim of a parameter, such as 'head.weight:0'"
            )
        numbers |= values
    return dims, frozenset(numbers)


def _alternatives(plan: Plan, ambiguous: Sequence[Group]) -> Iterator[Plan]:
    """Yield the plan, then with ever more ambiguous numbers growing, then with a clear one left."""
    for count in range(len(ambiguous) + 1):
        for more in itertools.combinations(ambiguous, count):
            yield plan.following(*more)
    for group in plan.follow:
        yield plan.following(without=frozenset([group]))


# -- what is said ---------------------------------------------------------------------------------------------------


def _sizes(plan: Plan, candidates: Candidates) -> str:
    return ", ".join(map(str, sorted(candidates.sizes)))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _assumptions(model: nn.Module, candidates: Candidates, plan: Plan, ambiguous: Sequence[Group]) -> Iterator[str]:
    yield (
        f"{type(model).__name__} was given built, of width {plan.base}. Other widths are those of copies that were made of it. "
        "What follows is assumed of them"
    )
    growing = [f"{name}:{dim}" for name, dims in candidates.wide.items() for dim, grows in enumerate(dims) if grows]
    yield f"assumed to grow with the width: dims of the sizes {_sizes(plan, candidates)} ({_some(growing)})"
    by_reason: dict[str, list[str]] = {}
    for dim, why in candidates.why.items():
        if why != "of size 1":
            by_reason.setdefault(why, []).append(dim)
    if by_reason:
        yield "assumed to be fixed: " + "; ".join(f"{_some(dims)} ({why})" for why, dims in by_reason.items())
    changed, kept = [], []
    for attribute in plan.attributes:
        numbers = attribute.value if isinstance(attribute.value, list | tuple) else [attribute.value]
        if str(attribute) in plan.scales:
            size, power = plan.scales[str(attribute)]
            changed.append(f"{attribute} = {attribute.value:.4g}, taken for {size}^{power}")
        elif attribute.tied is None and any((attribute.name, value) in plan.follow for value in numbers):
            changed.append(f"{attribute} = {attribute.value}")
        elif str(attribute) in plan.doubtful or (
            attribute.tied is None and any((attribute.name, value) in ambiguous for value in numbers)
        ):
            kept.append(f"{attribute} = {attribute.value}")
    if changed:
        yield f"numbers that modules keep and that were made to grow: {_some(changed)}"
    if kept:
        yield f"numbers that could be a width, and were left as they are: {_some(kept)}"
    by_law: dict[str, list[str]] = {}
    measured = [
        initial.deviation for initial in plan.initials.values() if initial.kind == "measured" and not initial.power
    ]
    for name, initial in plan.initials.items():
        words = initial.words
        if initial.kind == "measured" and not initial.power and min(measured) < max(measured):
            words = f"standard deviations as measured, {min(measured):.3g} to {max(measured):.3g}, at every width"
        if initial.kind != "constant":
            by_law.setdefault(words, []).append(name)
    yield "assumed of initial entries: " + "; ".join(f"{words}: {_some(names)}" for words, names in by_law.items())
    yield "all other numbers, the learning rates among them, are the same at every width"
