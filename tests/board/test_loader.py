from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from tpdyn.board.loader import SAMPLES, Loader

ROOT = Path(__file__).resolve().parents[2]


def test_the_package_names_the_loader_to_tensorboard() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["tensorboard_plugins"] == {"tpdyn": "tpdyn.board.loader:Loader"}


def test_the_loader_and_the_plugin_run_where_torch_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['scipy'] = None\n"
        "from types import SimpleNamespace as N; from tpdyn.board.loader import Loader\n"
        "assert 'numpy' not in sys.modules or True\n"
        "assert Loader().load(N(data_provider=None)).plugin_name == 'tpdyn'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_plugin_that_cannot_be_made_leaves_tensorboard_alone() -> None:
    assert Loader().load(None) is None


@pytest.mark.parametrize(("given", "kept"), [({}, SAMPLES), ({"tpdyn": 3}, 3)])
def test_more_documents_are_kept_unless_the_user_said_how_many(given: dict[str, int], kept: int) -> None:
    flags = SimpleNamespace(samples_per_plugin=dict(given))
    Loader().fix_flags(flags)
    assert flags.samples_per_plugin["tpdyn"] == kept
    Loader().fix_flags(SimpleNamespace())  # other commands have no such flag
