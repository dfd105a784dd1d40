"""Proofs are run, watched, resumed and told; what cannot be run is refused."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tpdyn.commands import verify as command
from tpdyn.commands.failures import BadInput, Exit
from tpdyn.commands.verify import verify
from tpdyn.reporting import verified

PROOFS = {
    "test_two_and_two_are_four.py": "def test_sum():\n    assert 2 + 2 == 4\n\ndef test_circle():\n    print('error 0.1')\n",
    "test_two_and_two_are_five.py": "def test_sum():\n    assert 2 + 2 == 5\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "proofs"
    folder.mkdir()
    for name, text in PROOFS.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(command, "proofs", lambda: folder)
    return folder


def test_proofs_are_run_and_what_passed_is_not_run_again(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = verify("standard", logdir=tmp_path / "logs", jobs=2, progress=lambda *each: told.append(each))
    assert found.exit is Exit.DISAGREEMENT
    five, four = found.theorems
    assert (five.outcome, four.outcome, four.passed) == ("fails", "holds", 2)
    assert "assert (2 + 2) == 5" in five.failures[0][1]
    assert told[-1] == ("theorems", 2, 2)
    (folder / "test_two_and_two_are_five.py").unlink()
    again = verify("standard", logdir=tmp_path / "logs", jobs=1)
    assert again.exit is Exit.OK and (again.theorems[0].passed, again.theorems[0].known) == (0, 2)
    assert again.theorems[0].figures == four.figures == ("error 0.1",)  # kept with what passed
    with (folder / "test_two_and_two_are_four.py").open("a") as file:
        file.write("\n# another text of the proof is another proof\n")
    changed = verify("standard", only="four", logdir=tmp_path / "logs", jobs=1)
    assert (changed.theorems[0].passed, changed.theorems[0].known) == (2, 0)
    assert json.loads((tmp_path / "logs" / "verify" / "standard" / "verified.json").read_text())["holds"]
    text = verified.text(found.theorems, "standard", 1.0)
    assert "two and two are five  fails     1 failed" in text and "1 of 2 theorems hold" in text
    verified.log(found.theorems, 1.0, found.folder)
    assert list(found.folder.glob("events.out.tfevents.*"))


SPAWNING = """
import multiprocessing

def work(big):
    pass

def test_a_process_is_started():  # 1 MB: more than a pipe holds, so a child that dies early leaves its parent waiting
    process = multiprocessing.get_context("spawn").Process(target=work, args=(bytes(2**20),))
    process.start()
    process.join()
    assert process.exitcode == 0
"""


def test_a_proof_may_start_processes_that_import_it(folder: Path, tmp_path: Path) -> None:
    (folder / "test_processes.py").write_text(SPAWNING)
    found = verify("standard", only="processes", logdir=tmp_path / "logs", jobs=1)
    assert [(each.outcome, each.passed) for each in found.theorems] == [("holds", 1)]


STUCK = """
import subprocess, sys

def test_quick():
    pass

def test_stuck():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open("child", "w").write(str(child.pid))
    child.wait()
"""


def test_what_is_terminated_leaves_no_process_and_keeps_what_passed(folder: Path, tmp_path: Path) -> None:
    (folder / "test_stuck.py").write_text(STUCK)
    child = tmp_path / "logs" / "verify" / "standard" / "child"

    def terminate(what: str, done: int, total: int) -> None:
        if child.exists() and child.read_text():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        verify("standard", only="stuck", logdir=tmp_path / "logs", jobs=1, progress=terminate)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child.read_text()}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child.read_text()}").exists()
    (kept,) = child.parent.glob("passed-*/*.txt")
    assert json.loads(kept.read_text())["test"].endswith("test_quick")


def test_one_test_of_a_file_can_be_asked_for(folder: Path, tmp_path: Path) -> None:
    found = verify("standard", only="circle", logdir=tmp_path / "logs", jobs=1)
    assert [(each.name, each.passed) for each in found.theorems] == [("test_two_and_two_are_four", 1)]


def test_what_cannot_be_run_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="expected one of: quick, standard, thorough, gpu"):
        verify("slow", logdir=tmp_path)
    with pytest.raises(BadInput, match="no proof has this in its name"):
        verify(only="triangle", logdir=tmp_path)
    monkeypatch.setattr(command, "_has_gpu", lambda: False)
    with pytest.raises(BadInput, match="torch sees no GPU"):
        verify("gpu", logdir=tmp_path)


def test_what_a_profile_leaves_out_exists() -> None:
    names = {path.stem for path in command.proofs().glob("test_*.py")}
    for profile in command.PROFILES.values():
        assert not {*profile.left_out, *profile.only} - names
