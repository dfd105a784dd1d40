"""Mirrors tpdyn/scripts/standing_in.py: a file is run as another text, and everything is as it was afterwards."""

from __future__ import annotations

import io
import linecache
import runpy
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tpdyn.scripts.standing_in import imported_as, standing_in, text_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "stood_helper.py").write_text("X = 1\n")
    (tmp_path / "stood_main.py").write_text("import stood_helper\nY = stood_helper.X\n")
    yield tmp_path
    sys.modules.pop("stood_helper", None)


def ran(folder: Path) -> int:
    found: int = runpy.run_path(str(folder / "stood_main.py"))["Y"]
    return found


def test_a_file_that_is_imported_or_run_is_the_given_text(folder: Path) -> None:
    helper, main = folder / "stood_helper.py", folder / "stood_main.py"
    with standing_in({str(helper): "X = 2\n"}):
        assert ran(folder) == 2
        assert linecache.getline(str(helper), 1) == "X = 2\n"
    with standing_in({str(main): "Y = 3\n"}):
        assert ran(folder) == 3
    assert ran(folder) == 1 and helper.read_text() == "X = 1\n"


def test_modules_that_were_imported_before_come_back_as_the_same_objects(folder: Path) -> None:
    before = import_module("stood_helper")
    with standing_in({str(folder / "stood_helper.py"): "X = 2\n"}):
        assert import_module("stood_helper").X == 2
    assert sys.modules["stood_helper"] is before and before.X == 1


def test_after_an_error_nothing_stands_in_any_more(folder: Path) -> None:
    opens = io.open_code
    with pytest.raises(ZeroDivisionError), standing_in({str(folder / "stood_main.py"): "1 / 0\n"}):
        ran(folder)
    assert io.open_code is opens
    assert ran(folder) == 1


def test_a_file_may_be_given_as_code_and_shows_its_own_lines(folder: Path) -> None:
    helper = folder / "stood_helper.py"
    with imported_as({str(helper): compile("X = 5\n", str(helper), "exec")}):
        assert import_module("stood_helper").X == 5
        assert linecache.getline(str(helper), 1) == "X = 1\n"
    assert "stood_helper" not in sys.modules


def test_what_lies_beside_a_script_is_forgotten_and_so_is_what_it_put_on_the_path(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "other").mkdir()
    (folder / "below" / "stood_main.py").write_text("")
    (folder / "below" / "stood_beside.py").write_text("")
    (folder / "other" / "stood_elsewhere.py").write_text("")
    above = import_module("stood_helper")
    before = list(sys.path)
    try:
        with imported_as({}, main=str(folder / "below" / "stood_main.py")):
            sys.path += [str(folder / "below"), str(folder / "other"), str(folder)]
            import_module("stood_beside")
            import_module("stood_elsewhere")
            assert import_module("stood_helper") is above
    finally:
        sys.path[:] = before
    assert {"stood_beside", "stood_elsewhere", "stood_helper"} & set(sys.modules) == {"stood_helper"}


def test_a_text_keeps_its_line_ends_and_follows_its_encoding_line(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_bytes("# coding: latin-1\r\nx = 'é'\r\n".encode("latin-1"))
    assert text_of(file) == "# coding: latin-1\r\nx = 'é'\r\n"
