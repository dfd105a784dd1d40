"""Do the pages of the documentation tell the truth? Each snippet is run, in the order in which a reader meets it.

    python docs/snippets.py                    # run every page
    python docs/snippets.py docs/tutorial.md   # or some
    python docs/snippets.py --write            # and write what was printed into the pages

A fenced `python` block is executed, in one namespace a page. One with `title="train.py"` is written to that file instead,
as are blocks of other languages with a title. A comment in the line before a fence says what else to do:

    <!-- run -->            the block is shell, and is run; `<!-- run, status 10 -->` names the exit status that is expected
    <!-- output -->         the block is what the block before printed, word for word
    <!-- sample -->         likewise, but numbers differ from run to run: only `--write` looks at it
    <!-- shown -->          the block is only shown; the comment must say why: `<!-- shown: needs a GPU -->`

Everything runs in a new folder in which `examples/` lies, so that paths are those of a checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>.*)$")
NOTE = re.compile(r"^ *<!-- (?P<word>run|output|sample|shown)(?:, status (?P<status>\d+))?(?P<why>: .+)? -->$")
TITLE = re.compile(r'title="([^"]+)"')

Kind = Literal["python", "file", "shell", "output", "sample", "shown"]


class WrongPage(AssertionError):
    """A page that does not tell the truth: a snippet fails, or prints something else."""


@final
@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: what it is, its text, the number of its first line (from 1), its indentation."""

    kind: Kind
    text: str
    line: int
    indent: int = 0
    title: str = ""
    status: int = 0


def pages() -> list[Path]:
    """Every page that is written by hand; README.md is one."""
    return [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if page.name != "conformance.md")]


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, in order. Raises WrongPage for a fence that nothing ends or says nothing of."""
    lines = text.splitlines()
    blocks = []
    at = 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        end = next((k for k in range(at + 1, len(lines)) if lines[k].strip() == "```"), None)
        if end is None:
            raise WrongPage(f"line {at + 1}: the fence is never closed")
        note = NOTE.match(lines[at - 1]) if at else None
        title = TITLE.search(fence["rest"])
        indent = len(fence["indent"])
        body = "".join(line[indent:] + "\n" for line in lines[at + 1 : end])
        kind = _kind(fence["language"], note, title is not None, at + 1)
        status = int(note["status"] or 0) if note else 0
        blocks.append(Block(kind, body, at + 2, indent, title[1] if title else "", status))
        at = end + 1
    return blocks


def _kind(language: str, note: re.Match[str] | None, titled: bool, line: int) -> Kind:
    word = note["word"] if note else ""
    if word == "shown":
        if note is None or not note["why"]:
            raise WrongPage(f"line {line}: a block that is only shown must say why: <!-- shown: ... -->")
        return "shown"
    if word in ("output", "sample"):
        return "output" if word == "output" else "sample"
    if titled:
        return "file"
    if language == "python":
        return "python"
    if word == "run":
        return "shell"
    raise WrongPage(
        f"line {line}: a block of {language or 'no language'} without <!-- run -->, <!-- output --> or <!-- shown: why -->"
    )


def printed(page: Path, blocks: list[Block]) -> list[str]:
    """What each block of a page prints when the page is run; raises WrongPage where one fails."""
    namespace: dict[str, Any] = {"__name__": "page"}
    said: list[str] = []
    with _folder():
        for block in blocks:
            match block.kind:
                case "python":
                    said.append(_python(page, block, namespace))
                case "file":
                    Path(block.title).parent.mkdir(parents=True, exist_ok=True)
                    Path(block.title).write_text(block.text)
                    said.append("")
                case "shell":
                    said.append(_shell(page, block))
                case "output" | "sample":
                    said.append(said[-1].replace(f"{ROOT}/", "").replace(f"{Path.cwd()}/", ""))
                case "shown":
                    said.append("")
    return said


def _python(page: Path, block: Block, namespace: dict[str, Any]) -> str:
    # Blank lines before it: messages and tracebacks then name lines of the page itself.
    text = "\n" * (block.line - 1) + block.text
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(text, str(page), "exec"), namespace)
    except Exception as error:
        raise WrongPage(f"{page.name}, block at line {block.line}: {type(error).__name__}: {error}") from error
    return out.getvalue()


def _shell(page: Path, block: Block) -> str:
    lines = block.text.splitlines()
    if all(line.startswith("tpdyn ") and not set(line) & set("|>&;`") for line in lines):
        made = [_tpdyn(shlex.split(line)[1:]) for line in lines]  # here, so that torch is imported once
        status, said = max(status for status, _ in made), "".join(text for _, text in made)
    else:
        status, said = _bash(block.text)
    if status != block.status:
        raise WrongPage(f"{page.name}, block at line {block.line}: status {status}, expected {block.status}\n{said}")
    return said


def _tpdyn(words: list[str]) -> tuple[int, str]:
    """The exit status of a command line, and what it prints."""
    from tpdyn import cli

    out, before = io.StringIO(), sys.argv
    sys.argv = ["tpdyn", *words]
    try:
        with contextlib.redirect_stdout(out):
            cli.main()
    except SystemExit as leaving:
        return int(leaving.code or 0), out.getvalue()
    finally:
        sys.argv = before
    return 0, out.getvalue()


def _bash(text: str) -> tuple[int, str]:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "COLUMNS": "100",
    }
    made = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    return made.returncode, made.stdout if made.returncode == 0 else made.stdout + made.stderr


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    """A new folder with `examples/` in it, while a page is run."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        if (ROOT / "examples").is_dir():
            shutil.copytree(ROOT / "examples", Path(folder) / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def check(page: Path) -> None:
    """Run a page and compare what it says is printed; raises WrongPage."""
    blocks = blocks_of(page.read_text())
    for block, said in zip(blocks, printed(page, blocks), strict=True):
        if block.kind == "output" and _same(said) != _same(block.text):
            raise WrongPage(
                f"{page.name}, line {block.line}: this was printed, run `python docs/snippets.py --write "
                f"{page.relative_to(ROOT)}` if it is right:\n{said}"
            )


def _same(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def write(page: Path) -> None:
    """Run a page and write what is printed into its blocks of output."""
    text = page.read_text()
    blocks = blocks_of(text)
    lines = text.splitlines()
    for block, said in reversed(list(zip(blocks, printed(page, blocks), strict=True))):
        if block.kind in ("output", "sample"):
            start = block.line - 1
            end = start + len(block.text.splitlines())
            lines[start:end] = [" " * block.indent + line if line else "" for line in _same(said)]
    page.write_text("\n".join(lines) + "\n")


def main() -> int:
    """Run pages; 1 if one of them is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true", help="write what is printed into the pages")
    arguments = parser.parse_args()
    wrong = 0
    for page in [each.resolve() for each in arguments.pages] or pages():
        started = time.perf_counter()
        try:
            (write if arguments.write else check)(page)
        except WrongPage as error:
            wrong = 1
            print(error, file=sys.stderr)
        print(f"{page.relative_to(ROOT)}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
