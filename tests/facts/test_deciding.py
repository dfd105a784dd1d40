"""Are representations, outputs and logits found, and nothing that only helps to compute them?"""

from __future__ import annotations

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Law, Leaf, LeafKind

N = Builder.n


def begun() -> tuple[Builder, int]:
    """`h = W x` of a batch of seven."""
    b = Builder()
    b.at(phase="forward")
    return b, b.einsum("bi,oi->bo", b.data("x", (7, 3)), b.parameter("W", (N, 3)))


def test_a_representation_is_made_of_data_and_parameters_along_one_wide_dim() -> None:
    b, h = begun()
    y = b.apply("tanh", h)
    f = b.einsum("bo,o->b", y, b.parameter("v", (N,)))  # no wide dim
    wide = b.einsum("bo,bp->op", h, y)  # two
    data = b.apply("tanh", b.data("z", (N,)))  # no parameter
    weight = b.apply("tanh", b.parameter("u", (N,)))  # no data
    facts = Facts.of(b.build())
    assert facts.representations == (h, y)
    assert not {f, wide, data, weight} & set(facts.representations)


def test_a_function_of_weights_alone_is_none_after_an_update_by_data_either() -> None:
    """Weight norm: the row norms of a matrix lie along one wide dim, and hang on data through its training."""
    b, h = begun()
    later = b.update("V", b.combine((1, b.parameter("V", (N, N))), (-1, b.einsum("bo,bp->op", h, h))))
    norms = b.einsum("op,op->o", later, later)
    out = b.einsum("bo,o->bo", b.einsum("bp,op->bo", h, later), norms)
    facts = Facts.of(b.build())
    assert out in facts.representations
    assert norms not in facts.representations


def test_values_of_other_phases_are_no_representations() -> None:
    b, h = begun()
    b.at(phase="backward")
    b.apply("tanh", h)
    assert Facts.of(b.build()).representations == (h,)


def test_a_mask_selects_and_represents_nothing() -> None:
    """The slope of a relu jumps: that it changes on a few entries is no learning of its own."""
    b, h = begun()
    mask = b.apply("step", h)
    kept = b.einsum("bo,bo->bo", mask, h)
    facts = Facts.of(b.build())
    assert mask in facts.masks
    assert facts.representations == (h, kept)


def test_the_factor_of_a_normalisation_is_no_representation_and_its_product_is() -> None:
    """`1/sqrt(var + eps)` of a batch norm, one a channel."""
    b, h = begun()
    variance = b.einsum("bo,bo->o", h, h, scale=1 / 7)
    factor = b.apply("rsqrt", b.combine((1, variance), constant=1e-5, epsilon=True))
    normal = b.einsum("bo,o->bo", h, factor)
    facts = Facts.of(b.build())
    assert facts.normalisation_factors == {factor}
    assert factor not in facts.representations and normal in facts.representations


def test_a_power_of_what_no_epsilon_guards_is_no_factor_of_a_normalisation() -> None:
    b, h = begun()
    inverse = b.apply("reciprocal", b.combine((1, h), constant=1.0))
    twice = b.apply("sqrt", b.apply("reciprocal", b.combine((1, h), constant=1e-5, epsilon=True)))
    facts = Facts.of(b.build())
    assert inverse not in facts.normalisation_factors
    assert twice in facts.normalisation_factors  # the root of a factor is one


def test_logits_count_because_a_softmax_has_a_scale_of_its_own() -> None:
    b, h = begun()
    logits = b.einsum("bo,co->bc", h, b.parameter("head", (5, N)))
    soft = b.apply("softmax", logits, along=1)
    facts = Facts.of(b.build())
    assert (logits, soft) in facts.scalars and logits in facts.counting


def test_a_number_under_a_root_or_made_of_data_alone_is_no_logit() -> None:
    b, h = begun()
    b.apply("sqrt", b.einsum("bo,bo->b", h, h))  # homogeneous
    b.apply("tanh", b.data("z", (7,)))  # no parameter
    b.apply("tanh", h)  # a vector
    assert Facts.of(b.build()).scalars == ()


def test_outputs_are_what_is_marked_and_else_the_losses() -> None:
    b, h = begun()
    f = b.einsum("bo,o->b", h, b.parameter("v", (N,)))
    loss = b.mark("loss", "loss", b.einsum("b->", f))
    assert Facts.of(b.build()).outputs == (loss,)
    b.mark("output", "output", f)
    assert Facts.of(b.build()).outputs == (f,)


def test_an_output_along_the_width_is_no_hidden_representation() -> None:
    b, h = begun()
    y = b.mark("output", "output", b.apply("tanh", h))
    facts = Facts.of(b.build())
    assert facts.representations == (h, y) and facts.hidden == (h,)
    assert facts.counting == (h, y)


def test_a_dropout_mask_alone_is_nothing_that_the_network_computes() -> None:
    b, h = begun()
    noise = b.random("noise", (7, N), Law("bernoulli", Scaling.of(0.5)))
    dropped = b.einsum("bo,bo->bo", h, noise)
    assert Facts.of(b.build()).representations == (h, dropped)


def test_without_data_constants_are_what_the_network_is_fed_with() -> None:
    """`Embedding(torch.arange(6))`, a grid of coordinates that is a buffer: a table of learning rows was called frozen."""
    kinds: tuple[LeafKind, ...] = ("constant", "buffer")
    for kind in kinds:
        b = Builder()
        b.at(phase="forward")
        x = b.leaf(Leaf(kind, "grid", Law("array")), tuple(map(Scaling.of, (7, 3))))
        h = b.einsum("bi,oi->bo", x, b.parameter("W", (N, 3)))
        weight = b.apply("tanh", b.parameter("u", (N,)))
        facts = Facts.of(b.build())
        assert h in facts.representations
        assert weight not in facts.representations
        assert not facts.unfed


def test_without_any_input_a_network_is_unfed() -> None:
    b = Builder()
    b.at(phase="forward")
    h = b.apply("tanh", b.parameter("u", (N,)))
    facts = Facts.of(b.build())
    assert facts.representations == ()
    assert facts.unfed == (h,)


def test_a_representation_that_is_returned_counts_as_one_and_the_loss_as_the_output() -> None:
    """Embeddings whose products are taken outside of the network change by n^-1/2 under NTP, while their products learn."""
    b, h = begun()
    b.mark("output", "output", h)
    assert Facts.of(b.build()).outputs == (h,)  # no loss is marked
    loss = b.mark("loss", "loss", b.einsum("bo,bo->", h, h))
    facts = Facts.of(b.build())
    assert facts.outputs == (loss,)
    assert facts.hidden == (h,)


def test_a_linear_map_of_wide_features_is_fed_whatever_is_asked_of_its_weights() -> None:
    """Random Fourier features and a penalty on the readout: the verdict said that the network has no input."""
    b = Builder()
    b.at(phase="forward")
    w = b.parameter("w", (Builder.n,))
    out = b.einsum("bo,o->b", b.data("features", (7, N)), w)
    penalty = b.einsum("o->", b.einsum("o,o->o", w, w))
    b.mark("loss", "loss", b.combine((1, b.einsum("b,b->", out, out)), (1, penalty)))
    assert not Facts.of(b.build()).unfed
