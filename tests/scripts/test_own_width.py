"""Is the width found at which a script was tuned?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tpdyn.scripts.own_width import own_width

TEXT = """
import argparse
n_embd = 384
hidden = 4 * n_embd
parser = argparse.ArgumentParser()
parser.add_argument("-d", "--d-model", type=int, default=96)
parser.add_argument("--heads", type=int)
layer = 100 + 100
other = 100 + 300
"""


@pytest.mark.parametrize(
    ("options", "settings", "width"),
    [
        ((), ("n_embd=n",), 384),
        ((), ("100=n",), 100),
        ((), ("n_embd=4*n",), None),
        (("--d-model",), (), 96),
        (("--d-model=n",), (), 96),
        (("--d-model=4*n",), (), None),
        (("--heads",), (), None),
        (("--model={n}",), (), None),
        (("--heads", "-d"), (), 96),
        ((), ("nowhere=n",), None),
    ],
)
def test_the_width_is_the_number_that_is_replaced(
    tmp_path: Path, options: tuple[str, ...], settings: tuple[str, ...], width: int | None
) -> None:
    script = tmp_path / "train.py"
    script.write_text(TEXT)
    assert own_width(script, options, settings) == width
