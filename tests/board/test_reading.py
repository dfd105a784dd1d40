from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
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
        (gzip.compress(b"[1]"), "no object"),
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
