"""Mirrors tpdyn/recorder/live/frames.py: a script's lines are the user's, those of libraries and of this package are not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

import tpdyn
from tpdyn.home import PACKAGE
from tpdyn.recorder.live.frames import is_user_file, source_at, user_source


def test_files_of_libraries_and_of_the_package_are_not_the_users() -> None:
    assert str(Path(tpdyn.__file__).parent) + os.sep == PACKAGE
    assert not is_user_file(torch.__file__)
    assert not is_user_file(os.__file__)
    assert not is_user_file(tpdyn.__file__)
    assert not is_user_file(PACKAGE + os.path.join("readings", "interpret.py"))
    assert not is_user_file("<frozen importlib._bootstrap>")


def test_scripts_notebooks_and_examples_of_an_installed_package_are_the_users() -> None:
    assert is_user_file(__file__)
    assert is_user_file("train.py")
    assert is_user_file("<ipython-input-1>")
    assert is_user_file(PACKAGE + os.path.join("examples", "digits_mlp.py"))


def test_the_line_that_runs_is_named_with_its_text() -> None:
    line = sys._getframe().f_lineno
    source = user_source()  # this line
    assert source.line == line + 1
    assert source.text.endswith("# this line")
    assert source_at(sys._getframe().f_code, line) == source_at(sys._getframe().f_code, line)


def test_a_text_that_a_script_executes_is_the_users_and_one_that_a_library_writes_is_not() -> None:
    """nanoGPT executes its configuration; einx writes its operations as it runs."""
    text = "def run(asked):\n    return asked()\n"
    scripts, librarys, alone = {"__file__": __file__}, {"__file__": torch.__file__}, {"__name__": "__main__"}
    lines = []
    for names in (scripts, librarys, alone, {}):
        exec(text, names)
        lines.append(names["run"](user_source).file)  # type: ignore[operator]
    here = source_at(sys._getframe().f_code, 1).file
    assert lines == ["<string>", here, "<string>", here]


def test_lines_are_known_where_the_script_removed_its_working_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    here = Path.cwd()
    os.chdir(gone)
    gone.rmdir()
    try:
        assert source_at(compile("\nx = 1", "some/relative.py", "exec"), 2).file == "some/relative.py"
    finally:
        os.chdir(here)
