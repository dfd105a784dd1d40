"""How is a script's text changed in a few lines, all else left as it is? Insertions, collected and then made at once."""

from __future__ import annotations

import ast
import difflib
import re
from typing import final


@final
class TextEdits:
    """Insertions into one Python text. Lines count from 1, columns from 0 in UTF-8 bytes, as `ast` counts them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._lines = [line.encode() for line in lines_in(text)]
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._within: dict[int, list[tuple[int, int, str]]] = {}
        self._before: dict[int, list[str]] = {}

    def wrap(self, node: ast.expr, before: str, after: str) -> None:
        """Put text around an expression; of two that begin or end together the later one is outside."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._within.setdefault(node.lineno, [])
        start.append((node.col_offset, -len(start) - 1, before))
        end = self._within.setdefault(node.end_lineno, [])
        end.append((node.end_col_offset, -(10**6) + len(end), after))

    def add_argument(self, call: ast.Call, argument: str) -> None:
        """Put a further argument into a call that has some already."""
        assert call.end_lineno is not None
        assert call.end_col_offset is not None
        inside: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
        last = max((node.end_lineno or 0, node.end_col_offset or 0) for node in inside)
        text = b"".join(self._lines[last[0] - 1 : call.end_lineno])
        after = text[last[1] : len(text) - len(self._lines[call.end_lineno - 1]) + call.end_col_offset]
        comma = "" if b"," in after else ", "
        self._within.setdefault(call.end_lineno, []).append((call.end_col_offset - 1, -(10**6), comma + argument))

    def above(self, line: int, text: str) -> None:
        """Put lines above a line."""
        self._before.setdefault(line, []).append(text)

    def comment(self, line: int, words: str) -> None:
        """Put a comment above the statement that the line belongs to."""
        statement = self.statement_at(line)
        at = line if statement is None else statement.lineno
        indent = self._lines[at - 1][: len(self._lines[at - 1]) - len(self._lines[at - 1].lstrip())].decode()
        self.above(at, f"{indent}# {words}\n")

    def statement_at(self, line: int) -> ast.stmt | None:
        """Find the innermost statement that covers a line."""
        around = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
        ]
        return max(around, key=lambda node: node.lineno, default=None)

    def add_definitions(self, text: str, line: int) -> None:
        """Put definitions at the top level, behind the last import above the statement at `line`."""
        last = 0
        for node in self.tree.body:
            docstring = (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node is self.tree.body[0]
            )
            if node.lineno <= line <= (node.end_lineno or node.lineno) and not docstring:
                break
            if docstring or isinstance(node, ast.Import | ast.ImportFrom):
                last = node.end_lineno or node.lineno
        following = self._lines[last].strip() if last < len(self._lines) else b""
        self.above(last + 1, ("\n" if last else "") + text + ("\n\n" if following else "\n"))

    def result(self) -> str:
        """Return the changed text."""
        out: list[bytes] = []
        for number, line in enumerate(self._lines, start=1):
            out += map(self._ended, self._before.get(number, []))
            for column, _, text in sorted(self._within.get(number, []), reverse=True):
                line = line[:column] + text.encode() + line[column:]
            out.append(line)
        after = self._before.get(len(self._lines) + 1, [])
        if after and out and not out[-1].endswith(b"\n"):
            out.append(self._newline.encode())
        return b"".join([*out, *map(self._ended, after)]).decode()

    def _ended(self, text: str) -> bytes:
        return text.replace("\n", self._newline).encode()


def lines_in(text: str) -> list[str]:
    """Split a Python text into lines with their ends. Only a line feed ends one (`str.splitlines` splits at form feeds, too)."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def unified(before: str, after: str, path: str) -> str:
    """Write the change as a patch that `patch -p0` and `git apply -p0` take."""
    lines = difflib.unified_diff(lines_in(before), lines_in(after), path, path)
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)
