"""Is a dim that the user declares finite the same at every width? The recordings tell, and it is refused if it grows.

A name is that of a dim in the table of dims, "blocks.0.qkv.weight:0" (with wildcards). Or it is a number in a module or its
config, such as "head_dim". If it grows in the recordings, constants such as 1/sqrt(head_dim) grow too. A reading with a
finite head_dim would then give wrong orders. So it is refused; let another number grow instead, such as the number of
heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from tpdyn.program.dims import Space, spaces
from tpdyn.program.program import Program
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting.powers import fit_whole

MOST_NAMES = 8


def numbers_named(modules: Iterable[nn.Module], name: str) -> frozenset[int]:
    """Return the whole numbers that modules, or the configs that they keep, have under a name."""
    numbers = set()
    for module in modules:
        for holder in (vars(module), getattr(vars(module).get("config"), "__dict__", {})):
            value = holder.get(name)
            if type(value) is int:
                numbers.add(value)
    return frozenset(numbers)


def is_dim(name: str) -> bool:
    """Tell whether a name means a dim (as the table of dims prints it), not a number that modules keep."""
    return ":" in name


def check_finite(
    program: Program, names: Sequence[str], numbers: Sequence[Mapping[str, frozenset[int]]]
) -> tuple[str, ...]:
    """Return notes on dims that are declared finite. numbers: those that modules keep, by name, at each width.

    Raises RecordingError for a name that means nothing, or something that grows.
    """
    known = spaces(program)
    return tuple(_dim(program, name, known) if is_dim(name) else _number(program, name, numbers) for name in names)


def _dim(program: Program, name: str, known: Sequence[Space]) -> str:
    mine = [space for space in known if any(fnmatchcase(dim, name) for dim in (*space.parameters, *space.data))]
    if not mine:
        every = [dim for space in known for dim in space.parameters]
        more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
        raise RecordingError(
            f"finite = {name!r}: no dim of that name; there are {', '.join(every[:MOST_NAMES])}{more} (--show-dims lists them)"
        )
    for space in mine:
        if space.is_wide:
            dim = next(dim for dim in (*space.parameters, *space.data) if fnmatchcase(dim, name))
            raise _grows(f"the dim {dim}", str(space.size), space.recorded, program.widths)
    sizes = " x ".join(str(space.size) for space in mine)
    return f"declared finite, and finite in the recordings: {name} ({sizes})"


def _number(program: Program, name: str, numbers: Sequence[Mapping[str, frozenset[int]]]) -> str:
    values = [each[name] for each in numbers]
    if not all(values):
        raise RecordingError(
            f"finite = {name!r}: no module of the script, and no config of one, keeps a whole number of that name. Expected "
            "such a name, or a dim as --show-dims prints it, such as 'head.weight:0'"
        )
    if any(value != values[0] for value in values):
        largest = [max(value) for value in values]
        size = fit_whole(program.widths, largest)
        raise _grows(name, "the width" if size is None else str(size), largest, program.widths)
    return f"declared finite, and finite in the recordings: {name} = {', '.join(map(str, sorted(values[0])))}"


def _grows(what: str, size: str, sizes: Sequence[int], widths: Sequence[int]) -> RecordingError:
    return RecordingError(
        f"{what} is declared finite, but is {', '.join(map(str, sizes))} at the widths {', '.join(map(str, widths))}: it grows "
        f"like {size}. Constants that are made of it grow, too, so it cannot be read as finite. Let another option grow in its "
        "stead, as in --width-arg='--heads=n/16' or --set n_head=n/16. Or declare nothing and read the verdict as it is"
    )
