"""Is a file written at once or not at all?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest

from tpdyn.atomic import atomic_write


def test_a_file_is_replaced_as_a_whole_and_its_folder_is_made_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with pytest.raises(FileNotFoundError):
        atomic_write(path, "first")
    assert atomic_write(path, "first", parents=True) == path
    atomic_write(path, lambda file: file.write("zwölf".encode()))
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert os.listdir(path.parent) == ["b.txt"]


def test_what_fails_half_way_leaves_the_earlier_file_and_nothing_beside_it(tmp_path: Path) -> None:
    def broken(file: IO[bytes]) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    path = atomic_write(tmp_path / "b.txt", "earlier")
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, broken)
    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_others_may_read_it_as_far_as_the_user_lets_them(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("")
    assert atomic_write(tmp_path / "b.txt", "").stat().st_mode == plain.stat().st_mode
