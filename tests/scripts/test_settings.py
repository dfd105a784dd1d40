"""Is a number in a script's text found by its name, and set to a function of the width? Is the file left alone?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tpdyn.parametrizing.editing.edits import TextEdits
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.scripts.script import BadTarget, load, told
from tpdyn.scripts.settings import BadSetting, codes, read_settings
from tpdyn.scripts.standing_in import standing_in

SCRIPT = """\
from dataclasses import dataclass
import torch
from torch import nn
from sizes import Sizes

n_embd, layers = 384, 1
heads: int = 6

@dataclass
class Config:
    n_embd: int = 64
    heads: int = 4

config = dict(n_embd=32, heads=2)
other = {"n_embd": 16}
other_config = Config(n_embd=8)
sizes = Sizes()
sizes.inner = 5

def model_of(width=24, *, depth=2):
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, sizes.hidden)), depth

if __name__ == "__main__":
    model, _ = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "sizes.py").write_text("class Sizes:\n    hidden = 7\n")
    file = tmp_path / "train.py"
    file.write_text(SCRIPT)
    yield file
    sys.modules.pop("sizes", None)


def value_at(script: Path, word: str, expression: str, width: int = 48) -> object:
    names = load(str(script), settings=[word])(width)
    return eval(expression, names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "expression", "value"),
    [
        ("n_embd=n", "n_embd", 48),
        ("heads=n/16", "heads", 3),
        ("layers=2", "layers", 2),
        ("Config.heads=n/16", "Config().heads", 3),
        ("config.n_embd=4*n", "config['n_embd']", 192),
        ("other.n_embd=n", "other['n_embd']", 48),
        ("sizes.inner=n", "sizes.inner", 48),
        ("model_of.width=n", "model[0].out_features", 48),
        ("model_of.depth=n", "model_of()[1]", 48),
        ("Config.n_embd@11=n", "Config().n_embd", 48),
        ("Config.n_embd@16=n", "other_config.n_embd", 48),
        ("sizes.py:Sizes.hidden=n/4", "model[2].out_features", 12),
    ],
)
def test_each_kind_of_place_is_set(script: Path, word: str, expression: str, value: int) -> None:
    before = script.read_text()
    assert value_at(script, word, expression) == value
    assert value_at(script, word, expression) == value  # an imported file, too, is read anew in each run
    assert script.read_text() == before and sorted(p.name for p in script.parent.glob("*.py")) == [
        "sizes.py",
        "train.py",
    ]


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("n_embed=n", "train.py has no number of that name; its numbers are: n_embd"),
        ("Other.heads=n", "Config.heads"),
        ("Config.n_embd=n", "2 locations of that name; expected one, by its line (Config.n_embd@16=n)"),
        ("n_embd@3=n", "has 1 locations of that name"),
        ("nowhere.py:n_embd=n", "no file"),
        ("n_embd", "expected NAME=FORMULA"),
        ("n_embd=width", "expected a formula in n"),
    ],
)
def test_a_name_that_means_no_one_place_is_refused_with_what_there_is(script: Path, word: str, named: str) -> None:
    with pytest.raises(BadTarget) as caught:
        load(str(script), settings=[word])
    assert named in str(caught.value)


def test_a_number_is_set_once(script: Path) -> None:
    with pytest.raises(BadSetting, match="the same number is set by --set n_embd=n; expected it once"):
        read_settings(script, ["n_embd=n", "n_embd@6=2*n"])


def test_a_formula_is_tried_at_the_widths_that_are_known_when_loading(script: Path) -> None:
    with pytest.raises(BadTarget, match="n/16 is 5/4 at width 20"):
        load(str(script), settings=["heads=n/16"], widths=(32, 20))


def test_lines_and_columns_are_those_of_the_file(script: Path) -> None:
    tape = record_tape(load(str(script), settings=["model_of.width=1000*n"]), 16, 2, seed=0)
    locations = {(node.origin.source.line, node.origin.source.text) for node in tape.nodes}
    lines = SCRIPT.splitlines()
    assert locations and all(lines[line - 1].strip() == text for line, text in locations if line)
    code = codes(read_settings(script, ["n_embd=1000000*n"]), 16)[str(script)]
    plain = compile(SCRIPT, str(script), "exec")
    assert list(code.co_positions())[:20] == list(plain.co_positions())[:20]


def test_a_text_that_stands_in_for_the_file_is_set_too(script: Path) -> None:
    patched = TextEdits(SCRIPT).text.replace("nn.Tanh()", "nn.ReLU()")
    with standing_in({str(script): patched}):
        model = load(str(script), settings=["model_of.width=n"])(48)["model"]  # type: ignore[index]
    assert model[0].out_features == 48 and type(model[1]).__name__ == "ReLU"
    assert type(load(str(script), settings=["model_of.width=n"])(48)["model"][1]).__name__ == "Tanh"  # type: ignore[index]


VAE = """\
import json, torch, yaml
from pathlib import Path
from torch import nn

rate = 0.1
with open("override.py") as file:
    exec(file.read())
width = yaml.safe_load(Path("config.yaml").read_text())["model"]["width"]
model = nn.Sequential(nn.Linear(7, 400), nn.Tanh(), nn.Linear(400, width), nn.Linear(width, 1))
Path("seen.json").write_text(json.dumps([[list(p.shape) for p in model.parameters()], rate, heads]))
"""


def seen(folder: Path, monkeypatch: pytest.MonkeyPatch, *settings: str, width: int = 16) -> list[object]:
    """What the script made of its numbers: (shapes, rate, heads)."""
    (folder / "vae.py").write_text(VAE)
    (folder / "override.py").write_text("heads = 4\n")
    (folder / "config.yaml").write_text("model:\n  width: 12  # wide\n")
    monkeypatch.chdir(folder)
    load("vae.py", settings=settings, widths=(width,), in_place=True)(width)
    assert (folder / "vae.py").read_text() == VAE
    return list(json.loads((folder / "seen.json").read_text()))


def test_a_number_without_a_name_is_set_wherever_it_is_written_and_the_places_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, *_ = seen(tmp_path, monkeypatch, "400=n")
    assert shapes == [[16, 7], [16], [12, 16], [12], [1, 12], [1]]
    (said,) = told("vae.py", ("400=n", "rate=1/n"))
    assert "--set 400=n sets 2 locations:" in said
    assert said.count("vae.py:9:") == 2


def test_one_of_several_equal_numbers_is_set_by_its_line_and_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = VAE.splitlines()[8].index("400, width") + 1
    shapes, *_ = seen(tmp_path, monkeypatch, f"vae.py:9:{column}:400=2*n")
    assert shapes[0] == [400, 7]
    assert shapes[2] == [12, 32]


def test_floats_executed_files_and_configurations_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, rate, heads = seen(
        tmp_path, monkeypatch, "rate=1/n", "override.py:heads=n/8", "config.yaml:model.width=3*n"
    )
    assert (shapes[2], rate, heads) == ([48, 400], 1 / 16, 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("401=n", r"vae.py has no number 401; its numbers are: 0.1, 1, 7, 400"),
        ("config.yaml:model.depth=n", r"config.yaml has no number of that name; its numbers are: model.width"),
        ("missing.yaml:a=n", "no file"),
        ("400=n/0", "divides by zero"),
    ],
)
def test_a_number_that_is_not_there_is_told_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, message: str
) -> None:
    with pytest.raises(BadTarget, match=message):
        seen(tmp_path, monkeypatch, setting)


@pytest.mark.parametrize("ending", ["", "1 / 0\n"])
def test_a_file_that_the_script_does_not_come_to_is_refused(script: Path, ending: str) -> None:
    (script.parent / "other.yaml").write_text("width: 12\n")
    script.write_text(SCRIPT + ending)
    with pytest.raises(
        ZeroDivisionError if ending else BadTarget, match="zero" if ending else "imported, run nor opened"
    ):
        load(str(script), settings=["other.yaml:width=n"])(16)
    if not ending:
        with pytest.raises(
            RecordingError, match=r"other.yaml:width=n: the script has neither imported, run nor opened"
        ):
            record_tape(load(str(script), settings=["other.yaml:width=n"]), 16, 2, seed=0)  # stopped in the middle


def test_assignments_in_blocks_and_functions_are_places_and_a_name_that_only_one_of_them_has_is_enough(
    tmp_path: Path,
) -> None:
    script = tmp_path / "blocks.py"
    script.write_text(
        "import torch\nclass Model:\n    pass\nif __name__ == '__main__':\n    n_hidden = 2\n    try:\n        with "
        "torch.no_grad():\n            inner = 3\n    except ValueError:\n        pass\ndef main():\n    width = 5\n    "
        "depth = 7\n    return width, depth\ndef other(depth=9):\n    return depth\n"
    )
    assert value_at(script, "n_hidden=n", "n_hidden") == value_at(script, "inner=n", "inner") == 48
    assert value_at(script, "width=n", "main()") == (48, 7)
    assert value_at(script, "main.depth=n", "main()") == (5, 48)
    assert not any(each.listed for each in read_settings(script, ["n_hidden=n", "inner=n", "main.depth=n"]))
    assert "blocks.py:12:13: width = 5" in read_settings(script, ["width=n"])[0].told()
    assert told(str(script), ["width=n"]) and not told(str(script), ["main.width=n"])
    with pytest.raises(BadSetting, match=r"its numbers are: main.depth, other.depth"):
        read_settings(script, ["depth=n"])


COUNTED = """\
import argparse, json
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--hidden", type=int, default=64)
BATCH_SIZE, h_dim = 64, 20
options = parser.parse_args([])


def model(inputs=64, h_dim=20):
    return [inputs, h_dim]


Path("seen.json").write_text(json.dumps([options.batch_size, options.hidden, BATCH_SIZE, model(), [64]]))
"""


def test_numbers_that_count_samples_stay_and_how_to_set_them_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text(COUNTED)
    monkeypatch.chdir(tmp_path)
    found = {}
    for settings in (("64=n",), ("64=n", "7:21:64=n"), ("7:64=n",)):
        load("train.py", settings=settings, widths=(16,), in_place=True)(16)
        found[settings] = json.loads((tmp_path / "seen.json").read_text())
    assert found["64=n",] == [64, 16, 64, [16, 20], [16]]
    assert found["64=n", "7:21:64=n"] == [64, 16, 16, [16, 20], [16]]
    assert found["7:64=n",] == [64, 64, 16, [64, 20], [64]], "what is asked for by its line is set"
    (said,) = told("train.py", ("64=n",))
    assert "sets 3 locations" in said
    assert "It leaves what seems to count samples or steps:" in said
    assert "--set 7:21:64=n" in said


def test_a_variable_that_nothing_reads_takes_the_default_of_that_name_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text(COUNTED)
    monkeypatch.chdir(tmp_path)
    load("train.py", settings=("h_dim=n",), widths=(16,), in_place=True)(16)
    assert json.loads((tmp_path / "seen.json").read_text())[3] == [64, 16]
    assert "sets 2 locations" in told("train.py", ("h_dim=n",))[0]
    (tmp_path / "train.py").write_text(COUNTED + "print(h_dim)\n")
    assert told("train.py", ("h_dim=n",)) == (), "it is read: the default is another number"


def test_numbers_in_the_file_of_a_function_and_in_what_it_imports_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sizes_of_it.py").write_text("heads = 4\n")
    (tmp_path / "made.py").write_text(
        "import sizes_of_it\ndepth = 2\n\n\ndef train(width):\n    return width, depth, sizes_of_it.heads\n"
    )
    monkeypatch.chdir(tmp_path)
    plain = load("made.py:train", in_place=True)
    run = load("made.py:train", settings=("depth=n/8", "sizes_of_it.py:heads=n/4"), widths=(16, 32), in_place=True)
    assert [run(16), run(32), plain(32)] == [(16, 2, 4), (32, 4, 8), (32, 2, 4)]
    with pytest.raises(BadTarget, match="a function and a width argument"):
        load("made.py:train", "--width")


def test_a_function_that_takes_nothing_is_run_with_the_numbers_of_its_file_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noted.py").write_text("def train():\n    return 64\n")
    monkeypatch.chdir(tmp_path)
    assert load("noted.py:train", settings=("64=2*n",), widths=(16, 32), in_place=True)(16) == 32
    with pytest.raises(BadTarget, match=r"noted.py:train\(\) takes no argument; .* --set 64=n"):
        load("noted.py:train", in_place=True)


def test_a_number_that_only_an_imported_file_has_is_set_there(script: Path) -> None:
    by_name, by_number = read_settings(script, ["hidden=2*n"]), read_settings(script, ["7=2*n"])
    for (setting,) in (by_name, by_number):
        assert setting.file == str(script.parent / "sizes.py")
        assert "sizes.py:2:14: hidden = 7" in setting.told() and setting.listed


def test_a_number_of_several_imported_files_is_asked_for_by_its_file(script: Path) -> None:
    (script.parent / "sizes.py").write_text("from more import *\nclass Sizes:\n    hidden = 7\n")
    (script.parent / "more.py").write_text("other = 7\n")
    with pytest.raises(BadSetting, match=r"2 files .*; expected one of --set more.py:7=n, --set sizes.py:7=n"):
        read_settings(script, ["7=n"])


def test_a_number_that_only_a_configuration_has_is_set_there(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("config = load(open('small.yaml'))\n")
    (tmp_path / "small.yaml").write_text("model:\n  width: 64\n")
    (tmp_path / "large.yaml").write_text("model:\n  width: 640\n")  # the script does not name it
    (setting,) = read_settings(tmp_path / "train.py", ["model.width=4*n"])
    assert setting.file == str(tmp_path / "small.yaml") and "small.yaml:2:10: width: 64" in setting.told()


def test_a_switch_is_set(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("use_amp, fast = True, False\nassert not (use_amp and not fast)\n")
    settings = read_settings(tmp_path / "train.py", ["use_amp=False"])
    scope: dict[str, object] = {}
    exec(codes(settings, 32)[str(tmp_path / "train.py")], scope)
    assert scope["use_amp"] is False and scope["fast"] is False


def test_a_calculation_of_numbers_is_found_by_the_end_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("vit = ViT(dim=128, mlp_dim=128 * 4, ratio=width * 4)\n")
    (setting,) = read_settings(tmp_path / "train.py", ["mlp_dim=4*n"])
    assert setting.at(32) == {(1, 27, 1, 34): 128}
    with pytest.raises(BadSetting, match=r"no number of that name; its numbers are: ViT.dim, ViT.mlp_dim"):
        read_settings(tmp_path / "train.py", ["ratio=4*n"])
