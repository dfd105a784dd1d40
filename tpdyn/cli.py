"""What can be asked on the command line? Each command is a function below: words in and out, no logic.

Exit status: 0 stable, nontrivial and confirmed by the runs; 10 unstable; 11 trivial; 12 the runs contradict the
prediction; 16 the runs leave it undecided; 13 outside the theory; 14 not the required regime; 15 a patch that is not
verified; 2 bad input; 130 interrupted; 1 an error of tpdyn itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tpdyn import cli_runs
from tpdyn.options import (
    Backend,
    Fresh,
    InPlace,
    Jobs,
    ScriptArguments,
    Settings,
    Target,
    WidthArgs,
    absolute,
    limits_of,
    loaded,
    pair_of,
    progress,
    say,
    say_each,
    widths_of,
    words,
)

app = typer.Typer(
    help="From a training script to its infinite-width verdict: predicted by tensor programs, checked by runs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

EXIT_HELP = (
    "Exit status: 0 stable, nontrivial, confirmed; 10 unstable; 11 trivial; 12 the runs contradict the prediction; "
    "16 the runs leave it undecided; 13 outside the theory; 14 not the regime of --require; 2 bad input; 130 interrupted."
)


@app.command(epilog=EXIT_HELP)
def check(
    target: Target,
    script_arguments: ScriptArguments = None,
    widths: Annotated[str, typer.Option(help="widths to run at")] = "64,128,256,512",
    record_widths: Annotated[
        str, typer.Option(help="three small widths to record at (16,24,40; a script: the three smallest of --widths)")
    ] = "",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps to record and to run")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="runs at each width")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or script (leave it to the script)")] = "auto",
    json: Annotated[Path | None, typer.Option(help="write the verdict to this file")] = None,
    logdir: Annotated[Path, typer.Option(help="where TensorBoard looks; a folder is made in it")] = Path("logs"),
    measure: Annotated[bool, typer.Option(help="run the script at --widths, or only predict")] = True,
    at: Annotated[
        int | None, typer.Option(help="a large width at which shapes and constants are compared, too (needs no memory)")
    ] = None,
    show_dims: Annotated[bool, typer.Option(help="list which dims of parameters and data are wide, and why")] = False,
    finite: Annotated[
        list[str] | None,
        typer.Option(help="fail if this grows: a number that modules keep (head_dim), or a dim (see --show-dims)"),
    ] = None,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="add seeds and widths until the runs decide it")
    ] = False,
    budget: Annotated[str, typer.Option(help="how long --until-decided may take: 90s, 10m, 1h")] = "10m",
    exponents: Annotated[bool, typer.Option("--exponents", help="show powers of the width, not factors")] = False,
    statements: Annotated[bool, typer.Option("--statements", help="show the texts of lines and instructions")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="draw every module's change against the width to this file (png, svg, pdf)")
    ] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="seconds that one run may take")] = 600,
    by: Annotated[str, typer.Option(help="script, or program: the recorded program makes most runs")] = "script",
    jobs: Jobs = 1,
    backend: Backend = "loky",
    fresh: Fresh = False,
    require: Annotated[str, typer.Option(help="fail unless it is in this regime: feature-learning, kernel, ...")] = "",
) -> None:
    """Predict what a training script does as its width grows, and check it against real runs."""
    with _exits() as leave:
        from tpdyn.commands import check as checking
        from tpdyn.commands import failures, files
        from tpdyn.commands.runs import means_of
        from tpdyn.reporting import coordinates, folders, live, tensorboard, terminal
        from tpdyn.scripts.target import Target as Words

        asked, recorded = widths_of(widths), widths_of(record_widths) if record_widths else None
        if width_arg or settings:
            recorded = checking.script_widths(asked, recorded)
        # The script may change the working folder.
        json, picture, script = absolute(json), absolute(picture), checking.script_of(target)
        seconds = checking.seconds_of(budget)
        if picture is not None:
            files.check_picture_path(picture, "--picture")
            if not measure:
                raise failures.BadInput("--picture shows runs, and --no-measure makes none; give one or the other")
        destination = folders.folder_of(logdir.absolute(), checking.name_of(target), script)
        if json is not None:
            files.check_json_path(json)
        if measure:
            folders.check_writable(destination)
        runs = (*(recorded or ()), *(asked if measure else ()))
        train = loaded(target, width_arg, script_arguments, settings, runs, in_place)
        words = Words(
            target, tuple(width_arg or ()), tuple(script_arguments or ()), tuple(settings or ()), in_place=in_place
        )
        means = means_of(words, logdir.absolute(), jobs=jobs, backend=backend, fresh=fresh)
        with progress() as tell, live.Live(destination, script) as watch:
            try:
                checked = checking.check(
                    train,
                    widths=asked,
                    record_widths=recorded,
                    steps=steps,
                    seeds=seeds,
                    device=device,
                    measured=measure,
                    require=require,
                    at=at,
                    finite=finite or (),
                    time_limit=time_limit,
                    decide_within=seconds if until_decided else None,
                    by=checking.by_of(by),
                    means=means,
                    progress=tell,
                    watch=watch if measure else None,
                )
            except failures.BeyondTheory as error:
                if json is not None:
                    files.write_json(checking.beyond_to_dict(str(error)), json)
                raise
        if checked.report is not None:
            tensorboard.log(checked.report, destination, script=script)
        if json is not None:
            files.write_json(checked.to_dict(), json)
        if show_dims:
            print(checked.prediction.program.dims_table(), end="\n\n")
        command = checking.fix_command(words, checked.prediction.program, steps)
        if checked.report is not None:
            terminal.show(checked.report, exponents=exponents, statements=statements, fix=command)
            if picture is not None:
                coordinates.picture(checked.report, picture)
                print(f"\n  picture: {picture}", end="")
            print(f"\n  tensorboard --logdir {logdir}")
        else:
            terminal.show_prediction(checked.prediction, exponents=exponents, statements=statements, fix=command)
        if checked.exit is failures.Exit.ANOTHER_REGIME:
            say(f"--require {require}: the regime is another one")
        leave(checked.exit)


@app.command()
def show(
    target: Annotated[str, typer.Argument(help="a script, in the ways of `check`, or a program.json that tpdyn wrote")],
    script_arguments: ScriptArguments = None,
    step: Annotated[int | None, typer.Option(help="only this step")] = None,
    phase: Annotated[
        list[str] | None, typer.Option(help="initialization, forward, backward or optimizer; again for more")
    ] = None,
    orders: Annotated[
        bool, typer.Option("--orders", help="each value with the exponents of its size and its change")
    ] = False,
    record_widths: Annotated[str, typer.Option(help="three small widths to record at")] = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps to record")] = 2,
    save: Annotated[Path | None, typer.Option(help="write the program as JSON to this file")] = None,
) -> None:
    """Show the tensor program of a training script: every value of its steps as a formula, with dims and source lines."""
    with _exits():
        from tpdyn.commands import files, show

        save = absolute(save)
        if save is not None:
            files.check_json_path(save)
        if show.is_program_file(target):
            program = show.program_in(Path(target))
        else:
            recorded = widths_of(record_widths)
            train = loaded(target, width_arg, script_arguments, settings, recorded, in_place)
            with progress() as tell:
                program = show.program_of(train, record_widths=recorded, steps=steps, progress=tell)
        print(show.shown(program, step=step, phases=phase or (), orders=orders))
        if save is not None:
            save.write_text(program.to_json(), encoding="utf-8")


@app.command(epilog=EXIT_HELP)
def predict(
    target: Annotated[Path, typer.Argument(help="a program.json, as a callback or `tpdyn show --save` writes it")],
    json: Annotated[Path | None, typer.Option(help="write the verdict to this file")] = None,
    exponents: Annotated[bool, typer.Option("--exponents", help="show powers of the width, not factors")] = False,
    statements: Annotated[bool, typer.Option("--statements", help="show the texts of lines and instructions")] = False,
    require: Annotated[str, typer.Option(help="fail unless it is in this regime: feature-learning, kernel, ...")] = "",
) -> None:
    """Predict the regime of a recorded program, without the script and without runs."""
    with _exits() as leave:
        from tpdyn.commands import check as checking
        from tpdyn.commands import failures, files
        from tpdyn.commands.show import program_in
        from tpdyn.reporting import terminal

        if json is not None:
            files.check_json_path(json)
        checked = checking.predicted(program_in(target), require=require)
        if json is not None:
            files.write_json(checked.to_dict(), json)
        terminal.show_prediction(checked.prediction, exponents=exponents, statements=statements)
        if checked.exit is failures.Exit.ANOTHER_REGIME:
            say(f"required: {require}; predicted: {checked.prediction.regime.value}")
        leave(checked.exit)


@app.command()
def explain(
    word: Annotated[
        list[str], typer.Argument(help="order, change, regime, kernel, muP, evidence, ...", autocompletion=words)
    ],
) -> None:
    """Explain a word of the verdict: order, change, regime, ..."""
    import textwrap

    from tpdyn.reporting.explain import explain as text_of

    try:
        print(textwrap.fill(text_of(" ".join(word)), 80))
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None


@app.command()
def demo(
    logdir: Annotated[Path, typer.Option(help="where TensorBoard looks")] = Path("logs"),
) -> None:
    """Three parametrizations of one network on real data (scikit-learn's digits): three regimes, under a minute."""
    with _exits() as leave:
        from tpdyn.commands import demo as demonstration

        with progress() as tell:
            checked = demonstration.run(logdir, tell)
        demonstration.show(checked, logdir)
        leave(demonstration.exit_of(checked))


@app.command()
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
    record_widths: Annotated[
        str, typer.Option(help="three small widths to record at (16,24,40; a script: the three smallest of --widths)")
    ] = "",
    jobs: Jobs = 1,
    backend: Backend = "loky",
    fresh: Fresh = False,
    budget: Annotated[
        str, typer.Option(help="how long it may take (10m, 1h): two seeds everywhere, then more around the optimum")
    ] = "",
    picture: Annotated[Path | None, typer.Option(help="draw the curves to this file (png, svg, pdf)")] = None,
    json: Annotated[Path | None, typer.Option(help="write what was found to this file")] = None,
    logdir: Annotated[Path, typer.Option(help="where TensorBoard looks; a folder is made in it")] = Path("logs"),
) -> None:
    """Does the best learning rate move with the width? Sweep it at several widths, for one or more parametrizations."""
    with _exits():
        from tpdyn.commands import files
        from tpdyn.commands.check import script_of, seconds_of
        from tpdyn.commands.transfer import log_name, transfers
        from tpdyn.reporting import folders, transfer_log
        from tpdyn.reporting import transfer as reporting

        json, picture, script = absolute(json), absolute(picture), script_of(targets[0])
        destination = folders.folder_of(logdir.absolute(), log_name(targets), script)
        if picture is not None:
            files.check_picture_path(picture, "--picture")
        if json is not None:
            files.check_json_path(json)
        folders.check_writable(destination)
        with progress() as tell:
            found = transfers(
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
                logdir=logdir.absolute(),
                jobs=jobs,
                backend=backend,
                fresh=fresh,
                budget=seconds_of(budget) if budget else None,
                plan=say,
                progress=tell,
            )
        reporting.show(found)
        transfer_log.log_transfers(found, destination, script=script)
        if json is not None:
            files.write_json({"transfers": [each.to_dict() for each in found]}, json)
        if picture is not None:
            reporting.picture(found, picture)
            print(f"the picture: {picture}")
        print(f"tensorboard --logdir {logdir}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="a log folder, e.g. logs/my-run, or one that holds several")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="the file to write (report.html; other formats: standard output)"),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="html, md or json; by the file's ending unless given")] = "",
) -> None:
    """One file to send to a colleague: what the tab Tensor Programs shows of a log, self-contained; or Markdown, or JSON."""
    with _exits():
        from tpdyn.commands.report import report as reported

        made = reported(folder, output, form)
        print(made, end="" if isinstance(made, str) else "\n")


@app.command()
def derive(
    target: Target,
    script_arguments: ScriptArguments = None,
    record_widths: Annotated[str, typer.Option(help="three small widths to record at")] = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    steps: Annotated[int, typer.Option(min=2, help="optimizer steps to record")] = 3,
    gauge: Annotated[str, typer.Option(help="no-multipliers, same-rate or unit-initial-entries")] = "no-multipliers",
    mup: Annotated[
        Path | None, typer.Option(help="base shapes of the package mup (.bsh): where do its rules differ?")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="write the exponents to this file")] = None,
) -> None:
    """The maximal update parametrization of a training script, and how the script differs from the named ones."""
    with _exits():
        from tpdyn.commands import check as checking
        from tpdyn.commands import files
        from tpdyn.integrations import mup as integration
        from tpdyn.parametrizing.families import grouped

        json = absolute(json)
        if json is not None:
            files.check_json_path(json)
        shapes = None if mup is None else integration.read_base_shapes(mup)
        train = loaded(target, width_arg, script_arguments, settings, widths_of(record_widths), in_place)
        with progress() as tell:
            program = checking.recorded(train, widths=widths_of(record_widths), steps=steps, progress=tell)
            found, differences = checking.derived(program, gauge)
        print(found.show())
        for name, lines in differences.items():
            head = f"\nthe script differs from {name} in:" if lines else f"\nthe script is {name}"
            print("\n".join((head, *grouped(lines, found.exponents))))
        compared = None
        if shapes is not None:
            compared = integration.compare(program, shapes)
            print(f"\n{compared.show()}")
        if json is not None:
            also = {} if compared is None else {"mup": compared.to_dict()}
            files.write_json(found.to_dict() | {"differs_from": differences} | also, json)


@app.command()
def fix(
    target: Target,
    script_arguments: ScriptArguments = None,
    base_width: Annotated[int, typer.Option(min=1, help="the width at which nothing changes")] = 256,
    record_widths: Annotated[str, typer.Option(help="three small widths to record at")] = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    steps: Annotated[int, typer.Option(min=2, help="optimizer steps to record")] = 3,
) -> None:
    """The edits that bring a training script to its maximal update, as a patch; the script itself is not touched.

    The patch goes to standard output (tpdyn fix script.py:train | patch -p0), what is to be said of it to standard error.
    Exit status: 0 nothing to change, or the patch is verified (the patched script was recorded again); 15 it is not.
    """
    with _exits() as leave:
        from tpdyn.commands import fix as fixing
        from tpdyn.scripts.script import told

        say_each(told(target, settings or []))
        with progress() as tell:
            found = fixing.fixed(
                target,
                width_arg,
                script_arguments or [],
                settings or [],
                widths=widths_of(record_widths),
                steps=steps,
                base_width=base_width,
                in_place=in_place,
                progress=tell,
            )
        print(found.fix.patch, end="")
        say(found.told())
        leave(found.exit)


@app.command()
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
    record_widths: Annotated[str, typer.Option(help="three small widths to record at")] = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    steps: Annotated[int, typer.Option(min=2, help="optimizer steps to record")] = 3,
    save: Annotated[Path | None, typer.Option(help="draw it to this file (png, svg, pdf)")] = None,
    json: Annotated[Path | None, typer.Option(help="write the exact diagram to this file")] = None,
    logdir: Annotated[
        Path | None, typer.Option(help="show it in TensorBoard (Images): a folder is made in this one")
    ] = None,
) -> None:
    """Which regimes are there around a training script? An exact phase diagram of a slice of its exponents."""
    with _exits():
        from tpdyn.commands import check as checking
        from tpdyn.commands import failures, files
        from tpdyn.parametrizing.maps.diagram import PhaseDiagram
        from tpdyn.reporting import folders, tensorboard

        ends = [limits_of(text) if text else None for text in (x_limits, y_limits)]
        all_ends = limits_of(limits or "-1,2")
        if limits and not symbol:
            raise failures.BadInput("--limits goes with --symbol; a picture has --x-limits and --y-limits")
        if through and (y or x != "c" or around != "script"):
            raise failures.BadInput("--through takes the place of --x, --y and --around; give one or the other")
        if symbol and any((save, logdir, through, y, x_limits, y_limits, x != "c")):
            raise failures.BadInput(
                "--symbol goes with --around, --limits and --json; a picture has two directions, --x and --y"
            )
        json, save, script = absolute(json), absolute(save), checking.script_of(target)
        destination = None
        if logdir is not None:
            destination = folders.folder_of(logdir.absolute(), f"{checking.name_of(target)}-phases", script)
        if json is not None:
            files.check_json_path(json)
        if save is not None:
            files.check_picture_path(save)
        if destination is not None:
            files.check_pictures(f"--logdir {logdir}")
            folders.check_writable(destination)
        train = loaded(target, width_arg, script_arguments, settings, widths_of(record_widths), in_place)
        with progress() as tell:
            program = checking.recorded(train, widths=widths_of(record_widths), steps=steps, progress=tell)
            found = (
                checking.cells(program, symbol, tell, around=around, limits=all_ends)
                if symbol
                else checking.phases(
                    program, x, y, tell, around=around, through=tuple(filter(None, through.split(","))),
                    x_limits=ends[0], y_limits=ends[1],
                )
            )  # fmt: skip
        print(found.show())
        if json is not None:
            files.write_json(found.to_dict(), json)
        if save is not None and isinstance(found, PhaseDiagram):
            found.save(save)
        if destination is not None and isinstance(found, PhaseDiagram):
            tensorboard.log(found, destination, script=script)
            print(f"\ntensorboard --logdir {logdir}")


@app.command()
def simulate(
    target: Target,
    script_arguments: ScriptArguments = None,
    widths: Annotated[str, typer.Option(help="widths to simulate at")] = "1000,30000,1000000",
    record_widths: Annotated[str, typer.Option(help="three small widths to record at")] = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
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
    with _exits():
        from tpdyn.commands import files
        from tpdyn.commands.simulate import simulated

        json = absolute(json)
        if json is not None:
            files.check_json_path(json)
        asked, recorded = widths_of(widths), widths_of(record_widths)
        train = loaded(target, width_arg, script_arguments, settings, recorded, in_place)
        with progress() as tell:
            found = simulated(
                train, asked, record_widths=recorded, steps=steps, seed=seed, dtype=dtype, device=device, ranges=forecast,
                progress=tell,
            )  # fmt: skip
        print(found.show())
        if json is not None:
            files.write_json(found.to_dict(), json)


@app.command()
def kernels(
    target: Annotated[str, typer.Argument(help="path/file.py:function, a function of the width that returns a module")],
    inputs: Annotated[Path, typer.Option(help="inputs, samples first: an array in a .npy or .pt file")],
    against: Annotated[Path | None, typer.Option(help="further inputs, for the other axis of the kernels")] = None,
    save: Annotated[Path | None, typer.Option(help="write both kernels to this .npz file")] = None,
) -> None:
    """NNGP and NTK of a network at infinite width, for given inputs."""
    with _exits():
        from tpdyn.commands import files
        from tpdyn.commands.kernels import kernels_of
        from tpdyn.scripts.script import load

        save = absolute(save)
        if save is not None:
            files.check_json_path(save)
        found = kernels_of(load(target), inputs, against)
        print(found.show())
        if save is not None:
            found.save(save)


@app.command()
def limit(
    target: Target,
    script_arguments: ScriptArguments = None,
    points: Annotated[
        int | None, typer.Option(min=16, help="points that stand for the width (65536; 4096 for Adam)")
    ] = None,
    scrambles: Annotated[int, typer.Option(min=2, help="independent repetitions, for the error")] = 8,
    record_widths: Annotated[str, typer.Option(help="three small widths to record at")] = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps")] = 3,
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 0,
    json: Annotated[Path | None, typer.Option(help="write limits, kernels and distributions to this file")] = None,
    widths: Annotated[str, typer.Option(help="also run it at these widths, and show the losses beside the limit")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="runs at each of --widths and of --compare")] = 8,
    compare: Annotated[
        str, typer.Option(help="how far runs of the recorded program are from the limit at these widths, e.g. 64,512")
    ] = "",
    logdir: Annotated[Path | None, typer.Option(help="show it in TensorBoard: a folder is made in this one")] = None,
) -> None:
    """Losses and outputs of a script at infinite width, each with its error."""
    with _exits():
        from tpdyn.commands import check as checking
        from tpdyn.commands import files
        from tpdyn.commands.limit import limits, measured
        from tpdyn.reporting import folders, limit_log

        json, script, destination = absolute(json), checking.script_of(target), None
        if json is not None:
            files.check_json_path(json)
        asked, recorded = widths_of(widths) if widths else (), widths_of(record_widths)
        if logdir is not None:
            destination = folders.folder_of(logdir.absolute(), f"{checking.name_of(target)}-limit", script)
            folders.check_writable(destination)
        train = loaded(target, width_arg, script_arguments, settings, (*recorded, *asked), in_place)
        with progress() as tell:
            found = limits(
                train, record_widths=recorded, steps=steps, points=points, scrambles=scrambles, seed=seed, progress=tell,
                compare=widths_of(compare) if compare else (), seeds=seeds,
            )  # fmt: skip
            runs = measured(train, asked, seeds, steps, tell) if asked else None
        print(found.show())
        if destination is not None:
            limit_log.log_limit(found.limit, destination, runs, script=script)
            print(f"tensorboard --logdir {logdir}")
        if json is not None:
            files.write_json(found.to_dict(), json)


@app.command()
def verify(
    profile: Annotated[
        str, typer.Option(help="quick (under 3 minutes on 2 cores), standard, thorough, or gpu")
    ] = "quick",
    only: Annotated[str, typer.Option(help="a part of the name of a theorem or test: semicircle")] = "",
    jobs: Annotated[int | None, typer.Option(min=1, help="processes at a time (one a core)")] = None,
    seed: Annotated[int, typer.Option(help="of the examples that are drawn")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="run again what passed before")] = False,
    json: Annotated[Path | None, typer.Option(help="write what was found to this file")] = None,
    logdir: Annotated[Path, typer.Option(help="where TensorBoard looks; a folder is made in it")] = Path("logs"),
) -> None:
    """Do the theorems hold here? Runs the proofs that come with tpdyn; a run that was stopped goes on."""
    with _exits() as leave:
        from tpdyn.commands import files
        from tpdyn.commands.verify import verify as verified
        from tpdyn.reporting import verified as reporting

        if json is not None:
            files.check_json_path(json)
        with progress() as tell:
            found = verified(profile, only, logdir=logdir, jobs=jobs, seed=seed, fresh=fresh, progress=tell)
        reporting.log(found.theorems, profile, found.seconds, found.folder)
        reporting.show(found.theorems, profile, found.seconds)
        if json is not None:
            files.write_json(found.to_dict(), json)
        print(f"tensorboard --logdir {logdir}")
        leave(found.exit)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        from tpdyn import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """The console script."""
    # Threads that spin while they wait make small matrices ten times slower on a busy machine. Read when torch starts.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):  # what an encoding lacks is replaced, as in `report.show()`
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


@contextmanager
def _exits() -> Iterator[Callable[[int], None]]:
    """Known errors become one message and a status; an unknown one keeps its traceback (status 1)."""
    status = 0

    def leave(code: int) -> None:
        nonlocal status
        status = int(code)

    try:
        yield leave
    except KeyboardInterrupt:
        say("interrupted; no verdict was written, finished runs are kept")
        status = 130
    except SystemExit as leaving:  # the script's own exit is never ours
        say(f"the script left with status {leaving.code!r} before anything was checked")
        status = 2
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except Exception as error:
        from tpdyn.commands.failures import status_of

        known = status_of(error)
        if known is None:
            raise
        say(str(error))
        status = int(known)
    if status:
        raise typer.Exit(status)


cli_runs.attach(app, _exits)
