"""Mirrors tpdyn/reporting/folders.py: one folder a script, and nothing of others is lost."""

from __future__ import annotations

from pathlib import Path

from tpdyn.reporting.folders import folder_of, write_folder


def writes(text: str, name: str = "events.out.tfevents.1.tpdyn") -> object:
    def write(folder: Path) -> None:
        (folder / "run").mkdir(parents=True)
        (folder / "run" / name).write_text(text)

    return write


def test_scripts_of_one_name_in_two_folders_have_two_logs(tmp_path: Path) -> None:
    first = write_folder(folder_of(tmp_path, "train", "/a/train.py"), writes("a"), "/a/train.py")  # type: ignore[arg-type]
    second = write_folder(folder_of(tmp_path, "train", "/b/train.py"), writes("b"), "/b/train.py")  # type: ignore[arg-type]
    assert (first.name, second.name) == ("train", "train-2")
    again = write_folder(folder_of(tmp_path, "train", "/a/train.py"), writes("c"), "/a/train.py")  # type: ignore[arg-type]
    assert again == first and (first / "run" / "events.out.tfevents.1.tpdyn").read_text() == "c"
    assert folder_of(tmp_path, "train", "/b/train.py") == second


def test_files_that_somebody_added_are_kept_and_ours_are_replaced(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "train", writes("old"))  # type: ignore[arg-type]
    (folder / "notes.md").write_text("my notes")
    (folder / "run" / "also.txt").write_text("mine")
    write_folder(folder, writes("new", "events.out.tfevents.2.tpdyn"))  # type: ignore[arg-type]
    assert (folder / "notes.md").read_text() == "my notes" and (folder / "run" / "also.txt").read_text() == "mine"
    assert [path.name for path in (folder / "run").glob("events*")] == ["events.out.tfevents.2.tpdyn"]
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
