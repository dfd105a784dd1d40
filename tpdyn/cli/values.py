"""Which values does a script take, at any width and at infinite width? `simulate`, `kernels`, `limit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tpdyn.cli.ending import exits
from tpdyn.cli.options import (
    InPlace,
    RecordWidths,
    ScriptArguments,
    Settings,
    Target,
    TimeLimit,
    WidthArgs,
    progress,
    say,
    target_of,
    widths_of,
)


def simulate(
    target: Target,
    script_arguments: ScriptArguments = None,
    widths: Annotated[str, typer.Option(help="widths to simulate at")] = "1000,30000,1000000",
    record_widths: RecordWidths = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    time_limit: TimeLimit = 600,
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps")] = 3,
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 0,
    dtype: Annotated[str, typer.Option(help="float64 or float32")] = "float64",
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    forecast: Annotated[
        bool, typer.Option("--forecast", help="at which width values leave the range of float8, float16, bfloat16")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="write the runs to this file")] = None,
) -> None:
    """Train a script at widths too big to store its matrices, exact in law: losses and sizes side by side."""
    with exits():
        from tpdyn.commands import files
        from tpdyn.commands.simulate import simulated

        write = files.json_writer(json)
        asked, recorded = widths_of(widths), widths_of(record_widths)
        train = target_of(target, script_arguments, width_arg, settings, in_place).load(recorded, say)
        with progress() as tell:
            simulation = simulated(
                train, asked, record_widths=recorded, steps=steps, seed=seed, dtype=dtype, device=device, ranges=forecast,
                time_limit=time_limit, progress=tell,
            )  # fmt: skip
        print(simulation.show())
        write(simulation.to_dict)


def kernels(
    target: Annotated[str, typer.Argument(help="path/file.py:function, a function of the width that returns a module")],
    inputs: Annotated[Path, typer.Option(help="inputs, samples first: an array in a .npy or .pt file")],
    against: Annotated[Path | None, typer.Option(help="further inputs, for the other axis of the kernels")] = None,
    save: Annotated[Path | None, typer.Option(help="write both kernels to this .npz file")] = None,
) -> None:
    """Compute NNGP and NTK of a network at infinite width, for given inputs."""
    with exits():
        from tpdyn.commands import files
        from tpdyn.commands.kernels import kernels_of
        from tpdyn.scripts.script import load

        save = save and files.writable(save, "--save")
        result = kernels_of(load(target), inputs, against)
        print(result.show())
        if save is not None:
            result.save(save)


def limit(
    target: Target,
    script_arguments: ScriptArguments = None,
    points: Annotated[
        int | None, typer.Option(min=16, help="points that stand for the width (65536; 4096 for Adam)")
    ] = None,
    scrambles: Annotated[int, typer.Option(min=2, help="independent repetitions, for the error")] = 8,
    record_widths: RecordWidths = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    time_limit: TimeLimit = 600,
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps")] = 3,
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 0,
    dtype: Annotated[str, typer.Option(help="float64 or float32 (half of the time)")] = "float64",
    json: Annotated[Path | None, typer.Option(help="write limits, kernels and distributions to this file")] = None,
    widths: Annotated[str, typer.Option(help="also run it at these widths, and show the losses beside the limit")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="runs at each of --widths and of --compare")] = 8,
    compare: Annotated[
        str, typer.Option(help="how far runs of the recorded program are from the limit at these widths, e.g. 64,512")
    ] = "",
    logdir: Annotated[Path | None, typer.Option(help="show it in TensorBoard: a folder is made in this one")] = None,
) -> None:
    """Compute losses and outputs of a script at infinite width, each with its error."""
    with exits():
        from tpdyn.commands import check as checking
        from tpdyn.commands import files
        from tpdyn.commands.limit import limits, measured
        from tpdyn.reporting import folders, limit_log

        script, destination = checking.script_of(target), None
        write = files.json_writer(json)
        asked, recorded = widths_of(widths) if widths else (), widths_of(record_widths)
        if logdir is not None:
            destination = folders.folder_of(logdir.absolute(), f"{checking.name_of(target)}-limit", script)
            folders.check_writable(destination)
        train = target_of(target, script_arguments, width_arg, settings, in_place).load((*recorded, *asked), say)
        with progress() as tell:
            result = limits(
                train, record_widths=recorded, steps=steps, points=points, scrambles=scrambles, seed=seed, dtype=dtype,
                time_limit=time_limit, progress=tell, compare=widths_of(compare) if compare else (), seeds=seeds,
            )  # fmt: skip
            runs = measured(train, asked, seeds, steps, time_limit, tell) if asked else None
        print(result.show())
        if destination is not None:
            limit_log.log_limit(result.limit, destination, runs, result.approach, script=script, program=result.program)
            print(f"tensorboard --logdir {logdir}")
        write(result.to_dict)
