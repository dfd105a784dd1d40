"""Does a script see its files, and write none of them?"""

from __future__ import annotations

import gc
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from tpdyn.scripts.scratch import InScratch, scratch


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "out" / "deep").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt").write_text("data")
    (folder / "out" / "deep" / "log.txt").write_text("log")
    (folder / "notes.txt").write_text("notes")
    torch.save({"step": 5}, folder / "last.pt")
    monkeypatch.chdir(folder)
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_inputs_are_seen_and_what_is_written_stays_in_the_run(here: Path) -> None:
    before = everything(here.parent)
    with scratch() as made:
        assert Path("../data/train.txt").read_text() == "data" and Path("notes.txt").read_text() == "notes"
        Path("notes.txt").write_text("overwritten")
        with open("../data/train.txt", "a") as file:
            file.write(" and more")
        assert Path("../data/train.txt").read_text() == "data and more"
        assert torch.load("last.pt")["step"] == 5
        torch.save({"step": 6}, "last.pt")
        assert torch.load("last.pt")["step"] == 6
        Path("out/deep/new.txt").write_text("new")
        Path("out/deep/log.txt").unlink()
        os.makedirs("out/further/folder")
        os.rename("notes.txt", "out/moved.txt")
        with pytest.raises(FileExistsError):
            Path("last.pt").touch(exist_ok=False)
        shutil.rmtree("out")
        Path("left.txt").write_text("left")
    assert everything(here.parent) == before and Path.cwd() == here
    assert made.written == {"../data/train.txt": 13, "last.pt": made.written["last.pt"], "left.txt": 4}
    assert not made.outside and not Path(made.folder).exists()


def test_no_run_finds_what_another_wrote_and_the_first_says_what_that_is(here: Path) -> None:
    said: list[str] = []

    def train(width: int) -> int:
        assert not Path("checkpoint.txt").exists()
        Path("checkpoint.txt").write_text(str(width))
        return width

    run = InScratch(train, said.append)
    assert [run(8), run(16)] == [8, 16]
    assert len(said) == 1 and "each run writes checkpoint.txt" in said[0] and "--in-place" in said[0]
    assert not Path("checkpoint.txt").exists()


def test_runs_of_one_script_share_a_folder_that_is_put_back_and_shows_what_is_new(here: Path) -> None:
    seen: list[tuple[str, list[str]]] = []

    def train(width: int) -> None:
        seen.append((os.getcwd(), sorted(os.listdir(".")) + os.listdir("out") + [Path("notes.txt").read_text()]))
        Path("notes.txt").unlink()
        os.symlink("out", "mine")
        os.symlink("last.pt", "notes.txt")
        shutil.rmtree("out")
        Path("../data/more").mkdir()

    run = InScratch(train)
    run(8)
    run(8)
    (here / "later.txt").write_text("new")
    (here / "last.pt").unlink()
    run(8)
    copy = pickle.loads(pickle.dumps(InScratch(os.listdir)))
    assert copy._spare is None
    folder, first = seen[0]
    assert seen[1] == (folder, first) == (folder, ["last.pt", "notes.txt", "out", "deep", "notes"])
    assert seen[2] == (folder, ["later.txt", "notes.txt", "out", "deep", "notes"])
    del run
    gc.collect()
    assert not Path(folder).exists()


def test_a_folder_that_is_removed_by_its_own_script_and_an_error_leave_nothing(here: Path) -> None:
    before = everything(here.parent)

    def train(width: int) -> None:
        shutil.rmtree("out")
        os.mkdir("out")
        raise ValueError("the script's own")

    with pytest.raises(ValueError, match="own"):
        InScratch(train)(8)
    assert everything(here.parent) == before and Path.cwd() == here


def test_writes_elsewhere_are_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(here / "temporary"))
    (here / "temporary").mkdir()
    with scratch() as made:
        Path(here / "notes.txt").write_text("by its full path")
    assert made.outside == [str(here / "notes.txt")]
