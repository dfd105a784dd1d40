from __future__ import annotations

import json
from fractions import Fraction

from tpdyn.program.program import Program
from tpdyn.regimes.predict import predict
from tpdyn.reporting.atlas import KEYS, atlas, derivation
from tpdyn.testing.perceptrons import mlp_program


def drawn(program: Program) -> dict:
    count = len(program)
    return atlas(program, (Fraction(0),) * count, (None,) * count)


def test_columns_are_phases_in_time_and_rows_are_modules_in_order(program: Program) -> None:
    made = drawn(program)
    assert made["columns"] == ["initialization", "0 data", "0 forward", "1 data", "1 forward"]
    assert made["rows"] == ["", "fc1", "fc2"]
    nodes = made["nodes"]
    assert all(len(nodes[key]) == len(program) for key in KEYS)
    where = {
        name: (made["columns"][c], made["rows"][r]) for name, c, r in zip(nodes["name"], nodes["column"], nodes["row"])
    }
    assert where["h1_0"] == ("0 forward", "fc1")
    assert where["fc2.weight"] == ("initialization", "fc2")
    json.dumps(made, allow_nan=False)


def test_no_two_statements_share_a_place(program: Program) -> None:
    nodes = drawn(program)["nodes"]
    places = list(zip(nodes["column"], nodes["row"], nodes["slot"]))
    assert len(set(places)) == len(places)


def test_a_program_without_statements_is_an_empty_map() -> None:
    assert drawn(Program(()))["nodes"]["name"] == []


def test_a_product_says_what_its_sum_adds_and_which_parts_change(program: Program) -> None:
    names = [statement.name for statement in program.statements]
    h2, a1, w2 = names.index("h2_1"), names.index("a1_1"), names.index("fc2.weight")
    sizes: list[Fraction | None] = [Fraction(0)] * len(program)
    changes: list[Fraction | None] = [None] * len(program)
    sizes[w2], changes[a1] = Fraction(-1, 2), Fraction(-1)
    rule, size, change = derivation(program, h2, sizes, changes)
    assert rule == "a product, summed over n: orders add"
    assert size[-1] == "the sum: n^1/2, its terms have random signs (central limit theorem)"
    assert change == ["Δa1_1 · fc2.weight: n^-1 · n^-1/2"]  # the weights have not changed: no other part
    sizes[h2] = Fraction(1, 2)
    assert "law of large numbers" in derivation(program, h2, sizes, changes)[1][-1]


def test_every_instruction_has_a_derivation() -> None:
    program = mlp_program(2)
    prediction = predict(program, remedy=False)
    for position in range(len(program)):
        rule, size, _ = derivation(program, position, prediction.sizes, prediction.changes)
        assert rule
        assert size
