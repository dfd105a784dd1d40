"""Do imports run down the floors only? Reads every import of the package, lazy ones and those for types included."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tpdyn"

# From the top floor to the ground. A module may import its own floor and those below.
FLOORS = (
    ("cli", "__main__"),
    ("integrations",),
    ("commands",),
    ("board",),
    ("monitoring",),
    ("reporting",),
    ("testing",),
    ("claims",),
    ("measuring",),
    ("tuning",),
    ("limits",),
    ("parametrizing",),
    ("regimes",),
    ("scripts",),
    ("store",),
    ("readings",),
    ("recorder",),
    ("facts",),
    ("program",),
    ("pointwise",),
    ("exact",),
    ("exponents", "atomic", "home", "notebook", "pictures", "rationals"),
)
LEVEL = {name: len(FLOORS) - index for index, names in enumerate(FLOORS) for name in names}
WITHOUT_TORCH = (
    "exponents",
    "rationals",
    "exact",
    "pointwise",
    "program",
    "facts",
    "readings.interpret",
    "readings.orders",
    "regimes",
    "reporting.tags",
    "board",
    "cli",
)
WITH_TORCH = "program.evaluation"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(tree: ast.AST, package: str) -> list[tuple[int, str]]:
    """(line, full name) of each module that the file imports, inside of functions too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found += [(node.lineno, str(each.value)) for each in node.args if isinstance(each, ast.Constant)]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            # `from tpdyn.readings import finite` imports a module: name both, the longer decides.
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


def problems_in(name: str, source: str, package: str | None = None) -> list[str]:
    """Every import of the module `name` (without `tpdyn.`) that climbs, or that joins two readings."""
    problems = []
    floor = name.split(".")[0]
    if floor not in LEVEL:
        return [f"tpdyn/{name}: on no floor; add it to FLOORS in tests/test_house.py"] if name else []
    for line, imported in imports_of(ast.parse(source), package or f"tpdyn.{name}"):
        if not imported.startswith("tpdyn."):
            continue
        target = imported.removeprefix("tpdyn.")
        other = target.split(".")[0]
        if other in LEVEL and LEVEL[other] > LEVEL[floor]:
            problems.append(f"tpdyn.{name}, line {line}: {floor} imports {imported}, which is a floor above")
        if floor == "readings" and other == "recorder":
            problems.append(
                f"tpdyn.{name}, line {line}: a reading imports {imported}; it is to read programs, not recordings"
            )
        if floor == other == "readings":
            mine, theirs = name.split(".")[1:2], target.split(".")[1:2]
            if mine and theirs and mine != theirs and theirs != ["interpret"]:
                problems.append(f"tpdyn.{name}, line {line}: the reading {mine[0]} imports the reading {theirs[0]}")
    return problems


# Circles that are meant. Doors of the public face open what reads them when they are used: `program.show()`,
# `diagram.save()`. A matrix is a sum of atoms, one of which is a function of matrices.
ROUNDS = (
    {"program.check", "program.dims", "program.json", "program.program", "program.show"},
    {"parametrizing.maps.diagram", "parametrizing.maps.picture"},
    {"readings.sampled.atoms", "readings.sampled.matrix"},
)


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_no_import_climbs_a_floor_and_no_reading_imports_another() -> None:
    problems = []
    for path in files():
        name = module_name(path)
        package = f"tpdyn.{name}" if path.name == "__init__.py" else f"tpdyn.{name}".rpartition(".")[0]
        if name and not name.startswith("demo_scripts"):
            problems += problems_in(name, path.read_text(), package)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("name", "source", "named"),
    [
        ("program.check", "from tpdyn.readings.interpret import interpret", "a floor above"),
        ("measuring.run", "def f():\n    import tpdyn.claims.report", "a floor above"),
        ("measuring.run", "def f():\n    from tpdyn import claims", "a floor above"),
        ("readings.finite", "from tpdyn.readings.orders.reading import read", "the reading orders"),
        ("measuring.run", "def f():\n    importlib.import_module('tpdyn.claims.report')", "a floor above"),
        ("readings.finite", "from tpdyn.recorder.lowered import Lowered", "programs, not recordings"),
        ("attic.new", "", "on no floor"),
    ],
)
def test_an_import_that_climbs_is_named(name: str, source: str, named: str) -> None:
    (problem,) = problems_in(name, source)
    assert named in problem


def test_an_import_that_goes_down_is_fine() -> None:
    assert problems_in("claims.report", "from tpdyn.exponents import Order\nimport torch") == []


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which imports, by way of others, every other."""
    graph = networkx.DiGraph((name, other) for name, others in edges.items() for other in others)
    return [found for found in networkx.strongly_connected_components(graph) if len(found) > 1]


def test_no_imports_run_in_a_circle() -> None:
    """Lazy imports and those for types count, too: what needs each other is one idea in two files."""
    modules = {module_name(path): path for path in files()}
    edges: dict[str, set[str]] = {}
    for name, path in modules.items():
        package = f"tpdyn.{name}" if path.name == "__init__.py" else f"tpdyn.{name}".rpartition(".")[0]
        names = {imported.removeprefix("tpdyn.") for _, imported in imports_of(ast.parse(path.read_text()), package)}
        edges[name] = {each if each in modules else each.rpartition(".")[0] for each in names} & modules.keys() - {
            name,
            "",
        }
    unknown = [found for found in circles(edges) if not any(found <= door for door in ROUNDS)]
    assert not unknown


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def module_level_imports(source: str) -> list[str]:
    """The top-level packages that are imported when the file is: not in functions, not under TYPE_CHECKING."""
    found = []
    queue: list[ast.AST] = [ast.parse(source)]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            queue += node.orelse
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(node.module or "")
        queue += list(ast.iter_child_nodes(node))
    return found


def test_the_exact_floors_import_no_torch() -> None:
    guilty = []
    for path in files():
        name = module_name(path)
        if name.startswith(WITH_TORCH):
            continue
        if any(name == floor or name.startswith(floor + ".") for floor in WITHOUT_TORCH):
            heavy = [m for m in module_level_imports(path.read_text()) if m.split(".")[0] == "torch"]
            guilty += [f"tpdyn.{name} imports {m} at module level" for m in heavy]
    assert not guilty, "\n".join(guilty)


def test_a_torch_import_at_module_level_would_be_seen() -> None:
    lazy = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import torch"
    assert "torch" not in module_level_imports(lazy)
    assert "torch" in module_level_imports("try:\n    import torch\nexcept ImportError:\n    pass")


def silent_wildcards(source: str) -> list[int]:
    """List the lines of each catch-all case that does not refuse. A comment beside it may say instead why its answer is
    right.
    """
    lines, silent = source.splitlines(), []
    for case in (case for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Match) for case in node.cases):
        if not isinstance(case.pattern, ast.MatchAs) or case.pattern.pattern is not None or case.guard is not None:
            continue  # it names what it takes
        last, line = case.body[-1], case.pattern.lineno
        refuses = isinstance(last, ast.Raise) or ast.unparse(last).startswith("assert_never(")
        if not refuses and not any("#" in text for text in lines[line - 2 : line + 1]):
            silent.append(line)
    return silent


def test_every_match_is_total_or_says_why_its_default_is_right() -> None:
    silent = [
        f"tpdyn.{module_name(path)}, line {line}" for path in files() for line in silent_wildcards(path.read_text())
    ]
    assert not silent, "list the cases and assert_never, or say beside the default why it is right: " + "; ".join(
        silent
    )


@pytest.mark.parametrize("pattern", ["_", "other"])
def test_a_silent_default_is_seen(pattern: str) -> None:
    code = f"match x:\n    case Leaf():\n        y = 1\n    case {pattern}:\n        "
    assert silent_wildcards(code + "y = 2") == [4]
    assert silent_wildcards(code + "y = 2  # cautious: nothing is known") == []
    assert silent_wildcards(code + "assert_never(x)") == silent_wildcards(code + "raise ValueError") == []
    assert silent_wildcards(code.replace(f"case {pattern}", "case str()") + "y = 2") == []


def test_importing_the_package_is_light() -> None:
    """`import tpdyn`, and its command line up to the help, load neither torch nor numpy."""
    code = (
        "import sys, tpdyn, tpdyn.cli; "
        "heavy = sorted({'torch', 'numpy', 'scipy', 'sklearn', 'tensorboard'} & set(sys.modules)); "
        "raise SystemExit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_predicting_needs_no_torch() -> None:
    """The exact reading runs where torch is not even installed."""
    code = (
        "import sys; sys.modules['torch'] = None; import tpdyn.program.program, tpdyn.regimes.predict, tpdyn.pointwise"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_every_module_opens_with_a_sentence() -> None:
    bare = [
        module_name(path)
        for path in files()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not bare, f"no docstring: {bare}"


def test_the_public_names_exist_and_an_unknown_one_is_refused() -> None:
    import tpdyn

    for name in tpdyn.__all__:
        assert getattr(tpdyn, name) is not None
    with pytest.raises(AttributeError, match="it has: "):
        tpdyn.nothing  # noqa: B018


# Modules (or, with a dot at the end, folders) without a mirrored test file, each with where they are tested or why not at all.
WITHOUT_MIRROR = {
    "home": "paths: tests/commands/test_verify.py and tests/cli/test_checking.py (the demo) find what comes with the package",
    "cli.values": "words in and out: tests/commands/test_simulate.py",
    "cli.runs": "words in and out: tests/commands/test_runs.py",
    "program.errors": "the error classes",
    "recorder.errors": "an error class",
    "recorder.live.tape": "plain data",
    "pointwise.": "tests/pointwise/test_conformance.py holds every function against all its facts",
    "readings.kernels.": "one recursion: tests/readings/kernels/test_reading.py, value by value against networks",
    "integrations.": "callbacks of frameworks: tests/integrations/test_callbacks.py",
    "parametrizing.maps.picture": "pictures that only eyes judge: tests/parametrizing/maps/test_diagram.py draws them",
    "commands.demo": "the command: tests/cli/test_checking.py",
    "commands.fix": "the command: tests/parametrizing/editing/test_fix.py",
    "commands.limit": "the command: tests/commands/test_simulate.py",
    "recorder.built.resizing": "models that exist, grown: tests/recorder/built/test_widened.py",
    "recorder.live.operations": "one overload after the other, bit for bit: tests/recorder/live/test_replay.py",
    "recorder.lowering.standins.matrices.": "tests/recorder/lowering/standins/test_spectral.py",
    "testing.mutants.": "lines of the package and what takes their place: tests/testing/test_mutate.py applies each",
    "claims.rates": "a command; its numbers are those of tests/claims/test_checking.py's checks, drawn often",
    "testing.models": "what properties draw from; a wrong draw shows in theirs: tests/testing/test_strategies.py",
    "testing.perceptrons": "the program and the script of one network, compared in proofs_checks",
}


def unmirrored(package: Path, tests: Path) -> list[str]:
    """The modules of a package that have neither a test file at the same path nor a reason in `WITHOUT_MIRROR`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts)
        excused = any(name == known or (known.endswith(".") and name.startswith(known)) for known in WITHOUT_MIRROR)
        if parts[-1].startswith("__") or excused or (tests.joinpath(*parts[:-1]) / f"test_{parts[-1]}.py").exists():
            continue
        found.append(f"tpdyn/{'/'.join(parts)}.py: no tests/{'/'.join((*parts[:-1], f'test_{parts[-1]}'))}.py")
    return found


def test_every_module_has_its_mirrored_tests() -> None:
    missing = unmirrored(PACKAGE, ROOT / "tests")
    assert not missing, "write them, or say in WITHOUT_MIRROR where it is tested:\n" + "\n".join(missing)


def test_a_module_without_tests_is_named_and_an_excuse_for_nothing_is_too(tmp_path: Path) -> None:
    for place in ("tpdyn/a/__init__.py", "tpdyn/a/new.py", "tpdyn/a/old.py", "tpdyn/home.py", "tests/a/test_old.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    assert unmirrored(tmp_path / "tpdyn", tmp_path / "tests") == ["tpdyn/a/new.py: no tests/a/test_new.py"]
    for name in WITHOUT_MIRROR:
        path = PACKAGE.joinpath(*name.rstrip(".").split("."))
        assert path.is_dir() if name.endswith(".") else path.with_suffix(".py").exists(), (
            f"{name} is no module any more"
        )
        own = ROOT.joinpath("tests", *name.split(".")[:-1], f"test_{name.split('.')[-1]}.py")
        assert name.endswith(".") or not own.exists(), f"{name} has its mirror now: take it off the list"
