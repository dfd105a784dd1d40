"""Mirrors tpdyn/scripts/offered.py: a message that names what a script has not tells what it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpdyn.scripts.offered import functions_of_a_width, listed, nearest, options_of, unknown_options, ways_in

PARSER = """
import argparse
import helper

def main(model, *, seed):
    pass

parser = argparse.ArgumentParser()
parser.add_argument("-l", "--lr", type=float, default=0.1)
parser.add_argument("--steps", default=5)
parser.add_argument("--hidden-size", type=int)
parser.add_argument("--name")
"""
FUNCTIONS = (
    "def batches(path, size): ...\ndef train(width, lr=1): ...\ndef _own(n): ...\n@command()\ndef main(n): ...\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parser.py").write_text(PARSER)
    (tmp_path / "helper.py").write_text("import click\nclick.option('--depth', type=int)\n")
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "plain.py").write_text("batch_size, n_embd = 64, 384\n")
    (tmp_path / "words.py").write_text("n_embd = 384\nexec(open('configurator.py').read())\n")
    (tmp_path / "configurator.py").write_text("import sys\nfor arg in sys.argv[1:]:\n    key, val = arg.split('=')\n")
    (tmp_path / "unnamed.py").write_text("net(4, 400)\n")
    (tmp_path / "reads.py").write_text("config = load(open('config.yaml'))\nnet(5)\n")
    (tmp_path / "config.yaml").write_text("model:\n  d_model: 64\n")
    (tmp_path / "empty.py").write_text("")
    return tmp_path


def test_a_misspelt_name_means_the_nearest_or_none() -> None:
    assert nearest("trian", ["batches", "train", "trainer"]) == "train"
    assert nearest("trian", ["batches", "evaluate"]) is None


def test_many_names_are_counted() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(k) for k in range(20)]).endswith("10, 11 and 8 more")


def test_options_are_those_of_the_script_and_of_what_it_imports(folder: Path) -> None:
    assert options_of(folder / "parser.py") == ("--lr", "--steps", "--hidden-size", "--name", "--depth")
    assert options_of(folder / "parser.py", numbers=True) == ("--steps", "--hidden-size", "--depth")


def test_functions_of_a_width_can_be_called_with_one_argument(folder: Path) -> None:
    assert functions_of_a_width(folder / "functions.py") == ("train",)
    assert functions_of_a_width(folder / "parser.py") == ()
    (folder / "several.py").write_text("def batches(steps): ...\ndef show(n): ...\ndef train(width): ...\n")
    assert functions_of_a_width(folder / "several.py") == ("train", "batches", "show")  # the width is named


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("parser.py", "its width (--steps, --hidden-size, --depth), as in --width-arg=--hidden-size"),
        ("functions.py", "functions.py:train"),
        ("plain.py", "--set n_embd=n"),
        ("words.py", "its own option, as in '--width-arg=--n_embd={n}', or a number in its text, as in --set n_embd=n"),
        ("unnamed.py", "--set 400=n"),
        ("reads.py", "--set config.yaml:model.d_model=n"),
        ("empty.py", "a function train(width: int)"),
    ],
)
def test_a_script_named_alone_is_told_the_ways_in_that_it_has_and_no_other(folder: Path, file: str, said: str) -> None:
    told = ways_in(folder / file)
    assert told.endswith(said)
    assert ("--width-arg" in told) == (file in ("parser.py", "words.py", "empty.py"))
    assert ("--set" in told) == ("--set" in said)


def test_an_option_that_it_has_not_is_named_with_those_that_it_has(folder: Path) -> None:
    said = unknown_options(folder / "parser.py", ["--hiden-size=8", "-q", "--lr", "1"])
    assert said.startswith("it has no option --hiden-size; its options are --lr, --steps,")
    assert said.endswith("Is it --hidden-size?")
    assert unknown_options(folder / "parser.py", ["--hidden", "8", "--help"]) == ""  # argparse completes options
    assert unknown_options(folder / "plain.py", ["--anything"]) == ""
