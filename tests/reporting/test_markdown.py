"""A document reads well as Markdown, and text of the script makes no markup."""

from __future__ import annotations

import pytest

from tpdyn.claims.report import Report
from tpdyn.reporting.document import of_report
from tpdyn.reporting.markdown import code, escaped, page


def test_a_check_is_its_regime_its_reasons_and_a_table(report: Report) -> None:
    text = page(of_report(report))
    assert text.startswith(
        "**kernel**: the output learns, every hidden representation is frozen.\n\nThe runs confirm it: "
    )
    assert "| `fc2` | `n^0` | `n^-1/2` ↘ vanishes | " in text


def test_a_kind_of_a_later_version_is_named() -> None:
    assert page({"kind": "dream"}) == "A log of the kind `dream`."


def test_the_notes_of_a_limit_stand_below_its_losses() -> None:
    losses = [{"value": 0.5, "error": 0.01}]
    text = page({"kind": "limit", "losses": losses, "notes": ["a_b is random"]})
    assert text.endswith("| 0 | 0.5 | 0.01 |\n\n* a\\_b is random")
    assert page({"kind": "limit", "losses": losses, "notes": []}).endswith("| 0 | 0.5 | 0.01 |")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b", "`a\\|b`"),
        ("a`b", "`` a`b ``"),
        ("two\nlines", "`two lines`"),
    ],
)
def test_code_is_code_whatever_it_holds(text: str, written: str) -> None:
    assert code(text) == written


def test_text_makes_no_markup() -> None:
    assert escaped("<b>*x*</b> _y_ [z](u) | n^-1/2 and `a<b`") == (
        "\\<b\\>\\*x\\*\\</b\\> \\_y\\_ \\[z\\](u) \\| `n^-1/2` and `a<b`"
    )
