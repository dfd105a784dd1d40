from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tpdyn.board.reading import LARGEST, Unreadable, unpacked
from tpdyn.reporting.events import Run

Ask = Callable[..., Any]
Make = Callable[..., dict[str, Any]]
Write = Callable[[Path, dict[str, Any]], Path]


def packed(content: Any) -> bytes:
    return gzip.compress(json.dumps(content).encode())


def test_a_document_comes_back_as_it_was() -> None:
    assert unpacked(packed({"a": [1, None, "x"]})) == {"a": [1, None, "x"]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cut short"),
        (b"not gzip", "broken"),
        (packed({"a": 1})[:-9], "cut short"),
        (gzip.compress(b"[1]"), "not an object"),
        (gzip.compress(b"{" * 10), "broken"),
        (gzip.compress(b"[" * 100_000), "broken"),
        (gzip.compress(b"\xff\xfe"), "broken"),
    ],
    ids=["nothing", "no gzip", "cut short", "a list", "broken JSON", "deep JSON", "no UTF-8"],  # gzip holds the time
)
def test_what_is_no_document_is_unreadable(content: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        unpacked(content)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 255))
def test_broken_bytes_are_unreadable_and_nothing_else(noise: bytes, place: int, value: int) -> None:
    content = bytearray(packed({"schema": "tpdyn.board/1", "kind": "check"}))
    content[place % len(content)] = value
    for broken in (noise, bytes(content), bytes(content) + noise, bytes(content[:place])):
        with contextlib.suppress(Unreadable):
            assert isinstance(unpacked(broken), dict)


def test_a_document_that_would_fill_the_memory_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpdyn.board.reading.LARGEST", 1000)
    assert LARGEST > 1000
    with pytest.raises(Unreadable, match="too large"):
        unpacked(packed({"a": "x" * 5000}))


def test_foreign_and_broken_logs_stand_beside_good_ones(tmp_path: Path, ask: Ask, make: Make, write: Write) -> None:
    write(tmp_path / "good", make())
    write(tmp_path / "later", make() | {"schema": "tpdyn.board/99"})
    write(tmp_path / "foreign", {"hello": "world"})
    (file,) = (write(tmp_path / "cut", make()) / "verdict").iterdir()
    file.write_bytes(file.read_bytes()[:-40])
    with Run(tmp_path / "other" / "train") as run:
        run.scalar("loss", 0, 1.0)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "events.out.tfevents.1.x").write_bytes(b"\x00junk" * 50)
    logs = {log["name"]: log for log in ask("/logs")[1]["logs"]}
    assert "error" not in logs["good"]
    assert "tpdyn.board/99" in logs["later"]["error"]
    assert "None" in logs["foreign"]["error"]
    assert not logs.keys() & {"other", "junk"}
    assert ask("/document?log=good/verdict")[0] == 200
    assert ask("/document?log=foreign/verdict")[0] == 422
    assert ask("/program?log=good/verdict")[0] == 404


def test_a_summary_of_another_shape_shows_what_it_can(tmp_path: Path, ask: Ask, make: Make, write: Write) -> None:
    write(tmp_path / "odd", make() | {"regime": ["x"], "title": 3, "runs": [1, "2"]})
    write(tmp_path / "long", make("t" * 10_000))
    odd, long = sorted(ask("/logs")[1]["logs"], key=lambda log: log["name"], reverse=True)
    assert (odd["says"], odd["title"], odd["runs"], odd["kind"]) == (None, None, None, "check")
    assert len(long["title"]) == 2000


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_event_files_with_wrong_bytes_never_break_the_list(
    tmp_path_factory: pytest.TempPathFactory, random: Any
) -> None:
    """Each route answers: what cannot be read is left out, or an error in words."""
    from conftest import serving, small, written
    from werkzeug.test import Client

    folder = tmp_path_factory.mktemp("fuzzed")
    (file,) = (written(folder / "run", small()) / "verdict").iterdir()
    content = bytearray(file.read_bytes())
    for _ in range(random.randint(1, 8)):
        content[random.randrange(len(content))] = random.randrange(256)
    file.write_bytes(content[: random.randrange(len(content))] if random.random() < 0.3 else content)
    client = Client(serving(folder))
    assert client.get("/data/plugin/tpdyn/logs").status_code == 200
    for route in ("document", "program", "curves"):
        answer = client.get(f"/data/plugin/tpdyn/{route}?log=run/verdict")
        assert answer.status_code in (200, 404, 422)
        assert isinstance(json.loads(answer.get_data()), dict)


def test_two_writers_in_one_folder_have_a_log_each(tmp_path: Path, ask: Ask) -> None:
    from tpdyn.monitoring.history import History
    from tpdyn.monitoring.writer import Writer

    writers = [Writer(tmp_path / "run", History(width=width), {}) for width in (8, 16)]
    for step in range(3):
        for k, writer in enumerate(writers):
            writer.write(step, {("size", "fc"): float(k)}, {}, [])
    for writer in writers:
        writer.close()
    found = {log["name"]: ask(f"/document?log={log['id']}")[1] for log in ask("/logs")[1]["logs"]}
    assert {name: (each["width"], each["looks"]) for name, each in found.items()} == {"run": (8, 3), "run (2)": (16, 3)}


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path, ask: Ask, make: Make, write: Write) -> None:
    write(tmp_path / "run", make())
    places = [*tmp_path.rglob("*"), tmp_path]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        assert ask("/document?log=run/verdict") == (200, make())
    finally:
        for place in places[::-1]:
            place.chmod(0o755 if place.is_dir() else 0o644)
