"""How does a target on the command line become a function of the width?

`path/file.py:function` imports the file and means that function, called with the width. `path/file.py` with width arguments
means the whole file, run as `__main__`. These options of its own are set to functions of the width. Nothing in it changes.
For a script without options, settings name numbers in its text, or in files that it reads (`tpdyn.scripts.settings`).
"""

from __future__ import annotations

import builtins
import importlib.util
import inspect
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import CodeType, FrameType, ModuleType

from tpdyn.recorder.errors import Told
from tpdyn.recorder.live.frames import is_user_file
from tpdyn.recorder.live.hooks import StopRecording
from tpdyn.scripts.contained import TookTooLong, contained
from tpdyn.scripts.following import told_what_follows
from tpdyn.scripts.formula import BadFormula, Formula
from tpdyn.scripts.offered import listed, nearest, unknown_options, ways_in
from tpdyn.scripts.scratch import InScratch
from tpdyn.scripts.settings import BadSetting, Setting, codes, read_settings, texts
from tpdyn.scripts.standing_in import imported_as, opened_as

IMPORT = 600.0
"""Seconds after which the import of a file with a function is stopped."""


class BadTarget(Told, ValueError):
    """The target does not name something that can be run at a width. The message says what to give instead."""


def load(
    target: str,
    width_args: str | Sequence[str] | None = None,
    arguments: Sequence[str] = (),
    settings: Sequence[str] = (),
    *,
    widths: Sequence[int] = (),
    in_place: bool = False,
    say: Callable[[str], None] | None = None,
) -> Callable[[int], object]:
    """Load the function of the width that `target` means; each call runs in a scratch folder (`tpdyn.scripts.scratch`).

    target: "path/file.py:function", or "path/file.py" together with width arguments or settings.
    width_args: the script's own options that follow the width, n: "--d-model" is passed on as "--d-model=64". So is
    "--d-ff=4*n" as "--d-ff=256", and "n_embd=" or "n_embd=n" as "n_embd=64". Only "-q" becomes two words, "-q 64". With the
    formula in braces they are just what is given: "model.size={n/2}" is one word, "--d-model {n}" two.
    arguments: further words for the script, before those.
    settings: numbers in the script's text that follow the width, "n_embd=n" (see `tpdyn.scripts.settings`). A function's
    file may have them, too; then it is run anew at each width.
    widths: at which it will be run, if that is known: every formula is tried there.
    in_place: run it in the working folder itself. say: is told what the first run wrote elsewhere.

    Raises BadTarget, at once, for what cannot be run.
    """
    run = _loaded(target, width_args, arguments, settings, widths)
    return run if in_place else InScratch(run, say)


def _loaded(
    target: str,
    width_args: str | Sequence[str] | None,
    arguments: Sequence[str],
    settings: Sequence[str],
    widths: Sequence[int],
) -> Callable[[int], object]:
    options = [width_args] if isinstance(width_args, str) else list(width_args or ())
    file, function = _split(target)
    path = Path(file)
    if not file or not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise BadTarget(
            f"{file or target!r}: {what}; expected path/file.py:function, or path/file.py with --width-arg. "
            f"The working folder is {os.getcwd()}"
        )
    if function:
        if options:
            raise BadTarget(
                f"{target}: a function and a width argument ({', '.join(options)}) at once; expected one of them. A function "
                "gets the width as its argument: leave --width-arg out"
            )
        if arguments:
            raise BadTarget(
                f"{target}: a function takes no further words ({' '.join(arguments)}); expected none. Words after -- "
                "are for scripts"
            )
        called = _function(path, function, alone=bool(settings))
        return _with_settings(path, function, _read(path, (), settings, widths)[1]) if settings else called
    if not options and not settings:
        raise BadTarget(f"{target}: a script without a width argument. {ways_in(path)}")
    words, set_to = _read(path, options, settings, widths)
    return _script(path, words, list(arguments), set_to)


def _read(
    path: Path, options: Sequence[str], settings: Sequence[str], widths: Sequence[int]
) -> tuple[list[list[Word]], tuple[Setting, ...]]:
    """Read options and settings, and try every formula at the widths. Raises BadTarget."""
    try:
        words, set_to = [_words(option) for option in options], read_settings(path, settings)
        for width in widths:
            _at(words, width)
            for setting in set_to:
                setting.at(width)
    except (BadFormula, BadSetting) as error:
        raise BadTarget(str(error)) from error
    return words, set_to


Word = tuple[str | Formula, ...]
"""A word of the command line, in parts: texts, and formulas to be replaced by their values."""


def _words(option: str) -> list[Word]:
    """Return the words that a width argument puts on the script's command line. Raises BadFormula."""
    if "{" in option or "}" in option:
        parts = [re.split(r"(\{[^{}]*\})", word) for word in re.findall(r"(?:\{[^{}]*\}|\S)+", option)]
        return [tuple(Formula.read(part[1:-1]) if part[:1] == "{" else part for part in word) for word in parts]
    name, equals, text = option.partition("=")
    formula = Formula.read(text or "n")
    if name.startswith("--") or (equals and (not text or not name.startswith("-"))):
        return [(f"{name}=", formula)]  # parsers of all kinds take it so; those of nanoGPT and minGPT only so
    return [(name,), (formula,)]


def _at(words: Sequence[Sequence[Word]], width: int) -> list[str]:
    return [
        "".join(part if isinstance(part, str) else str(part.at(width)) for part in word)
        for option in words
        for word in option
    ]


def _split(target: str) -> tuple[str, str]:
    """Split file and function; a colon that belongs to the path (a drive letter, a folder) does not separate."""
    head, colon, tail = target.rpartition(":")
    if colon and tail and os.sep not in tail and "/" not in tail and not tail.endswith(".py"):
        return head, tail
    return target, ""


def _function(path: Path, name: str, alone: bool) -> Callable[[int], object]:
    """Return a function of a file. alone: whether it may also take nothing, as numbers of the file are set."""
    module = _imported(path)
    function = getattr(module, name, None)
    if function is None:
        functions = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
        ]
        meant = nearest(name, functions) or (functions[0] if len(functions) == 1 else None)
        raise BadTarget(
            f"{path} has no function {name!r}; it has: {listed(functions) or 'none'}. "
            + (f"Try {path}:{meant}" if meant else "Expected a function of the width, train(width: int)")
        )
    if not callable(function):
        raise BadTarget(
            f"{path}:{name} is {type(function).__name__}; expected a function of the width, train(width: int)"
        )
    if alone and _takes_nothing(function):
        return function  # type: ignore[no-any-return]
    try:
        inspect.signature(function).bind(16)
    except TypeError as error:
        if _takes_nothing(function):
            raise BadTarget(
                f"{path}:{name}() takes no argument; expected train(width: int). Or set numbers of its file to the width, as in "
                "--set 64=n"
            ) from None
        raise BadTarget(
            f"{path}:{name}{inspect.signature(function)} cannot be called with the width alone ({error}); "
            "expected train(width: int). Give its other arguments defaults"
        ) from None
    except ValueError:  # no signature to be had: it will be called and tell
        pass
    return function  # type: ignore[no-any-return]


def _takes_nothing(function: Callable[..., object]) -> bool:
    """Tell whether a function can be called without arguments only."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        return False
    return not parameters


def _module_name(path: Path) -> str:
    """Choose its own name if an import finds the file by it: processes that the script starts look there. Else another."""
    known = sys.modules.get(path.stem)
    try:
        spec = importlib.util.find_spec(path.stem) if known is None else known.__spec__
    except (ImportError, ValueError, AttributeError):
        spec = None
    mine = spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path
    return path.stem if mine else f"tpdyn_target_{path.stem}"


def _imported(path: Path) -> ModuleType:
    """Import a file as a module, its own folder on the path while it is imported and run."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # stays: the function may import its neighbours when it runs
    name = _module_name(path.resolve())
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise BadTarget(f"{path}: not a Python file; expected path/file.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    cached, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing of ours in the script's folder
    argv, sys.argv = sys.argv, [str(path)]  # ours are not the script's
    try:
        with contained(IMPORT), redirect_stdout(sys.stderr):  # standard output is for results, such as a patch
            spec.loader.exec_module(module)
    except TookTooLong as error:
        del sys.modules[name]
        raise BadTarget(
            f"{path} took longer than {IMPORT:g} s to be imported, and was stopped. Expected a file that only defines "
            "things. Put the part that runs under: if __name__ == '__main__':"
        ) from error
    except SystemExit as error:
        del sys.modules[name]
        raise BadTarget(
            f"{path} leaves when it is imported (status {error.code!r}), so that no function can be called. Expected a file "
            "that only defines things. Put the part that runs under: if __name__ == '__main__':"
        ) from error
    except Exception as error:
        del sys.modules[name]
        raise BadTarget(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = cached
        sys.argv = argv
    return module


def _script(
    path: Path, words: Sequence[Sequence[Word]], arguments: list[str], settings: Sequence[Setting]
) -> Callable[[int], object]:
    full = path.resolve()

    def run(width: int) -> object:
        given = [*arguments, *_at(words, width)]
        with (
            _as_command_line([str(path), *given], full.parent),
            _options_told(path, given),
            _pointed_out(words, width),
            _set(settings, width, full) as code,
        ):
            return _run_as_main(str(full), code)

    run.__name__ = path.stem
    run.__qualname__ = str(path)
    return run


def _with_settings(path: Path, name: str, settings: Sequence[Setting]) -> Callable[[int], object]:
    """Return a function of the width whose file is run anew at each width, with the numbers set."""
    full = path.resolve()

    def run(width: int) -> object:
        module = ModuleType(_module_name(full))
        module.__file__ = str(full)
        with _as_command_line([str(path)], full.parent):
            before, sys.modules[module.__name__] = sys.modules.get(module.__name__), module
            try:
                with _set(settings, width, full) as code:
                    code = code or compile(full.read_text(encoding="utf-8"), str(full), "exec", dont_inherit=True)
                    exec(code, module.__dict__)
                    called = getattr(module, name)
                    result: object = called() if _takes_nothing(called) else called(width)
            finally:
                if before is not None:
                    sys.modules[module.__name__] = before
        return result

    run.__name__, run.__qualname__ = name, f"{path}:{name}"
    return run


@contextmanager
def _set(settings: Sequence[Setting], width: int, script: Path) -> Iterator[CodeType | None]:
    """Set the numbers for what is run within; yields the code of the script itself, if it has some.

    Raises BadTarget for a file that has settings, and that the script did not come to.
    """
    changed = codes(settings, width)
    with (
        opened_as(texts(settings, width)) as opened,
        imported_as(changed, main=str(script)) as imported,
        told_what_follows(settings, width),
    ):
        stopped: StopRecording | None = None
        try:
            yield changed.get(str(script))
        except StopRecording as error:  # most scripts are stopped in the middle
            stopped = error
        for setting in settings:
            if setting.file not in {str(script), *opened, *imported}:
                raise BadTarget(
                    f"--set {Path(setting.file).name}:{setting}: the script has neither imported, run nor opened {setting.file}; "
                    "expected a file that it reads. Set the number where the script takes it from"
                )
        if stopped is not None:
            raise stopped


@contextmanager
def _pointed_out(words: Sequence[Sequence[Word]], width: int) -> Iterator[None]:
    """Say how to give an option in another form (`--n_embd 64`), where a script stops at what it was given.

    The error tells, if it names the option. So does the innermost frame of the script's own. A variable of it is the word, as in
    a loop over `sys.argv`.
    """
    try:
        yield
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if _may_be_the_scripts(frame)]
        held = [value for value in (frames[-1].f_locals.values() if frames else ()) if isinstance(value, str)]
        for option in words:
            given = _at([option], width)
            name = given[0].partition("=")[0]
            formula = next((part.text for word in option for part in word if isinstance(part, Formula)), "")
            one = len(given) == 1
            met = name in re.findall(r"[\w.-]+", str(error)) if one else name in held
            if name.startswith("-") and formula and met:
                other = f"{name} {{{formula}}}" if one else f"{name}={{{formula}}}"
                raise BadTarget(
                    f"the script does not take {' '.join(given)} ({type(error).__name__}: {error}). If it wants "
                    f"{'two words' if one else 'one word'}: --width-arg='{other}'"
                ) from error
        raise


@contextmanager
def _options_told(path: Path, given: Sequence[str]) -> Iterator[None]:
    """Say which options the script has, where its parser leaves at one that it has not.

    argparse and click leave with status 2.
    """
    try:
        yield
    except SystemExit as leaving:
        wrong = unknown_options(path, given) if leaving.code == 2 else ""
        if not wrong:
            raise
        raise BadTarget(f"{path} left with status 2: {wrong}") from leaving


def _may_be_the_scripts(frame: FrameType) -> bool:
    """Tell whether it runs a file of the user, or a text that such a file executes."""
    return frame.f_code.co_filename == "<string>" or is_user_file(frame.f_code.co_filename)


def _run_as_main(file: str, code: CodeType | None) -> object:
    """Do as `runpy.run_path`, with the file's code given."""
    if code is None:
        return runpy.run_path(file, run_name="__main__")
    module = ModuleType("__main__")
    module.__file__ = file
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    exec(code, module.__dict__)
    return dict(module.__dict__)


@contextmanager
def _as_command_line(argv: list[str], folder: Path) -> Iterator[None]:
    """Set `sys.argv` and `sys.path[0]` as `python script.py ...` does; put them back afterwards, like the working folder and
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
        os.chdir(before[3])  # the script may have left this folder, and removed where it went


def told(target: str, settings: Sequence[str]) -> tuple[str, ...]:
    """Tell which locations are set where the words do not tell them, one text a setting. Raises BadTarget."""
    try:
        return tuple(each.told() for each in read_settings(Path(_split(target)[0]), settings) if each.listed)
    except BadSetting as error:
        raise BadTarget(str(error)) from error
