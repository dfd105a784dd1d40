"""Does a history come back from its file as it was, and is what is none refused by name?"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tpdyn.monitoring.history import FILE, History, NoHistory, heading, line, read


def written(folder: Path, *lines: str, history: History | None = None) -> Path:
    file = folder / FILE
    file.write_text("\n".join([heading(history or History(width=64), {}), *lines]))
    return file


def test_numbers_that_are_not_finite_come_back(tmp_path: Path) -> None:
    text = line(
        3,
        {("size", "fc"): math.nan, ("largest", "fc"): math.inf, ("change", "fc"): 0.5},
        {"fc": ("bfloat16", "a.py:3")},
    )
    json.loads(text, parse_constant=pytest.fail)  # strict JSON, which other readers can take
    history = read(written(tmp_path, text))
    assert (history.width, history.steps) == (64, [3])
    assert math.isnan(history.looks[0]["size", "fc"])
    assert history.looks[0]["largest", "fc"] == math.inf
    assert (history.dtypes, history.sources) == ({"fc": "bfloat16"}, {"fc": "a.py:3"})


def test_a_series_is_one_number_over_the_steps_and_an_unknown_one_names_the_known() -> None:
    history = History(steps=[0, 2], looks=[{("size", "fc"): 1.0}, {("size", "fc"): 2.0, ("logits", "fc"): 3.0}])
    assert [each.tolist() for each in history.series("size", "fc")] == [[0, 2], [1.0, 2.0]]
    assert [each.tolist() for each in history.series("logits", "fc")] == [[2], [3.0]]
    with pytest.raises(KeyError, match="there is fc"):
        history.series("size", "out")
    with pytest.raises(KeyError, match="logits, size"):
        history.series("colour", "fc")


def test_a_line_that_was_cut_off_is_left_out_at_the_end_only(tmp_path: Path) -> None:
    good = line(0, {("size", "fc"): 1.0}, {})
    assert read(written(tmp_path, good, good[:20])).steps == [0]
    with pytest.raises(NoHistory, match="line 2"):
        read(written(tmp_path, good[:20], good))


@pytest.mark.parametrize("content", ["", "hello", "[1]", '{"kind": "tpdyn monitor", "format": 99}'])
def test_what_is_no_history_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(NoHistory, match=r"not a heading|format 99"):
        read(tmp_path)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoHistory, match="logdir"):
        read(tmp_path)
