"""Which parametrization lets every layer of this program learn as much as it can, at every width? It is derived.

The requirements of the maximal update are solved as exact linear programs on the cells of the program
(`tpdyn.regimes.maximal`). Names, shapes and kinds of layers do not enter. So it comes out, rather than goes in, that hidden
matrices need Adam rates of 1/n. So does attention's 1/d instead of 1/sqrt(d). The tables of Tensor Programs V (arXiv
2203.03466) are known answers in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from tpdyn.exact.forms import Point
from tpdyn.exact.linear import nullspace
from tpdyn.exponents import ZERO
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.parametrization import Gauge, ParameterFacts, Parametrization
from tpdyn.program.check import script_shape
from tpdyn.program.instructions import Law, Leaf
from tpdyn.program.program import Parameter, Program
from tpdyn.readings.orders.reading import Exponents, read
from tpdyn.regimes.cells import Coordinates, every_exponent
from tpdyn.regimes.epsilon import guard_powers
from tpdyn.regimes.maximal import Maximum, look
from tpdyn.regimes.predict import expect_inside, expect_program
from tpdyn.regimes.remedy import nearest_maximum


def derive(program: Program, *, gauge: Gauge = "no multipliers", sites: bool = True) -> Parametrization:
    """Derive the maximal update parametrization of a program that is nearest to the script's own.

    gauge: how it is written (`Parametrization.in_gauge`). sites: whether multipliers may be added where no parameter
    has one of its own. That is at products of activations (attention's logits) and at one use of a weight that is used
    twice. They are used only where nothing else helps. Where the requirements contradict each other, `conflicts` names
    minimal sets of them with their source lines. The exponents meet as many as they can.

    Some scripts clip gradients by their norm, and the norm grows. Then exponents are those of widths at which the
    clipping acts and the growing part of the norm leads. Rates derived for SGD are too large below (`tpdyn check` shows
    it).

    Weight decay is set aside (`tpdyn.facts.decay`): it has to move with the rates, and `parametrize` moves it.

    Raises OutsideTheory where a rule does not reach, ValueError for a program without two optimizer steps.

        program = tpdyn.record(train, widths=(16, 24, 40), steps=3)
        print(tpdyn.derive(program).show())
    """
    expect_steps(program)
    facts, coupled = Facts.of(program).without_decay
    expect_inside(facts)
    maximum = nearest_maximum(facts, sites=sites)
    coordinates, own = maximum.coordinates, facts.own
    initial, rate = maximum.exponents.initial, maximum.exponents.rate
    derived = Parametrization(
        exponents={name: (o.a, o.b + initial.get(name, ZERO), o.c + rate.get(name, ZERO)) for name, o in own.items()},
        multipliers=_multipliers(coordinates, maximum.point),
        own=own,
        rate_per_multiplier=symmetries(facts, maximum.exponents),
        regime=maximum.regime,
        conflicts=tuple(dict.fromkeys(tuple(map(str, conflict)) for conflict in maximum.conflicts)),
        given_up=tuple((str(r), r.shortfall(maximum.point)) for r in maximum.unmet if not r.is_infinite),
        facts=_facts(maximum, coupled),
        maximum=maximum,
    )
    return derived.in_gauge(gauge)


def expect_steps(program: Program) -> None:
    """Raise ValueError for a program without two optimizer steps, or without parameters: its maximal update is not defined.

    Raise TypeError for anything but a program.
    """
    expect_program(program)
    if program.steps < 2 or not program.parameters:
        raise ValueError(
            f"the program has {program.steps} optimizer steps; expected at least two. Record with steps=3, since some "
            "requirements are about values after updates"
        )


def _facts(maximum: Maximum, coupled: frozenset[str]) -> Mapping[str, ParameterFacts]:
    program, own = maximum.program, maximum.facts.own
    guards = guard_powers(read(maximum.facts, maximum.exponents))
    facts = {}
    for parameter in program.parameters:
        name, decay = parameter.name, None
        if name in coupled and name in guards:
            # Added to a gradient that is then normalised: w times its decay has to keep its proportion to the gradient.
            initial, rate = maximum.exponents.initial.get(name, ZERO), maximum.exponents.rate.get(name, ZERO)
            decay = guards[name] + (own[name].c + rate if own[name].zero else own[name].b + initial)
        facts[name] = ParameterFacts(
            script_shape(program, parameter.versions[0]), _law(program, parameter), guards.get(name, ZERO), decay
        )
    return facts


def _law(program: Program, parameter: Parameter) -> Law | None:
    laws = set()
    for var in parameter.versions[0].pieces:
        leaf = program.statements[var].instruction
        laws.add(leaf.law if isinstance(leaf, Leaf) else None)
    law = laws.pop() if len(laws) == 1 else None
    return (
        law if law is not None and (law.is_number or law.kind in ("normal", "uniform", "iid", "orthogonal")) else None
    )


def _multipliers(coordinates: Coordinates, point: Point) -> Mapping[str, Fraction]:
    values = dict(zip(coordinates.names, point, strict=True))
    return {site: values[f"{site}:p"] for site in coordinates.sites if values[f"{site}:p"]}


def symmetries(program: Program | Facts, at: Exponents | None = None) -> Mapping[str, Fraction | None]:
    """Find for each parameter the k for which `(a + s, b - s, c - k s)` changes nothing, in the cell around a point.

    Along the direction every comparison of the reading and every requirement must stay as it is. None where there is no
    such direction.
    """
    facts = Facts.of(program)
    coordinates = every_exponent(facts.program, origin=at)
    here = look(facts, coordinates, (ZERO,) * len(coordinates.names))
    rows = [c.form.coefficients for c in here.cell.constraints] + [r.form.coefficients for r in here.requirements]
    column = {name: index for index, name in enumerate(coordinates.names)}
    return {p.name: _along(rows, [column[f"{p.name}:{kind}"] for kind in "abc"]) for p in facts.program.parameters}


def _along(rows: Sequence[Point], columns: Sequence[int]) -> Fraction | None:
    a, b, c = columns
    kept = {(row[a], row[b], row[c]) for row in rows if row[a] or row[b] or row[c]}
    # Of all directions on which the rows vanish, the one with b = -a.
    for direction in nullspace([*kept, (Fraction(1), Fraction(1), ZERO)], 3):
        if direction[0]:
            return -direction[2] / direction[0]
    return None
