"""Which edits of the script's own text give it the derived parametrization? Exact ones, as a patch; files are left alone.

The call that makes the optimizer is wrapped in a function. By the rules of `tpdyn.parametrizing.apply` it moves initial
entries, learning rates, weight decay and eps with the width. Products that need a multiplier get it where they are
written. What cannot be found in the text beyond doubt becomes a comment in the patch, and an entry of `by_hand`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import final

from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.editing.edits import TextEdits, unified
from tpdyn.parametrizing.editing.lines import Line, bracketed, lines_of, multiplied, relative
from tpdyn.parametrizing.editing.others import doubtful_uses, other_uses
from tpdyn.parametrizing.editing.schedules import resets_in, unclear
from tpdyn.parametrizing.editing.text import NoWidth, Powers, by_model, by_order, powers_of, width_from
from tpdyn.parametrizing.parametrization import Parametrization, Shift
from tpdyn.program.program import Program
from tpdyn.recorder.live.frames import is_user_file
from tpdyn.scripts.construction import Construction, call_ending_at
from tpdyn.scripts.standing_in import text_of

WORD = re.compile(r"\w+")


@final
@dataclass(frozen=True)
class Fix:
    """The edits of a script.

    before, after: the texts of the files that change, by absolute path. edits: what was written, in words. by_hand: what is left
    to a person, with the reason. root: the folder of the script's files, if known (`patch_folder`).
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    edits: tuple[str, ...]
    by_hand: tuple[str, ...]
    root: Path | None = None

    @property
    def folder(self) -> Path:
        """From where the patch names its files: `root`; without it, or for files elsewhere, as `patch_folder` says of them."""
        if self.root is not None and all(Path(path).resolve().is_relative_to(self.root) for path in self.after):
            return self.root
        return _holding(self.after)

    @property
    def patch(self) -> str:
        """All changes as one unified diff, to be applied in `folder`; "" where nothing changes."""
        names = {path: str(Path(path).resolve().relative_to(self.folder)) for path in sorted(self.after)}
        return "".join(unified(self.before[path], self.after[path], name) for path, name in names.items())


def patch_folder(program: Program) -> Path:
    """Choose the folder to apply a patch in: the working folder if it holds all files, else their innermost."""
    sources = {statement.origin.source.file for statement in program.statements}
    return _holding(file for file in sources if os.path.isfile(file) and is_user_file(file))


def _holding(files: Iterable[str]) -> Path:
    here = Path.cwd().resolve()
    folders = [Path(file).resolve().parent for file in files]
    return here if all(folder.is_relative_to(here) for folder in folders) else Path(os.path.commonpath(folders))


def fix(program: Program, derived: Parametrization, made: Sequence[Construction], base_width: int = 256) -> Fix:
    """Edit a script so that it has the parametrization derived from its program.

    made: the optimizers that the script makes (`tpdyn.scripts.construction`). base_width: where nothing is to change.

    Raises ValueError for a base width that is none, OSError where a file cannot be read.
    """
    if isinstance(base_width, bool) or base_width < 1:
        raise ValueError(f"base_width = {base_width!r}; expected a positive whole number")
    writer = _Writer(base_width, patch_folder(program))
    if derived.edits():
        ran: dict[str, set[int]] = {}
        for site in Facts.of(program).sites:
            ran.setdefault(os.path.abspath(site.source.file), set()).add(site.source.line)
        for line in lines_of(program, dict(derived.multipliers), base_width):
            writer.multiply(line, derived.exponents, ran, _files_that_ran(program))
        if any(shift.initial or shift.rate for shift in derived.shifts().values()):
            if any(shift.rate for shift in derived.shifts().values()):
                writer.resets(_files_that_ran(program))
            writer.optimizers(derived, made)
    return writer.fix()


def _files_that_ran(program: Program) -> list[str]:
    """List the user's files of a program, and modules that were imported from beside them: a schedule computes no tensor."""
    sources = {os.path.abspath(statement.origin.source.file) for statement in program.statements}
    ran = {file for file in sources if os.path.isfile(file) and is_user_file(file)}
    folders = {os.path.dirname(file) for file in ran}
    for module in list(sys.modules.values()):
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if isinstance(file, str) and file.endswith(".py") and os.path.dirname(os.path.abspath(file)) in folders:
            ran |= {os.path.abspath(file)} if os.path.isfile(file) and is_user_file(file) else set()
    return sorted(ran)


@final
class _Writer:
    """Collects the edits of all files."""

    def __init__(self, base_width: int, root: Path) -> None:
        self._base = base_width
        self._root = root
        self._files: dict[str, TextEdits] = {}
        self._definitions: dict[str, dict[str, str]] = {}  # by file: functions to add, by name
        self._first: dict[str, int] = {}  # by file: the first line that calls one
        self._edits: list[str] = []
        self._by_hand: list[str] = []
        self._noted = False  # whether groups note their factor, for lines that set rates anew

    def fix(self) -> Fix:
        for path, definitions in self._definitions.items():
            self._files[path].add_definitions("\n\n".join(definitions.values()), self._first[path])
        before = {path: edits.text for path, edits in self._files.items()}
        after = {path: edits.result() for path, edits in self._files.items()}
        changed = [path for path in before if before[path] != after[path]]
        return Fix(
            {path: before[path] for path in changed},
            {path: after[path] for path in changed},
            tuple(self._edits),
            tuple(self._by_hand),
            self._root,
        )

    # -- rates that are set anew ------------------------------------------------------------------------------------

    def resets(self, files: Sequence[str]) -> None:
        """Multiply the rate on each line that sets a group's rate anew, in the files that ran."""
        for path in files:
            edits = self._file(path)
            self._by_hand += [f"{relative(path)}:{line}: {reason}" for line, reason in unclear(edits.tree)]
            for reset in resets_in(edits.tree):
                self._noted = True
                edits.wrap(reset.value, *reset.around())
                self._edits.append(
                    f"{relative(path)}:{reset.value.lineno}: the rate that is set there is multiplied by the factor of its group"
                )

    # -- optimizers -------------------------------------------------------------------------------------------------

    def optimizers(self, derived: Parametrization, made: Sequence[Construction]) -> None:
        derived = derived.joined(name for construction in made for name, _ in construction.names)
        wanted = {name for name, shift in derived.shifts().items() if shift != Shift()}
        groups: dict[tuple[str, object], list[Construction]] = {}
        for construction in made:
            which: object = construction.identity if construction.model else construction.end
            groups.setdefault((construction.file, which), []).append(construction)
        owners: dict[tuple[str, tuple[int, int] | None], set[object]] = {}
        for key, group in groups.items():
            for construction in group:
                owners.setdefault((construction.file, construction.end), set()).add(key)
        done: set[str] = set()
        for group in groups.values():
            names = {name for construction in group for name, _ in construction.names}
            if not names & wanted:
                continue
            where = ", ".join(dict.fromkeys(f"{relative(c.file)}:{c.line}" for c in group))
            if any(construction.end is None or not is_user_file(construction.file) for construction in group):
                self._by_hand.append(
                    f"{where}: the optimizer is made by a framework, not by a call in the script. Call "
                    "tpdyn.parametrize(model, optimizer, derived, base_width) where the framework lets you make the optimizer"
                )
            elif any(len(owners[c.file, c.end]) > 1 for c in group) or (not group[0].model and len(group) > 1):
                self._by_hand.append(
                    f"{where}: one call makes optimizers of several models, which may need different tables. Call "
                    "tpdyn.parametrize(model, optimizer, derived, base_width) on each"
                )
            else:
                try:
                    self._optimizer(derived, group, where)
                except NoWidth as error:
                    self._by_hand.append(f"{where}: {error}")
            done |= names
        if missing := sorted(wanted - done):
            self._by_hand.append(
                f"{', '.join(missing)}: no optimizer of torch.optim steps them; scale their initial entries and rates by hand"
            )

    def _optimizer(self, derived: Parametrization, group: list[Construction], where: str) -> None:
        first = group[0]
        edits = self._file(first.file)
        shifts = derived.shifts()
        settings = frozenset().union(*(construction.settings for construction in group))
        rows: dict[str, Powers] = {}
        recorded = {}
        for construction in group:
            for name, inner in construction.names:
                recorded[inner] = name
                rows[inner] = powers_of(shifts[name], settings) if name in shifts else {}
        shapes = [(inner, derived.facts[name]) for inner, name in recorded.items() if name in derived.facts]
        size = width_from(shapes, self._base)
        function = self._free_name("maximal_update", first.file)
        named = "param_names" in settings
        if first.model:
            text = by_model(function, rows, size, self._base, named, self._noted)
        else:
            text = by_order(
                function, [(recorded[key], rows[key]) for key in rows], size, self._base, named, self._noted
            )
        for end, construction in {construction.end: construction for construction in group}.items():
            call = None if end is None else call_ending_at(edits.tree, end)
            if call is None:
                raise ValueError(f"{where}: the file is not the one that ran; leave it unchanged while it is recorded")
            edits.wrap(call, f"{function}({construction.model}, " if construction.model else f"{function}(", ")")
            self._define(first.file, function, text, call.lineno)
        self._edits.append(f"{where}: the new optimizer passes through {function}()")

    # -- products ---------------------------------------------------------------------------------------------------

    def multiply(
        self, line: Line, known: Collection[str], ran: Mapping[str, Collection[int]], files: Sequence[str]
    ) -> None:
        where = f"{relative(line.file)}:{line.line}"
        modules = ", ".join(dict.fromkeys(site.module for site in line.sites))
        if not line.file or not os.path.isfile(line.file) or not is_user_file(line.file):
            self._by_hand.append(
                f"multiply the product in {modules} by {_growth(line, self._base)}: its line is not known"
            )
            return
        edits = self._file(os.path.abspath(line.file))
        biased = any(f"{site.module.split('#')[0]}.bias" in known for site in line.sites)
        product = multiplied(edits, line, biased)
        if product is None:
            words = f"multiply the product of {modules or 'this line'} by {_growth(line, self._base)}"
            edits.comment(line.line, f"TODO (tpdyn fix): {words}")
            self._by_hand.append(
                f"{where}: {words}; which expression of the line that is, is not "
                "plain. Inside of a library, use an option of its own, or a forward hook of the module"
            )
            return
        if product.call is not None:
            edits.add_argument(product.call, product.argument)
        elif product.node is not None:
            edits.wrap(product.node, *product.around())
        self._edits.append(
            f"{where}: the product of {modules or 'this line'} is multiplied by {_growth(line, self._base)}"
        )
        for other in other_uses(edits, line, product, biased, ran.get(os.path.abspath(line.file), ())):
            assert other.node is not None
            edits.wrap(other.node, *other.around())
            self._edits.append(
                f"{relative(line.file)}:{other.node.lineno}: so is its other use there, which did not run"
            )
        trees = {file: self._file(file).tree for file in files}
        for file, number in doubtful_uses(edits, line, product, trees, ran):
            self._by_hand.append(
                f"{relative(file)}:{number}: this may be the same product, which did not run. If it is, multiply it by "
                f"{_growth(line, self._base)}"
            )

    # -- files ------------------------------------------------------------------------------------------------------

    def _define(self, path: str, name: str, text: str, line: int) -> None:
        self._definitions.setdefault(path, {})[name] = text
        self._first[path] = min(line, self._first.get(path, line))

    def _file(self, path: str) -> TextEdits:
        if path not in self._files:
            self._files[path] = TextEdits(text_of(path))
        return self._files[path]

    def _free_name(self, wish: str, path: str) -> str:
        """Choose a name that the file does not use yet."""
        taken = {
            word for text in (self._file(path).text, *self._definitions.get(path, {})) for word in WORD.findall(text)
        }
        name, count = wish, 1
        while name in taken or name.upper() in taken:
            count += 1
            name = f"{wish}_{count}"
        return name


def _growth(line: Line, base_width: int) -> str:
    """Tell the multiplier of a line in words."""
    if line.power is None:
        each = ", ".join(site.name for site in line.sites)
        return f"different powers of the width ({each})"
    if line.size is None:
        return f"(width / {base_width}) ** {bracketed(line.power)}"
    return f"(size / {line.size}) ** {bracketed(line.power)}, size being what is summed over"
