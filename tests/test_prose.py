"""Is a sentence at most twenty words long? This reads README, CONTRIBUTING, every page, docstring and message.

Code, formulas, tables, titles and generated pages of names do not count. A piece in backticks is one word.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 20
NO_PROSE = ("#", "|", "<", ":::", "!!!", "![")
ITEM = re.compile(r"^([*+-]|\d+\.|:) +")
# A sentence ends with its mark, or with a colon before a capital; `name: what it is` of a docstring starts one.
END = re.compile(
    r"(?<=[.!?:])[\"*)_]*\s+(?=[\"*(_A-Z0-9])"
    r"|(?<=[.!?])\s+(?=(?:tpdyn|muP|torch|pytest) |--[a-z])"
    r"|(?<=\.)\s+(?=[a-z_]+(?:\[\w\])?(?:, [a-z_]+)*: )"
)
ABBREVIATED = re.compile(r"\b(e\.g|i\.e|cf|eq|eqs|fig|sec|al|vs|Ann|Proc|Prop|Thm|Def|Rem|No)\.(?=\s)")
SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes|Examples?):$")
ARGUMENT = re.compile(r"\*{0,2}[\w.]+(, \*{0,2}[\w.]+)*: +")


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """The line of each paragraph or item of a list, and its words."""
    gathered: list[str] = []
    start, fenced = 1, False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        words = line.strip()
        fence = words.startswith("```")
        item = bool(ITEM.match(words))
        if (fence or fenced or item or not words or words.startswith(NO_PROSE)) and gathered:
            yield start, " ".join(gathered)
            gathered = []
        if not (fence or fenced or not words or words.startswith(NO_PROSE)):
            start = start if gathered else number
            gathered.append(ITEM.sub("", words))
        fenced ^= fence


def sentences(paragraph: str) -> list[str]:
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "X", paragraph)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)  # of a link counts what is shown
    return END.split(ABBREVIATED.sub(r"\1", text))


def length(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def long_sentences(paragraph: str) -> list[str]:
    return [sentence for sentence in sentences(paragraph) if length(sentence) > LONGEST]


PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")], key=lambda page: page.as_posix()
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_sentence_of_a_page_is_long(page: Path) -> None:
    too_long = [
        f"line {line}, {length(sentence)} words: {sentence}"
        for line, paragraph in paragraphs(page.read_text())
        for sentence in long_sentences(paragraph)
    ]
    assert not too_long, "split them:\n" + "\n".join(too_long)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    """The line and the docstring of a module, and of all classes, functions and constants in it."""
    for child in node.body:
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str):
            yield child.lineno, inspect.cleandoc(child.value.value)
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from documented(child)


def prose(docstring: str) -> str:
    """Blank what is no prose in a docstring: examples, and what is indented behind an empty line (code, formulas, tables).

    An entry of a section like `Args:` becomes an item of a list, without its name.
    """
    kept: list[str] = []
    shown = set_apart = section = False
    before = ""
    for line in docstring.splitlines():
        words, indented = line.strip(), line.startswith(" ")
        shown = bool(words) and (shown or words.startswith(">>>"))
        set_apart = (set_apart and (indented or not words)) or (indented and not before and not section)
        section = bool(SECTION.match(words)) or (section and (indented or not words))
        entry = section and indented and ARGUMENT.match(words)
        if shown or set_apart or SECTION.match(words):
            kept.append("")
        else:
            kept.append("* " + words[entry.end() :] if entry else words)
        before = words
    return "\n".join(kept)


PACKAGES = ("tpdyn", "tests", "proofs_checks", "browser_checks", "benchmarks", "examples", "docs", "bootstrap.py")


@pytest.mark.parametrize("folder", PACKAGES)
def test_no_sentence_of_a_docstring_is_long(folder: str) -> None:
    files = [ROOT / folder] if folder.endswith(".py") else sorted((ROOT / folder).rglob("*.py"))
    too_long = [
        f"{path.relative_to(ROOT)}, line {line}, {length(sentence)} words: {sentence}"
        for path in files
        for line, text in documented(parsed(path))
        if len(text.split()) > LONGEST
        for _, paragraph in paragraphs(prose(text))
        for sentence in long_sentences(paragraph)
    ]
    assert not too_long, "split them:\n" + "\n".join(too_long)


def said(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and the text of each string that is no docstring. What an f-string fills in is one word, X."""
    nodes = list(ast.walk(tree))
    within = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    within |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in within:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values),
            )


def test_no_sentence_of_a_message_is_long() -> None:
    """Messages, help and what reports say, that is: every string of the package but lists of bare names."""
    too_long = [
        f"{path.relative_to(ROOT)}, line {line}, {length(sentence)} words: {sentence}"
        for path in sorted((ROOT / "tpdyn").rglob("*.py"))
        for line, text in said(parsed(path))
        if len(text.split()) > LONGEST and not re.fullmatch(r"[\w\s]*", text)
        for _, paragraph in paragraphs(text)
        for sentence in long_sentences(paragraph)
    ]
    assert not too_long, "split them:\n" + "\n".join(too_long)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("word " * 21, [21]),
        ("Word " * 11 + "word. " + "Word " * 11, []),
        ("`" + "word " * 30 + "`", []),
        ("```\n" + "word " * 30 + "\n```", []),
        ("| " + "word " * 30, []),
        ("* " + "word " * 12 + "\n* " + "word " * 12, []),
        ("[" + "word " * 21 + "](target.md)", [21]),
        ("Word " * 11 + "e.g. " + "Word " * 11, [23]),
        ("Word " * 11 + "(eq. 3), version 1.2.0, " + "word " * 8, [23]),
    ],
)
def test_a_long_sentence_is_seen_and_what_is_no_prose_is_not(text: str, lengths: list[int]) -> None:
    assert [length(each) for _, paragraph in paragraphs(text) for each in long_sentences(paragraph)] == lengths


@pytest.mark.parametrize(
    ("docstring", "words"),
    [
        ("Add two.\n\nWord.\n\n    code " + "word " * 30, "Add two. Word."),
        ("Add.\n\nExample:\n    >>> add(1, 2)\n    3\n\nMore.", "Add. More."),
        (
            "Add.\n\nArgs:\n    one, other: Two numbers.\n        Of any sign.\n\nRaises:\n    ValueError: Never.",
            "Add. Two numbers. Of any sign. Never.",
        ),
        ("* one\n  more\n* two", "one more two"),
    ],
)
def test_what_is_prose_in_a_docstring(docstring: str, words: str) -> None:
    assert " ".join(paragraph for _, paragraph in paragraphs(prose(docstring))) == words


def test_messages_are_seen_and_docstrings_are_not() -> None:
    source = '"""Docstring."""\ndef f(x):\n    """Docstring."""\n    raise ValueError(f"x is {x!r}; " "expected 1")\n'
    assert [text for _, text in said(ast.parse(source))] == ["x is X; expected 1"]
