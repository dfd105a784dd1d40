"""Did a refactoring change anything that tpdyn says? Dump all of it before, dump it again after, and compare.

    python tests/snapshot.py record PROGRAMS           # every conformance script and example as a program (minutes)
    python tests/snapshot.py read PROGRAMS OUT.jsonl   # orders of every statement, verdict, derived exponents, abc points
    python tests/snapshot.py compare OLD NEW           # two folders of programs, or two dumps; status 1 if they differ

Tests notice only what they ask about; this notices any difference. Dumps are large and belong outside of the repository.
`read` takes `--only=<part of a name>` and `--no-derive`.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import random
import re
import runpy
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("layers", "attention", "recurrent", "models", "losses", "optimizers", "loops", "hugging_face")
POINTS = 200
TRAVELLED = ("example digits_mlp", "optimizers MLP, SGD", "optimizers MLP, Adam", "attention grouped queries, AdamW")
"""Programs that are also read at random exponents, `POINTS` in all."""


def slug(name: str) -> str:
    """A name as a file's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


# -- programs -------------------------------------------------------------------------------------------------------


def conformance_programs(family: str) -> Iterator[tuple[str, str]]:
    """(name, program as JSON or what went wrong) for each script of a family."""
    import torch

    import tpdyn

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(ROOT / "tests" / "recorder"))
    for case in import_module(f"conformance.{family}").cases():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                text = tpdyn.record(case.train, widths=case.widths, steps=case.steps, verify=False).to_json()
            except Exception as error:
                text = json.dumps({"refused": f"{type(error).__name__}: {error}"})
        yield f"{family} {case.name}", text


def example_programs() -> Iterator[tuple[str, str]]:
    """The examples, as a user would name them."""
    import torch

    import tpdyn

    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples"))
    yield "example digits_mlp", tpdyn.record(import_module("digits_mlp").train, verify=False).to_json()
    told_apart = import_module("told_apart")
    for name, train in vars(told_apart).items():
        if inspect.isfunction(train) and list(inspect.signature(train).parameters) == ["width"] and name[0] != "_":
            yield f"example told_apart {name}", tpdyn.record(train, verify=False).to_json()
    for name, option in (("gpt", "--d-model"), ("resnet", "--width")):
        path = ROOT / "examples" / f"{name}.py"

        def script(width: int, path: Path = path, option: str = option) -> None:
            sys.argv = [str(path), option, str(width)]
            with contextlib.redirect_stdout(io.StringIO()):
                runpy.run_path(str(path), run_name="__main__")

        yield f"example {name}", tpdyn.record(script, widths=(32, 48, 80), verify=False).to_json()


def write_programs(job: tuple[str, str]) -> int:
    """Record one family into a folder; how many."""
    family, folder = job
    made = example_programs() if family == "examples" else conformance_programs(family)
    count = 0
    for name, text in made:
        Path(folder, f"{slug(name)}.json").write_text(json.dumps({"name": name, "program": json.loads(text)}))
        count += 1
    return count


# -- readings -------------------------------------------------------------------------------------------------------


def said(path: str, derived: bool) -> str:
    """Everything that is said of one program, as a line of JSON."""
    import tpdyn

    stored = json.loads(Path(path).read_text())
    found: dict[str, Any] = {"name": stored["name"]}
    if "refused" in stored["program"]:
        return json.dumps({**found, "refused": stored["program"]["refused"]})
    program = tpdyn.Program.from_json(json.dumps(stored["program"]))
    found["predicted"] = guarded(lambda: predicted(program))
    if derived:
        found["derived"] = guarded(lambda: parametrized(program))
    if stored["name"] in TRAVELLED:
        found["points"] = travelled(program, POINTS // len(TRAVELLED))
    return json.dumps(found, default=str)


def guarded(say: Any) -> Any:
    """What is said, or how it is refused."""
    try:
        return say()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def predicted(program: Any) -> dict[str, Any]:
    """The verdict, its reasons, and both orders of every statement."""
    import tpdyn

    made = tpdyn.predict(program, remedy=False)
    return {
        "regime": made.regime.value,
        "reasons": [str(reason) for reason in made.reasons],
        "outside": [str(reason) for reason in made.outside],
        "sizes": [str(order) for order in made.sizes],
        "changes": [str(order) for order in made.changes],
        "table": [str(row) for row in made.table],
    }


def parametrized(program: Any) -> Any:
    """The derived exponents and what could not be had."""
    import tpdyn

    made = tpdyn.derive(program)
    return {
        "exponents": {name: [str(e) for e in three] for name, three in made.exponents.items()},
        "multipliers": {name: str(power) for name, power in made.multipliers.items()},
        "regime": str(made.regime),
        "conflicts": [list(each) for each in made.conflicts],
    }


def travelled(program: Any, count: int) -> list[dict[str, Any]]:
    """Regime and orders at random exponents."""
    import tpdyn

    draw = random.Random(0)
    names = [parameter.name for parameter in program.parameters]
    found = []
    for _ in range(count):
        point = {name: [Fraction(draw.randint(-4, 4), 2) for _ in "abc"] for name in names}
        exponents = {
            "multiplier": {name: abc[0] for name, abc in point.items()},
            "initial": {name: abc[1] for name, abc in point.items()},
            "rate": {name: abc[2] for name, abc in point.items()},
        }
        found.append(guarded(lambda given=exponents: at(tpdyn, program, given)))
    return found


def at(tpdyn: Any, program: Any, exponents: Any) -> dict[str, Any]:
    """What is predicted at some exponents."""
    module = import_module(exponents_home())
    made = tpdyn.predict(program, exponents=module.Exponents(**exponents), remedy=False)
    return {"regime": made.regime.value, "sizes": list(map(str, made.sizes)), "changes": list(map(str, made.changes))}


def exponents_home() -> str:
    """The module that defines `Exponents`, wherever it lives now."""
    for path in sorted((ROOT / "tpdyn").rglob("*.py")):
        if re.search(r"^class Exponents\b", path.read_text(), re.M):
            return ".".join(path.relative_to(ROOT).with_suffix("").parts)
    raise LookupError("class Exponents is defined nowhere in tpdyn/")


# -- comparing ------------------------------------------------------------------------------------------------------


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Each place in which two dumps differ, by its path."""
    if type(old) is not type(new):
        yield f"{where}: {old!r:.120} became {new!r:.120}"
    elif isinstance(old, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key), new.get(key), f"{where} / {key}")
    elif isinstance(old, list):
        if len(old) != len(new):
            yield f"{where}: {len(old)} entries became {len(new)}"
        for index, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from differences(one, other, f"{where}[{index}]")
    elif old != new:
        yield f"{where}: {old!r:.300} became {new!r:.300}"


def load(path: Path) -> dict[str, Any]:
    """A folder of programs or a dump, by name."""
    lines = [each.read_text() for each in path.glob("*.json")] if path.is_dir() else path.read_text().splitlines()
    return {line["name"]: line for line in map(json.loads, lines)}


def main(arguments: list[str]) -> int:
    """The command line; its status."""
    options = [each for each in arguments if each.startswith("--")]
    verb, *paths = [each for each in arguments if not each.startswith("--")]
    only = next((each.partition("=")[2] for each in options if each.startswith("--only=")), "")
    if verb == "compare":
        old, new = load(Path(paths[0])), load(Path(paths[1]))
        if only:
            old, new = ({k: v for k, v in each.items() if only in k} for each in (old, new))
        found = list(differences(old, new))
        print("\n".join(found[:60]))
        print(f"{len(found)} differences in {len(old)} programs")
        return 1 if found else 0
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        if verb == "record":
            Path(paths[0]).mkdir(parents=True, exist_ok=True)
            families = [each for each in ("examples", *FAMILIES) if only in each]
            for family, count in zip(families, pool.map(write_programs, [(f, paths[0]) for f in families])):
                print(family, count, flush=True)
        elif verb == "read":
            files = [str(p) for p in sorted(Path(paths[0]).glob("*.json")) if slug(only) in p.name]
            lines = list(pool.map(said, files, ["--no-derive" not in options] * len(files), chunksize=2))
            Path(paths[1]).write_text("\n".join(lines) + "\n")
            print(f"{len(lines)} programs read")
        else:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
