"""What can be asked on the command line? Each command is a function: words in and out, no logic.

Exit status:

* 0 stable, nontrivial and confirmed by the runs;
* 10 unstable; 11 trivial;
* 12 the runs contradict the prediction; 16 the runs leave it undecided;
* 13 outside the theory; 14 not the required regime; 15 a patch that is not verified;
* 2 bad input; 130 interrupted; 141 the reader of a pipe left; 1 an error of tpdyn itself.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tpdyn.cli import checking, runs, shaping, values
from tpdyn.cli.ending import EXIT_HELP
from tpdyn.scripts.leaving import keep_the_exit

app = typer.Typer(
    help="From a training script to its infinite-width verdict: predicted by tensor programs, checked by runs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(epilog=EXIT_HELP)(checking.check)
app.command()(checking.show)
app.command(epilog=EXIT_HELP)(checking.predict)
app.command()(checking.explain)
app.command()(checking.demo)
app.command()(shaping.transfer)
app.command()(checking.report)
app.command()(shaping.derive)
app.command()(shaping.fix)
app.command()(shaping.phase)
app.command()(values.simulate)
app.command()(values.kernels)
app.command()(values.limit)
app.command()(checking.verify)
app.add_typer(runs.runs, name="runs")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        from tpdyn import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the console script."""
    # Threads that spin while they wait make small matrices ten times slower on a busy machine. Read when torch starts.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):  # what an encoding lacks is replaced, as in `report.show()`
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    keep_the_exit()
    app()
