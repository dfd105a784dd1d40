"""Does a formula in the width give its whole number, and is everything else refused?"""

from __future__ import annotations

import pytest

from tpdyn.scripts.formula import BadFormula, Formula


@pytest.mark.parametrize(
    ("text", "width", "value"),
    [("n", 48, 48), ("4*n", 16, 64), ("n/16", 48, 3), ("n//5 + 1", 16, 4), ("2*(n - 8)/n**1", 16, 1), ("7", 16, 7)],
)
def test_a_formula_gives_a_whole_number(text: str, width: int, value: int) -> None:
    assert Formula.read(text).at(width) == value


def test_true_and_false_are_switches() -> None:
    assert Formula.read("False").at(48) is False and Formula.read("True").at(48) is True
    assert not Formula.read("1").is_switch


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "n n",
        "1e999",
        "int(n)",
        "n.real",
        "n if n else 1",
        "[n]",
        "n % 3",
        "True*n",
        "None",
        "'n'",
        "n**",
        "~n",
    ],
)
def test_anything_else_is_no_formula(text: str) -> None:
    with pytest.raises(BadFormula, match="expected a formula in n"):
        Formula.read(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("n/16", "n/16 is 5/4 at width 20; expected a positive whole number"),
        ("n - 20", "n - 20 is 0 at width 20"),
        ("-n", "-n is -20 at width 20"),
        ("n/(n - 20)", "divides by zero at width 20"),
        ("n**(1/2)", "expected a whole exponent"),
        ("9**9**9**9", "expected a number that can be a size"),
    ],
)
def test_a_formula_that_gives_no_size_names_itself_the_width_and_what_came_out(text: str, named: str) -> None:
    with pytest.raises(BadFormula) as caught:
        Formula.read(text).at(20)
    assert named in str(caught.value)
