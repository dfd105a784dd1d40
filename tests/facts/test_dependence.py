"""Does a value depend on a leaf exactly if one of its operands does?"""

from __future__ import annotations

from tpdyn.facts.dependence import depends_on
from tpdyn.program.builder import Builder

N = Builder.n


def test_dependence_passes_through_every_instruction_and_stops_at_what_it_is_asked_to_stop_at() -> None:
    b = Builder()
    w, x = b.parameter("w", (N,)), b.data("x", (N,))
    both = b.einsum("i,i->i", w, x)
    alone = b.apply("tanh", w)
    number = b.einsum("i->", both)
    updated = b.combine((1, w), (1, both))
    later = b.apply("tanh", updated)
    again = b.einsum("i,i->i", later, x)
    program = b.build()
    on_data = depends_on(program, "data")
    assert [var for var in range(len(program)) if on_data[var]] == [x, both, number, updated, later, again]
    assert [var for var in range(len(program)) if not depends_on(program, "parameter")[var]] == [x]
    inputs = depends_on(program, "data", behind={updated})  # a version: what follows from it is a function of weights
    assert [var for var in range(len(program)) if inputs[var]] == [x, both, number, again]
    assert alone not in [var for var in range(len(program)) if on_data[var]]


def test_a_vector_of_data_holds_no_sample() -> None:
    """Spectral norm keeps one for its power iteration. Without width it is an input: class weights, say."""
    b = Builder()
    u, x, weights = b.data("u", (N,)), b.data("x", (3, N)), b.data("weights", (3,))
    b.einsum("i,ti->t", u, x)
    program = b.build()
    assert [var for var in range(3) if depends_on(program, "data", samples=True)[var]] == [x, weights]
    assert depends_on(program, "data", samples=True)[3] and depends_on(program, "data")[u]
