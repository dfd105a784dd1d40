"""Is the product found that a person would change, and who reads a value?"""

from __future__ import annotations

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.facts.makers import maker
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Concat, Operand, Slice

N = Builder.n


def test_masks_slices_multipliers_and_padding_are_walked_through_to_the_product() -> None:
    b = Builder()
    x, y = b.data("x", (7, N)), b.parameter("y", (N,))
    product = b.einsum("bi,i->b", x, y)
    scaled = b.combine((0.5, product))
    masked = b.apply("where", b.data("mask", (7,)), scaled, b.constant("minus", -1e9, (7,)))
    filled = b.apply("where", b.data("mask2", (7,)), b.constant("minus2", -1e9, (7,)), scaled)
    cut = b.add(Slice.of(Operand(masked, (0,)), 0, 0, 1, 5), (Scaling.of(5),))
    padded = b.add(Concat((Operand(cut, (0,)), None), (Scaling.of(5), Scaling.of(2)), 0), (Scaling.of(7),))
    both = b.combine((1, padded), (1, product))
    program = b.build()
    assert {maker(program, var) for var in (product, scaled, masked, cut, padded)} == {product}
    assert maker(program, filled) == product  # masked_fill chooses the constant first
    assert maker(program, both) == both  # a sum of two is where a person would look
    assert Facts.of(program).readers[product] == (scaled, both)
    assert Facts.of(program).readers[both] == ()


def test_a_value_that_reads_another_twice_is_one_reader() -> None:
    b = Builder()
    x = b.data("x", (N,))
    square = b.einsum("i,i->i", x, x)
    assert Facts.of(b.build()).readers[x] == (square,)
