from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tpdyn.board.folder import Log
from tpdyn.board.markdown import markdown

Make = Callable[..., dict[str, Any]]


def test_a_check_is_a_sentence_and_a_table(make: Make) -> None:
    text = markdown([Log("mlp", make())])
    assert text.startswith("## mlp\n\n**kernel**: frozen.\n\nThe runs confirm it: all.")
    assert "| `fc0` | `n^0` | `n^-1/2` ↘ vanishes | -0.50 | -0.60 to -0.40 | agrees | `train.py:11` |" in text


def test_a_broken_log_is_said(make: Make) -> None:
    assert "cannot be read: broken" in markdown([Log("a", None, error="broken"), Log("b", make())])


def test_a_hostile_module_name_stays_in_its_cell(make: Make) -> None:
    text = markdown([Log("mlp", make(name="x | <img src=x> `y`\n| "))])
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 2
    assert all("`` x \\| <img src=x> `y` \\| 0 ``" in row or "`y` \\| 1" in row for row in rows)
