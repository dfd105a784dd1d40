"""Where may a script write while it is run dozens of times? Into a scratch folder that shows it the files of the working folder.

Each run works in a folder of its own. So it does not overwrite what the user keeps there, or resume from another's
checkpoint. In it, links show what lies in the working folder and beside it (`../data`). What is about to be written is
unlinked first, and folders on the way become real ones. This is copy on write, noticed by Python's audit events. What is
opened by other means, or by a full path, is written where it is. Such writes by Python are told.

A folder is linked once. After each run it is put back as it was, and the next run of the same script takes it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, final

import torch

MOST_NAMES = 4
LARGEST_COPY = 2**28
"""Larger files that are opened to be changed are not copied."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_ACTIVE: list[Scratch] = []  # an audit hook cannot be removed: it asks here
_HOOKED: list[bool] = []


@final
class Scratch:
    """The working folder of one run. written: sizes of the files that were written in it, by name. outside: paths of others."""

    def __init__(self) -> None:
        self.written: dict[str, int] = {}
        self.outside: list[str] = []
        self._root = os.path.realpath(tempfile.mkdtemp(prefix="tpdyn-run-"))
        self._busy = False
        self._here = os.path.realpath(os.getcwd())
        self.folder = self._root + self._here
        os.makedirs(self.folder)
        self._gone = weakref.finalize(self, _removed, self._root, os.getpid())
        self._show()

    def again(self) -> bool:
        """Make it ready for another run, with the files as they are now. False if it serves another folder, or is none."""
        if not self._gone.alive or self._here != os.path.realpath(os.getcwd()) or not os.path.isdir(self.folder):
            return False
        self.written, self.outside = {}, []
        self._show()
        return True

    def close(self) -> None:
        """Note what was written, and remove it."""
        for real, below in self._levels():
            into = self._root + real.rstrip(os.sep)
            with suppress(OSError):
                for name in os.listdir(into):
                    path = os.path.join(into, name)
                    if name == below or (os.path.islink(path) and os.readlink(path) == os.path.join(real, name)):
                        continue
                    self._note(path)
                    if os.path.isdir(path) and not os.path.islink(path):
                        shutil.rmtree(path)
                    else:
                        os.unlink(path)

    def remove(self) -> None:
        """Remove the folder."""
        self._gone()

    def _note(self, path: str) -> None:
        files = (
            [path] if os.path.isfile(path) else [os.path.join(at, name) for at, _, all in os.walk(path) for name in all]
        )
        for file in files:
            if not os.path.islink(file):
                with suppress(OSError):
                    self.written[os.path.relpath(file, self.folder)] = os.path.getsize(file)

    def _levels(self) -> Iterator[tuple[str, str]]:
        """Yield the working folder and each folder above it, with the name in it of the one before."""
        folder, below = self._here, ""
        while True:
            yield folder, below
            if folder == os.path.dirname(folder):
                return
            folder, below = os.path.split(folder)

    def _show(self) -> None:
        for real, below in self._levels():
            self._link(real, below=below)

    def about_to_write(self, path: Any, *, kept: bool = True, itself: bool = False) -> None:
        """Make a path of the scratch folder the run's own. kept: with its content. itself: a folder that changes itself."""
        if self._busy or not isinstance(path, str | bytes | os.PathLike):
            return
        self._busy = True
        try:
            self._own(os.path.abspath(os.fsdecode(path)), kept, itself)
        finally:
            self._busy = False

    def _own(self, full: str, kept: bool, itself: bool) -> None:
        if not full.startswith(self._root + os.sep):
            ours = full.startswith((tempfile.gettempdir() + os.sep, "/dev/", "/proc/")) or os.path.isdir(full)
            if not ours and full not in self.outside:
                self.outside.append(full)
            return
        parts = full[len(self._root) + 1 :].split(os.sep)
        at = self._root
        for part in parts[: None if itself else -1]:
            at = os.path.join(at, part)
            if os.path.islink(at) and os.path.isdir(at):
                real = os.path.realpath(at)
                os.unlink(at)
                os.mkdir(at)
                self._link(real, at)
        if os.path.islink(full) and os.path.isfile(full):
            real = os.path.realpath(full)
            if kept and os.path.getsize(real) > LARGEST_COPY:
                self.outside.append(real)
                return
            os.unlink(full)
            if kept:
                shutil.copyfile(real, full)

    def _link(self, real: str, into: str | None = None, *, below: str = "") -> None:
        """Link everything in a folder, and nothing else; the scratch folder itself is not shown. below: is not a link."""
        into = self._root + real.rstrip(os.sep) if into is None else into
        with suppress(OSError):
            there, links = set(os.listdir(real)), set(os.listdir(into))
            for name in links - there - {below}:  # of a file that is gone since
                os.unlink(os.path.join(into, name))
            for name in there - links:
                target = os.path.join(real, name)
                if target != self._root:
                    os.symlink(target, os.path.join(into, name))


def _removed(root: str, process: int) -> None:
    """Remove a folder, in the process that made it: not as a fork of it ends."""
    if os.getpid() == process:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def scratch(shadow: Scratch | None = None) -> Iterator[Scratch]:
    """Make the working folder a scratch folder. shadow: one to use again, else a new one, removed at the end."""
    if not _HOOKED:
        sys.addaudithook(_heard)
        _HOOKED.append(True)
    mine = shadow is None
    shadow, before, writer = shadow or Scratch(), os.getcwd(), torch._C.PyTorchFileWriter

    def opened(file: Any, *args: Any, **kwargs: Any) -> Any:  # what `torch.save` opens in C++
        shadow.about_to_write(file, kept=False)
        return writer(file, *args, **kwargs)

    os.chdir(shadow.folder)
    _ACTIVE.append(shadow)
    torch._C.PyTorchFileWriter = opened  # type: ignore[misc, assignment]
    try:
        yield shadow
    finally:
        torch._C.PyTorchFileWriter = writer  # type: ignore[misc]
        _ACTIVE.remove(shadow)
        os.chdir(before)
        shadow.close()
        if mine:
            shadow.remove()


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    """Hear what Python is about to do, in every thread."""
    if not _ACTIVE or not (event == "open" or event.startswith(("os.", "shutil."))):
        return
    own = _ACTIVE[-1].about_to_write
    if event == "open":
        flags = arguments[2]
        if flags & _WRITING:
            own(arguments[0], kept=not flags & os.O_TRUNC)
    elif event in ("os.mkdir", "os.remove", "os.rmdir"):
        if arguments[-1] == -1:  # else relative to an open folder, which is a real one
            own(os.path.join(os.path.dirname(os.fsdecode(arguments[0])), "."), itself=True)
    elif event in ("os.truncate", "os.chmod"):
        own(arguments[0])
    elif event in ("os.rename", "os.link", "os.symlink"):
        for path in arguments[0 if event == "os.rename" else 1 : 2]:
            own(os.path.join(os.path.dirname(os.fsdecode(path)), "."), itself=True)
    elif event == "shutil.rmtree":
        own(arguments[0], itself=True)


@final
class InScratch:
    """A script, run in a scratch folder at each call. say: is told after the first run what was written."""

    def __init__(self, run: Callable[..., Any], say: Callable[[str], None] | None = None) -> None:
        self._run = self.__wrapped__ = run
        self.__name__ = getattr(run, "__name__", "script")
        self.__doc__ = run.__doc__
        self._say = say
        self._spare: Scratch | None = None

    def __call__(self, width: int, *args: Any, **kwargs: Any) -> Any:
        """Run it once, and return what it returns."""
        shadow, self._spare = self._spare, None  # a call within the call gets another
        if shadow is None or not shadow.again():
            shadow = Scratch()
        try:
            with scratch(shadow):
                return self._run(width, *args, **kwargs)
        finally:
            if self._say is not None:
                for text in told(shadow):
                    self._say(text)
                self._say = None
            self._spare = shadow

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spare": None}  # each process makes its own


def told(shadow: Scratch) -> list[str]:
    """Tell what a run wrote; empty if nothing."""
    said = []
    if shadow.written:
        size = sum(shadow.written.values())
        said.append(
            f"each run writes {_listed(list(shadow.written))} ({size / 1e6:.2g} MB) in a scratch folder, which is removed; "
            "--in-place lets it write here"
            + (". If it is data that it fetches, fetch it once yourself" if size > 1e7 else "")
        )
    if shadow.outside:
        said.append(f"each run writes {_listed(shadow.outside)}, outside of its working folder")
    return said


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(sorted(names)[:MOST_NAMES]) + more
