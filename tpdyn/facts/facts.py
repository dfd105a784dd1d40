"""What is true of a program, whatever its exponents? `Facts` answers, working out each fact once and only when asked.

    facts = Facts.of(program)
    facts.owner[var], facts.representations, facts.layout(position), facts.own["fc1.weight"].role

Each fact calls one function, which stands with its lemma in a file of its own. Readings and searches take a program or its
facts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeVar, final

from tpdyn.facts import deciding, exchangeable, makers, normalising, outside, parameters, picking, signs, sites
from tpdyn.facts.cancelling import Cancelled, cancelled
from tpdyn.facts.decay import without_decay
from tpdyn.facts.dependence import depends_on
from tpdyn.facts.folded import behind, folded
from tpdyn.facts.layouts import Layout, layouts
from tpdyn.facts.lengths import unit_lengths
from tpdyn.facts.own import Own, own_exponents
from tpdyn.facts.ranges import Ranges
from tpdyn.facts.sites import Site
from tpdyn.facts.updates import guards, updates
from tpdyn.program.dims import Axis, Space, space_of
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import LeafKind
from tpdyn.program.program import Program

T = TypeVar("T")


@final
@dataclass(frozen=True, eq=False)
class Facts:
    """The facts of one program. Values are named by their positions in it.

    `Facts.of(program)` is kept on the program object. A second call returns the same facts, and they go when the
    program goes.
    """

    program: Program

    @staticmethod
    def of(program: Program | Facts) -> Facts:
        """Return the facts of a program, built at the first call; facts are returned as they are."""
        if isinstance(program, Facts):
            return program
        kept = vars(program).setdefault(
            "_facts", None
        )  # as cached_property does: no field, so no part of what it equals
        if not isinstance(kept, Facts) or kept.program is not program:
            kept = vars(program)["_facts"] = Facts(program)
        return kept

    def once(self, question: Hashable, answer: Callable[[], T]) -> T:
        """Answer a further question about the program (a search, say) at the first call, and keep the answer."""
        if question not in self._answers:
            self._answers[question] = answer()
        kept: T = self._answers[question]
        return kept

    @cached_property
    def _answers(self) -> dict[Hashable, Any]:
        return {}

    def __getstate__(self) -> dict[str, Program]:
        return {"program": self.program}  # a copy asks anew

    # -- parameters ---------------------------------------------------------------------------------------------------

    @cached_property
    def owner(self) -> Mapping[int, str]:
        """The parameter of which a value is a version (its leaf included)."""
        return parameters.owner(self.program)

    @cached_property
    def gradient_of(self) -> Mapping[int, str]:
        """The parameter of which a value is a gradient."""
        return parameters.gradient_of(self.program)

    @cached_property
    def initial_of(self) -> Mapping[int, int]:
        """The leaf of a later version, piece by piece."""
        return parameters.initial_of(self.program)

    @cached_property
    def previous_of(self) -> Mapping[int, int]:
        """The version before, piece by piece."""
        return parameters.previous_of(self.program)

    @cached_property
    def raw_updates(self) -> Mapping[int, int]:
        """The version that is made of a sum of the one before and its increments."""
        return parameters.raw_updates(self.program, self.cancelled)

    @cached_property
    def finite_parameters(self) -> frozenset[str]:
        """The names of parameters without a dim that grows."""
        return parameters.finite_parameters(self.program)

    @cached_property
    def own(self) -> Mapping[str, Own]:
        """The script's own exponents (a, b, c) of each parameter, and its role."""
        return own_exponents(self.program, self.folded)

    @cached_property
    def updates(self) -> Mapping[str, tuple[int, ...]]:
        """The statements of the optimizer that make each parameter's update."""
        return updates(self.program)

    @cached_property
    def guards(self) -> Mapping[str, tuple[int, ...]]:
        """Those of a parameter's updates that add an epsilon entry by entry."""
        return guards(self.program, self.updates)

    @cached_property
    def floors(self) -> Mapping[str, tuple[int, ...]]:
        """Those of a parameter's updates that clamp to a tiny lower end (Rprop's smallest step size), along a wide dim."""
        wide = {position for position in signs.floors(self.program) if self.program.statements[position].wide_axes}
        return {name: tuple(sorted(wide.intersection(several))) for name, several in self.updates.items()}

    @cached_property
    def without_decay(self) -> tuple[Facts, frozenset[str]]:
        """The facts of the same program without weight decay, and the parameters whose decay is added to their gradients."""
        plain, coupled = without_decay(self.program, self.updates, self.raw_updates)
        return (self if plain is self.program else Facts.of(plain)), coupled

    # -- axes ---------------------------------------------------------------------------------------------------------

    @cached_property
    def spaces(self) -> Mapping[Axis, Space]:
        """The space of each axis (position, number): axes that meet are one space."""
        return space_of(self.program)

    @cached_property
    def logits_alike(self) -> frozenset[int]:
        """Logits that are alike in law: orders of their changes are upper bounds."""
        return exchangeable.logits(self.program, self.spaces)

    @cached_property
    def layouts(self) -> tuple[Layout | None, ...]:
        """Which wide axis of an operand is which axis of the result. None where a wide axis meets a finite one."""
        return layouts(self.program)

    def layout(self, position: int) -> Layout:
        """Return the layout of one statement; raises OutsideTheory if a wide axis meets a finite one."""
        layout = self.layouts[position]
        if layout is None:
            raise OutsideTheory("outside the theory: a wide axis meets a finite one")
        return layout

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """The statements that read each value."""
        return makers.readers(self.program)

    # -- which values count ---------------------------------------------------------------------------------------------

    @cached_property
    def computed(self) -> tuple[int, ...]:
        """What the network computes: forward values that depend on data and on parameters.

        Where nothing wide depends on samples, a vector of data is an input, too. Where nothing wide depends on data, constants and
        buffers are what the network is fed with.
        """
        program = self.program
        for from_data in (self._from_samples, depends_on(program, "data", self.owner)):
            values = deciding.computed(program, from_data, self._from_parameters)
            if any(program.statements[position].wide_axes for position in values):
                return values
        kinds: tuple[LeafKind, ...] = ("data", "buffer", "constant")
        given = zip(*(depends_on(program, kind, self.owner) for kind in kinds), strict=True)
        return deciding.computed(program, tuple(map(any, given)), self._from_parameters)

    @cached_property
    def used(self) -> frozenset[int]:
        """What the network computes, to look up."""
        return frozenset(self.computed)

    @cached_property
    def _from_samples(self) -> tuple[bool, ...]:
        return depends_on(self.program, "data", self.owner, samples=True)

    @cached_property
    def made_of(self) -> Mapping[int, frozenset[str]]:
        """Values that a network may apply as weights, with the parameters that they are made of."""
        return parameters.made_of(self.program, self.owner, self._from_parameters, self.used.union(self.unfed))

    @cached_property
    def iterated(self) -> Mapping[int, int]:
        """How often a matrix is applied to vectors that hold no sample."""
        return parameters.iterated(self.program, self.owner, self._from_samples)

    @cached_property
    def unfed(self) -> tuple[int, ...]:
        """What would be a representation if it depended on an input, in a program where nothing does; else empty."""
        program = self.program
        given = depends_on(program, "data", self.owner)
        fed = {*self.computed, *(position for position, from_data in enumerate(given) if from_data)}
        if any(program.statements[position].wide_axes for position in fed):
            return ()
        alone = deciding.computed(program, self._from_parameters, self._from_parameters)
        return deciding.representations(program, alone, self.owner)

    @cached_property
    def _from_parameters(self) -> tuple[bool, ...]:
        return depends_on(self.program, "parameter", also=self.owner)

    @cached_property
    def folded(self) -> Mapping[int, Fraction]:
        """Values that do not count by themselves, since a multiplier follows, with its power of the width."""
        return folded(self.program)

    @cached_property
    def masks(self) -> frozenset[int]:
        """Values that select and represent nothing."""
        return deciding.masks(self.program)

    @cached_property
    def normalisation_factors(self) -> frozenset[int]:
        """Values `1/sqrt(var + eps)`: only their product with a representation is one."""
        return normalising.normalisation_factors(self.program)

    @cached_property
    def numerators(self) -> frozenset[int]:
        """Values that are only read to be divided by another: the quotient is a representation."""
        return normalising.numerators(self.program)

    @cached_property
    def unit_lengths(self) -> Mapping[int, Fraction]:
        """Vectors of length 1, with the power of the width by which they count as larger."""
        return unit_lengths(self.program)

    @cached_property
    def representations(self) -> tuple[int, ...]:
        """What the network computes along one wide dim, with multipliers folded."""
        without = self.masks | self.rankings | self.normalisation_factors | self.numerators | self.folded.keys()
        return deciding.representations(self.program, self.computed, without)

    @cached_property
    def hidden(self) -> tuple[int, ...]:
        """The representations other than outputs."""
        return tuple(position for position in self.representations if position not in self.outputs)

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """What the network returns, step by step, behind the multipliers that follow it in the script."""
        return self._behind(deciding.outputs(self.program))

    @cached_property
    def readouts(self) -> tuple[int, ...]:
        """The numbers that weights read out of representations, behind their multipliers."""
        return self._behind(deciding.readouts(self.program, self.computed, self.made_of))

    def _behind(self, values: Iterable[int]) -> tuple[int, ...]:
        found = (each for position in values for each in behind(self.program, self.folded, position))
        return tuple(dict.fromkeys(found))

    @cached_property
    def scalars(self) -> tuple[tuple[int, int], ...]:
        """(value, function): numbers without a wide axis that enter a function with a scale of its own."""
        return deciding.scalars(self.program, self._from_parameters)

    @cached_property
    def counting(self) -> tuple[int, ...]:
        """The values that must not grow: representations, outputs, numbers that are read out, and scalars, in order.

        A loss that stands for a representation may: it may be a sum over the width (VICReg).
        """
        scalars = (value for value, _ in self.scalars)
        returned = self._behind(deciding.marked(self.program, "output")) or self.outputs
        return tuple(sorted({*self.representations, *returned, *self.readouts, *scalars}))

    # -- optimizers and functions ---------------------------------------------------------------------------------------

    @cached_property
    def normalising(self) -> tuple[int, ...]:
        """Where the optimizer normalises entry by entry."""
        return normalising.normalising(self.program)

    @property
    def entrywise(self) -> bool:
        """Whether the optimizer normalises entry by entry (some parameters at least)."""
        return bool(self.normalising)

    @cached_property
    def nonnegative(self) -> tuple[bool, ...]:
        """For each value whether it can never be negative."""
        return signs.nonnegative(self.program)

    @cached_property
    def guarded_maxima(self) -> Mapping[int, int]:
        """Maxima and clamps with a number so small that it counts at zero only, with the other operand's index."""
        return signs.guarded_maxima(self.program, self.nonnegative, self.owner)

    @cached_property
    def cancelled(self) -> Mapping[int, Cancelled]:
        """Sums in which something cancels, with what is left of them."""
        return cancelled(self.program, self.owner, self.gradient_of)

    @cached_property
    def picks(self) -> Mapping[int, Fraction]:
        """One-hot rows along a wide dim (the index of the largest entry), with the order of the dim."""
        return picking.picks(self.program)

    @cached_property
    def rankings(self) -> frozenset[int]:
        """What ranks entries along a wide dim consist of."""
        return picking.rankings(self.program)

    @cached_property
    def extremes(self) -> Mapping[int, int]:
        """Products that look up the k-th largest entry of a value, which is the operand of that index."""
        return picking.extremes(self.program, self.picks)

    @cached_property
    def ranges(self) -> Ranges:
        """Which vectors symmetric matrices act on, and their ranks."""
        return Ranges(self.program, self.nonnegative, self.readers)

    @cached_property
    def sums_over_eigenvalues(self) -> frozenset[int]:
        """Products that sum over eigenvalues: the theory has no rule for them."""
        return self.ranges.sums_over_eigenvalues()

    # -- where multipliers may stand, and where the theory ends -----------------------------------------------------------

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """The products at which a multiplier could stand."""
        return sites.sites(self.program, self.owner)

    @cached_property
    def shared_sites(self) -> tuple[Site, ...]:
        """Sites whose multiplier is not that of a parameter."""
        return sites.shared_sites(self.program, self.sites)

    @cached_property
    def wide_data(self) -> tuple[int, ...]:
        """What the network computes of its inputs along two wide dims, other than matrices of the theory."""
        # A weight between two counted steps is a weight, too.
        updated = {at for at, each in enumerate(self.program.statements) if each.origin.phase == "optimizer"}
        from_inputs = depends_on(self.program, "data", updated.union(self.owner))
        computed = (position for position in self.computed if position not in self.rankings)
        return outside.wide_data(self.program, computed, from_inputs, self.spaces)

    @cached_property
    def fixed_products(self) -> tuple[int, ...]:
        """Products that sum a representation with a fixed matrix of two wide dims."""
        return outside.fixed_products(self.program)
