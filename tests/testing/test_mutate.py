"""Mutants are applied in a process of their own, and what their checks say is told apart from what breaks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tpdyn.testing.mutants import ALL, Mutant
from tpdyn.testing.mutants.mutant import read
from tpdyn.testing.mutate import CHECKS, PROOFS, Result, checks_of, each_of, main, table

ROOT = Path(__file__).resolve().parents[2]


def test_the_mutants_apply_and_are_many() -> None:
    made = {mutant.name: mutant.applied((ROOT / "tpdyn" / mutant.file).read_text()) for mutant in ALL}
    assert len(made) == len(ALL) >= 300
    stale = [name for name, text in made.items() if text is None]
    assert not stale, f"move these with their lines, or delete them: {stale}"
    for name, text in made.items():
        compile(text or "", name, "exec")


def test_the_page_names_every_mutant_and_no_other() -> None:
    page = (ROOT / "docs" / "reference" / "mutants.md").read_text()
    assert {f"{file}: {what}" for file, what in re.findall(r"^\| `(.+?)` \| (.+?) \| ", page, re.M)} == {
        m.name for m in ALL
    }


def test_a_mutant_changes_something_and_its_text_occurs_once() -> None:
    mutant = Mutant("orders", "one for two", "a.py", "1", "2")
    assert mutant.applied("x = 1\n") == "x = 2\n" and mutant.line("\nx = 1\n") == 2
    assert mutant.applied("x = 1 + 1\n") is None and mutant.line("x = 1 + 1") == 0
    with pytest.raises(ValueError, match="changes nothing"):
        Mutant("orders", "one", "a.py", "1", "1")


def test_mutants_are_read_as_small_diffs() -> None:
    text = "About sums.\n\n@@ a.py\n\nminus\n-x + y\n+x - y\n= it is zero\n\ntwo lines go\n-  if x:\n-    return\n"
    assert list(read("orders", text)) == [
        Mutant("orders", "minus", "a.py", "x + y", "x - y", "it is zero"),
        Mutant("orders", "two lines go", "a.py", "  if x:\n    return", ""),
    ]
    for wrong in (
        "About.\n\nminus\n-x\n+y\n",
        "About.\n\n@@ a.py\n\nminus\n+y\n",
        "About.\n\n@@ a.py\n\nminus\n-x\ny\n",
    ):
        with pytest.raises(ValueError, match=r"orders\.diff: 'minus"):
            list(read("orders", wrong))


def test_the_checks_of_every_area_exist() -> None:
    for paths in (*CHECKS.values(), *PROOFS.values()):
        assert not [path for path in paths if not (ROOT / path).exists()]
    assert set(CHECKS) == set(PROOFS) == {mutant.area for mutant in ALL}
    first = checks_of(Mutant("orders", "x", "readings/orders/terms.py", "a", "b"), ROOT)[0]
    assert first == "tests/readings/orders/test_terms.py"


WORLD = {
    "tpdyn/__init__.py": "",
    "tpdyn/sums.py": "def add(x, y):\n    return x + y\n",
    "tests/test_sums.py": "from tpdyn.sums import add\ndef test_sum():\n    assert add(2, 1) == 3\n",
    "run.py": """
import sys, pathlib
from importlib import util
spec = util.spec_from_file_location("mutate_alone", sys.argv[1])
module = util.module_from_spec(spec); sys.modules[spec.name] = module; spec.loader.exec_module(module)
M = module.Mutant
module.CHECKS = {"orders": ("tests",)}
found = module.results_of([
    M("orders", "minus", "sums.py", "x + y", "x - y"),
    M("orders", "the same", "sums.py", "x + y", "y + x"),
    M("orders", "gone", "sums.py", "x * y", "y + x"),
    M("orders", "crash", "sums.py", "return x + y", "import os; os._exit(9)"),
], pathlib.Path.cwd(), jobs=2)
print({each.name.split(": ")[1]: (each.fate, each.by) for each in found})
""",
}


def test_a_wrong_rule_is_noticed_an_equivalent_one_survives_and_a_missing_line_is_stale(tmp_path: Path) -> None:
    for name, text in WORLD.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tpdyn" / "testing").symlink_to(ROOT / "tpdyn" / "testing")
    program = [sys.executable, "run.py", str(ROOT / "tpdyn" / "testing" / "mutate.py")]
    world = {
        "PYTHONPATH": str(tmp_path),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # ours is not in that world
        "PYTEST_PLUGINS": "_hypothesis_pytestplugin",
        "HYPOTHESIS_NO_PLUGINS": "1",
    }
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, env=world)
    assert done.returncode == 0, done.stderr
    assert "'minus': ('noticed', 'tests/test_sums.py::test_sum')" in done.stdout
    assert "'crash': ('noticed', 'a crash')" in done.stdout
    assert "'the same': ('survived', '')" in done.stdout and "'gone': ('stale', '')" in done.stdout


def test_the_table_counts_and_names_survivors() -> None:
    mutants = [Mutant("orders", str(k), "a.py", "1", "2") for k in range(4)]
    results = [
        Result("a.py: 0", "orders", "noticed", "tests/x"),
        Result("a.py: 1", "orders", "survived"),
        Result("a.py: 2", "orders", "survived", equivalent="it only gets slower"),
    ]
    text = table(results, mutants)
    assert "| orders | 4 | 3 | 1 | 1 | 1 |" in text
    assert "* `a.py: 1`" in text and "* `a.py: 2`: it only gets slower" in text


def test_the_command_wants_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--list"]) == 2
    assert "not a checkout" in capsys.readouterr().err
    monkeypatch.chdir(ROOT)
    assert main(["--list", "--only", "the dot is dropped"]) == 0
    assert "readings/orders/contraction.py:" in capsys.readouterr().out


def test_each_sabotage_is_listed_with_the_check_that_noticed_it() -> None:
    found = [
        Result("a.py: minus", "orders", "noticed", "tests/test_a.py::test_sum"),
        Result("a.py: the same", "orders", "survived", "", 1.0, "a sum commutes"),
        Result("b.py: gone", "sampled", "survived"),
    ]
    text = each_of(found)
    assert "| `a.py` | minus | `test_a.py::test_sum` |" in text
    assert "| `a.py` | the same | equivalent |" in text and "| `b.py` | gone | survived |" in text
