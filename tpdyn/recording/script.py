"""How does a target on the command line become a function of the width?

`path/file.py:function` imports the file and means that function, called with the width. `path/file.py` with a width
argument means the whole file, run as `__main__` with that option of its own set to the width; nothing in it changes.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


class BadTarget(ValueError):
    """The target does not name something that can be run at a width. The message says what to give instead."""


def load(target: str, width_arg: str | None = None, arguments: Sequence[str] = ()) -> Callable[[int], object]:
    """The function of the width that `target` means.

    target: "path/file.py:function", or "path/file.py" together with width_arg, the script's own option for the width:
    "--d-model" is passed on as two words ("--d-model 64"), "n_embd=" (ending in "=") as one ("n_embd=64").
    arguments: further words for the script, before the width. Raises BadTarget, at once, for what cannot be run.
    """
    file, function = _split(target)
    path = Path(file)
    if not file or not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise BadTarget(
            f"{file or target!r}: {what}; expected path/file.py:function, or path/file.py with --width-arg. "
            f"The working folder is {os.getcwd()}"
        )
    if function:
        if width_arg is not None:
            raise BadTarget(
                f"{target}: a function and a width argument ({width_arg}) at once; expected one of them. A function gets "
                "the width as its argument: leave --width-arg out"
            )
        if arguments:
            raise BadTarget(
                f"{target}: a function takes no further words ({' '.join(arguments)}); expected none. Words after -- "
                "are for scripts"
            )
        return _function(path, function)
    if not width_arg:
        raise BadTarget(
            f"{target}: a script without a width argument; expected its own option for the width, as in "
            f"--width-arg=--d-model, or a function of the width, as in {target}:train"
        )
    return _script(path, width_arg, list(arguments))


def _split(target: str) -> tuple[str, str]:
    """File and function; a colon that belongs to the path (a drive letter, a folder) is no separator."""
    head, colon, tail = target.rpartition(":")
    if colon and tail and os.sep not in tail and "/" not in tail and not tail.endswith(".py"):
        return head, tail
    return target, ""


def _function(path: Path, name: str) -> Callable[[int], object]:
    module = _imported(path)
    function = getattr(module, name, None)
    if function is None:
        found = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
        ]
        raise BadTarget(
            f"{path} has no function {name!r}; it has: {', '.join(found) or 'none'}. "
            f"Try {path}:{found[0] if found else 'train'}"
        )
    if not callable(function):
        raise BadTarget(
            f"{path}:{name} is {type(function).__name__}; expected a function of the width, train(width: int)"
        )
    try:
        inspect.signature(function).bind(16)
    except TypeError as error:
        raise BadTarget(
            f"{path}:{name}{inspect.signature(function)} cannot be called with the width alone ({error}); "
            "expected train(width: int). Give its other arguments defaults"
        ) from None
    except ValueError:  # no signature to be had: it will be called and tell
        pass
    return function  # type: ignore[no-any-return]


def _imported(path: Path) -> ModuleType:
    """The file as a module, its own folder on the path while it is imported and run."""
    name = f"tpdyn_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise BadTarget(f"{path}: not a Python file; expected path/file.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # stays: the function may import its neighbours when it runs
    cached, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing of ours in the script's folder
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadTarget(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = cached
    return module


def _script(path: Path, width_arg: str, arguments: list[str]) -> Callable[[int], object]:
    full = path.resolve()

    def run(width: int) -> object:
        words = [f"{width_arg}{width}"] if width_arg.endswith("=") else [width_arg, str(width)]
        with _as_command_line([str(path), *arguments, *words], full.parent):
            return runpy.run_path(str(full), run_name="__main__")

    run.__name__ = path.stem
    run.__qualname__ = f"{path} {width_arg}"
    return run


@contextmanager
def _as_command_line(argv: list[str], folder: Path) -> Iterator[None]:
    """`sys.argv` and `sys.path[0]` as `python script.py ...` sets them; put back afterwards, like the working folder and
    the module `__main__`."""
    before = sys.argv, list(sys.path), sys.modules.get("__main__"), os.getcwd()
    sys.argv = argv
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.argv = before[0]
        sys.path[:] = before[1]
        if before[2] is not None:
            sys.modules["__main__"] = before[2]
        if os.getcwd() != before[3]:
            os.chdir(before[3])
