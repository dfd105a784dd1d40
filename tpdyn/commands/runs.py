"""Which runs are finished? They are listed, shown and forgotten; and how a command makes and keeps its own."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpdyn.commands.failures import BadInput, translated
from tpdyn.commands.simulate import table
from tpdyn.scripts.target import Target
from tpdyn.store.means import Means
from tpdyn.store.store import Run, Store, facts_of, read
from tpdyn.store.workers import check_jobs


def means_of(
    target: Target, logdir: Path | None = None, *, jobs: int = 1, backend: str = "loky", fresh: bool = False
) -> Means:
    """Choose how the command makes the runs of a target: kept under the logs, by that many workers. Raises `BadInput`."""
    with translated():
        check_jobs(jobs, backend)
    return Means(
        store=None if logdir is None else Store.under(logdir, fresh=fresh),
        identity=target.identity,
        name=target.name,
        jobs=jobs,
        backend=backend,
        worker=target,
    )


def listed(logdir: Path) -> str:
    """List each script and kind in one line: how many runs, at which widths, how many bytes, from when."""
    store = Store.of_logs(logdir)
    groups: dict[tuple[str, str, str], list[tuple[Mapping[str, Any], Path]]] = defaultdict(list)
    broken = 0
    for path in store.files():
        facts = facts_of(path)
        if facts is None:
            broken += 1
        else:
            groups[str(facts["script"]), str(facts["kind"]), str(facts["by"])].append((facts, path))
    lines = [("script", "kind", "by", "runs", "widths", "seeds", "steps", "KiB", "last")]
    for (script, kind, by), runs in sorted(groups.items()):
        all_facts = [each for each, _ in runs]
        size = sum(path.stat().st_size for _, path in runs) / 1024
        lines.append(
            (script, kind, by, str(len(runs)), _numbers(all_facts, "width"), str(len({each["seed"] for each in all_facts})),
             _numbers(all_facts, "steps"), f"{size:.0f}", max(str(each["made"]) for each in all_facts)[:16])
        )  # fmt: skip
    text = table(lines) if groups else f"no finished runs in {store.folder}"
    return text + (f"\n{broken} files cannot be read: `tpdyn runs prune --broken` removes them" if broken else "")


def shown(logdir: Path, key: str) -> str:
    """Show one run, named by the beginning of its key: its facts and numbers, one line a module and step."""
    paths = [path for path in Store.of_logs(logdir).files() if path.stem.startswith(key)]
    if len(paths) != 1:
        raise BadInput(
            f"{key}: {len(paths)} finished runs begin so; expected the beginning of one key (a column of `tpdyn.runs`)"
        )
    run = read(paths[0])
    if run is None:
        raise BadInput(f"{paths[0]} cannot be read; `tpdyn runs prune --broken` removes it")
    facts = {name: value for name, value in run.facts.items() if name not in ("shapes", "notes", "unknown_base")}
    head = [f"{name}: {value}" for name, value in facts.items()]
    return "\n".join([*head, *(f"note: {note}" for note in run.facts.get("notes", ())), "", _numbers_of(run)])


def pruned(logdir: Path, *, script: str = "", days: float | None = None, broken: bool = False) -> int:
    """Forget runs: of that script, made before so many days, or whose files are broken; returns how many.

    Raises `BadInput` unless told which.
    """
    if not script and days is None and not broken:
        raise BadInput(
            "which runs? Expected --script NAME, --days N (older ones), or --broken; several are joined by and"
        )
    store = Store.of_logs(logdir)
    now, count = datetime.datetime.now(datetime.UTC), 0
    for path in store.files():
        facts = facts_of(path)
        if facts is None:
            gone = broken
        else:
            age = (now - datetime.datetime.fromisoformat(str(facts["made"]))).total_seconds() / 86400
            gone = not broken and (not script or facts["script"] == script) and (days is None or age > days)
        if gone:
            path.unlink(missing_ok=True)
            count += 1
    return count


def _numbers(facts: list[Mapping[str, Any]], name: str) -> str:
    return ",".join(map(str, sorted({each[name] for each in facts})))


def _numbers_of(run: Run) -> str:
    words = list(dict.fromkeys(value.what for value in run.values if not value.what.startswith("change by")))
    rows: dict[tuple[int, str], dict[str, float]] = defaultdict(dict)
    for step, module, what, value in run.values:
        rows[step, module][what] = value
    lines = [("step", "module", *words)]
    for (step, module), values in rows.items():
        lines.append((str(step), module or "-", *(f"{values[word]:.4g}" if word in values else "" for word in words)))
    return table(lines)
