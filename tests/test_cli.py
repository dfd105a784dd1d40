"""Each way in and each way out of the command line, on small scripts written for the purpose."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tpdyn.cli import app
from tpdyn.commands import demo

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
    import argparse, os, signal, time, torch
    from torch import nn

    def train(width, lr=None, init=None, steps=20):
        model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        first, hidden, out = model[0], model[2], model[4]
        nn.init.normal_(out.weight, std=1 / width)
        rates = lr(width) if lr else (width, 1.0, 1 / width)
        optimizer = torch.optim.SGD([
            {"params": [*first.parameters(), hidden.bias], "lr": 0.2 * rates[0]},
            {"params": [hidden.weight, out.bias], "lr": 0.2 * rates[1]},
            {"params": [out.weight], "lr": 0.2 * rates[2]},
        ])
        draws = torch.Generator().manual_seed(1)
        x, y = torch.randn(7, 5, generator=draws), torch.randn(7, 1, generator=draws)
        for step in range(steps):
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print("loss at step", step, "width", width)

    def unstable(width):
        train(width, lambda n: (n, n, n))

    def trivial(width):
        train(width, lambda n: (1 / n, 1 / n, 1 / n**2))

    def changes_its_mind(width):
        train(width, (lambda n: (n, 1, 1 / n)) if width < 60 else (lambda n: (1, 1 / n, 1 / n**2)))

    def raises(width):
        raise KeyError("no such thing in the file")

    def never_steps(width):
        nn.Linear(5, width)(torch.ones(2, 5))

    def ignores_the_width(width):
        train(20)

    def sorts(width):
        weight = nn.Parameter(torch.randn(width, 5))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for _ in range(5):
            loss = torch.linalg.svdvals(torch.ones(7, 5) @ weight.T).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def interrupted(width):
        raise KeyboardInterrupt

    def leaves(width):
        raise SystemExit("the file with the data is missing")

    def leaves_for_good(width):
        os._exit(0)

    def retries_forever(width):
        while True:
            try:
                train(width)
            except:
                time.sleep(0.01)

    def saves_when_interrupted(width):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("saved")

    def writes(width):
        with open("checkpoint.txt", "a") as file:
            file.write("x")
        train(width)

    def goes_elsewhere(width):
        os.chdir(os.environ["ELSEWHERE"])
        train(width)

    if __name__ == "__main__":
        parser = argparse.ArgumentParser()
        parser.add_argument("--d-model", type=int, default=8)
        parser.add_argument("--steps", type=int, default=1)
        arguments = parser.parse_args()
        train(arguments.d_model, steps=arguments.steps)
"""

Run = Callable[..., Result]
Published = Callable[[dict[str, Any]], list[str]]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(dedent(SCRIPT))
    return path


@pytest.fixture
def tpdyn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder; returns what came out."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # Numbers in messages of a wide terminal must not be broken by its width.
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    return run


def printed_fix(text: str) -> str:
    """The command of the verdict's line `fix`, as a shell joins its lines."""
    return text[text.index("  fix   tpdyn") :].removeprefix("  fix   ").replace("\\\n", "").partition("\n")[0]


def left_behind() -> list[str]:
    return sorted(path.name for path in Path.cwd().iterdir())


def test_a_script_that_learns_features_at_every_width_passes(tpdyn: Run, script: Path, published: Published) -> None:
    done = tpdyn("check", f"{script}:train", "--json", "verdict.json")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("  FEATURE LEARNING")
    assert "the runs confirm it" in done.stdout.splitlines()[2]
    assert "tpdyn: measuring 32/32" in done.stderr.splitlines()
    verdict = json.loads(Path("verdict.json").read_text())
    assert verdict["regime"] == "feature learning"
    assert verdict["agrees"] is True
    module = next(each for each in verdict["modules"] if each["name"] == "2")
    assert module["size_order"] == "0"
    assert module["change_order"] == "0"
    assert module["measured_change_order"]["low"] < 0 < module["measured_change_order"]["high"]
    assert module["verdict"] == "agrees"
    assert "script.py:" in module["source"]
    assert published(verdict) == []
    assert verdict == json.loads(Path("logs/script-train/verdict.json").read_text())
    assert Path("logs/script-train/width=512").is_dir()


def test_runs_are_put_beside_the_limit(
    tpdyn: Run, script: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tpdyn.commands.check.POINTS", 256)
    done = tpdyn("check", f"{script}:train", "--limit", "--json", "v.json", "--widths", "32,64", "--seeds", "2")
    assert "  limit at width 64 you are " in done.stdout, done.output
    told = json.loads(Path("v.json").read_text())
    assert published(told) == []
    assert {claim["what"] for claim in told["limit"]["claims"]} == {"value", "fluctuation", "bias", "law"}
    beside = json.loads(Path("logs/script-train-limit/verdict.json").read_text())
    assert beside["program"] == told["program"] and beside["approach"]["widths"] == [32, 64]


def test_an_unstable_script_has_no_limit_to_put_beside_runs(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:unstable", "--limit", "--widths", "32,64", "--seeds", "1")
    assert "no limit to put beside the runs: there is no limit, the run is unstable: " in done.stderr, done.output
    assert not Path("logs/script-unstable-limit").exists()
    assert "--limit puts runs beside" in tpdyn("check", f"{script}:train", "--limit", "--no-measure").stderr


@pytest.mark.parametrize(
    ("function", "status", "word"),
    [("unstable", 10, "UNSTABLE"), ("trivial", 11, "TRIVIAL"), ("train", 0, "FEATURE LEARNING")],
)
def test_each_regime_has_its_status_and_is_named_first(
    tpdyn: Run, script: Path, function: str, status: int, word: str
) -> None:
    done = tpdyn("check", f"{script}:{function}", "--no-measure", "--json", "verdict.json")
    assert done.exit_code == status, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"  {word}")
    assert lines[2].startswith("  why   ") and "script.py:" in done.stdout
    assert any(line.startswith("  fix   ") for line in lines)
    verdict = json.loads(Path("verdict.json").read_text())
    assert verdict["agrees"] is None
    assert verdict["reasons"]
    assert left_behind() == ["verdict.json"]


def test_runs_that_contradict_the_prediction_are_a_disagreement(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:changes_its_mind", "--widths", "64,128,256,512", "--seeds", "4")
    assert done.exit_code == 12, done.output
    assert "the runs contradict it" in done.stdout


def test_a_script_is_run_as_it_is_with_its_own_option(tpdyn: Run, script: Path) -> None:
    words = ("check", str(script), "--width-arg=--d-model", "--widths", "20,28,44,64", "--no-measure")
    done = tpdyn(*words, "--", "--steps", "9")
    assert done.exit_code == 0, done.output
    assert "recorded 3 optimizer steps at widths 20, 28, 44" in done.stdout
    # Without the argument that follows the --, the script takes one step only.
    assert tpdyn(*words).exit_code == 2


SETTINGS = """
import torch
from torch import nn

n_embd = 384
hidden = 4 * n_embd
model = nn.Sequential(nn.Linear(5, n_embd), nn.Tanh(), nn.Linear(n_embd, hidden), nn.Tanh(), nn.Linear(hidden, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
for _ in range(5):
    optimizer.zero_grad()
    (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
    optimizer.step()
"""


def test_a_script_without_options_is_run_with_a_number_in_its_text_set_to_the_width(tpdyn: Run, tmp_path: Path) -> None:
    script = tmp_path / "settings.py"
    script.write_text(SETTINGS)
    words = ("check", str(script), "--set", "n_embd=n", "--no-measure", "--show-dims", "--widths", "24,32,40")
    done = tpdyn(*words)
    assert done.exit_code == 10, done.output
    assert "4*n  wide    96, 128, 160 at the recorded widths" in done.stdout
    assert "settings.py:12" in done.stdout and script.read_text() == SETTINGS


def test_the_output_of_the_script_is_shown_from_its_first_run_only_and_not_on_standard_output(
    tpdyn: Run, script: Path
) -> None:
    done = tpdyn("check", f"{script}:train", "--no-measure")
    assert "loss at step" not in done.stdout
    assert "loss at step 0 width 16" in done.stderr
    assert "width 24" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.py:train"], "no such file"),
        (["{script}:no_such"], "no_such"),
        (["{script}:raises"], "no such thing in the file"),
        (["{script}:leaves"], "the file with the data is missing"),
        (["{script}:never_steps"], "step"),
        (["{script}:ignores_the_width"], "width"),
        (["{script}:train", "--widths", "64"], "two different"),
        (["{script}:train", "--widths", "64,many"], "expected positive whole numbers"),
        (["{script}:train", "--record-widths", "16"], "width"),
        (["{script}", "--width-arg=--d-model", "--widths", "64,128"], "three or more"),
        (["{script}", "--width-arg=--no-such-option", "--widths", "20,28,44"], "--no-such-option"),
        (["{script}", "--width-arg=--d-model=n/8", "--widths", "20,24,32"], "n/8 is 5/2 at width 20"),
        (
            ["{script}", "--set", "widht=n", "--widths", "20,24,32"],
            "no number of that name; its numbers are: train.steps",
        ),
        (["{script}:train", "--json", "missing/verdict.json"], "does not exist"),
        (["{script}:train", "--logdir", "{script}"], "cannot"),
        (["{script}:train", "--steps", "0"], "steps"),
        (["{script}:train", "--budget", "soon"], "expected a time such as 90s, 10m or 1h"),
        (["{script}:train", "--widths", "0,64,128"], "expected positive whole numbers"),
        (["{script}:train", "--widths", "64,64,128"], "64 is given twice"),
        (["{script}:train", "--record-widths", "16,0"], "expected positive whole numbers"),
        (["{script}:train", "--device", "gpu"], "device is 'gpu', which cannot be used here"),
        (["{script}:leaves_for_good"], "left with status 0"),
        (["{script}:retries_forever", "--time-limit", "1"], "took longer than 1 s"),
    ],
)
def test_bad_input_is_said_clearly_and_leaves_nothing_behind(
    tpdyn: Run, script: Path, words: list[str], said: str
) -> None:
    done = tpdyn("check", *(word.format(script=script) for word in words))
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert left_behind() == []


def test_the_line_that_raised_is_named(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:raises")
    assert 'raise KeyError("no such thing in the file")' in done.stderr
    assert "script.py:" in done.stderr


def test_an_operation_without_a_rule_is_outside_and_named_with_its_line(
    tpdyn: Run, script: Path, published: Published
) -> None:
    done = tpdyn("check", f"{script}:sorts", "--json", "verdict.json")
    assert done.exit_code == 13, done.output
    assert "svdvals" in done.stderr
    assert "script.py:" in done.stderr
    verdict = json.loads(Path("verdict.json").read_text())
    assert verdict["regime"] is None
    assert published(verdict) == []
    assert left_behind() == ["verdict.json"]


@pytest.mark.parametrize("function", ["interrupted", "saves_when_interrupted"])
def test_an_interrupt_leaves_with_its_status_and_nothing_behind(tpdyn: Run, script: Path, function: str) -> None:
    done = tpdyn("check", f"{script}:{function}", "--json", "verdict.json")
    assert done.exit_code == 130, done.output
    assert "interrupted" in done.stderr
    assert left_behind() == []


COUNTED = """
import os
from script import train

def counted(width):
    count = os.environ["COUNT"] = str(int(os.environ.get("COUNT", "0")) + 1)
    if count == os.environ.get("STOP"):
        raise KeyboardInterrupt
    train(width)
"""


@pytest.mark.slow
def test_an_interrupted_check_goes_on_where_it_stopped_and_begins_anew_if_the_script_has_changed(
    tpdyn: Run, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = script.parent / "counting.py"
    counting.write_text(COUNTED)
    monkeypatch.syspath_prepend(script.parent)

    def made(status: int, *words: str) -> int:
        monkeypatch.setenv("COUNT", "0")
        done = tpdyn("check", f"{counting}:counted", "--widths", "16,24,32", "--seeds", "2", "--steps", "2", *words)
        assert done.exit_code == status, done.output
        return int(os.environ["COUNT"])

    monkeypatch.setenv("STOP", "8")  # the fourth of six runs, after four recordings
    assert made(130) == 8
    monkeypatch.delenv("STOP")
    rest = made(16)
    assert rest in (3, 3 + 4)  # the recording may be kept, too
    assert made(16, "--fresh") >= 6
    counting.write_text(COUNTED + "# changed\n")
    assert made(16) == 4 + 6


@pytest.mark.parametrize("leaving", ["sys.exit(0)", "sys.exit(10)", "os._exit(0)", "os._exit(10)", "raise SystemExit"])
def test_an_exit_at_import_is_never_ours(tpdyn: Run, tmp_path: Path, leaving: str) -> None:
    """An entry point without a guard: status 0 would pass for a check, 10 for an unstable script."""
    file = tmp_path / "unguarded.py"
    file.write_text(f"import os, sys\n\ndef train(width):\n    pass\n\n{leaving}\n")
    done = tpdyn("check", f"{file}:train", "--require", "unstable")
    assert done.exit_code == 2 and "leaves when it is imported" in done.stderr
    assert tpdyn("check", str(file), "--set", "nothing=n").exit_code == 2


def test_results_go_where_they_were_asked_for_if_the_script_changes_the_folder(
    tpdyn: Run, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    done = tpdyn("check", f"{script}:goes_elsewhere", "--no-measure", "--json", "verdict.json")
    assert done.exit_code == 0, done.output
    assert left_behind() == ["verdict.json"] and not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
def test_what_the_script_writes_is_told_and_stays_where_that_is_asked_for(tpdyn: Run, script: Path) -> None:
    words = ("check", f"{script}:writes", "--no-measure", "--steps", "2")
    done = tpdyn(*words)
    assert done.exit_code == 0 and "each run writes checkpoint.txt" in done.stderr and left_behind() == []
    done = tpdyn(*words, "--in-place")
    assert done.exit_code == 0 and left_behind() == ["checkpoint.txt"] and len(Path("checkpoint.txt").read_text()) == 4


@pytest.mark.slow
def test_what_is_undecided_has_its_status_and_is_decided_on_request(tpdyn: Run, script: Path) -> None:
    words = ("check", f"{script}:train", "--widths", "32,48,64", "--seeds", "3")
    done = tpdyn(*words)
    assert done.exit_code == 16, done.output
    assert "the runs leave it undecided" in done.stdout and "to decide: " in done.stdout
    done = tpdyn(*words, "--until-decided", "--budget", "5m")
    assert done.exit_code == 0, done.output
    assert "tpdyn: deciding (" in done.stderr and "the runs confirm it" in done.stdout


def test_words_of_the_verdict_are_explained(tpdyn: Run) -> None:
    done = tpdyn("explain", "feature", "learning")
    assert done.exit_code == 0 and "networks learn features" in done.stdout
    assert tpdyn("explain", "nonsense").exit_code == 2


def test_the_fix_is_named_powers_are_shown_on_request_and_a_picture_needs_runs(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:unstable", "--no-measure", "--exponents", "--statements")
    assert printed_fix(done.stdout).split() == f"tpdyn fix {script}:unstable | patch -p0 -d {script.parent}".split()
    assert "powers of the width n" in done.stdout and "+1" in done.stdout and "instruction" in done.stdout
    done = tpdyn("check", f"{script}:train", "--no-measure", "--picture", "a.svg")
    assert done.exit_code == 2 and "--no-measure makes none" in done.stderr
    done = tpdyn("check", f"{script}:train", "--picture", "a.bmp")
    assert done.exit_code == 2 and "--picture a.bmp: expected" in done.stderr.replace(str(Path.cwd()) + "/", "")


WORDS = """
import sys
import torch
from torch import nn

sizes = dict(word[2:].split("=") for word in sys.argv[1:] if "=" in word)
assert sys.argv[1] == "small config.py" and int(sizes["n_embd"]) % 6 == 0
wide = int(sizes["n_embd"])
model = nn.Sequential(nn.Linear(5, wide), nn.Tanh(), nn.Linear(wide, wide), nn.Tanh(), nn.Linear(wide, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
for _ in range(5):
    optimizer.zero_grad()
    (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
    optimizer.step()
"""


@pytest.mark.parametrize("inside", [True, False])
def test_the_printed_line_fixes_the_script_as_it_is_pasted(tpdyn: Run, tmp_path: Path, inside: bool) -> None:
    script = Path("train.py") if inside else tmp_path / "a folder" / "train.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(WORDS)
    options = ("--width-arg=--n_embd={n}", "--record-widths", "24,36,60", "--no-measure", "--steps", "2")
    done = tpdyn("check", str(script), *options, "--", "small config.py")
    assert done.exit_code == 10, done.output
    fixing, _, patching = printed_fix(done.stdout).partition(" | ")
    patched = tpdyn(*shlex.split(fixing)[1:])
    assert patched.exit_code == 0 and "bit for bit" in patched.stderr, patched.output
    subprocess.run(shlex.split(patching), input=patched.stdout, text=True, check=True, capture_output=True)
    again = tpdyn("check", str(script), *options, "--", "small config.py")
    assert again.exit_code == 0 and "FEATURE LEARNING" in again.stdout, again.output


def test_the_statuses_are_in_the_help(tpdyn: Run) -> None:
    text = " ".join(tpdyn("check", "--help").stdout.split())
    for status in (
        "0 stable",
        "10 unstable",
        "11 trivial",
        "12 the runs",
        "16 the runs",
        "13 outside",
        "2 bad input",
        "130",
    ):
        assert status in text


@pytest.mark.slow
def test_the_demo_shows_three_regimes_and_logs_them_where_it_runs(tpdyn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With runs too few to decide anything: the whole of it is the README's first command, which CI calls, too."""
    monkeypatch.setattr(demo, "WIDTHS", (16, 32, 64))
    monkeypatch.setattr(demo, "SEEDS", 2)
    monkeypatch.setattr(demo, "DECIDE_WITHIN", 0.0)
    done = tpdyn("demo")
    assert done.exit_code == 0, done.output
    for word in ("  UNSTABLE", "  KERNEL", "  FEATURE LEARNING"):
        assert sum(line.startswith(word) for line in done.stdout.splitlines()) == 1
    assert {path.name for path in Path("logs").iterdir()} == {"standard-parametrization", "NTK-parametrization", "muP"}


def test_transfer_sweeps_two_parametrizations_and_refuses_nonsense(tmp_path: Path) -> None:
    script = tmp_path / "net.py"
    script.write_text(
        "import torch\n"
        "def train(width):\n"
        "    w = torch.nn.Linear(3, width)\n"
        "    out = torch.nn.Linear(width, 1)\n"
        "    optimizer = torch.optim.SGD([*w.parameters(), *out.parameters()], lr=0.1)\n"
        "    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))\n"
        "    for _ in range(9):\n"
        "        optimizer.zero_grad()\n"
        "        (out(torch.tanh(w(x))) - 1).square().mean().backward()\n"
        "        optimizer.step()\n"
    )
    picture = tmp_path / "curves.svg"
    options = ["--widths", "8,16", "--powers=-3,2", "--steps", "5", "--seeds", "2", "--picture", str(picture)]
    options += ["--logdir", str(tmp_path / "logs"), "--json", str(tmp_path / "found.json")]
    done = CliRunner().invoke(app, ["transfer", f"{script}:train", *options])
    assert done.exit_code == 0, done.output
    assert "train: " in done.output and "best learning rate" in done.output and picture.exists()
    (found,) = json.loads((tmp_path / "found.json").read_text())["transfers"]
    assert found["name"] == "train" and [row["width"] for row in found["widths"]] == [8, 16]
    assert (tmp_path / "logs" / "net-train-transfer" / "verdict").is_dir()
    done = CliRunner().invoke(app, ["transfer", f"{script}:train", *options, "--widths", "8"])
    assert done.exit_code == 2 and "at least two different ones" in done.output
    done = CliRunner().invoke(app, ["transfer", f"{script}:train", *options, "--powers", "x"])
    assert done.exit_code == 2 and "two whole numbers" in done.output
    done = CliRunner().invoke(app, ["transfer", f"{script}:train", *options, "--powers", "6,-6"])
    assert done.exit_code == 2 and "expected LOW,HIGH" in done.output
    for path, why in (("nowhere/a.svg", "does not exist"), (".", "ends in .png"), ("a.bmp", "ends in .png")):
        done = CliRunner().invoke(app, ["transfer", f"{script}:train", *options, "--picture", str(tmp_path / path)])
        assert done.exit_code == 2 and why in done.output
    done = CliRunner().invoke(app, ["transfer", f"{script}:train", *options, "--steps", "50"])
    assert done.exit_code == 2 and "expected 50" in done.output


def test_a_required_regime_decides_the_status(tpdyn: Run, script: Path) -> None:
    given = ("check", f"{script}:train", "--no-measure", "--require")
    assert tpdyn(*given, "feature-learning").exit_code == 0
    other = tpdyn(*given, "kernel")
    assert other.exit_code == 14 and "required: kernel; predicted: " in other.output
    assert tpdyn("check", f"{script}:unstable", "--no-measure", "--require", "unstable").exit_code == 0
    wrong = tpdyn(*given, "lazy")
    assert wrong.exit_code == 2 and "expected one of: unstable, trivial, kernel, feature-learning" in wrong.output


def test_dims_are_listed_and_a_large_width_is_compared(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:train", "--no-measure", "--show-dims", "--at", "100000")
    assert done.exit_code == 0
    assert "       n  wide    16, 24, 40 at the recorded widths" in done.output
    assert "shapes and constants were compared at width 100000, too" in " ".join(done.output.split())
    capped = tpdyn("check", f"{script}:changes_its_mind", "--no-measure", "--at", "100000")
    assert capped.exit_code == 2
    assert "At width 100000" in " ".join(capped.output.split())


PERCEPTRON = """
    import torch

    print("when it is imported")

    def train(width):
        first, out = torch.nn.Linear(5, width, bias=False), torch.nn.Linear(width, 1, bias=False)
        optimizer = torch.optim.SGD([*first.parameters(), *out.parameters()], lr=0.1)
        x, y = torch.randn(7, 5), torch.randn(7, 1)
        for _ in range(3):
            loss = (out(torch.tanh(first(x))) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
"""


@pytest.fixture
def perceptron(tmp_path: Path) -> str:
    path = tmp_path / "perceptron.py"
    path.write_text(dedent(PERCEPTRON))
    return f"{path}:train"


def test_the_maximal_update_is_derived_and_the_script_compared_with_the_named_ones(tpdyn: Run, perceptron: str) -> None:
    done = tpdyn("derive", perceptron, "--json", "derived.json")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("maximal update")
    assert "the script differs from muP in:" in done.stdout
    assert "the script is SP" in done.stdout
    written = json.loads(Path("derived.json").read_text())
    assert written["maximal"] is True
    assert len(written["differs_from"]["muP"]) == 2
    assert written["differs_from"]["SP"] == []


def test_a_phase_diagram_is_drawn_and_written(tpdyn: Run, perceptron: str) -> None:
    done = tpdyn("phase", perceptron, "-x", "c", "--save", "picture.svg", "--json", "phases.json")
    assert done.exit_code == 0, done.output
    assert "region: unstable" in done.stdout
    assert Path("picture.svg").read_text().startswith("<?xml")
    assert json.loads(Path("phases.json").read_text())["marks"]["this script"] == ["0", "1/2"]


def test_all_cells_of_a_slice_of_any_dimension_are_listed_and_written(tpdyn: Run, perceptron: str) -> None:
    symbols = ("--symbol", "c=c", "--symbol", "b=out.weight:b", "--limits=0,1")
    done = tpdyn("phase", perceptron, *symbols, "--json", "cells.json")
    assert done.exit_code == 0, done.output
    assert "unstable (dimension 2): 1 - c > 0" in done.stdout and "this script: (0, 1/2)" in done.stdout
    written = json.loads(Path("cells.json").read_text())
    assert written["symbols"] == {"c": ["0", "1"], "b": ["0", "1"]}
    assert {cell["label"] for cell in written["cells"]} == {"unstable at initialisation", "unstable", "kernel"}


def test_the_plane_through_named_families_is_shown_in_tensorboard(tpdyn: Run, perceptron: str) -> None:
    done = tpdyn(
        "phase", perceptron, "--through", "NTP,muP,SP", "--x-limits=0,1", "--y-limits=-1/2,1", "--logdir", "logs"
    )
    assert done.exit_code == 0, done.output
    assert "muP: (1, 0)" in done.stdout and "tensorboard --logdir logs" in done.stdout
    assert list(Path("logs/perceptron-train-phases/phases").glob("events.out.tfevents.*"))


def test_the_edits_of_a_script_are_printed_as_a_patch_and_explained_beside(tpdyn: Run, perceptron: str) -> None:
    file = Path(perceptron.removesuffix(":train"))
    before = file.read_text()
    done = tpdyn("fix", perceptron, "--base-width", "48", "--steps", "2")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("--- perceptron.py\n+++ perceptron.py\n@@")
    said = "when it is imported"  # by the script: no line of the patch
    assert said not in done.stdout.splitlines() and said in done.stderr.splitlines()
    assert "verified" not in done.stdout and "verified: the patched script was recorded again" in done.stderr
    assert f"the patch, to be applied in {file.parent}:" in done.stderr
    assert file.read_text() == before and left_behind() == []
    assert tpdyn("fix", perceptron, "--base-width", "0").exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("derive", "--gauge", "none"), "no such gauge; expected one of: no-multipliers"),
        (("phase", "-y", "nowhere:b"), "'nowhere:b' names no exponent"),
        (("phase", "--save", "picture.txt"), "expected a file that ends in .png, .svg or .pdf"),
        (("phase", "--around", "nowhere"), "is not a known point of this script"),
        (("phase", "--through", "NTP,muP"), "expected three different names"),
        (("phase", "--x-limits", "a,b"), "expected two numbers with a comma between"),
        (("phase", "--json", "nowhere/phases.json"), "does not exist"),
        (("phase", "--through", "NTP,muP,SP", "-y", "c"), "--through replaces --x, --y and --around"),
        (("phase", "--limits", "0,1"), "--limits goes with --symbol; a picture has --x-limits and --y-limits"),
        (("phase", "--symbol", "=c"), "expected different names with what they move, e.g. c=c"),
        (("phase", "--symbol", "c=1/0*c"), "'1/0*c' begins with 1/0; expected a rational"),
        (("phase", "--symbol", "c"), "expected different names with what they move, e.g. c=c"),
        (("phase", "--symbol", "c=c", "--save", "x.svg"), "a picture has two directions, --x and --y"),
    ],
)
def test_parametrizations_that_cannot_be_asked_for_are_refused(
    tpdyn: Run, perceptron: str, words: tuple[str, ...], said: str
) -> None:
    done = tpdyn(words[0], perceptron, *words[1:])
    assert done.exit_code == 2
    assert said in done.stderr
