"""Do a monitor's events and lines tell the same: thinned, with bands and alarms, in words where broken?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdyn.board.folder import logs_in
from tpdyn.board.watched import MOST, curves, document, of_events, of_file, thinned
from tpdyn.monitoring.alarms import Alarm
from tpdyn.monitoring.expected import Band
from tpdyn.monitoring.history import FILE, History
from tpdyn.monitoring.writer import Writer

Ask = Callable[..., Any]
ALARM = Alarm("dead", "fc", 1, "fc is dead", "train.py:3")


def written(folder: Path, looks: int = 3, close: bool = True) -> Path:
    """A monitored run: a module's size in its band, a weight from the second look on, a passing alarm."""
    band = Band(np.array([0, 9]), np.array([2.0, 2.0]), np.array([8.0, 8.0]))
    writer = Writer(folder, History(width=8), {("size", "fc"): band})
    for step in range(looks):
        look = {("size", "fc"): 1.0 + step} | ({("weight", "fc.weight"): 0.5} if step else {})
        new = {} if step else {"fc": ("float32", "train.py:3")}
        writer.write(step, look, new, [ALARM] * (step == 1), {("dead", "fc")} if step == 1 else ())
    if close:
        writer.close()
    else:
        writer._shut()  # as if it were killed
    return writer.folder


def test_the_tab_and_the_report_tell_the_same(tmp_path: Path, ask: Ask) -> None:
    written(tmp_path / "run")
    (listed,) = ask("/logs")[1]["logs"]
    assert (listed["name"], listed["kind"], listed["says"]) == ("run", "monitor", "step 2")
    status, told = ask(f"/document?log={listed['id']}")
    assert status == 200
    assert (told["step"], told["looks"], told["width"], told["over"]) == (2, 3, 8, True)
    assert told["whats"] == ["size", "weight"]
    assert [(each["name"], each["of"], each["source"]) for each in told["modules"]] == [
        ("fc", "module", "train.py:3"),
        ("fc.weight", "parameter", ""),
    ]
    assert [(each["step"], each["text"], each["stands"]) for each in told["alarms"]] == [(1, "fc is dead", False)]
    drawn = ask(f"/curves?log={listed['id']}&what=weight")[1]
    line = {"what": "weight", "name": "fc.weight", "values": [None, 0.5, 0.5], "band": None}
    assert drawn == {"steps": [0, 1, 2], "lines": [line]}
    (log,) = logs_in(tmp_path)
    assert log.document is not None
    same = {key: value for key, value in told.items() if key not in ("time", "title")}
    assert same == {key: value for key, value in log.document.items() if key not in ("time", "title")}
    everything = ask(f"/curves?log={listed['id']}")[1]
    assert log.curves == everything
    assert everything["lines"][0]["band"] == {"steps": [0, 9], "low": [2.0, 2.0], "high": [8.0, 8.0]}
    assert ask(f"/curves?log={listed['id']}&name=fc")[1]["lines"] == everything["lines"][:1]
    assert ask("/curves?log=nothing")[0] == 404


def test_a_run_that_goes_on_is_not_over_and_a_later_one_has_a_number(tmp_path: Path, ask: Ask) -> None:
    written(tmp_path / "run", looks=2, close=False)
    written(tmp_path / "run", looks=1)
    first, second = ask("/logs")[1]["logs"]
    assert (first["name"], first["says"], second["name"]) == ("run", "step 1, 1 alarm", "run (2)")
    told = ask(f"/document?log={first['id']}")[1]
    assert not told["over"]
    assert told["alarms"][0]["stands"]


def test_an_alarm_that_came_twice_stands_once() -> None:
    alarm = {"step": 1, "rule": "dead", "name": "fc", "text": "", "source": ""}
    head = {"keys": [["size", "fc"]], "alarms": [alarm, alarm | {"step": 5}], "standing": [["dead", "fc"]]}
    told = document(of_events(head, [(5, 0.0, [1.0])]))
    assert [each["stands"] for each in told["alarms"]] == [False, True]
    assert told["says"] == "step 5, 1 alarm"


def test_long_runs_are_thinned_and_keep_their_ends() -> None:
    count = 5000
    drawn = curves(of_events({"keys": [["size", "fc"]]}, [(step, 0.0, [float(step)]) for step in range(count)]))
    assert len(drawn["steps"]) <= MOST
    assert (drawn["steps"][0], drawn["steps"][-1]) == (0, count - 1)
    assert thinned(3).tolist() == [0, 1, 2]


def test_a_number_that_is_not_finite_is_null() -> None:
    seen = of_events({"keys": [["size", "a"], ["size", "b"]]}, [(0, 0.0, [np.inf, np.nan])])
    assert [line["values"] for line in curves(seen)["lines"]] == [[None], [None]]
    json.dumps(document(seen), allow_nan=False)


def test_a_killed_run_keeps_all_but_its_cut_line_and_broken_files_are_said(tmp_path: Path) -> None:
    file = written(tmp_path / "run") / FILE
    text = file.read_text()
    file.write_text(text[: text.rindex('{"over') - 9])
    assert len(of_file(file).steps) == 2
    for broken in ("", "{}", "[1]\n", text.splitlines()[0] + "\nnonsense\n{}\n"):
        file.write_text(broken)
        (log,) = logs_in(tmp_path)
        assert log.document is None
        assert FILE in log.error


odd = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["what", "name", "steps", "low", "high"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["keys", "bands", "modules", "alarms", "standing", "width"]), odd))
def test_a_head_of_any_shape_is_told_or_refused(head: dict[str, Any]) -> None:
    for tell in (document, curves):
        try:
            json.dumps(tell(of_events(head, [(0, 0.0, [1.0])])), allow_nan=False)
        except (ValueError, TypeError):
            continue


def test_what_is_of_another_shape_is_an_answer_in_words(tmp_path: Path, ask: Ask) -> None:
    from tpdyn.reporting.events import Run
    from tpdyn.reporting.tags import SUMMARY_TAG, WATCHED_TAG

    head = {"schema": "tpdyn.board/1", "kind": "monitor", "keys": [3]}
    with Run(tmp_path / "odd" / "monitor") as run:
        run.board(WATCHED_TAG, 0, head)
        run.board(SUMMARY_TAG, 0, {key: head[key] for key in ("schema", "kind")})
    status, content = ask("/document?log=odd/monitor")
    assert status == 422
    assert "cannot be read" in content["error"]


@pytest.mark.parametrize("kind", ["md", "json", "html"])
def test_a_monitored_run_can_be_sent(tmp_path: Path, kind: str) -> None:
    from tpdyn.commands.report import report

    written(tmp_path / "run")
    text = Path(report(tmp_path / "run", tmp_path / f"report.{kind}")).read_text()
    assert {"md": "fc is dead", "json": '"kind": "monitor"', "html": "tpdyn-data"}[kind] in text
