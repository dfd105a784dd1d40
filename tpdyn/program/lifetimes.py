"""When is a value no longer needed? After the last statement that reads it; what is asked for is kept.

Whatever runs a list of statements frees by this. So a long program needs the memory of what lives at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


def dying(reads: Iterable[Iterable[int]], kept: Collection[int]) -> Mapping[int, tuple[int, ...]]:
    """List the values to free after each statement.

    Args:
        reads: what each statement reads, as positions of earlier ones.
        kept: positions that are never freed. A value that nothing reads dies where it is made.

    >>> dying([(), (), (0, 1), (2,)], kept={3})
    {2: (0, 1), 3: (2,)}
    """
    last: list[int] = []
    for position, several in enumerate(reads):
        last.append(position)
        for var in several:
            last[var] = position
    freed: dict[int, tuple[int, ...]] = {}
    for var, position in enumerate(last):
        if var not in kept:
            freed[position] = (*freed.get(position, ()), var)
    return freed
