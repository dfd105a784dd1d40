"""What does a script do as it grows, and do the runs confirm it? `check`, and what shows or repeats its parts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tpdyn.cli.ending import exits
from tpdyn.cli.options import (
    Backend,
    Exponents,
    Fresh,
    InPlace,
    Jobs,
    Logdir,
    RecordWidths,
    Require,
    ScriptArguments,
    ScriptWidths,
    Settings,
    Statements,
    Target,
    TimeLimit,
    VerdictFile,
    WidthArgs,
    progress,
    say,
    target_of,
    widths_of,
    words,
)


def check(
    target: Target,
    script_arguments: ScriptArguments = None,
    widths: Annotated[str, typer.Option(help="widths to run at")] = "64,128,256,512",
    record_widths: ScriptWidths = "",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps to record and to run")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="runs at each width")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or script (leave it to the script)")] = "auto",
    json: VerdictFile = None,
    logdir: Logdir = Path("logs"),
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
    exponents: Exponents = False,
    statements: Statements = False,
    picture: Annotated[
        Path | None, typer.Option(help="draw every module's change against the width to this file (png, svg, pdf)")
    ] = None,
    time_limit: TimeLimit = 600,
    by: Annotated[str, typer.Option(help="script, or program: the recorded program makes most runs")] = "script",
    limit: Annotated[
        bool, typer.Option("--limit", help="how far networks of these widths are from the limit of infinite width")
    ] = False,
    jobs: Jobs = 1,
    backend: Backend = "loky",
    fresh: Fresh = False,
    require: Require = "",
) -> None:
    """Predict what a training script does as its width grows, and check it against real runs."""
    with exits() as leave:
        from tpdyn import pictures
        from tpdyn.commands import check as checking
        from tpdyn.commands import failures, files, rebuild
        from tpdyn.commands.runs import means_of
        from tpdyn.reporting import coordinates, folders, limit_log, live, tensorboard, terminal
        from tpdyn.reporting.document import of_refusal

        asked, recorded = widths_of(widths), widths_of(record_widths) if record_widths else None
        if width_arg or settings:
            recorded = checking.script_widths(asked, recorded)
        picture, script = files.writable_picture(picture, "--picture"), checking.script_of(target)
        seconds = checking.seconds_of(budget)
        if picture is not None and not measure:
            raise failures.BadInput("--picture shows runs, and --no-measure makes none; give one or the other")
        if limit and not measure:
            raise failures.BadInput(
                "--limit puts runs beside the limit, and --no-measure makes none: see `tpdyn limit`"
            )
        destination = folders.folder_of(logdir.absolute(), checking.name_of(target), script)
        told = {"title": destination.name, "script": script}
        write = files.json_writer(json)
        if measure:
            folders.check_writable(destination)
        runs = (*(recorded or ()), *(asked if measure else ()))
        words = target_of(target, script_arguments, width_arg, settings, in_place)
        train = words.load(runs, say)
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
                    limit=limit,
                    means=means,
                    progress=tell,
                    watch=watch if measure else None,
                )
            except failures.BeyondTheory as error:
                write(partial(of_refusal, str(error), **told))
                raise
        if checked.report is not None:
            tensorboard.log(checked.report, destination, script=script)
            rebuild.note_check(checked, means, destination.name, script)
            limit_log.log_beside(checked.report, destination, script=script)
        write(partial(checked.to_dict, **told))
        if show_dims:
            print(checked.prediction.program.dims_table(), end="\n\n")
        command = checking.fix_command(words, checked.prediction.program, steps)
        terminal.show(checked.report or checked.prediction, exponents=exponents, statements=statements, fix=command)
        if checked.report is not None:
            if picture is not None:
                pictures.save(coordinates.draw(checked.report), picture)
                print(f"\n  picture: {picture}", end="")
            print(f"\n  tensorboard --logdir {logdir}")
        if checked.no_limit:
            say(f"no limit to put beside the runs: {checked.no_limit}")
        if checked.exit is failures.Exit.ANOTHER_REGIME:
            say(f"required: {require}; predicted: {checked.prediction.regime.value}")
        leave(checked.exit)


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
    record_widths: RecordWidths = "16,24,40",
    width_arg: WidthArgs = None,
    settings: Settings = None,
    in_place: InPlace = False,
    time_limit: TimeLimit = 600,
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps to record")] = 2,
    save: Annotated[Path | None, typer.Option(help="write the program as JSON to this file")] = None,
) -> None:
    """Show the tensor program of a training script: every value as a formula, with dims and source lines."""
    with exits():
        from tpdyn.commands import check as checking
        from tpdyn.commands import files, show

        save = save and files.writable(save, "--save")
        if target.endswith(".json"):
            program = show.program_in(Path(target))
        else:
            recorded = widths_of(record_widths)
            train = target_of(target, script_arguments, width_arg, settings, in_place).load(recorded, say)
            with progress() as tell:
                program = checking.recorded(train, widths=recorded, steps=steps, time_limit=time_limit, progress=tell)
        print(show.shown(program, step=step, phases=phase or (), orders=orders))
        if save is not None:
            save.write_text(program.to_json(), encoding="utf-8")


def predict(
    target: Annotated[Path, typer.Argument(help="a program.json, as a callback or `tpdyn show --save` writes it")],
    json: VerdictFile = None,
    exponents: Exponents = False,
    statements: Statements = False,
    require: Require = "",
) -> None:
    """Predict the regime of a recorded program, without the script and without runs."""
    with exits() as leave:
        from tpdyn.commands import check as checking
        from tpdyn.commands import failures, files
        from tpdyn.commands.show import program_in
        from tpdyn.reporting import terminal

        write = files.json_writer(json)
        checked = checking.predicted(program_in(target), require=require)
        write(partial(checked.to_dict, title=target.name))
        terminal.show(checked.prediction, exponents=exponents, statements=statements)
        if checked.exit is failures.Exit.ANOTHER_REGIME:
            say(f"required: {require}; predicted: {checked.prediction.regime.value}")
        leave(checked.exit)


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


def demo(
    logdir: Annotated[Path, typer.Option(help="where TensorBoard looks")] = Path("logs"),
) -> None:
    """Run three parametrizations of one network on real data (scikit-learn's digits): three regimes, under a minute."""
    with exits() as leave:
        from tpdyn.commands import demo as demonstration

        with progress() as tell:
            checked = demonstration.run(logdir, tell)
        demonstration.show(checked, logdir)
        leave(demonstration.exit_of(checked))


def report(
    folder: Annotated[Path, typer.Argument(help="a log folder, e.g. logs/my-run, or one that holds several")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="the file to write (report.html; other formats: standard output)"),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="html, md or json; by the file's ending unless given")] = "",
) -> None:
    """Write one file to send to a colleague: all that the tab Tensor Programs shows of a log. Or write Markdown, or JSON."""
    with exits():
        from tpdyn.commands.report import report as reported

        written = reported(folder, output, form)
        print(written, end="" if isinstance(written, str) else "\n")


def verify(
    profile: Annotated[str, typer.Option(help="quick (a few minutes), standard, thorough, or gpu")] = "quick",
    only: Annotated[str, typer.Option(help="a part of the name of a theorem or test: semicircle")] = "",
    jobs: Annotated[int | None, typer.Option(min=1, help="processes at a time (one a core)")] = None,
    seed: Annotated[int, typer.Option(help="of the examples that are drawn")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="run again what passed before")] = False,
    json: Annotated[Path | None, typer.Option(help="write what was found to this file")] = None,
    logdir: Logdir = Path("logs"),
) -> None:
    """Do the theorems hold here? Runs the proofs that come with tpdyn; a run that was stopped goes on."""
    with exits() as leave:
        from tpdyn.commands import files
        from tpdyn.commands.verify import verify as verified
        from tpdyn.reporting import verified as reporting

        write = files.json_writer(json)
        with progress() as tell:
            outcome = verified(profile, only, logdir=logdir, jobs=jobs, seed=seed, fresh=fresh, progress=tell)
        reporting.log(outcome.theorems, outcome.seconds, outcome.folder)
        reporting.show(outcome.theorems, profile, outcome.seconds)
        write(outcome.to_dict)
        print(f"tensorboard --logdir {logdir}")
        leave(outcome.exit)
