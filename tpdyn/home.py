"""Where does this package lie? Its own files are told from the user's by this folder, whoever asks."""

from __future__ import annotations

import os

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""The folder of the package, with the separator behind it."""
