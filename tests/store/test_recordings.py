"""A recording is made once for its script, its steps and this package. What cannot be kept or read is made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpdyn.program.program import Program
from tpdyn.recorder.record import record
from tpdyn.store import recordings
from tpdyn.store.means import Means
from tpdyn.store.recordings import recorded
from tpdyn.store.store import Store
from tpdyn.testing.perceptrons import mlp_script


@pytest.fixture(scope="module")
def program() -> Program:
    return record(mlp_script(1), steps=1)


def counted(program: Program, made: list[int]) -> Program:
    made.append(1)
    return program


def test_a_recording_is_made_once_and_comes_back_the_same(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means, made = Means(Store.under(tmp_path), {"script": "a"}), list[int]()

    def make() -> Program:
        return counted(program, made)

    recorded(make, means, 1)
    assert recorded(make, means, 1).to_json() == program.to_json() and len(made) == 1
    recorded(make, means, 2)
    recorded(make, Means(Store.under(tmp_path), {"script": "b"}), 1)
    assert len(made) == 3  # other steps and other scripts are others
    monkeypatch.setattr(recordings, "package", lambda: "changed")
    recorded(make, means, 1)
    assert len(made) == 4  # the recorder changed


def test_a_broken_file_is_made_anew_and_a_folder_that_cannot_be_written_loses_nothing(
    program: Program, tmp_path: Path
) -> None:
    means, made = Means(Store.under(tmp_path), {"script": "a"}), list[int]()
    recorded(lambda: program, means, 1)
    (file,) = (tmp_path / recordings.FOLDER).glob("*.json")
    file.write_text(file.read_text()[:100])
    assert recorded(lambda: counted(program, made), means, 1) is program and made == [1]
    assert Program.from_json(file.read_text()).to_json() == program.to_json()
    (tmp_path / "plain").write_text("no folder")
    assert recorded(lambda: program, Means(Store(tmp_path / "plain" / "runs"), {"script": "a"}), 1) is program
