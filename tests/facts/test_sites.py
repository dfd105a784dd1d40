"""Are products found together with their gradients, and those whose multiplier is that of no parameter?"""

from __future__ import annotations

from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.program import Source

N = Builder.n


def attention(steps: int = 2, *, twice: bool = False) -> tuple[Facts, list[tuple[int, int, int]]]:
    """Logits `q k`, and their gradients, in every step; q = W x, k = V x. (twice: two such products on one line.)"""
    b = Builder()
    b.parameter("W", (N, 3))
    b.parameter("V", (N, 3))
    triples = []
    for step in range(steps):
        b.at(step=step, phase="forward", module="attn", source=Source("net.py", 7, "q @ k.T"))
        x = b.data(f"x{step}", (5, 3))
        q, k = (b.einsum("ti,oi->to", x, b.now(name)) for name in "WV")
        pairs = [(q, k), (k, b.apply("tanh", q))] if twice else [(q, k)]
        made = [b.einsum("to,so->ts", one, other) for one, other in pairs]
        b.at(phase="backward")
        for (one, other), logits in zip(pairs, made, strict=True):
            flow = b.apply("tanh", logits)
            triples.append((logits, b.einsum("ts,to->so", flow, one), b.einsum("ts,so->to", flow, other)))
    return Facts.of(b.build()), triples


def test_a_product_is_found_with_both_gradients_in_every_step() -> None:
    facts, triples = attention()
    (site,) = facts.sites
    assert site.name == "attn:7" and site.parameters == ()
    assert [set(site.positions[k : k + 3]) for k in (0, 3)] == [set(triple) for triple in triples]
    assert facts.shared_sites == facts.sites  # no parameter could have this multiplier


def test_products_on_one_line_are_told_apart_by_their_number() -> None:
    facts, triples = attention(twice=True)
    one, other = facts.sites
    assert (one.name, other.name) == ("attn:7", "attn:7#2")
    assert set(one.positions) == {*triples[0], *triples[2]} and set(other.positions) == {*triples[1], *triples[3]}


def read_out(*, tied: bool) -> Facts:
    """A table that embeds; the output is read out by it, too, or by another matrix."""
    b = Builder()
    b.at(phase="forward", module="head", source=Source("net.py", 9, "x @ w"))
    table = b.parameter("table", (11, N))
    head = table if tied else b.parameter("head", (11, N))
    x = b.apply("tanh", b.gather(table, b.index("tokens", (5,))))
    logits = b.einsum("ti,vi->tv", x, head)
    b.at(phase="backward")
    flow = b.apply("tanh", logits)
    b.einsum("tv,ti->vi", flow, x)
    b.einsum("tv,vi->ti", flow, head)
    return Facts.of(b.build())


def test_a_readout_by_a_weight_of_its_own_is_no_shared_place_and_by_a_tied_one_is() -> None:
    alone, tied = read_out(tied=False), read_out(tied=True)
    assert [site.parameters for site in alone.sites] == [("head",)] and alone.shared_sites == ()
    assert [site.parameters for site in tied.shared_sites] == [("table",)]


def test_a_product_without_gradients_or_of_a_value_with_itself_is_no_place() -> None:
    b = Builder()
    b.at(phase="forward")
    x, w = b.data("x", (N,)), b.parameter("w", (N,))
    b.einsum("i,i->", x, w)
    square = b.einsum("i,i->", w, w)
    b.at(phase="backward")
    flow = b.apply("tanh", square)
    b.einsum(",i->i", flow, w)
    assert Facts.of(b.build()).sites == ()
