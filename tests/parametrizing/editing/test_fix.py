"""Mirrors tpdyn/parametrizing/editing/fix.py: patches apply, patched scripts run, are maximal, and the same at the base width."""

from __future__ import annotations

import ast
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from textwrap import dedent
from typing import final

import pytest
from typer.testing import CliRunner

from tpdyn.cli import app
from tpdyn.commands import fix as fixing
from tpdyn.commands.failures import BadInput, Exit
from tpdyn.measuring.first_steps import after_first_steps, same_bits
from tpdyn.parametrizing.editing.edits import TextEdits, unified
from tpdyn.parametrizing.editing.text import pattern_of, powers_of, table_by_pattern, with_others
from tpdyn.parametrizing.parametrization import Shift
from tpdyn.scripts.script import load
from tpdyn.scripts.target import Target

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
BASE = 20

LOOP = """

def fit(model, optimizer, steps=5):
    draws = torch.Generator().manual_seed(3)
    x, y = torch.randn(6, 5, generator=draws), torch.randn(6, 2, generator=draws)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
"""

PLAIN = (
    """
import torch
from torch import nn


def net(width):
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
"""
    + LOOP
)

SGD = (
    PLAIN
    + """

def train(width):
    model = net(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    fit(model, optimizer)
"""
)

SETTINGS = """
import torch
from torch import nn

n_embd = 384
model = nn.Sequential(nn.Linear(5, n_embd), nn.Tanh(), nn.Linear(n_embd, 4 * n_embd), nn.Tanh(), nn.Linear(4 * n_embd, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
for _ in range(5):
    optimizer.zero_grad()
    (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
    optimizer.step()
"""

ADAMW = (
    PLAIN
    + """

def train(width):
    model = net(width)
    optimizer = torch.optim.AdamW(
        model.named_parameters(),
        lr=1e-2, weight_decay=0.1,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    fit(model, optimizer)
    schedule.step()
"""
)

GROUPS = (
    PLAIN
    + """

def train(width):
    model = net(width)
    decaying = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    fit(model, torch.optim.Adam([
        {"params": decaying, "lr": 0.02},
        {"params": others, "lr": 0.01, "eps": 1e-6},
    ]))
"""
)

IN_A_FUNCTION = (
    PLAIN
    + """

KINDS = {"sgd": torch.optim.SGD}


def make(kind, network):
    with torch.enable_grad():
        return KINDS[kind](network.parameters(), 0.1)


def train(width):
    model = net(width)
    fit(model, make("sgd", model))
"""
)

HELD = (
    PLAIN
    + """

class Trainer:
    def __init__(self, width):
        self.net = net(width)
        self.opt = torch.optim.SGD(self.net.parameters(), lr=0.1)


def train(width):
    trainer = Trainer(width)
    fit(trainer.net, trainer.opt)
"""
)

BY_ORDER = (
    PLAIN
    + """

def train(width):
    first, out = nn.Linear(5, width), nn.Linear(width, 2)
    optimizer = torch.optim.SGD([*first.parameters(), *out.parameters()], lr=0.1)
    fit(lambda x: out(torch.tanh(first(x))), optimizer)
"""
)

TWO = (
    PLAIN
    + """

class Both:
    def __init__(self, *optimizers):
        self.optimizers = optimizers

    def zero_grad(self):
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self):
        for optimizer in self.optimizers:
            optimizer.step()


def train(width):
    model = net(width)
    first = torch.optim.SGD(model[:3].parameters(), lr=0.1)
    fit(model, Both(first, torch.optim.SGD(model[3:].parameters(), lr=0.2)))
"""
)

TRANSFORMER = """
import torch
import torch.nn.functional as F
from torch import nn


class Model(nn.Module):
    def __init__(self, d, heads=2):
        super().__init__()
        self.heads = heads
        self.tokens = nn.Embedding(7, d)
        self.qkv = nn.Linear(d, 3 * d)
        self.proj = nn.Linear(d, d)
        self.ln = nn.LayerNorm(d)
        BIAS

    def forward(self, tokens):
        x = self.tokens(tokens)
        batch, length, d = x.shape
        q, k, v = (y.view(batch, length, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        ATTENTION
        x = x + self.proj(y.transpose(1, 2).reshape(batch, length, d))
        return READOUT


def train(width):
    model = Model(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = torch.randint(7, (4, 6), generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


COMPLEX = (
    """
import torch
from torch import nn


class Turned(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.last = nn.Linear(5, width), nn.Linear(width, 2)
        self.turn = nn.Parameter(torch.randn(width, width, dtype=torch.complex64) / width**0.5)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        made = torch.complex(h, torch.zeros_like(h)) @ self.turn
        return self.last(torch.tanh(made.real + made.imag))
"""
    + LOOP
    + """

def train(width):
    model = Turned(width)
    fit(model, torch.optim.Adam(model.parameters(), lr=0.01))
"""
)
"""A complex parameter: the program has its two parts, and the optimizer one."""


def transformer(attention: str, readout: str, bias: str = "pass") -> str:
    indented = dedent(attention).strip().replace("\n", "\n        ")
    return TRANSFORMER.replace("ATTENTION", indented).replace("READOUT", readout).replace("BIAS", bias)


def write(folder: str, text: str, **others: str) -> tuple[str, ...]:
    """Writes files into a folder of the working folder; gives the words for `tpdyn fix`."""
    Path(folder).mkdir()
    for name, content in {"script": text, **others}.items():
        (Path(folder) / f"{name}.py").write_text(content)
    return "script.py:train", "--base-width", str(BASE), "--steps", "2"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test works in an empty folder, and what its scripts import from there is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("network", "somewhere"):
        sys.modules.pop(name, None)


@final
@dataclass(frozen=True)
class Said:
    """What `tpdyn fix` gave out."""

    status: int
    patch: str
    told: str

    @property
    def verified(self) -> bool:
        return self.status == 0 and "\nverified: " in self.told and "bit for bit" in self.told

    @property
    def left(self) -> str:
        """What is left to a person."""
        return self.told.partition("left to you:\n  ")[2].partition("\nNOT verified")[0]


def fixed(**scripts: tuple[str, ...]) -> dict[str, Said]:
    """The command line in each of these folders."""
    found = {}
    for name, words in scripts.items():
        with contextlib.chdir(name):
            done = CliRunner().invoke(app, ["fix", *words])
        found[name] = Said(done.exit_code, done.stdout, done.stderr)
    return found


def applied(folder: str, found: Said, tool: str = "patch") -> None:
    """Apply the patch in the folder, as a user would."""
    command = ["patch", "-p0"] if tool == "patch" else ["git", "apply", "-p0"]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{tool} is not installed")
    subprocess.run(command, cwd=folder, input=found.patch, text=True, check=True, capture_output=True)


@pytest.mark.slow
def test_the_patched_script_is_maximal_and_the_same_at_the_base_width() -> None:
    cases = {
        "sgd": (SGD, "optimizer = maximal_update(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))"),
        "adamw": (ADAMW, "optimizer = maximal_update(model, torch.optim.AdamW("),
        "groups": (GROUPS, "fit(model, maximal_update(model, torch.optim.Adam(["),
        "function": (IN_A_FUNCTION, "return maximal_update(network, KINDS[kind](network.parameters(), 0.1))"),
        "held": (HELD, "self.opt = maximal_update(self.net, torch.optim.SGD(self.net.parameters(), lr=0.1))"),
        "order": (
            BY_ORDER,
            "optimizer = maximal_update(torch.optim.SGD([*first.parameters(), *out.parameters()], lr=0.1))",
        ),
        "complex": (COMPLEX, "fit(model, maximal_update(model, torch.optim.Adam(model.parameters(), lr=0.01)))"),
        "two": (TWO, "first = maximal_update(model, torch.optim.SGD(model[:3].parameters(), lr=0.1))"),
    }
    for name, found in fixed(**{name: write(name, text) for name, (text, _) in cases.items()}).items():
        text, written = cases[name]
        assert found.verified, found.told
        file = Path(name, "script.py")
        assert file.read_text() == text
        assert "import tpdyn" not in found.patch
        assert any(line.startswith("+ ") and line[1:].lstrip() == written for line in found.patch.splitlines()), (
            found.patch
        )
        target = f"{file}:train"
        before = {width: after_first_steps(load(target), width) for width in (BASE, 2 * BASE)}
        applied(name, found)
        assert same_bits(before[BASE], after_first_steps(load(target), BASE)), name
        assert not same_bits(before[2 * BASE], after_first_steps(load(target), 2 * BASE)), name


@pytest.mark.slow
def test_products_are_multiplied_where_they_are_written() -> None:
    """Attention's logits and a readout that is the embedding: multipliers that belong to no parameter."""
    function, weight = "y = F.scaled_dot_product_attention(q, k, v)", "F.linear(self.ln(x), self.tokens.weight)"
    einsum = """
        logits = torch.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
        y = torch.matmul(torch.softmax(logits, dim=-1), v)
    """
    written_out = """
        logits = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        y = torch.softmax(logits, dim=-1) @ v
    """
    tied = "self.head = nn.Linear(d, 7, bias=False); self.head.weight = self.tokens.weight"
    model, loop = transformer(function, weight).split("\n\ndef train")
    imports = "import torch\nimport torch.nn.functional as F\nfrom network import Model\n\n\ndef train"
    found = fixed(
        function=write("function", transformer(function, weight)),
        einsum=write("einsum", transformer(einsum, "self.head(self.ln(x))", tied)),
        files=write("files", imports + loop, network=model),
        written=write("written", transformer(written_out, "self.ln(x) @ self.tokens.weight.T")),
        biased=write("biased", transformer(function, "self.head(x + self.ln(x))", tied.replace(", bias=False", ""))),
    )
    assert all(said.verified for said in found.values()), [said.told for said in found.values()]
    for said in (found["function"], found["files"]):
        assert "q, k, v, scale=1 / q.shape[-1] ** 0.5 * (q.shape[-1] / 10) ** -0.5)" in said.patch
        assert "(F.linear(self.ln(x), self.tokens.weight) * (self.tokens.weight.shape[-1] / 20) ** -1)" in said.patch
    assert '(torch.einsum("bhqd,bhkd->bhqk", q, k) * (q.shape[-1] / 10) ** -0.5)' in found["einsum"].patch
    assert "(self.head(self.ln(x)) * (self.head.weight.shape[-1] / 20) ** -1)" in found["einsum"].patch
    assert "(self.ln(x) @ self.tokens.weight.T * (self.tokens.weight.T.shape[-2] / 20) ** -1)" in found["written"].patch
    assert "(q @ k.transpose(-2, -1) * (q.shape[-1] / 10) ** -0.5)" in found["written"].patch
    assert "self.head((x + self.ln(x)) * (self.head.weight.shape[-1] / 20) ** -1)" in found["biased"].patch
    assert "--- network.py" in found["files"].patch and "--- script.py" in found["files"].patch
    for name, said in found.items():
        applied(name, said, "git")
    load("einsum/script.py:train")(16)


@pytest.mark.slow
def test_the_examples_are_fixed_and_what_is_maximal_needs_no_edit() -> None:
    words = "script.py:train", "--base-width", "48"
    write("digits", (EXAMPLES / "digits_mlp.py").read_text())
    write("settings", SETTINGS)
    write("mup", (EXAMPLES / "digits_mlp.py").read_text())
    found = fixed(
        digits=words,
        mup=("script.py:train_mup",),
        settings=("script.py", "--set", "n_embd=n", "--record-widths", "24,32,40", *words[1:]),
    )
    there = found["mup"]
    assert there.status == 0 and there.patch == "" and "nothing to change" in there.told
    assert found["digits"].verified, found["digits"].told
    before = after_first_steps(load("digits/script.py:train"), 48, steps=20)
    applied("digits", found["digits"])
    assert same_bits(before, after_first_steps(load("digits/script.py:train"), 48, steps=20))
    settings = found["settings"]
    assert settings.verified, settings.told
    assert "+optimizer = maximal_update(model, torch.optim.AdamW(model.parameters(), lr=0.01))" in settings.patch
    applied("settings", settings)


@pytest.mark.slow
def test_what_cannot_be_edited_beyond_doubt_is_left_to_a_person_with_its_line() -> None:
    by_hand = PLAIN + (
        "\n\nclass Steps:\n"
        "    def __init__(self, model):\n        self.model = model\n\n"
        "    def zero_grad(self):\n        self.model.zero_grad()\n\n"
        "    def step(self):\n        with torch.no_grad():\n"
        "            for parameter in self.model.parameters():\n                parameter -= 0.1 * parameter.grad\n\n\n"
        "def train(width):\n    model = net(width)\n    fit(model, Steps(model))\n"
    )
    one_call = PLAIN + (
        "\n\ndef make(model):\n    return torch.optim.SGD(model.parameters(), lr=0.1)\n\n\n"
        "def train(width):\n    model, other = net(width), net(width)\n    one, two = make(model), make(other)\n"
        "    x = torch.ones(3, 5)\n    for _ in range(3):\n"
        "        (model(x) + other(x)).square().mean().backward()\n        one.step()\n        two.step()\n"
    )
    package = Path("site-packages", "somewhere").absolute()
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import torch\n\ndef make(model):\n    return torch.optim.SGD(model.parameters(), lr=0.1)\n"
    )
    framework = PLAIN + (
        f"\n\ndef train(width):\n    import sys\n    sys.path.insert(0, {str(package.parent)!r})\n    import somewhere\n\n"
        "    model = net(width)\n    fit(model, somewhere.make(model))\n"
    )
    unplain = transformer(
        "y = F.scaled_dot_product_attention(q, k, v)",
        "torch.matmul(self.ln(x), self.tokens.weight.transpose(0, 1))",
    )
    small = SGD.replace("    model = net(width)\n    opt", "    assert width < 1000\n    model = net(width)\n    opt")
    write("small", small)
    found = fixed(
        by_hand=write("by_hand", by_hand),
        one_call=write("one_call", one_call),
        framework=write("framework", framework),
        unplain=write("unplain", unplain),
        small=("script.py:train", "--base-width", "4096", "--steps", "2"),
    )
    assert [said.status for said in found.values()] == [15, 15, 15, 15, 0]
    assert found["by_hand"].patch == found["framework"].patch == ""
    assert "no optimizer of torch.optim steps them" in found["by_hand"].left and "0.weight" in found["by_hand"].left
    assert "one call makes optimizers of several models" in found["one_call"].left
    assert "made by a framework" in found["framework"].left and found["framework"].left.startswith("script.py:")
    unplain_lines = Path("unplain", "script.py").read_text().splitlines()
    line = next(number for number, text in enumerate(unplain_lines, 1) if "torch.matmul(self.ln(x)" in text)
    assert found["unplain"].left.startswith(f"script.py:{line}: multiply the product"), found["unplain"].told
    assert "(size / 20) ** -1" in found["unplain"].left
    assert "+        # TODO (tpdyn fix): multiply the product" in found["unplain"].patch
    assert "NOT verified" in found["unplain"].told
    applied("unplain", found["unplain"])
    compile(Path("unplain", "script.py").read_text(), "unplain", "exec")
    assert "at width 4096 the two could not be compared" in found["small"].told


def test_a_base_width_that_is_none_is_refused() -> None:
    write("here", SGD)
    with pytest.raises(BadInput, match="positive whole number"):
        fixing.fixed(Target("here/script.py:train"), base_width=0, steps=2)


def test_an_edit_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check must be able to fail: on a wrong sign, and on factors unlike one at the base width."""
    write("here", SGD)
    target = "here/script.py:train"
    import tpdyn.parametrizing.editing.fix as module

    right = module.powers_of
    with monkeypatch.context() as patched:
        patched.setattr(module, "powers_of", lambda shift, keys: {k: -p for k, p in right(shift, keys).items()})
        found = fixing.fixed(Target(target), base_width=BASE, steps=2)
        assert found.exit is Exit.UNVERIFIED and found.neutral and "multiply the learning rate" in found.told()
    width_from = module.width_from
    with monkeypatch.context() as patched:
        patched.setattr(module, "width_from", lambda shapes, base: width_from(shapes, base + 1))
        found = fixing.fixed(Target(target), base_width=BASE, steps=2)
        assert found.exit is Exit.UNVERIFIED and found.neutral is False
        assert "its first steps are NOT those of the script" in found.told()


class TestText:
    def test_rows_that_differ_in_numbers_only_are_one(self) -> None:
        lr, other = {"lr": -1}, {"lr": 1}
        assert table_by_pattern({"h.0.w": lr, "h.1.w": lr, "h.0.b": {}, "h.1.b": {}}) == {"h.*.w": lr}  # type: ignore[dict-item]
        assert table_by_pattern({"0.w": lr, "2.w": other, "4.w": lr}) == {"0.w": lr, "2.w": other, "4.w": lr}  # type: ignore[dict-item]
        assert pattern_of("blocks.3.fc1.weight") == "blocks.*.fc1.weight"

    def test_what_most_rows_say_is_said_once(self) -> None:
        rows = {"a": {"lr": 1}, "b": {"lr": 1}, "c": {"lr": 1}, "d": {"lr": -1}, "e": {}}
        assert with_others(table_by_pattern(rows), rows) == {"": {"lr": 1}, "d": {"lr": -1}, "e": {}}  # type: ignore[arg-type]

    def test_only_settings_that_the_optimizer_has_are_named(self) -> None:
        shift = Shift(initial=Fraction(-1, 2), rate=Fraction(1), decay=Fraction(-1), guard=Fraction(-1))
        assert powers_of(shift, frozenset({"lr", "eps"})).keys() == {"initial", "lr", "eps"}

    def test_letters_of_two_bytes_line_ends_and_form_feeds_are_kept(self) -> None:
        text = '"""é"""\r\nimport torch\r\n\x0c\r\nx = f("é", g("é"))'
        edits = TextEdits(text)
        calls = [node for node in ast.walk(edits.tree) if isinstance(node, ast.Call)]
        edits.wrap(calls[1], "w(", ")")
        edits.wrap(calls[0], "v(", ")")
        edits.add_definitions("def w():\n    pass\n", 4)
        assert edits.result() == (
            '"""é"""\r\nimport torch\r\n\r\ndef w():\r\n    pass\r\n\r\n\x0c\r\nx = v(f("é", w(g("é"))))'
        )
        assert "\\ No newline at end of file" in unified(text, edits.result(), "x.py")

    def test_an_argument_is_added_behind_a_comma_or_not(self) -> None:
        for text, result in (
            ("f(a, b)", "f(a, b, c=1)"),
            ("f(a,\n  (b),\n)", "f(a,\n  (b),\nc=1)"),
            ("f(\n  a\n)", "f(\n  a\n, c=1)"),
        ):
            edits = TextEdits(text)
            edits.add_argument(next(n for n in ast.walk(edits.tree) if isinstance(n, ast.Call)), "c=1")
            assert edits.result() == result
            ast.parse(edits.result())
