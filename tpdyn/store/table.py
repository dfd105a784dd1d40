"""What was measured in all of the finished runs? One tidy table, a number a row."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpdyn.store.store import METADATA, Store

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("script", "width", "seed", "step", "module", "what", "value", "kind", "by", "key")


def runs(path: str | os.PathLike[str] = "logs") -> pa.Table:
    """Read all finished runs under a folder of logs as one table, a number a row (Apache Arrow).

    path: the folder of logs, or the store itself (`logs/runs`).

    Columns:

    * script, width, seed, step (optimizer steps done), value, key (of the run);
    * module (or parameter; "" for the run as a whole);
    * what ("size", "change", "loss", ...: see the documentation of the store);
    * kind ("measure" or "transfer");
    * by, who made the run: "script", "program", or "simulation" where a dense run does not fit into memory.

    `polars.from_arrow(table)` and `table.to_pandas()` make data frames.

    Raises FileNotFoundError where there is no store, StoreError where it has another format.

    Example:
        >>> import polars  # doctest: +SKIP
        >>> frame = polars.from_arrow(tpdyn.runs("logs"))  # doctest: +SKIP
        >>> frame.filter(polars.col("what") == "change").group_by("width", "module").agg(polars.mean("value"))  # doctest: +SKIP
    """
    return together(Store.of_logs(path).files())


def together(files: Sequence[Path]) -> pa.Table:
    """Concatenate the runs in those files to one table."""
    import numpy as np
    import pyarrow as pa

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        tables = [each for each in pool.map(_one, files) if each is not None]
    if not tables:
        return _empty()
    numbers = pa.concat_tables([table for table, _ in tables]).unify_dictionaries()
    counts = [len(table) for table, _ in tables]
    columns: dict[str, Any] = {name: numbers.column(name) for name in numbers.column_names}
    for name in ("width", "seed"):
        columns[name] = pa.array(np.repeat(np.array([facts[name] for _, facts in tables], dtype=np.int64), counts))
    for name in ("script", "kind", "by", "key"):
        each = [str(facts.get(name, "")) for _, facts in tables]
        words = {word: number for number, word in enumerate(dict.fromkeys(each))}
        codes = np.repeat(np.array([words[word] for word in each], dtype=np.int32), counts)
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(words)))
    return pa.table({name: columns[name] for name in COLUMNS})


def _one(file: Path) -> tuple[pa.Table, dict[str, Any]] | None:
    """Read a run's numbers and facts; None for a broken file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        opened = parquet.ParquetFile(file, read_dictionary=["module", "what"])
        table = opened.read(use_threads=False)
        facts = json.loads(table.schema.metadata[METADATA])
        facts["width"], facts["seed"] = int(facts["width"]), int(facts["seed"])
        return table.select(["step", "module", "what", "value"]).replace_schema_metadata(None), facts
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):
        return None


def _empty() -> pa.Table:
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    known = {"width": pa.int64(), "seed": pa.int64(), "step": pa.int32(), "value": pa.float64()}
    return pa.schema([(name, known.get(name, words)) for name in COLUMNS]).empty_table()
