"""Mirrors tpdyn/parametrizing/editing/edits.py: insertions at the places that `ast` counts, all else byte for byte."""

from __future__ import annotations

import ast
from textwrap import dedent

from tpdyn.parametrizing.editing.edits import TextEdits, lines_in, unified


def first(edits: TextEdits, kind: type[ast.expr]) -> ast.expr:
    return next(node for node in ast.walk(edits.tree) if isinstance(node, kind))


def test_text_without_edits_stays_as_it_is_with_its_line_ends_and_form_feeds() -> None:
    for text in ("x = 1", "x = 1\r\ny = 2\r\n", "a = 1\n\x0cb = 2\n", "é = 'ü'  # ×\n"):
        assert TextEdits(text).result() == text


def test_an_expression_is_wrapped_behind_letters_of_several_bytes() -> None:
    edits = TextEdits("é = 'ü' + f(x)\n")
    edits.wrap(first(edits, ast.Call), "(", " * 2)")
    assert edits.result() == "é = 'ü' + (f(x) * 2)\n"


def test_a_form_feed_ends_no_line() -> None:
    edits = TextEdits("a = 1\n\x0cb = f(x)\n")
    edits.wrap(first(edits, ast.Call), "(", ")")
    assert edits.result() == "a = 1\n\x0cb = (f(x))\n"


def test_of_two_that_wrap_the_same_the_later_is_outside() -> None:
    edits = TextEdits("y = f(x)\n")
    node = first(edits, ast.Call)
    edits.wrap(node, "<", ">")
    edits.wrap(node, "[", "]")
    assert edits.result() == "y = [<f(x)>]\n"


def test_an_argument_is_put_behind_the_last_also_behind_a_comma_of_its_own() -> None:
    for before, after in (
        ("y = f(x)\n", "y = f(x, k=1)\n"),
        ("y = f(x, a=2)\n", "y = f(x, a=2, k=1)\n"),
        ("y = f(\n    x,\n)\n", "y = f(\n    x,\nk=1)\n"),
    ):
        edits = TextEdits(before)
        call = first(edits, ast.Call)
        assert isinstance(call, ast.Call)
        edits.add_argument(call, "k=1")
        assert edits.result() == after
        ast.parse(after)


def test_a_comment_stands_above_its_statement_and_as_far_in() -> None:
    edits = TextEdits("def f():\n    return g(\n        1)\n")
    edits.comment(3, "why")
    assert edits.result() == "def f():\n    # why\n    return g(\n        1)\n"


def test_definitions_go_behind_the_last_import_above_and_behind_the_docstring() -> None:
    text = dedent('''\
        """Docs."""
        import a

        x = a.f()
        import b
        ''')
    edits = TextEdits(text)
    edits.add_definitions("def g(): ...\n", 4)
    found = edits.result()
    ast.parse(found)
    assert found.index("import a") < found.index("def g") < found.index("x = a.f()")


def test_lines_above_the_end_of_a_text_without_a_last_line_feed_start_a_line() -> None:
    edits = TextEdits("x = 1")
    edits.above(2, "y = 2\n")
    assert edits.result() == "x = 1\ny = 2\n"


def test_only_a_line_feed_ends_a_line() -> None:
    assert lines_in("a\x0cb\nc\x0bd") == ["a\x0cb\n", "c\x0bd"]


def test_a_patch_says_where_there_is_no_last_line_feed() -> None:
    assert unified("x = 1", "x = 2", "a.py").splitlines() == [
        "--- a.py",
        "+++ a.py",
        "@@ -1 +1 @@",
        "-x = 1",
        "\\ No newline at end of file",
        "+x = 2",
        "\\ No newline at end of file",
    ]
