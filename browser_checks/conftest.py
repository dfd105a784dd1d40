"""Checks in a real browser (`tox -e browser`): what they start ends with the process."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
