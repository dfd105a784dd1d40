"""Where do finished runs stay? In files of their own, one a run, each written at once or not at all.

A folder `runs` under the logs holds `store.json`, which names the format, and `ab/abcd....parquet`. That name is the key of
the run. It is a digest of script, arguments, width, seed, steps, device and versions (`tpdyn.store.identity`). So an
interrupted command goes on where it stopped, and a changed script starts anew. Two processes may share the folder: files
are never changed, and both make the same ones.

A file is a table `step, module, what, value` (Apache Parquet), which any reader of Parquet opens. Its key-value metadata
have an entry `tpdyn`: the facts of the run as JSON. They are script, kind, width, seed, steps, device, versions, notes ...

`logs/NAME.json` says what the log of that name was made of: of which runs, and with what recorded program. So it can be made again
without the script.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from tpdyn.atomic import atomic_write

FORMAT = 1
FOLDER = "runs"
SUFFIX = ".parquet"
METADATA = b"tpdyn"
LOGS = "logs"


class StoreError(OSError):
    """The store cannot be read or written. The message says what to do; runs that are finished are kept."""


class Measured(NamedTuple):
    """One number of a run: in which step, of which module (or parameter), what it is, and its value."""

    step: int
    module: str
    what: str
    value: float


@final
@dataclass(frozen=True)
class Run:
    """A finished run: its key, the facts about it, and its numbers."""

    key: str
    facts: Mapping[str, Any]
    values: Sequence[Measured]


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key of a run with that identity, which is JSON data: 32 hexadecimal digits of a SHA-256.

    >>> key_of({"width": 64, "seed": 0}) == key_of({"seed": 0, "width": 64})
    True
    """
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@final
class Store:
    """The finished runs in one folder. `Store.under("logs")` is the store of the commands that log there.

    fresh: look nothing up, but keep what is made.
    """

    def __init__(self, folder: str | os.PathLike[str], *, fresh: bool = False) -> None:
        self.folder, self.fresh = Path(folder), fresh

    @staticmethod
    def under(logdir: str | os.PathLike[str], *, fresh: bool = False) -> Store:
        """Open the store in a folder of logs. Raises StoreError if it was written in another format."""
        store = Store(Path(logdir) / FOLDER, fresh=fresh)
        store.check()
        return store

    @staticmethod
    def of_logs(path: str | os.PathLike[str]) -> Store:
        """Open the store under a folder of logs, or the store itself.

        Raises FileNotFoundError where there is none, StoreError if it was written in another format.
        """
        folder = Path(path)
        store = Store(folder / FOLDER if (folder / FOLDER).is_dir() else folder)
        if not (store.folder / "store.json").exists():
            raise FileNotFoundError(
                f"{folder} has no finished runs; expected a folder in which `tpdyn check` or `tpdyn transfer` logged"
            )
        store.check()
        return store

    def check(self) -> None:
        """Raise StoreError if the folder holds a store of another format."""
        facts = self.folder / "store.json"
        try:
            written = json.loads(facts.read_text(encoding="utf-8"))["format"]
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise StoreError(
                f"{facts} cannot be read ({error}); expected the file of a store: move {self.folder} away"
            ) from error
        if written != FORMAT:
            raise StoreError(
                f"{self.folder} was written in format {written} of finished runs; expected format {FORMAT}: take another "
                "--logdir, or move the folder away"
            )

    def path(self, key: str) -> Path:
        """Return the file of a run."""
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def get(self, key: str) -> Run | None:
        """Read the finished run of that key; None if there is none, or if its file is broken."""
        if self.fresh:
            return None
        return read(self.path(key))

    def put(self, key: str, facts: Mapping[str, Any], values: Sequence[Measured]) -> None:
        """Keep a finished run, at once or not at all. Raises StoreError where that cannot be written."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        columns = list(zip(*values, strict=True)) if values else [(), (), (), ()]
        table = pa.table(
            {
                "step": pa.array(columns[0], pa.int32()),
                "module": pa.array(columns[1], pa.string()),
                "what": pa.array(columns[2], pa.string()),
                "value": pa.array(columns[3], pa.float64(), from_pandas=False),
            },
            metadata={METADATA: json.dumps({"key": key, "made": now, **facts}).encode()},
        )
        with self._kept():
            self._begin()
            atomic_write(
                self.path(key), lambda file: parquet.write_table(table, file, compression="zstd"), parents=True
            )

    def put_log(self, name: str, made_of: Mapping[str, Any]) -> None:
        """Note what the log of that name was made of, which is JSON data. Raises StoreError where that cannot be written."""
        with self._kept():
            self._begin()
            atomic_write(
                self.folder / LOGS / f"{name}.json", json.dumps({"format": FORMAT, **made_of}, indent=1), parents=True
            )

    def logs(self) -> dict[str, dict[str, Any]]:
        """Read what each log was made of, by its name; what cannot be read is left out."""
        notes = {}
        for path in sorted((self.folder / LOGS).glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                made_of = json.loads(path.read_text(encoding="utf-8"))
                if made_of.get("format") == FORMAT:
                    notes[path.stem] = made_of
        return notes

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Turn what prevents a file from being written into a StoreError."""
        try:
            yield
        except OSError as error:
            why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
            raise StoreError(
                f"a finished run could not be kept in {self.folder}: {why}. Earlier ones are kept: mend that, and repeat the "
                "command, which goes on from there"
            ) from error

    def files(self) -> list[Path]:
        """List the files of all finished runs."""
        return sorted(self.folder.glob(f"??/*{SUFFIX}"))

    def _begin(self) -> None:
        facts = self.folder / "store.json"
        if not facts.exists():
            what = "finished runs of tpdyn, see its documentation of the store"
            atomic_write(facts, json.dumps({"format": FORMAT, "what": what}), parents=True)


def facts_of(path: Path) -> dict[str, Any] | None:
    """Read the facts of a run from its file, without its numbers; None for a broken file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        metadata = parquet.read_metadata(path).metadata or {}
        return dict(json.loads(metadata[METADATA]))
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None


def read(path: Path) -> Run | None:
    """Read a finished run from its file; None if the file is missing or broken."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
        facts = json.loads(table.schema.metadata[METADATA])
        columns = [table.column(name).to_pylist() for name in Measured._fields]
        return Run(str(facts["key"]), facts, list(map(Measured._make, zip(*columns, strict=True))))
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):
        return None
