"""What can be asked of finished runs? `tpdyn runs list | show | rebuild | prune`: words in and out, as in its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tpdyn.cli.ending import exits

Logdir = Annotated[Path, typer.Option(help="the folder of logs, in which the finished runs lie")]


runs = typer.Typer(
    help="The finished runs: list, show, forget them, make their logs again.",
    no_args_is_help=True,
)


@runs.command("list")
def list_(logdir: Logdir = Path("logs")) -> None:
    """List the finished runs: one line for each script and kind."""
    with exits():
        from tpdyn.commands.runs import listed

        print(listed(logdir))


@runs.command()
def show(
    key: Annotated[str, typer.Argument(help="the beginning of the key of a run (a column of `tpdyn.runs`)")],
    logdir: Logdir = Path("logs"),
) -> None:
    """Show one run: what it was, and all its numbers."""
    with exits():
        from tpdyn.commands.runs import shown

        print(shown(logdir, key))


@runs.command()
def rebuild(
    name: Annotated[str, typer.Argument(help="of a log; all unless given")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the folder to write logs to (that of the finished runs)")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="write the verdict to this file")] = None,
    logdir: Logdir = Path("logs"),
) -> None:
    """Make logs again from the finished runs alone, without the script."""
    with exits():
        from tpdyn.commands import files
        from tpdyn.commands.rebuild import rebuilt, write

        write_json = files.json_writer(json)
        logs = rebuilt(logdir, name)
        for each in logs:
            print(write(each, output or logdir))
        write_json(lambda: logs[0].to_dict() if len(logs) == 1 else {each.name: each.to_dict() for each in logs})


@runs.command()
def prune(
    script: Annotated[str, typer.Option(help="runs of this script (as `tpdyn runs list` calls it)")] = "",
    days: Annotated[float | None, typer.Option(min=0, help="runs that were made before so many days")] = None,
    broken: Annotated[bool, typer.Option("--broken", help="files that cannot be read")] = False,
    logdir: Logdir = Path("logs"),
) -> None:
    """Forget finished runs."""
    with exits():
        from tpdyn.commands.runs import pruned

        count = pruned(logdir, script=script, days=days, broken=broken)
        print(f"{count} finished runs forgotten")
