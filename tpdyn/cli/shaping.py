"""Which exponents should a script have? Derived, patched in, drawn as phases, tried by sweeps."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tpdyn.cli.ending import exits
from tpdyn.cli.options import (
    Backend,
    Fresh,
    InPlace,
    Jobs,
    Logdir,
    RecordWidths,
    ScriptArguments,
    ScriptWidths,
    Settings,
    Target,
    TimeLimit,
    WidthArgs,
    limits_of,
    pair_of,
    progress,
    say,
    target_of,
    widths_of,
)


def derive(
    target: Target,
    script_arguments: ScriptArguments = None,
    record_widths: RecordWidths = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    time_limit: TimeLimit = 600,
    steps: Annotated[int, typer.Option(min=2, help="optimizer steps to record")] = 3,
    gauge: Annotated[str, typer.Option(help="no-multipliers, same-rate or unit-initial-entries")] = "no-multipliers",
    mup: Annotated[
        Path | None, typer.Option(help="base shapes of the package mup (.bsh): where do its rules differ?")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="write the exponents to this file")] = None,
) -> None:
    """Derive a training script's maximal update parametrization, and compare the script with the named ones."""
    with exits():
        from tpdyn.commands import check as checking
        from tpdyn.commands import files
        from tpdyn.integrations import mup as integration
        from tpdyn.parametrizing.families import grouped

        write = files.json_writer(json)
        shapes = None if mup is None else integration.read_base_shapes(mup)
        recorded = widths_of(record_widths)
        train = target_of(target, script_arguments, width_arg, settings, in_place).load(recorded, say)
        with progress() as tell:
            program = checking.recorded(train, widths=recorded, steps=steps, time_limit=time_limit, progress=tell)
            derived, differences = checking.derived(program, gauge)
        print(derived.show())
        for name, lines in differences.items():
            head = f"\nthe script differs from {name} in:" if lines else f"\nthe script is {name}"
            print("\n".join((head, *grouped(lines, derived.exponents))))
        also = {}
        if shapes is not None:
            compared = integration.compare(program, shapes)
            print(f"\n{compared.show()}")
            also = {"mup": compared.to_dict()}
        write(lambda: derived.to_dict() | {"differs_from": differences} | also)


def fix(
    target: Target,
    script_arguments: ScriptArguments = None,
    base_width: Annotated[int, typer.Option(min=1, help="the width at which nothing changes")] = 256,
    record_widths: RecordWidths = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    time_limit: TimeLimit = 600,
    steps: Annotated[int, typer.Option(min=2, help="optimizer steps to record")] = 3,
) -> None:
    """Write the edits that bring a training script to its maximal update, as a patch; leave the script itself alone.

    The patch goes to standard output (tpdyn fix script.py:train | patch -p0), all words about it to standard error.
    Exit status: 0 nothing to change, or the patch is verified (the patched script was recorded again); 15 it is not.
    """
    with exits() as leave:
        from tpdyn.commands import fix as fixing

        words = target_of(target, script_arguments, width_arg, settings, in_place)
        with progress() as tell:
            patch = fixing.fixed(
                words, widths=widths_of(record_widths), steps=steps, base_width=base_width, time_limit=time_limit,
                progress=tell,
            )  # fmt: skip
        print(patch.fix.patch, end="")
        say(patch.told())
        leave(patch.exit)


def phase(
    target: Target,
    script_arguments: ScriptArguments = None,
    x: Annotated[str, typer.Option("--x", "-x", help="what moves to the right: c, out.weight:b, blocks.*:c")] = "c",
    y: Annotated[str, typer.Option("--y", "-y", help="what moves upwards (the readout's initial size)")] = "",
    around: Annotated[
        str, typer.Option(help="the point in the middle: script, maximal (the derived update), SP, NTP, MFP, muP")
    ] = "script",
    through: Annotated[
        str, typer.Option(help="instead: the plane through three of these points, e.g. NTP,muP,SP")
    ] = "",
    symbol: Annotated[
        list[str] | None,
        typer.Option(
            help="instead: all cells of a slice of any dimension, e.g. --symbol c=c --symbol b=out.weight:b --symbol a=out.weight:a"
        ),
    ] = None,
    limits: Annotated[str, typer.Option(help="where all symbols begin and end (-1,2)")] = "",
    x_limits: Annotated[str, typer.Option(help="where x begins and ends, e.g. --x-limits=-1,5/2")] = "",
    y_limits: Annotated[str, typer.Option(help="where y begins and ends")] = "",
    record_widths: RecordWidths = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    time_limit: TimeLimit = 600,
    steps: Annotated[int, typer.Option(min=2, help="optimizer steps to record")] = 3,
    save: Annotated[Path | None, typer.Option(help="draw it to this file (png, svg, pdf)")] = None,
    json: Annotated[Path | None, typer.Option(help="write the exact diagram to this file")] = None,
    logdir: Annotated[
        Path | None, typer.Option(help="show it in TensorBoard (Images): a folder is made in this one")
    ] = None,
) -> None:
    """Draw the regimes around a training script: an exact phase diagram of a slice of its exponents."""
    with exits():
        from tpdyn.commands import check as checking
        from tpdyn.commands import failures, files
        from tpdyn.parametrizing.maps.cover import PhaseCells
        from tpdyn.parametrizing.maps.diagram import PhaseDiagram, phase_diagram
        from tpdyn.reporting import folders, tensorboard

        ends = [limits_of(text) if text else None for text in (x_limits, y_limits)]
        all_ends = limits_of(limits or "-1,2")
        if limits and not symbol:
            raise failures.BadInput("--limits goes with --symbol; a picture has --x-limits and --y-limits")
        if through and (y or x != "c" or around != "script"):
            raise failures.BadInput("--through replaces --x, --y and --around; give one or the other")
        if symbol and any((save, logdir, through, y, x_limits, y_limits, x != "c")):
            raise failures.BadInput(
                "--symbol goes with --around, --limits and --json; a picture has two directions, --x and --y"
            )
        script, destination = checking.script_of(target), None
        if logdir is not None:
            destination = folders.folder_of(logdir.absolute(), f"{checking.name_of(target)}-phases", script)
        write = files.json_writer(json)
        save = files.writable_picture(save)
        if destination is not None:
            files.check_pictures(f"--logdir {logdir}")
            folders.check_writable(destination)
        recorded = widths_of(record_widths)
        train = target_of(target, script_arguments, width_arg, settings, in_place).load(recorded, say)
        with progress() as tell:
            program = checking.recorded(train, widths=recorded, steps=steps, time_limit=time_limit, progress=tell)
            if symbol:
                diagram: PhaseDiagram | PhaseCells = checking.cells(
                    program, symbol, tell, around=around, limits=all_ends
                )
            else:
                with failures.translated():
                    diagram = phase_diagram(
                        program, x, y, around=around, through=tuple(filter(None, through.split(","))), x_limits=ends[0],
                        y_limits=ends[1], progress=lambda done: tell("reading", done, done),
                    )  # fmt: skip
        print(diagram.show())
        write(diagram.to_dict)
        if save is not None and isinstance(diagram, PhaseDiagram):
            diagram.save(save)
        if destination is not None and isinstance(diagram, PhaseDiagram):
            tensorboard.log(diagram, destination, script=script)
            print(f"\ntensorboard --logdir {logdir}")


def transfer(
    targets: Annotated[
        list[str], typer.Argument(help='file.py:function, or with --width-arg "script.py --its own --options"; several')
    ],
    widths: Annotated[str, typer.Option(help="widths to train at")] = "64,128,256,512",
    powers: Annotated[str, typer.Option(help="the hyperparameter is multiplied by 2^LOW ... 2^HIGH")] = "-6,6",
    per_power: Annotated[int, typer.Option(min=1, help="so many factors for each power of 2")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps of each run")] = 60,
    seeds: Annotated[int, typer.Option(min=2, help="runs at each width and factor")] = 4,
    hyperparameter: Annotated[
        str, typer.Option(help="lr, or another number of the optimizer (weight_decay, ...), init, output")
    ] = "lr",
    derived: Annotated[bool, typer.Option("--derived", help="sweep each script also as `tpdyn fix` writes it")] = False,
    width_arg: Annotated[str, typer.Option(help="the script's own option for the width: --width-arg=--d-model")] = "",
    record_widths: ScriptWidths = "",
    time_limit: TimeLimit = 600,
    jobs: Jobs = 1,
    backend: Backend = "loky",
    fresh: Fresh = False,
    budget: Annotated[
        str, typer.Option(help="how long it may take (10m, 1h): two seeds everywhere, then more around the optimum")
    ] = "",
    picture: Annotated[Path | None, typer.Option(help="draw the curves to this file (png, svg, pdf)")] = None,
    json: Annotated[Path | None, typer.Option(help="write what was found to this file")] = None,
    logdir: Logdir = Path("logs"),
) -> None:
    """Sweep the learning rate at several widths, for one or more parametrizations: does the best one move?"""
    with exits():
        from tpdyn import pictures
        from tpdyn.commands import files
        from tpdyn.commands.check import script_of, seconds_of
        from tpdyn.commands.runs import means_of
        from tpdyn.commands.transfer import log_name, transfers
        from tpdyn.reporting import folders, transfer_log
        from tpdyn.reporting import transfer as reporting

        picture, script = files.writable_picture(picture, "--picture"), script_of(targets[0])
        destination = folders.folder_of(logdir.absolute(), log_name(targets), script)
        write = files.json_writer(json)
        folders.check_writable(destination)
        with progress() as tell:
            swept = transfers(
                targets,
                widths=widths_of(widths),
                powers=pair_of(powers),
                per_power=per_power,
                steps=steps,
                seeds=seeds,
                hyperparameter=hyperparameter,
                derived=derived,
                width_arg=width_arg or None,
                record_widths=widths_of(record_widths) if record_widths else None,
                means=partial(means_of, logdir=logdir.absolute(), jobs=jobs, backend=backend, fresh=fresh),
                budget=seconds_of(budget) if budget else None,
                time_limit=time_limit,
                plan=say,
                progress=tell,
                title=destination.name,
            )
        reporting.show(swept)
        transfer_log.log_transfers(swept, destination, script=script)
        write(lambda: {"transfers": [each.to_dict() for each in swept]})
        if picture is not None:
            pictures.save(reporting.draw(swept), picture)
            print(f"the picture: {picture}")
        print(f"tensorboard --logdir {logdir}")
