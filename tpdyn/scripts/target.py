"""What does a worker need to run a script? The words that name it: a function itself cannot be sent everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

from tpdyn.scripts.script import load
from tpdyn.scripts.standing_in import standing_in
from tpdyn.store.identity import identity_of


@final
@dataclass(frozen=True)
class Target:
    """A target of the command line. Called with a width, it runs the script, which is loaded at the first call.

    target, width_args, arguments, settings, in_place: as in `load`. texts: what stands in for files, by full path.
    """

    target: str
    width_args: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    in_place: bool = False

    def load(self, widths: Sequence[int] = (), say: Callable[[str], None] | None = None) -> Callable[[int], object]:
        """Load the function of the width that it means; widths, say: as in `tpdyn.scripts.script.load`."""
        return load(
            self.target, self.width_args, self.arguments, self.settings, widths=widths, in_place=self.in_place, say=say
        )

    def __call__(self, width: int) -> object:
        """Run the script once."""
        with standing_in(dict(self.texts)) if self.texts else nullcontext():
            return _loaded(self)(width)

    @property
    def identity(self) -> dict[str, Any]:
        """What all runs of it have in common (`tpdyn.store.identity`)."""
        file = self.target.partition(".py")[0] + ".py"
        function = self.target.removeprefix(file)
        words = [function, *self.width_args, "--", *self.arguments, "--set", *self.settings]
        return identity_of(file, words, dict(self.texts))

    @property
    def name(self) -> str:
        """The script as people call it."""
        file = Path(self.target).name
        return " ".join((file, *self.arguments))


@lru_cache(maxsize=4)
def _loaded(target: Target) -> Callable[[int], object]:
    return target.load()
