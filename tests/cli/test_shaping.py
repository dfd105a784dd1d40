"""Mirrors tpdyn/cli/shaping.py: exponents are derived, patched in, drawn as phases, tried by sweeps."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from command_line import Run, left_behind


def printed_fix(text: str) -> str:
    """The command of the verdict's line `fix`, as a shell joins its lines."""
    return text[text.index("  fix   tpdyn") :].removeprefix("  fix   ").replace("\\\n", "").partition("\n")[0]


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


def test_transfer_sweeps_a_script_and_refuses_nonsense(tpdyn: Run, perceptron: str) -> None:
    options = ("--widths", "8,16", "--powers=-3,2", "--steps", "3", "--seeds", "2", "--picture", "curves.svg")
    done = tpdyn("transfer", perceptron, *options, "--json", "found.json")
    assert done.exit_code == 0, done.output
    assert "train: " in done.output and "best learning rate" in done.output and Path("curves.svg").exists()
    (found,) = json.loads(Path("found.json").read_text())["transfers"]
    assert found["name"] == "train" and [row["width"] for row in found["widths"]] == [8, 16]
    assert Path("logs/perceptron-train-transfer/verdict").is_dir()
    for words, why in (
        (("--widths", "8"), "at least two different ones"),
        (("--powers", "x"), "two whole numbers"),
        (("--powers", "6,-6"), "expected LOW,HIGH"),
        (("--picture", "nowhere/a.svg"), "does not exist"),
        (("--picture", "."), "ends in .png"),
        (("--picture", "a.bmp"), "ends in .png"),
        (("--steps", "50"), "expected 50"),
    ):
        done = tpdyn("transfer", perceptron, *options, *words)
        assert done.exit_code == 2 and why in done.output
