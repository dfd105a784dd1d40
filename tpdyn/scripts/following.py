"""Which further number of a script grows with the width? The one that an error of shapes shows at another number's place.

`nn.Linear(9216, 128)` behind convolutions whose channels are set wants the 9216 set, too: it is 288 times the width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from tpdyn.recorder.live.frames import raised
from tpdyn.scripts.settings import BadSetting, Setting, read_settings

FOUND_AND_WRITTEN = (
    r"shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)",
    r"should contain (\d+) elements not (\d+)",
    r"(?s)but got (\d+) channels instead.*?to have (\d+) channels",
)
"""How torch words that a size is not the one that the script wrote."""


@contextmanager
def told_what_follows(settings: Sequence[Setting], width: int) -> Iterator[None]:
    """Add to an error of shapes which number is to be set, too, and to what. Raises BadSetting."""
    try:
        yield
    except RuntimeError as error:
        hint = following(str(error), settings, width)
        if hint:
            raise BadSetting(f"the script raised {raised(error)}\n{hint}") from error
        raise


def following(message: str, settings: Sequence[Setting], width: int) -> str:
    """Name the setting that the message asks for; '' if it is about something else."""
    doubled = f"{message}\n{message}"  # whichever of the two numbers comes first
    sizes = [match for pattern in FOUND_AND_WRITTEN if (match := re.search(pattern, doubled))]
    if not sizes:
        return ""
    found, written = int(sizes[0][1]), int(sizes[0][2])
    share = Fraction(found, width)
    for setting in settings:
        for location, value in ((each, setting.formula.at(width)) for each in setting.locations):
            own = None if location.value is None else Fraction(location.value) * width / value
            if own is None or share * own != written or written == location.value:
                continue
            try:
                (other,) = read_settings(Path(setting.file), [f"{written}={_times(share)}"])
            except BadSetting:
                return ""
            lines = ", ".join(f"{Path(other.file).name}:{each.line}" for each in other.locations)
            return f"{written} ({lines}) grows with the width, too: add --set {written}={_times(share)}"
    return ""


def _times(share: Fraction) -> str:
    whole = "n" if share.numerator == 1 else f"{share.numerator}*n"
    return whole if share.denominator == 1 else f"{whole}/{share.denominator}"
