"""What does a run depend on? Its script, what that imports and names in its folder, its arguments, and the versions that ran it.

The texts tell, without a run. Imported files count, also those imported in functions, if they lie in the script's folder or
below. So do files there that a text names ("config.yaml"), unless the call that names them writes. Three things are missed: files
with computed names or elsewhere, environment variables, the network. After a change of those, `--fresh` starts anew.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tpdyn.home import PACKAGE

WRITES = (
    "save",
    "dump",
    "write",
    "to_csv",
    "to_json",
    "to_parquet",
    "mkdir",
    "remove",
    "unlink",
    "savefig",
    "makedirs",
)
LARGEST = 2**26
"""Larger files count by size and time of change, not by content."""

MEASURING = 1
"""Counts up when measuring itself changes, so that earlier runs are not mixed with later ones."""


def identity_of(
    file: str | Path, arguments: Sequence[str] = (), texts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Collect what all runs of a script have in common, as JSON data: digests of texts, its arguments, versions.

    file: the script. arguments: everything else that says what is run: function, width arguments, settings. texts: contents
    that stand in for files, by full path.
    """
    stand_in = {str(Path(name).resolve()): text for name, text in (texts or {}).items()}
    main = Path(file).resolve()
    return {
        "files": {_named(path, main.parent): _digest(path, stand_in) for path in reached(main, arguments, stand_in)},
        "script": str(main),
        "arguments": list(arguments),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions that the numbers of a run may depend on."""
    by_name = {"measuring": str(MEASURING), "python": platform.python_version()}
    for name in ("torch", "numpy"):
        try:
            by_name[name] = version(name)
        except PackageNotFoundError:  # run from a source tree without metadata
            by_name[name] = "?"
    return by_name


@functools.cache
def package() -> str:
    """Return a digest of this package's text, for what depends on its rules, too."""
    digest = hashlib.sha256()
    for path in sorted(Path(PACKAGE).rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def reached(main: Path, arguments: Sequence[str], texts: Mapping[str, str]) -> list[Path]:
    """List the script and all files of its folder that it imports or names, sorted.

    main: an absolute path. texts: by path, what is read instead of a file.
    """
    found: set[Path] = set()
    waiting = [main]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix != ".py":
            continue
        try:
            tree = ast.parse(texts[str(path)] if str(path) in texts else path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        waiting += [each for name in _imports(tree) for each in _files_of(name, path, main.parent)]
        waiting += [each for name in _names(tree) for each in _named_file(name, main.parent)]
    for word in arguments:
        found.update(each for part in (word, *word.split("=")) for each in _named_file(part, main.parent))
    return sorted(found)


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (level, dotted name) of each import; `from a import b` may name a module or a thing in it: both are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield node.level, base
            yield from ((node.level, f"{base}.{alias.name}" if base else alias.name) for alias in node.names)


def _files_of(name: tuple[int, str], importer: Path, folder: Path) -> list[Path]:
    """List the files of a module, with the packages around it, if it lies in the folder."""
    level, dotted = name
    root = importer.parents[level - 1] if 0 < level <= len(importer.parents) else folder
    files, below = [], root
    for part in dotted.split(".") if dotted else []:
        below = below / part
        files += [each for each in (below.with_suffix(".py"), below / "__init__.py") if each.is_file()]
    return [each.resolve() for each in files if each.resolve().is_relative_to(folder)]


def _names(tree: ast.AST) -> Iterator[str]:
    """Yield the texts that may name a file which is read."""
    written = {
        id(word)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _writes(node)
        for word in ast.walk(node)
        if isinstance(word, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in written:
            yield node.value


def _writes(call: ast.Call) -> bool:
    name = ast.unparse(call.func).rpartition(".")[2]
    if name == "open":
        modes = [
            each.value for each in (*call.args, *(key.value for key in call.keywords)) if isinstance(each, ast.Constant)
        ]
        return any(isinstance(mode, str) and len(mode) <= 3 and set(mode) & set("wax") for mode in modes)
    return name.startswith(WRITES)


def _named_file(name: str, folder: Path) -> list[Path]:
    if not name or len(name) > 255 or "\n" in name or "\0" in name or "." not in name:
        return []
    try:
        path = (folder / name).resolve()
        return [path] if path.is_relative_to(folder) and path.is_file() else []
    except OSError:
        return []


def _named(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _digest(path: Path, texts: Mapping[str, str]) -> str:
    if str(path) in texts:
        return hashlib.sha256(texts[str(path)].encode()).hexdigest()[:32]
    try:
        facts = path.stat()
        if facts.st_size > LARGEST:
            return f"{facts.st_size} bytes of {facts.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    except OSError:
        return "unreadable"
