from __future__ import annotations

from fractions import Fraction
from html.parser import HTMLParser

import torch

import tpdyn
from tpdyn.limits.limit import Estimate, Limit
from tpdyn.notebook import MOST, card, table
from tpdyn.testing.perceptrons import mlp_program

HOSTILE = "<script>alert(1)</script>"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_texts_are_escaped_and_tags_are_closed() -> None:
    made = card(HOSTILE, [HOSTILE], table((HOSTILE,), [(HOSTILE, HOSTILE)]))
    tags = Tags(made)
    assert tags.open == []
    assert "script" not in tags.seen


def test_a_long_table_is_cut_with_a_count() -> None:
    made = table(("name",), [(str(k),) for k in range(MOST + 30)])
    assert made.count("<tr>") == MOST + 1
    assert "and 30 more" in made


def test_results_are_short_cells() -> None:
    program = mlp_program(2)
    one = torch.ones(2, 1, dtype=torch.float64)
    estimate = Estimate(one[0, 0], one[0, 0] / 100, one[:, 0])
    limit = Limit((), (estimate,), {}, {}, {}, {}, {}, (), ("a note",), 64, 2, 0.5)
    shown = {
        "tensor program of": program,
        "change at step": tpdyn.predict(program),
        "maximal update": tpdyn.derive(program),
        "svg": tpdyn.phase_diagram(program, x_limits=(Fraction(0), Fraction(1)), y_limits=(Fraction(0), Fraction(1))),
        "infinite width": limit,
    }
    for words, value in shown.items():
        made = value._repr_html_()
        assert words in made
        assert len(made) < 8000, words
        assert Tags(made).open == []
