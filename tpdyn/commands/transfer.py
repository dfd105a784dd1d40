"""Which scripts does `tpdyn transfer` sweep, and under which names? Targets as they are, and with the derived parametrization.

With `derived`, each target is swept twice: as it is, and as `tpdyn fix` writes it. That is relative to the smallest
width, where the two are the same. The edited text stands in for the file while it runs; the file itself is left alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tpdyn.commands.check import check_distinct, name_of, script_of, script_widths
from tpdyn.commands.failures import LONGEST, BadInput, Watched, translated
from tpdyn.commands.fix import Fixed, fixed
from tpdyn.commands.rebuild import note_transfers
from tpdyn.commands.runs import means_of
from tpdyn.reporting.progress import Progress, silent
from tpdyn.scripts.standing_in import standing_in
from tpdyn.scripts.target import Target
from tpdyn.store.means import Means
from tpdyn.tuning.optimum import Transfer
from tpdyn.tuning.sweep import checked
from tpdyn.tuning.transfer import transfer

DERIVED = "maximal update"


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
    means: Callable[[Target], Means] = means_of,
    budget: float | None = None,
    time_limit: float = LONGEST,
    plan: Callable[[str], None] | None = None,
    progress: Progress = silent,
    title: str = "",
) -> list[Transfer]:
    """Sweep a hyperparameter of each target over 2^low ... 2^high, in steps of 2^(1/per_power); see `tpdyn.transfer`.

    targets: "file.py:function", or with `width_arg` "file.py --further words of its own". derived: each target also with the
    parametrization that is derived from it. means: how the runs of a target are made and kept (here, and nowhere, unless
    given). budget: seconds for all sweeps together. time_limit: seconds that one run may take. plan: told what a long one
    will cost. title: of the log that will be made of them, noted beside the finished runs (`tpdyn runs rebuild`).

    Raises `BadInput` for arguments that make no sense, before anything is run. Raises it, too, for a target whose
    derived parametrization needs a person's help.
    """
    low, high = powers
    if high - low < 2:
        raise BadInput(
            f"--powers {low},{high}: expected LOW,HIGH with at least three powers from LOW to HIGH, e.g. -6,6"
        )
    factors = [2.0 ** (power / per_power) for power in range(low * per_power, high * per_power + 1)]
    try:
        check_distinct(widths, "--widths")
        checked(widths, factors, seeds, steps)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if width_arg is not None or record_widths:
        record_widths = script_widths(widths, record_widths)
    else:
        record_widths = (16, 24, 40)
    wanted = [target_of(text, width_arg) for text in targets]
    trains = [target.load() for target in wanted]
    edited = [_fixed(target, widths, record_widths, time_limit, progress) if derived else None for target in wanted]
    sweeps: list[Transfer] = []
    by: list[Means] = []
    each = None if budget is None else budget / (len(wanted) + sum(fix is not None for fix in edited))

    def swept(train: Callable[[int], object], name: str, sent: Target) -> None:
        made = replace(means(sent), name=name)
        watched = partial(Watched, seconds=time_limit)
        by.append(made if made.worker is None else replace(made, worker=watched(made.worker, silent=True)))
        with translated():
            sweeps.append(
                transfer(
                    watched(train), widths, factors, hyperparameter=hyperparameter, seeds=seeds, steps=steps, name=name,
                    record_widths=record_widths, progress=partial(progress, name), means=by[-1], budget=each,
                    plan=None if plan is None else lambda text: plan(f"{name}: {text}"),
                )
            )  # fmt: skip

    for target, train, fix in zip(wanted, trains, edited, strict=True):
        swept(train, title_of(target), target)
        if fix is not None:
            texts = fix.fix.after
            with standing_in(texts):
                edits = replace(target, texts=tuple(sorted(texts.items())))
                swept(target.load(), f"{title_of(target)}, {DERIVED}", edits)
    if title:
        note_transfers(sweeps, by, title, script_of(targets[0]))
    return sweeps


def log_name(targets: Sequence[str]) -> str:
    """Return the folder name of a sweep's logs: `examples/digits_mlp.py:train` becomes `digits_mlp-train-transfer`."""
    return f"{name_of(targets[0])}-transfer"


def target_of(text: str, width_arg: str | None) -> Target:
    """Read a target: "file.py:function", or with a width argument "file.py --further words"."""
    if width_arg is None:
        return Target(text)
    file, *words = [text] if Path(text).is_file() else shlex.split(text)
    return Target(file, (width_arg,), tuple(words))


def title_of(target: Target) -> str:
    """Name a parametrization: by its function, or by its file and words."""
    file = Path(target.target).name if target.width_args else target.target.rpartition(":")[2]
    return " ".join((file, *target.arguments))


def _fixed(
    target: Target, widths: Sequence[int], record_widths: Sequence[int], time_limit: float, progress: Progress
) -> Fixed:
    patched = fixed(target, widths=record_widths, base_width=min(widths), time_limit=time_limit, progress=progress)
    if patched.nothing_to_change:
        raise BadInput(
            f"--derived: {title_of(target)} is in the maximal update parametrization already; sweep it as it is"
        )
    if not patched.verified:
        raise BadInput(
            f"--derived: {title_of(target)} cannot be given its maximal update without your help; `tpdyn fix` says what is left:\n"
            f"{patched.told()}"
        )
    return patched
