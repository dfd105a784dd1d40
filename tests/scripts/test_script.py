"""Does a target on the command line become the right function of the width?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tpdyn.recorder.live.recorder import record_tape
from tpdyn.scripts.script import BadTarget, load

TRAIN = """
import argparse, sys
import torch, neighbour
from torch import nn

def main(width, lr=0.1):
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(neighbour.STEPS):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()

number = 3
def two(a, b): ...
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--d-model", type=int)
    parser.add_argument("--lr", type=float)
    options = parser.parse_args()
    main(options.d_model, options.lr)
    sys.exit(0)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("STEPS = 5\n")
    file = tmp_path / "train.py"
    file.write_text(TRAIN)
    yield file
    sys.modules.pop("neighbour", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


def test_a_function_of_a_file_is_loaded_and_recorded(script: Path) -> None:
    tape = record_tape(load(f"{script}:main"), 8, 2, seed=0)
    assert tape.steps == 2
    assert any(node.origin.source.file.endswith("train.py") for node in tape.nodes)


def test_a_script_runs_as_main_with_its_own_option_set_to_the_width(script: Path) -> None:
    before = list(sys.argv), list(sys.path), os.getcwd()
    run = load(str(script), "--d-model", ["--lr", "0.5"])
    tape = record_tape(run, 24, 2, seed=0)
    assert tape.steps == 2
    assert any(meta is not None and 24 in meta.shape for node in tape.nodes for meta in node.outputs)
    assert any(node.kwargs.get("alpha") == -0.5 for node in tape.nodes)
    assert (sys.argv, sys.path, os.getcwd()) == before


def test_a_script_that_exits_after_training_is_fine(script: Path) -> None:
    tape = record_tape(load(str(script), "--d-model", ["--lr", "0.5"]), 24, 10, seed=0)
    assert tape.steps == 5
    assert any("after 5 optimizer steps" in note for note in tape.notes)


def test_a_width_argument_that_ends_with_an_equals_sign_is_one_word(tmp_path: Path) -> None:
    file = tmp_path / "words.py"
    file.write_text("import sys, os\nwords = sys.argv\nos.chdir('/')\n")
    before = os.getcwd()
    assert load(str(file), "n_embd=", ["a"])(64)["words"] == [str(file), "a", "n_embd=64"]  # type: ignore[index]
    assert os.getcwd() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--d-model", "--d-ff=4*n"], ["--d-model=64", "--d-ff=256"]),
        (["n_embd=n", "-h=n/16", "-q"], ["n_embd=64", "-h", "4", "-q", "64"]),
        (["model.sizes=[{n},{4 * n}]", "{n/2}"], ["model.sizes=[64,256]", "32"]),
        (["--d-model {n}"], ["--d-model", "64"]),
        (["--d-model={n}", "--d-ff="], ["--d-model=64", "--d-ff=64"]),
    ],
)
def test_several_options_follow_the_width_each_by_its_formula(
    tmp_path: Path, options: list[str], words: list[str]
) -> None:
    file = tmp_path / "words.py"
    file.write_text("import sys\nwords = sys.argv\n")
    assert load(str(file), options, ["a"])(64)["words"] == [str(file), "a", *words]  # type: ignore[index]


def test_a_formula_without_a_whole_number_is_refused_at_the_door(script: Path) -> None:
    with pytest.raises(BadTarget, match="n/16 is 5/4 at width 20; expected a positive whole number"):
        load(str(script), ["--d-model", "--heads=n/16"], widths=(16, 20))
    with pytest.raises(BadTarget, match="expected a formula in n"):
        load(str(script), ["--d-model=width"])


@pytest.mark.parametrize(
    ("target", "width_arg", "arguments", "message"),
    [
        ("nowhere.py:train", None, [], "no such file"),
        ("nowhere.py", "--n", [], "no such file"),
        ("{}:mein", None, [], "no function 'mein'; it has: main, two. Try .*train.py:main$"),
        ("{}:batches", None, [], r"it has: main, two. Expected a function of the width, train\(width: int\)$"),
        ("{}:number", None, [], "number is int; expected a function"),
        ("{}:two", None, [], r"two\(a, b\) cannot be called with the width alone"),
        (
            "{}",
            None,
            [],
            r"without a width argument.*its width \(--d-model\), as in --width-arg=--d-model, or a function",
        ),
        ("{}:main", "--n", [], "at once"),
        ("{}:main", None, ["--lr"], "no further words"),
    ],
)
def test_bad_targets_are_refused_at_the_door(
    script: Path, target: str, width_arg: str | None, arguments: list[str], message: str
) -> None:
    with pytest.raises(BadTarget, match=message):
        load(target.format(script), width_arg, arguments)


def test_a_file_that_cannot_be_imported_says_why(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("import no_such_module_anywhere\n")
    with pytest.raises(BadTarget, match=r"cannot be imported: ModuleNotFoundError"):
        load(f"{file}:train")


def test_an_import_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hangs.py"
    file.write_text("import time\nwhile True:\n    try:\n        time.sleep(1)\n    except:\n        pass\n")
    monkeypatch.setattr("tpdyn.scripts.script.IMPORT", 0.1)
    with pytest.raises(BadTarget, match=r"hangs\.py took longer than 0\.1 s to be imported.*if __name__"):
        load(f"{file}:train")


def test_an_import_sees_arguments_of_its_own_and_prints_beside_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "parses.py"
    file.write_text(
        "import argparse\n"
        "arguments = argparse.ArgumentParser().parse_args()\n"
        "print('hello')\n"
        "def train(width):\n    pass\n"
    )
    monkeypatch.setattr("sys.argv", ["tpdyn", "check", "parses.py:train", "--widths", "8,16"])
    load(f"{file}:train")
    out = capsys.readouterr()
    assert out.out == "" and out.err == "hello\n"


def test_processes_that_the_script_starts_find_its_functions_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python starts them with the same folders: a function is found where an import of its module finds it."""
    monkeypatch.setattr("sys.path", list(sys.path))
    for stem in ("a_script_that_spawns", "random"):
        (tmp_path / f"{stem}.py").write_text("def train(width):\n    pass\n")
        load(f"{tmp_path}/{stem}.py:train")
    found = [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]
    assert sorted(found) == ["a_script_that_spawns", "tpdyn_target_random"]
    for name in found:
        del sys.modules[name]


CONFIGURATOR = """\
import sys
for arg in sys.argv[1:]:
    if "=" not in arg:
        assert not arg.startswith("--")
    else:
        key, value = arg.split("=")
        globals()[key[2:]] = int(value)
"""


@pytest.mark.parametrize("executed", [True, False])
def test_a_script_gets_its_option_in_one_word_and_is_told_how_where_it_wants_another_form(
    tmp_path: Path, executed: bool
) -> None:
    (tmp_path / "configurator.py").write_text(CONFIGURATOR)
    file = tmp_path / "train.py"
    file.write_text(
        f"with open({str(tmp_path / 'configurator.py')!r}) as f:\n    exec(f.read())\n" if executed else CONFIGURATOR
    )
    assert load(str(file), ["--n_embd", "--ff=4*n"])(64)["ff"] == 256  # type: ignore[index]
    with pytest.raises(
        BadTarget, match=r"take --n_embd 64 \(AssertionError: \).*one word: --width-arg='--n_embd=\{n\}'"
    ):
        load(str(file), "--n_embd {n}")(64)
    by_hand = tmp_path / "by_hand.py"
    by_hand.write_text("import sys\nwidth = int(sys.argv[sys.argv.index('--ff') + 1])\n")
    with pytest.raises(BadTarget, match=r"take --ff=256 \(ValueError.*two words: --width-arg='--ff \{4\*n\}'"):
        load(str(by_hand), ["--n_embd", "--ff=4*n"])(64)
    assert load(str(by_hand), "--ff {4*n}")(64)["width"] == 256  # type: ignore[index]


def test_another_error_of_a_script_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text("import sys\nword = sys.argv[1]\nraise AssertionError(word[-2:])\n")
    with pytest.raises(AssertionError, match="64"):
        load(str(file), "--n_embd")(64)


def test_an_option_that_the_script_has_not_is_told_with_those_that_it_has(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, words, wrong in ((["--d-modle"], [], "--d-modle"), (["--d-model"], ["--lrr", "1"], "--lrr")):
        with pytest.raises(BadTarget, match=f"has no option {wrong}; its options are --d-model, --lr. Is it --"):
            load(str(script), options, words)(8)
    assert "unrecognized arguments: --d-modle=8" in capsys.readouterr().err  # what the script itself has to say


DRAWING = """
import torch
X = torch.randn(4, 3)
seen = []
"""

USING = """
import sys, torch
import drawing_of_data
drawing_of_data.seen.append(1)
assert len(drawing_of_data.seen) == 1
width = int(sys.argv[1].partition("=")[2])
model = torch.nn.Linear(3, width)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(drawing_of_data.X).square().mean().backward()
    optimizer.step()
"""


def test_what_lies_beside_a_script_is_imported_anew_in_each_run_as_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Data that an imported file draws were an array of the first run, and given from outside in all others."""
    (tmp_path / "drawing_of_data.py").write_text(DRAWING)
    (tmp_path / "train.py").write_text(USING)
    tapes = [record_tape(load(str(tmp_path / "train.py"), "--width"), width, 2, seed=0) for width in (8, 8)]
    assert [node.op for node in tapes[0].nodes] == [node.op for node in tapes[1].nodes]
    assert "drawing_of_data" not in sys.modules


def test_a_script_may_remove_the_folder_that_it_went_to(tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text("import os, shutil, tempfile\nd = tempfile.mkdtemp()\nos.chdir(d)\nn = 3\nshutil.rmtree(d)\n")
    before = os.getcwd()
    assert load(str(file), settings=["n=n"])(64)["n"] == 64  # type: ignore[index]
    assert os.getcwd() == before
