"""Mirrors tpdyn/commands/files.py: results go where they were asked for, and replace nothing else."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from tpdyn.commands.failures import BadInput
from tpdyn.commands.files import json_writer

CONTENT = {"regime": "kernel"}


def test_a_link_stays_a_link_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "verdict.json"
    link.symlink_to(tmp_path / "elsewhere" / "real.json")
    for _ in range(2):  # the file it points to need not exist
        json_writer(link)(lambda: CONTENT)
        assert link.is_symlink() and json.loads((tmp_path / "elsewhere" / "real.json").read_text()) == CONTENT
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "verdict.json"]


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    json_writer(pipe)(lambda: CONTENT)
    reader.join(10)
    assert json.loads(read[0]) == CONTENT and pipe.is_fifo()


def test_a_device_is_written_through() -> None:
    json_writer(Path("/dev/null"))(lambda: CONTENT)
    assert Path("/dev/null").is_char_device()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        json_writer(tmp_path)
