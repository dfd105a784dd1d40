"""Which scripts does `tpdyn transfer` sweep, and under which names? Targets as they are, and with the derived parametrization.

With `derived`, each target is swept twice: as it is, and as `tpdyn fix` writes it. That is relative to the smallest
width, where the two are the same. The edited text stands in for the file while it runs; the file itself is left alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

from tpdyn.commands.check import Progress, name_of, script_of, script_widths
from tpdyn.commands.failures import BadInput, translated
from tpdyn.commands.fix import Fixed, fixed
from tpdyn.commands.rebuild import note_transfers
from tpdyn.commands.runs import means_of
from tpdyn.scripts.script import load
from tpdyn.scripts.standing_in import standing_in
from tpdyn.scripts.target import Target
from tpdyn.store.means import Means
from tpdyn.tuning.optimum import Transfer
from tpdyn.tuning.sweep import checked
from tpdyn.tuning.transfer import transfer

DERIVED = "maximal update"


@final
@dataclass(frozen=True)
class _Target:
    """A script: its file (and function), and further words for it."""

    file: str
    words: tuple[str, ...]
    width_arg: str | None

    @property
    def name(self) -> str:
        file = self.file.rpartition(":")[2] if self.width_arg is None else Path(self.file).name
        return " ".join((file, *self.words))

    def load(self) -> Callable[[int], object]:
        return load(self.file, self.width_arg, self.words)

    def sent(self, texts: Mapping[str, str]) -> Target:
        """Return the same in words that workers understand."""
        options = () if self.width_arg is None else (self.width_arg,)
        return Target(self.file, options, self.words, texts=tuple(sorted(texts.items())))


def transfers(
    targets: Sequence[str],
    *,
    widths: Sequence[int],
    powers: tuple[int, int],
    per_power: int = 1,
    steps: int,
    seeds: int,
    hyperparameter: str = "lr",
    derived: bool = False,
    width_arg: str | None = None,
    record_widths: Sequence[int] | None = None,
    logdir: Path | None = None,
    jobs: int = 1,
    backend: str = "loky",
    fresh: bool = False,
    budget: float | None = None,
    plan: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    title: str = "",
) -> list[Transfer]:
    """Sweep a hyperparameter of each target over 2^low ... 2^high, in steps of 2^(1/per_power); see `tpdyn.transfer`.

    targets: "file.py:function", or with `width_arg` "file.py --further words of its own". derived: each target also with the
    parametrization that is derived from it. logdir: where finished runs are kept (nowhere unless given). jobs, backend: how
    many runs at once, and who makes them. budget: seconds for all sweeps together. plan: told what a long one will cost.
    title: of the log that will be made of them, noted beside the finished runs (`tpdyn runs rebuild`).

    Raises `BadInput` for arguments that make no sense, before anything is run. Raises it, too, for a target whose
    derived parametrization needs a person's help.
    """
    tell = progress or (lambda what, done, total: None)
    low, high = powers
    if high - low < 2:
        raise BadInput(
            f"--powers {low},{high}: expected LOW,HIGH with at least three powers from LOW to HIGH, e.g. -6,6"
        )
    factors = [2.0 ** (power / per_power) for power in range(low * per_power, high * per_power + 1)]
    try:
        checked(widths, factors, seeds, steps)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if width_arg is not None or record_widths:
        record_widths = script_widths(widths, record_widths)
    else:
        record_widths = (16, 24, 40)
    wanted = [_target(text, width_arg) for text in targets]
    trains = [target.load() for target in wanted]
    edited = [_fixed(target, widths, record_widths, progress) if derived else None for target in wanted]
    sweeps: list[Transfer] = []
    by: list[Means] = []
    each = None if budget is None else budget / (len(wanted) + sum(fix is not None for fix in edited))

    def swept(train: Callable[[int], object], name: str, sent: Target) -> None:
        means = replace(means_of(sent, logdir, jobs=jobs, backend=backend, fresh=fresh), name=name)
        by.append(means)
        with translated():
            sweeps.append(
                transfer(
                    train, widths, factors, hyperparameter=hyperparameter, seeds=seeds, steps=steps, name=name,
                    record_widths=record_widths, progress=partial(tell, name), means=means, budget=each,
                    plan=None if plan is None else lambda text: plan(f"{name}: {text}"),
                )
            )  # fmt: skip

    for target, train, fix in zip(wanted, trains, edited, strict=True):
        swept(train, target.name, target.sent({}))
        if fix is not None:
            with standing_in(fix.fix.after):
                swept(target.load(), f"{target.name}, {DERIVED}", target.sent(fix.fix.after))
    if title:
        note_transfers(sweeps, by, title, script_of(targets[0]))
    return sweeps


def log_name(targets: Sequence[str]) -> str:
    """Return the folder name of a sweep's logs: `examples/digits_mlp.py:train` becomes `digits_mlp-train-transfer`."""
    return f"{name_of(targets[0])}-transfer"


def _target(text: str, width_arg: str | None) -> _Target:
    words = [text] if width_arg is None or Path(text).is_file() else shlex.split(text)
    return _Target(words[0], tuple(words[1:]), width_arg)


def _fixed(target: _Target, widths: Sequence[int], record_widths: Sequence[int], progress: Progress | None) -> Fixed:
    patched = fixed(
        target.file, target.width_arg, target.words, widths=record_widths, base_width=min(widths), progress=progress
    )
    if patched.nothing_to_change:
        raise BadInput(f"--derived: {target.name} is in the maximal update parametrization already; sweep it as it is")
    if not patched.verified:
        raise BadInput(
            f"--derived: {target.name} cannot be given its maximal update without your help; `tpdyn fix` says what is left:\n"
            f"{patched.told()}"
        )
    return patched
