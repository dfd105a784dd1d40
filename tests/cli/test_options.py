from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import typer

from tpdyn.cli.options import limits_of, pair_of, targets, widths_of, words


def test_numbers_with_commas_between_are_read() -> None:
    assert widths_of("64,128") == (64, 128)
    assert pair_of("-6,6") == (-6, 6)
    assert limits_of("-1,5/2") == (Fraction(-1), Fraction(5, 2))


@pytest.mark.parametrize(
    ("read", "text"),
    [(widths_of, "64,a"), (widths_of, "64,-3"), (widths_of, "0"), (pair_of, "1,2,3"), (limits_of, "0,1/0")],
)
def test_anything_else_says_what_was_expected(read, text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected"):
        read(text)


def test_a_shell_is_offered_files_folders_functions_and_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/train.py").write_text(
        "def train(width):\n    pass\n\ndef trace(width, lr=1):\n    pass\n\ndef main():\n    pass\n"
    )
    Path("models/notes.txt").write_text("")
    assert targets("mo") == ["models/"] and targets("models/") == ["models/train.py"]
    assert targets("models/train.py:") == ["models/train.py:train", "models/train.py:trace"]
    assert targets("models/train.py:tri") == [] and targets("nowhere.py:") == []
    assert words("fea") == ["feature learning"]
