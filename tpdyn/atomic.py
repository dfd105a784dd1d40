"""Is a file there as a whole or not at all? It is written beside its place, and moved there when it is complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO


def atomic_write(path: Path, content: str | Callable[[IO[bytes]], object], *, parents: bool = False) -> Path:
    """Write a file at once or not at all; an earlier file is replaced.

    content: the text (stored as UTF-8), or a function that writes to the open file. parents: whether to make missing folders.
    Returns the path. Raises OSError if that cannot be written, and what `content` raises. Then the earlier file is as it was.

    Example:
        >>> import tempfile
        >>> atomic_write(Path(tempfile.mkdtemp()) / "runs" / "a.txt", "whole", parents=True).read_text()
        'whole'
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            if isinstance(content, str):
                file.write(content.encode())
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return path
