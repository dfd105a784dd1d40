from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tpdyn.reporting.board import put
from tpdyn.reporting.events import Run

Ask = Callable[..., Any]
Make = Callable[..., dict[str, Any]]
Write = Callable[[Path, dict[str, Any]], Path]


def test_logs_are_listed_and_read_through_tensorboard(tmp_path: Path, ask: Ask, make: Make, write: Write) -> None:
    write(tmp_path / "run-10", make("b", regime="trivial"))
    write(tmp_path / "run-2", make("a"))
    status, content = ask("/logs")
    assert status == 200
    assert [(log["name"], log["says"]) for log in content["logs"]] == [("run-2", "kernel"), ("run-10", "trivial")]
    assert ask(f"/document?log={content['logs'][0]['id']}") == (200, make("a"))


def test_a_log_that_is_not_there_is_a_404_in_words(tmp_path: Path, ask: Ask) -> None:
    status, content = ask("/document?log=nothing/verdict")
    assert status == 404
    assert "nothing" in content["error"]
    assert ask("/logs") == (200, {"logs": []})


def test_the_latest_document_of_a_run_that_goes_on_is_served(tmp_path: Path, ask: Ask, make: Make) -> None:
    with Run(tmp_path / "run" / "verdict") as run:
        for step in range(30):  # more than TensorBoard keeps of a tag by itself
            put(run, step, make() | {"runs": [step, 30]})
    assert ask("/document?log=run/verdict")[1]["runs"] == [29, 30]
    assert ask("/logs")[1]["logs"][0]["runs"] == [29, 30]


def test_a_running_check_is_listed_until_its_log_is_written(
    tmp_path: Path, ask: Ask, make: Make, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "old", make())
    write(tmp_path / "old (running)", make() | {"runs": [1, 4]})
    write(tmp_path / "new (running)", make() | {"runs": [1, 4]})
    monkeypatch.setattr("time.time", lambda: 1e10)  # later than whatever is written now
    write(tmp_path / "old", make())
    assert [log["name"] for log in ask("/logs")[1]["logs"]] == ["new (running)", "old"]


def test_what_has_not_changed_is_not_sent_again(tmp_path: Path, ask: Ask, make: Make, write: Write) -> None:
    write(tmp_path / "run", make())
    first = ask("/document?log=run/verdict", raw=True)
    again = ask("/document?log=run/verdict", {"If-None-Match": first.headers["ETag"]}, raw=True)
    assert (again.status_code, again.get_data()) == (304, b"")


def test_the_page_is_served_as_a_script(ask: Ask) -> None:
    response = ask("/index.js", raw=True)
    assert response.status_code == 200
    assert response.content_type.startswith("application/javascript")
    assert b"Tensor Programs" in response.get_data()


@pytest.mark.slow
def test_a_hundred_runs_of_a_hundred_modules_answer_at_once(tmp_path: Path, ask: Ask, make: Make, write: Write) -> None:
    for k in range(100):
        write(tmp_path / f"run-{k}", make(modules=100))
    assert ask("/logs")[0] == 200  # reads the folder
    for route in ("/logs", "/document?log=run-7/verdict"):
        start = time.process_time()  # other work on the machine does not count
        ask(route)
        assert time.process_time() - start < 0.3, route
