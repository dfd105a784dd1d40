from __future__ import annotations

from fractions import Fraction

import pytest
import typer

from tpdyn.options import limits_of, pair_of, widths_of


def test_numbers_with_commas_between_are_read() -> None:
    assert widths_of("64,128") == (64, 128)
    assert pair_of("-6,6") == (-6, 6)
    assert limits_of("-1,5/2") == (Fraction(-1), Fraction(5, 2))


@pytest.mark.parametrize(("read", "text"), [(widths_of, "64,a"), (pair_of, "1,2,3"), (limits_of, "0,1/0")])
def test_anything_else_says_what_was_expected(read, text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected"):
        read(text)
