"""`tpdyn fix` edits the example GPT as it is: attention's logits, the tied readout and the optimizer; and it runs on.

What makes it maximal is checked by the command itself ("verified"). It takes half a minute, so the quick profile leaves it
out. tests/parametrizing/test_fix.py checks the same edits in smaller scripts.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tpdyn.cli import app

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "gpt.py"
WORDS = ("--width-arg=--d-model", "--record-widths", "32,48,64", "--base-width", "48")


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") == "quick", reason="takes half a minute")
def test_the_example_gpt_is_fixed_and_runs_at_other_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, "script.py")
    done = CliRunner().invoke(app, ["fix", "script.py", *WORDS])
    assert done.exit_code == 0, done.stderr
    assert "\nverified: " in done.stderr and "bit for bit" in done.stderr
    assert "scale=self.scale * (q.shape[-1] / 12) ** -0.5)" in done.stdout
    assert "(self.head(self.ln(x)) * (self.head.weight.shape[-1] / 48) ** -1)" in done.stdout
    if shutil.which("patch") is None:
        pytest.skip("patch is not installed")
    subprocess.run(["patch", "-p0"], input=done.stdout, text=True, check=True, capture_output=True)
    command = [sys.executable, "script.py", "--steps", "3", "--layers", "3", "--d-model", "96"]
    subprocess.run(command, check=True, capture_output=True)
