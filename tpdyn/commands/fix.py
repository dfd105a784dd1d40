"""Which edits bring a script to its maximal update, and do they? Derived, edited, recorded again, compared at the base width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tpdyn.commands.check import recorded
from tpdyn.commands.failures import LONGEST, BadInput, BeyondTheory, Exit, Watched, translated
from tpdyn.measuring.first_steps import after_first_steps, same_bits
from tpdyn.parametrizing.derive import derive
from tpdyn.parametrizing.editing.fix import Fix, fix
from tpdyn.parametrizing.parametrization import Parametrization
from tpdyn.reporting.progress import Progress, silent
from tpdyn.scripts.construction import Constructions
from tpdyn.scripts.script import BadTarget
from tpdyn.scripts.standing_in import standing_in
from tpdyn.scripts.target import Target


@final
@dataclass(frozen=True)
class Fixed:
    """The edits of a script, and whether they do what they are for.

    derived: what the script is to become. again: what was derived from the edited script; None if that was not tried or
    failed (`problem` says why). neutral: whether at the base width the first steps are those of the unedited script,
    bit for bit. None if they could not be compared.
    """

    fix: Fix
    derived: Parametrization
    again: Parametrization | None = None
    problem: str = ""
    base_width: int = 256
    neutral: bool | None = None

    @property
    def nothing_to_change(self) -> bool:
        """Whether the script is there already."""
        return self.derived.maximal and not self.derived.edits()

    @property
    def verified(self) -> bool:
        """Whether the edited script learns features, is edited completely, and is the same at the base width."""
        there = self.again is not None and self.again.maximal and not self.again.edits()
        return there and self.neutral is not False

    @property
    def exit(self) -> Exit:
        """The status: a patch that is not verified counts as failed."""
        return Exit.OK if self.nothing_to_change or self.verified else Exit.UNVERIFIED

    def told(self) -> str:
        """Tell in words what the patch does and whether it was verified."""
        if self.nothing_to_change:
            return "nothing to change: the script is in the maximal update parametrization already"
        lines = ["to reach the maximal update:", *(f"  {edit}" for edit in self.derived.edits())]
        elsewhere = "" if self.fix.folder == Path.cwd().resolve() else f", to be applied in {self.fix.folder}"
        lines += [f"the patch{elsewhere}:", *(f"  {edit}" for edit in self.fix.edits or ("none",))]
        if self.fix.by_hand:
            lines += ["left to you:", *(f"  {edit}" for edit in self.fix.by_hand)]
        if self.verified:
            lines.append(
                "verified: the patched script was recorded again; it learns features, nothing is left to change"
            )
        else:
            lines.append(f"NOT verified: {self.problem or 'the patched script was recorded again'}")
            if self.again is not None:
                lines += [f"  it is: {self.again.regime.value}", *(f"  {edit}" for edit in self.again.edits())]
        if self.again is not None and not self.problem:
            lines.append(
                {
                    True: f"at width {self.base_width} its first steps are those of the script as it is, bit for bit",
                    False: f"at width {self.base_width} its first steps are NOT those of the script as it is",
                    None: f"at width {self.base_width} the two could not be compared (not accepted there, or random)",
                }[self.neutral]
            )
        return "\n".join(lines)


def fixed(
    target: Target,
    *,
    widths: Sequence[int] | None = None,
    steps: int = 3,
    base_width: int = 256,
    time_limit: float = LONGEST,
    progress: Progress = silent,
) -> Fixed:
    """Edit a script to its maximal update, in memory only, and record it again with the edits.

    base_width: where nothing is to change. The rest is as in `recorded`.
    """
    constructions = Constructions(target.load(widths or ()))
    program = recorded(constructions, widths=widths, steps=steps, time_limit=time_limit, progress=progress)
    with translated():
        wanted = derive(program)
        edits = fix(program, wanted, constructions.found, base_width)
    if not wanted.edits():
        return Fixed(edits, wanted, wanted, "no edit of these kinds helps further")
    if edits.by_hand:
        return Fixed(edits, wanted, problem="the patch is not all that is needed")
    try:
        with standing_in(edits.after):
            patched = target.load()
            program = recorded(patched, widths=widths, steps=steps, time_limit=time_limit, progress=progress)
            with translated():
                again = derive(program)
            after = _first_steps(patched, base_width, steps, time_limit)
    except (BadInput, BeyondTheory, BadTarget) as error:
        return Fixed(edits, wanted, problem=f"the patched script could not be recorded: {error}")
    plain = target.load()
    before = _first_steps(plain, base_width, steps, time_limit)
    neutral = None if before is None or after is None else same_bits(before, after)
    if neutral is False and before is not None:
        once_more = _first_steps(plain, base_width, steps, time_limit)
        neutral = False if once_more is not None and same_bits(before, once_more) else None
    return Fixed(edits, wanted, again, "", base_width, neutral)


def _first_steps(train: Callable[[int], Any], width: int, steps: int, time_limit: float) -> dict[str, Any] | None:
    """Return the parameters after the first steps; None where the script does not run at that width."""
    try:
        with translated():
            return after_first_steps(Watched(train, silent=True, seconds=time_limit), width, steps)
    except (BadInput, BeyondTheory):
        return None
