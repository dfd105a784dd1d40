"""Is a sentence at most twenty words long? Read are README, CONTRIBUTING, all pages, and how each docstring opens.

Code, formulas, tables, titles and generated pages of names do not count. A piece in backticks is one word.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 20
NO_PROSE = ("#", "|", "<", ":::", "!!!", "![")
ITEM = re.compile(r"^([*+-]|\d+\.|:) +")
# A sentence ends with its mark, or with a colon before a capital; `name: what it is` of a docstring starts one.
END = re.compile(r"(?<=[.!?:])[\"*)_]*\s+(?=[\"*(_A-Z0-9])|(?<=[.!?])\s+(?=tpdyn )|(?<=\.)\s+(?=[a-z_]+(?:\[\w\])?: )")


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
    return END.split(text)


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


def documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    """The line and the docstring of a module, and of all classes and functions in it."""
    yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from documented(child)


def test_every_docstring_opens_with_short_sentences() -> None:
    """Its first paragraph, that is: what a reader sees when pointing at a name."""
    too_long = [
        f"{path.relative_to(ROOT)}, line {line}, {length(sentence)} words: {sentence}"
        for path in sorted((ROOT / "tpdyn").rglob("*.py"))
        for line, text in documented(ast.parse(path.read_text()))
        for sentence in long_sentences(next(paragraphs(text), (0, ""))[1])
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
    ],
)
def test_a_long_sentence_is_seen_and_what_is_no_prose_is_not(text: str, lengths: list[int]) -> None:
    assert [length(each) for _, paragraph in paragraphs(text) for each in long_sentences(paragraph)] == lengths
