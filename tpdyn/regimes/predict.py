"""What will this script do as the width grows? From the orders of all values to a regime, its reasons and a remedy.

The rules are those of Tensor Programs IV (arXiv 2011.14522) and IVb (2308.01814): **unstable** when some representation,
output or logit has a positive order. **Trivial** when the output does not change at order 0. **Feature learning** when some
hidden representation does, **kernel** when none does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from types import FunctionType
from typing import Literal

from tpdyn.exponents import ZERO, Order, show_order, show_power
from tpdyn.facts import outside
from tpdyn.facts.facts import Facts
from tpdyn.facts.makers import maker
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Combine, Concat, Gather, Slice, operands_of
from tpdyn.program.program import Mark, Program, View
from tpdyn.readings.orders.reading import Contribution, Exponents, Orders, read
from tpdyn.regimes.cancelling import divided_remainder
from tpdyn.regimes.epsilon import where_epsilon_matters
from tpdyn.regimes.judgement import Judgement, judge, largest_change
from tpdyn.regimes.prediction import Prediction, Reason, Regime, Row
from tpdyn.regimes.remedy import find_remedy
from tpdyn.regimes.settling import Settled, settled
from tpdyn.regimes.unnamed import shares_of, unnamed


def predict(
    program: Program,
    *,
    exponents: Exponents | None = None,
    epsilon: Literal["negligible", "as written"] = "negligible",
    remedy: bool = True,
    one_width: bool = False,
    horizon: Literal["settled", "recorded"] = "settled",
) -> Prediction:
    """Predict the orders of every value of a program and of its change in training, and the regime that follows.

    exponents: extra powers of the width for parameters (multiplier, initial size, learning rate), on top of the script's.
    epsilon: whether constants that guard a division (Adam's eps) are negligible, or count as written. As written, they win
    as the width grows if the other summand vanishes.
    remedy: search learning rates and initial sizes that lead to feature learning (some more readings).

    one_width: accept a program that was recorded at one width, although its dims are not known to grow. The orders are then
    those of a network of constant width.

    horizon: "settled" repeats the last step until orders repeat, so that the regime is that of all later steps
    (`tpdyn.regimes.settling`). "recorded" reads the recorded steps only. The table is that of the recorded steps.

    Raises OutsideTheory if a statement has no rule, naming the statement and its source line. Raises ValueError if the program
    has fewer than two optimizer steps, or was recorded at one width. So it does where exponents name a parameter that the
    program lacks. Raises TypeError for anything but a program and its exponents.
    """
    expect_program(program)
    _expect_exponents(program, exponents)
    if epsilon not in ("negligible", "as written"):
        raise ValueError(f"epsilon = {epsilon!r}; expected 'negligible' or 'as written'")
    if horizon not in ("settled", "recorded"):
        raise ValueError(f"horizon = {horizon!r}; expected 'settled' or 'recorded'")
    if program.steps < 1 or not program.parameters:
        raise ValueError("the program has no optimizer step; record at least two (steps=3 shows every effect)")
    if program.steps < 2:
        raise ValueError(
            "the recording holds one optimizer step only, so no value is seen after an update. Expected at least two: let "
            "the script train longer, and record with steps=3"
        )
    if not one_width:
        expect_several_widths(program)
    facts = Facts.of(program)
    as_written = epsilon == "as written"
    orders = read(facts, exponents, epsilon=as_written)
    judged = judge(orders)
    recorded = judged.regime
    end = Settled(orders, None)
    if horizon == "settled" and recorded != Regime.UNSTABLE:
        end = settled(orders)
    regime, reasons = _reasons(end.orders)
    if remedy and (regime != Regime.FEATURE_LEARNING or _lagging(end.orders)):
        cure = find_remedy(orders if regime == recorded else end.orders, regime)
        if cure is not None:
            reasons = (replace(reasons[0], fix=str(cure)), *reasons[1:])
    return Prediction(
        program=program,
        regime=regime,
        reasons=reasons,
        table=_rows(orders, judged if recorded == regime else None),
        sizes=tuple(value.size for value in orders.values),
        changes=tuple(value.moved for value in orders.values),
        entrywise=facts.entrywise,
        outside=(*_outside(facts), *_remainder(orders)),
        epsilon={} if exponents or as_written else where_epsilon_matters(orders),
        settles=end.step,
        read=end.orders.program.steps,
    )


# -- the reasons ----------------------------------------------------------------------------------------------------


def _reasons(orders: Orders) -> tuple[Regime, tuple[Reason, ...]]:
    judgement = judge(orders)
    match judgement.regime:
        case Regime.UNSTABLE:
            assert judgement.order is not None
            reason = _why_unstable(orders, judgement.position, judgement.what, judgement.order)
        case Regime.TRIVIAL if judgement.without is not None:
            reason = _why_trivial(judgement.without, judgement.moved)
            finite = orders.facts.finite_parameters
            hiding = sorted(finite & {c.parameter for c in orders.contributions if c.order == 0}) or sorted(finite)
            text = f"only {', '.join(hiding)} moves the output, by the same amount for every input: {reason.text}"
            reason = replace(reason, text=text)
        case Regime.TRIVIAL:
            reason = _why_trivial(orders, judgement.moved)
        case Regime.FEATURE_LEARNING:
            reason = _why_learning(orders, judgement.learning)
        case Regime.KERNEL:
            reason = _why_kernel(orders)
    return judgement.regime, (reason, *_remarks(orders))


def _mixed(orders: Orders) -> list[bool]:
    """Mark the values that are functions of growing values (see `Row.mixed`). Sums and slices of growing values just grow.

    A normalisation sees only ratios. If its argument changes by more than its size, that ratio grows.
    """
    facts, program = orders.facts, orders.program
    grown, mixed = [False] * len(program), [False] * len(program)
    decisive = frozenset(facts.counting)
    for position, statement in enumerate(program.statements):
        operands = [operand.var for operand in operands_of(statement.instruction)]
        passes = isinstance(statement.instruction, Combine | Slice | Concat | Gather)
        mixed[position] = any(mixed[v] for v in operands) or (not passes and any(grown[v] for v in operands))
        if position in facts.normalisation_factors and statement.origin.phase == "forward":
            guarded = orders.values[operands[0]]
            mixed[position] |= guarded.moved is not None and (guarded.size is None or guarded.moved > guarded.size)
        grown[position] = passes and any(grown[v] for v in operands)
        if position in decisive and not grown[position]:
            value = orders.counted(position)
            grown[position] = max(value.size or ZERO, value.moved or ZERO) > 0
    return mixed


def _why_unstable(orders: Orders, position: int, what: str, order: Fraction) -> Reason:
    program = orders.program
    origin = program.statements[position].origin
    product = maker(program, position)
    name = _label(program, position)
    if what == "size":
        text = f"{name} has order {show_order(order)} at initialisation, before any training"
        fix = f"make it smaller by {show_power(-order)}: initial entries or a multiplier in {_line(program, product)}"
        culprits = [c.parameter for c in orders.contributions if c.position == product]
        if culprits:
            fix = f"multiply {culprits[0]} by {show_power(-order)} (its initial standard deviation, or a multiplier)"
        return _reason(program, product, text, fix)
    guilty = _too_fast(orders, origin.step)
    text = f"{name} changes at order {show_order(order)} in step {origin.step}"
    if guilty:
        worst = max((c for c in guilty if c.position <= position), key=lambda c: c.position, default=guilty[0])
        text += f": the update of {worst.parameter} contributes at order {show_order(worst.order)}"
        rates = "; ".join(f"{c.parameter}: {show_power(-c.order)}" for c in guilty if c.order is not None)
        return _reason(program, position, text, f"multiply the learning rates, {rates}")
    summed = program.statements[product]
    text += ": no update is too large by itself, but after training the two factors are aligned"
    fix = f"multiply it by {show_power(-order)}: {_line(program, product)} (attention: 1/d instead of 1/sqrt(d))"
    return _reason(program, product, text, fix if summed.origin.source.file else f"multiply it by {show_power(-order)}")


def _too_fast(orders: Orders, step: int) -> list[Contribution]:
    """List the parameters whose own change contributes at a positive order to untrained values: largest first."""
    worst: dict[str, Contribution] = {}
    for c in orders.contributions:
        if c.step == step and c.alone is not None and c.alone > 0:
            if c.parameter not in worst or c.alone > (worst[c.parameter].alone or ZERO):
                worst[c.parameter] = c
    ranked = sorted(worst.values(), key=lambda c: (-(c.alone or ZERO), c.position))
    return [replace(c, order=c.alone) for c in ranked]


def _why_trivial(orders: Orders, moved: Order) -> Reason:
    program, position = orders.program, orders.facts.outputs[-1]
    if moved is None:
        text = "the output does not change at all in the recorded steps"
        return _reason(program, position, text, "record more steps, or check that the learning rate is not zero")
    last = _last_contributions(orders)
    text = f"the output changes at order {show_order(moved)}: it stands still as the width grows"
    if not last:
        return _reason(program, position, text, f"multiply the learning rate by {show_power(-moved)}")
    best = last[0]
    text += f"; {best.parameter} contributes most, at order {show_order(best.order)}"
    rates = "; ".join(f"{c.parameter}: {show_power(-c.order)}" for c in last if c.order is not None and c.order < 0)
    return _reason(program, best.position, text, f"multiply the learning rates, {rates}")


def _why_kernel(orders: Orders) -> Reason:
    """Explain r > 0: features freeze.

    Divide the readout by n^r, and raise every learning rate so that the output still moves. This gives r = 0: the straight
    line from NTP to muP along the symmetric directions (Tensor Programs IV).
    """
    facts, program = orders.facts, orders.program
    moved = largest_change(orders, facts.hidden)
    if moved is None:
        return _reason(program, facts.outputs[-1], "no hidden representation changes", "train the hidden layers too")
    position = next(p for p in facts.hidden if orders.counted(p).moved == moved)
    regime = "operator regime of entrywise optimizers" if facts.entrywise else "kernel regime"
    text = f"no hidden representation learns ({regime})"
    text += f": the largest change is {_label(program, position)}, of order {show_order(moved)}"
    rate = -moved if facts.entrywise else -2 * moved
    fix = f"multiply the output by {show_power(moved)} and every learning rate by {show_power(rate)}"
    return _reason(program, position, text, fix)


def _why_learning(orders: Orders, learning: tuple[int, ...]) -> Reason:
    program = orders.program
    modules = list(dict.fromkeys(m for p in learning if (m := program.statements[p].origin.module)))
    where = ", ".join(modules[:6]) + (f" and {len(modules) - 6} more" if len(modules) > 6 else "")
    text = (
        f"hidden representations change at order 0{' in ' + where if where else ''}, and nothing grows with the width"
    )
    lagging = _lagging(orders)
    if not lagging:
        return _reason(program, learning[0], text, "nothing: this script keeps its features learning at any width")
    names = ", ".join(list(lagging)[:4]) + (f" and {len(lagging) - 4} more" if len(lagging) > 4 else "")
    rates = "; ".join(f"{name}: {show_power(-order)}" for name, order in list(lagging.items())[:4])
    return _reason(program, learning[0], f"{text}; but {names} cannot keep up", f"multiply the learning rates, {rates}")


def _lagging(orders: Orders) -> dict[str, Fraction]:
    """Find parameters that are trained but not maximally updated, each with its largest contribution (of negative order)."""
    best: dict[str, Fraction] = {}
    for c in orders.contributions:
        if c.order is not None:
            best[c.parameter] = max(best.get(c.parameter, c.order), c.order)
    return {name: order for name, order in best.items() if order < 0}


def _remarks(orders: Orders) -> tuple[Reason, ...]:
    """Remark on parameters that contribute less than they could, and on values that vanish."""
    program, remarks = orders.program, []
    trained = {c.parameter for c in orders.contributions if c.step > 0}
    moving = {c.parameter for c in orders.contributions if c.order is not None}
    used = {c.parameter: c.position for c in reversed(orders.contributions)}
    for name in sorted(trained - moving):
        text = f"{name} is not trained: its change is identically zero in the {program.steps} steps that were read"
        remarks.append(_reason(program, used[name], text, ""))
    for name, order in _lagging(orders).items():
        text = f"{name} is not maximally updated: its change contributes at order {show_order(order)}"
        remarks.append(_reason(program, used[name], text, f"its learning rate could be larger by {show_power(-order)}"))
    for position in orders.facts.representations:
        size, moved = orders.counted(position).size, orders.values[position].moved
        if program.statements[position].origin.step == 0 and size is not None and size < 0 and moved is None:
            named = [m for m in program.marks if m.kind == "module" and position in m.view.pieces]
            if named:
                text = f"{named[0].name} vanishes at initialisation: order {show_order(size)}"
                remarks.append(_reason(program, position, text, ""))
    return tuple(remarks)


def _last_contributions(orders: Orders) -> list[Contribution]:
    """Return the contributions of the parameters that feed the output directly, largest first."""
    best: dict[str, Contribution] = {}
    for c in orders.contributions:
        if orders.program.statements[c.position].wide_axes or c.order is None:
            continue
        if c.parameter not in best or c.order > (best[c.parameter].order or c.order - 1):
            best[c.parameter] = c
    return sorted(best.values(), key=lambda c: (-(c.order or ZERO), c.position))


def _reason(program: Program, position: int, text: str, fix: str) -> Reason:
    statement = program.statements[position]
    return Reason(text, statement.name, statement.origin.module, statement.origin.source, fix)


def _line(program: Program, position: int) -> str:
    return str(program.statements[position].origin.source)


def _label(program: Program, position: int) -> str:
    """Name a value: as the output of a module if it is one, else by its line."""
    for mark in program.marks:
        if position in mark.view.pieces:
            return "the output" if mark.kind == "output" else mark.name
    origin = program.statements[position].origin
    if origin.module:
        what = f"a value in {origin.module}"
    else:
        what = "a value outside of modules" if origin.source.file else f"the value {program.statements[position].name}"
    return f"{what} (`{origin.source.text}`)" if origin.source.text else what


def expect_program(program: object) -> None:
    """Raise TypeError for anything but a program: a script has to be recorded first."""
    if not isinstance(program, Program):
        given = f"the function {program.__name__}" if isinstance(program, FunctionType) else f"{program!r:.60}"
        raise TypeError(
            f"expected a program, got {given}. Record a script first, program = tpdyn.record(train), or read one that "
            "was written, tpdyn.Program.from_json(text)"
        )


def _expect_exponents(program: Program, exponents: object) -> None:
    if exponents is None:
        return
    if not isinstance(exponents, Exponents):
        raise TypeError(
            f"exponents = {exponents!r:.60}: expected tpdyn.readings.orders.reading.Exponents, as in "
            'Exponents(rate={"name of a parameter": Fraction(1)})'
        )
    known = {parameter.name for parameter in program.parameters}
    named = {*exponents.multiplier, *exponents.initial, *exponents.rate, *exponents.frozen}
    if unknown := sorted(named - known):
        raise ValueError(
            f"exponents name {', '.join(map(repr, unknown))}; the program's parameters are {', '.join(sorted(known))}"
        )


def expect_several_widths(program: Program) -> None:
    """Raise ValueError if a program was recorded at one width: its dims are numbers, and tpdyn cannot know which grow."""
    if len(program.widths) == 1:
        raise ValueError(
            "the program was recorded at one width, where nothing tells which dims grow and which constants depend on them. "
            "Expected two widths, better three: tpdyn.record(train, widths=(16, 24, 40)). Or `tpdyn.recorder.record.joined` of the "
            "recordings of several trainings, each begun with its width (as callbacks are). To read it as it is, every dim "
            "being a constant: predict(program, one_width=True)"
        )


def expect_inside(program: Program | Facts) -> None:
    """Raise OutsideTheory if `predict` says that a program is outside the theory: so are all conclusions from its orders.

    Raises ValueError for a program that was recorded at one width.
    """
    facts = Facts.of(program)
    expect_several_widths(facts.program)
    for reason in _outside(facts):
        raise OutsideTheory(replace(reason, text=reason.text.partition(" Orders below")[0].rstrip(".")).told())


def _outside(facts: Facts) -> tuple[Reason, ...]:
    program, reasons = facts.program, []
    if facts.wide_data:
        text = (
            "outside the theory: a forward value has two dims that grow with the width. Does the batch or the sequence "
            "length grow with it? Orders below treat sums over it as sums of like terms"
        )
        fix = "keep the number of samples and tokens fixed while the width varies"
        if outside.meets_fixed_matrix(program, facts.wide_data[0]):
            text = (
                "outside the theory: a value with two growing dims meets a fixed matrix (a mask, or 1 - eye). "
                "Orders below know the size of its entries only"
            )
            fix = "write c * (1 - eye) of a matrix c with two dims, which is read. Of several at once it is not"
        reasons.append(_reason(program, facts.wide_data[0], text, fix))
    if facts.fixed_products:
        text = (
            "outside the theory: a product with a fixed matrix both of whose dims grow (a Fourier transform over the width?). "
            "Only the size of its entries is known. Orders below take its rows for independent of all else"
        )
        fix = "transform a dim that does not grow, such as the tokens, or let the matrix be drawn at random"
        reasons.append(_reason(program, facts.fixed_products[0], text, fix))
    if facts.unfed:
        text = (
            "outside the theory: the network has no input, so that what it represents cannot be told from its weights"
        )
        fix = "give the network its input as data: a tensor that is made before the loop"
        reasons.append(_reason(program, facts.unfed[0], text, fix))
    return tuple(reasons)


def _remainder(orders: Orders) -> tuple[Reason, ...]:
    position = divided_remainder(orders)
    if position is None:
        return ()
    text = (
        "outside the theory: a normalisation takes away a constant that is all but vanishing parts of its argument. "
        "It divides by the spread of these parts, of which orders below are no lower bounds"
    )
    fix = "let what it normalises vary at initialisation: its weights may start at n^-1/2, say, not at 1/n"
    return (_reason(orders.program, position, text, fix),)


# -- the table ------------------------------------------------------------------------------------------------------


def _rows(orders: Orders, judged: Judgement | None) -> tuple[Row, ...]:
    """Make the rows of all that has a name. judged: the regime, if the recorded steps show it: what decides it has rows, too."""
    program, mixed = orders.program, _mixed(orders)
    rows = [_mark_row(orders, mark, mixed) for mark in program.marks]
    decides = None if judged is None else unnamed(orders, judged)
    marks = [] if decides is None else list(decides.marks(program))
    if judged is not None and judged.regime is not Regime.UNSTABLE:  # losses, where they show what the network returns
        marks += [mark for mark in program.marks if mark.kind == "loss" and mark.view.var in orders.facts.outputs]
    rows += [replace(_mark_row(orders, mark, mixed), kind="value") for mark in marks]
    for parameter in program.parameters:
        for step, view in enumerate(parameter.versions[: max(program.steps, 1)]):
            rows.append(_row(orders, "parameter", parameter.name, step, view))
        for step, gradient in enumerate(parameter.gradients):
            if gradient is not None:
                rows.append(_row(orders, "gradient", parameter.name, step, gradient))
    return tuple(rows)


def _mark_row(orders: Orders, mark: Mark, mixed: list[bool]) -> Row:
    facts = orders.facts
    row = _row(orders, mark.kind, mark.name, mark.step, mark.view)
    row = replace(row, mixed=any(mixed[var] for var in mark.view.pieces))
    hidden = (
        mark.kind in ("module", "output")
        and len(orders.program.statements[row.position].wide_axes) == 1
        and row.position not in facts.folded
        and row.position not in facts.outputs
    )
    moved = orders.counted(row.position).moved
    return replace(row, learns=moved is not None and moved >= 0) if hidden else row


def _row(
    orders: Orders,
    kind: Literal["module", "output", "loss", "parameter", "gradient"],
    name: str,
    step: int,
    view: View,
) -> Row:
    values = [orders.values[var] for var in view.pieces]
    shares = shares_of(orders.program, view)
    return Row(
        kind=kind,
        name=name,
        step=step,
        size=_of_all([value.size for value in values], shares),
        change=_of_all([value.moved for value in values], shares),
        source=orders.program.statements[view.var].origin.source,
        position=view.var,
        at_most=any(v.at_most for v in values) or not orders.facts.logits_alike.isdisjoint(view.pieces),
        wide=any(orders.program.statements[var].wide_axes for var in view.pieces),
    )


def _of_all(orders: Sequence[Order], shares: Sequence[Fraction]) -> Order:
    """Return the order of the mean size of all entries of a tensor. shares: what part of them each piece has."""
    present = [order + share for order, share in zip(orders, shares, strict=True) if order is not None]
    return max(present, default=None)
