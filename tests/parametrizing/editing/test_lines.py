"""Mirrors tpdyn/parametrizing/editing/lines.py: which expression is multiplied, and what is left to a person."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.facts.sites import Site
from tpdyn.parametrizing.editing.edits import TextEdits
from tpdyn.parametrizing.editing.lines import Line, bracketed, multiplied
from tpdyn.program.program import Source

HALF = Fraction(1, 2)


def line(module: str = "", parameters: tuple[str, ...] = (), power: Fraction | None = -HALF) -> Line:
    """The only line of a text; 256 entries are summed over at the base width."""
    site = Site("p", module, Source("a.py", 1, ""), (0,), parameters)
    return Line("a.py", 1, (site,), power, 256)


def edited(text: str, module: str = "", *, biased: bool = False) -> str | None:
    """The text with the multiplier written into it; None where that is left to a person."""
    edits = TextEdits(text)
    found = multiplied(edits, line(module, ("w",) if module else ()), biased)
    if found is None:
        return None
    if found.node is None:
        assert found.call is not None
        edits.add_argument(found.call, found.argument)
    else:
        edits.wrap(found.node, *found.around())
    return edits.result()


FACTOR = "(x.shape[-1] / 256) ** -0.5"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("y = x @ w", f"y = (x @ w * {FACTOR})"),
        ("y = x.matmul(w)", f"y = (x.matmul(w) * {FACTOR})"),
        ("y = torch.einsum('bi,oi->bo', x, w)", f"y = (torch.einsum('bi,oi->bo', x, w) * {FACTOR})"),
        ("y = F.linear(x, w)", f"y = (F.linear(x, w) * {FACTOR})"),
        ("y = F.linear(x, w, b)", f"y = F.linear(x * {FACTOR}, w, b)"),
        ("y = f(x + 1) @ w", "y = (f(x + 1) @ w * (w.shape[-2] / 256) ** -0.5)"),
    ],
)
def test_a_product_is_multiplied_where_it_is_written_and_what_is_added_to_it_is_not(before: str, after: str) -> None:
    assert edited(before) == after


def test_the_scale_of_attention_is_multiplied_or_given() -> None:
    assert edited("y = scaled_dot_product_attention(x, k, v, scale=s + 1)") == (
        f"y = scaled_dot_product_attention(x, k, v, scale=(s + 1) * {FACTOR})"
    )
    assert edited("y = scaled_dot_product_attention(x, k, v)") == (
        f"y = scaled_dot_product_attention(x, k, v, scale=1 / x.shape[-1] ** 0.5 * {FACTOR})"
    )


def test_a_module_is_multiplied_where_it_is_called_and_before_its_bias() -> None:
    assert edited("y = self.head(x)", "head") == f"y = (self.head(x) * {FACTOR})"
    assert edited("y = self.head(x)", "head", biased=True) == f"y = self.head(x * {FACTOR})"
    assert edited("y = self.head(f(x))", "head") == (
        "y = (self.head(f(x)) * (self.head.weight.shape[-1] / 256) ** -0.5)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "y = x @ w @ v",  # two products
        "y = f(x) @ g(w)",  # neither size is plain
        "y = f(x)",  # no product
        "y = self.head(self.head(x))",  # one factor would not know where to stand
        "y = scaled_dot_product_attention(x, k, v, **options)",
    ],
)
def test_what_is_not_plain_is_left_to_a_person(text: str) -> None:
    assert edited(text) is None
    assert edited(text, "head") is None


def test_a_line_whose_products_need_different_powers_is_left_to_a_person() -> None:
    assert multiplied(TextEdits("y = x @ w"), line(power=None), False) is None


def test_powers_that_are_quotients_stand_in_brackets() -> None:
    assert [bracketed(power) for power in (Fraction(1), -HALF, Fraction(1, 3))] == ["1", "-0.5", "(1 / 3)"]
