"""Where does this package lie? Its own files are told from the user's by this folder, whoever asks."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""The folder of the package, with the separator behind it."""


def shipped(name: str) -> Path:
    """Return a folder that comes with the package: within it if it is installed, beside it in a checkout.

    Raises FileNotFoundError where it is in neither.
    """
    here = Path(PACKAGE).resolve()
    for folder in (here / name, here.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"{name} does not lie beside {here}; expected it there: install tpdyn from its wheel or source"
    )
