"""Mirrors tpdyn/store/identity.py: what a run depends on changes its identity, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpdyn.store.identity import identity_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "parts.py").write_text("from . import deep\n")
    (tmp_path / "pack" / "deep.py").write_text("LR = 1\n")
    (tmp_path / "config.yaml").write_text("width: 3\n")
    (tmp_path / "log.txt").write_text("old\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    (tmp_path / "train.py").write_text(
        "import torch\n\ndef train(width):\n    from pack.parts import deep\n    open('config.yaml').read()\n"
        "    open('log.txt', 'w').write('x')\n    torch.save({}, 'model.pt')\n"
    )
    (tmp_path / "model.pt").write_text("")
    return tmp_path


def test_imports_in_functions_and_named_files_count_and_written_ones_do_not(folder: Path) -> None:
    found = identity_of(folder / "train.py", ["train"])
    assert set(found["files"]) == {"train.py", "pack/__init__.py", "pack/parts.py", "pack/deep.py", "config.yaml"}
    for name in ("other.py", "log.txt", "model.pt"):
        (folder / name).write_text("changed")
    assert identity_of(folder / "train.py", ["train"]) == found


@pytest.mark.parametrize("name", ["train.py", "pack/deep.py", "config.yaml"])
def test_a_change_of_what_it_reads_is_another_identity(folder: Path, name: str) -> None:
    before = identity_of(folder / "train.py")
    (folder / name).write_text((folder / name).read_text() + "\n# changed\n")
    assert identity_of(folder / "train.py") != before


def test_arguments_and_texts_that_stand_in_count(folder: Path) -> None:
    plain = identity_of(folder / "train.py", ["--set", "n=3"])
    assert identity_of(folder / "train.py", ["--set", "n=4"]) != plain
    text = (folder / "pack" / "deep.py").read_text()
    other = {str(folder / "pack" / "deep.py"): text.replace("1", "2")}
    assert identity_of(folder / "train.py", ["--set", "n=3"], other) != plain
    assert {"torch", "numpy", "python", "measuring"} == set(plain["versions"])
