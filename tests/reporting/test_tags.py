"""Mirrors tpdyn/reporting/tags.py: names that group in the dashboards, and a file that loads nothing."""

from __future__ import annotations

import subprocess
import sys

from tpdyn.reporting.tags import CHANGE, PREDICTED, run_of_width, tag_of


def test_tags_are_grouped_by_what_they_are_and_name_the_module_last() -> None:
    assert tag_of(CHANGE, "blocks.0.fc") == "change/blocks.0.fc"
    assert tag_of(CHANGE, "fc", PREDICTED) == "change predicted/fc"
    assert run_of_width(64) == "width=64"


def test_names_can_be_read_where_neither_torch_nor_tensorboard_is() -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['tensorboard'] = None; import tpdyn.reporting.tags"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
