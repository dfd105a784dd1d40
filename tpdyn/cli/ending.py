"""How does a command end? A known error is one message and an exit status; an unknown one keeps its traceback (status 1)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from tpdyn.cli.options import say

EXIT_HELP = (
    "Exit status: 0 stable, nontrivial, confirmed; 10 unstable; 11 trivial. 12 the runs contradict the prediction; "
    "16 the runs leave it undecided. 13 outside the theory; 14 not the regime of --require. 2 bad input; 130 interrupted."
)


@contextmanager
def exits() -> Iterator[Callable[[int], None]]:
    """Turn known errors into one message and a status; an unknown one keeps its traceback (status 1)."""
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
