"""Are versions, their beginnings and gradients found, piece by piece?"""

from __future__ import annotations

from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Law, Leaf
from tpdyn.program.program import Parameter, View

N = Builder.n


def trained() -> tuple[Facts, dict[str, int]]:
    """w is updated in both steps, c (without width) in the first, and v in neither."""
    b = Builder()
    at = {"w": b.parameter("w", (N,)), "c": b.parameter("c", ()), "v": b.parameter("v", (N, 3))}
    for step in range(2):
        b.at(step=step, phase="optimizer")
        at[f"g{step}"] = b.apply("tanh", b.now("w"))
        at[f"w{step}"] = b.update("w", b.combine((1, b.now("w")), (-1, at[f"g{step}"])), gradient=at[f"g{step}"])
        if step == 0:
            at["c0"] = b.update("c", b.combine((2, b.now("c"))))
    return Facts.of(b.build(steps=2)), at


def test_every_version_belongs_to_its_parameter() -> None:
    facts, at = trained()
    assert facts.owner == {at["w"]: "w", at["w0"]: "w", at["w1"]: "w", at["c"]: "c", at["c0"]: "c", at["v"]: "v"}


def test_a_later_version_knows_its_leaf_and_the_version_before() -> None:
    facts, at = trained()
    assert facts.initial_of == {at["w0"]: at["w"], at["w1"]: at["w"], at["c0"]: at["c"]}
    assert facts.previous_of == {at["w0"]: at["w"], at["w1"]: at["w0"], at["c0"]: at["c"]}


def test_gradients_are_those_that_steps_left() -> None:
    facts, at = trained()
    assert facts.gradient_of == {at["g0"]: "w", at["g1"]: "w"}


def test_a_parameter_in_pieces_is_followed_piece_by_piece() -> None:
    b = Builder()
    leaves = [b.leaf(Leaf("parameter", f"qk.{k}", Law("zero")), (N,)) for k in range(2)]
    b.at(phase="optimizer")
    later = [b.combine((2, leaf)) for leaf in leaves]
    views = tuple(View(tuple(pieces), ((), (0,)), stacked=0) for pieces in (leaves, later))
    b.parameters.append(Parameter("qk", views, (None,)))
    facts = Facts.of(b.build(steps=1))
    assert [facts.initial_of[var] for var in later] == leaves
    assert all(facts.owner[var] == "qk" for var in (*leaves, *later))


def test_only_parameters_without_a_growing_dim_are_finite() -> None:
    facts, _ = trained()
    assert facts.finite_parameters == {"c"}


def iterated() -> tuple[Facts, dict[str, int]]:
    """W over the length of W u: a step of a power iteration, and the layer that applies it."""
    b = Builder()
    b.at(phase="forward")
    at = {"W": b.parameter("W", (N, N)), "V": b.parameter("V", (N, N)), "u": b.data("u", (N,))}
    at["Wu"] = b.einsum("ij,j->i", at["W"], at["u"])
    at["length"] = b.apply("rsqrt", b.einsum("i,i->", at["Wu"], at["Wu"]))
    at["normed"] = b.einsum("ij,->ij", at["W"], at["length"])
    at["both"] = b.combine((1, at["W"]), (1, at["V"]))
    at["h"] = b.einsum("ij,tj->ti", at["normed"], b.data("x", (3, N)))
    return Facts.of(b.build()), at


def test_what_is_made_of_parameters_alone_names_them() -> None:
    facts, at = iterated()
    for name, made_of in {"W": "W", "V": "V", "Wu": "W", "length": "W", "normed": "W", "both": "WV"}.items():
        assert facts.made_of[at[name]] == set(made_of)
    assert at["h"] not in facts.made_of


def test_a_mixture_of_matrices_with_coefficients_of_a_sample_is_made_of_them() -> None:
    b = Builder()
    b.at(phase="forward")
    experts, router, x = b.parameter("E", (2, N, N)), b.parameter("R", (2, N)), b.data("x", (3, N))
    gates = b.einsum("tj,kj->tk", x, router)
    mixed = b.einsum("tk,kij->tij", gates, experts)
    summed = b.einsum("tij->ti", mixed)
    outer = b.einsum("ti,tj->tij", x, x)
    facts = Facts.of(b.build())
    assert facts.made_of[mixed] == {"E"}
    assert facts.made_of.keys().isdisjoint({gates, summed, outer})


def test_what_a_step_makes_of_a_weight_and_its_increment_is_known() -> None:
    """A gradient with weight decay is a sum with the weight, too, but not the last one."""
    b = Builder()
    w = b.parameter("w", (N,))
    b.at(phase="backward")
    gradient = b.data("g", (N,))
    b.at(phase="optimizer")
    decayed = b.combine((1, gradient), (0.1, w))
    raw = b.combine((1, w), (-1, decayed))
    clipped = b.apply("clamp", raw, parameters=(-2, 2))
    b.update("w", clipped, gradient=gradient)
    plain = b.combine((1, clipped), (-1, gradient))
    b.at(step=1, phase="optimizer")
    b.update("w", plain, gradient=gradient)
    assert Facts.of(b.build(steps=2)).raw_updates == {raw: clipped}


def test_products_with_vectors_that_hold_no_sample_are_counted() -> None:
    facts, at = iterated()
    assert facts.iterated[at["W"]] == 2  # W u, and W over its length
    assert at["h"] in facts.used and at["Wu"] not in facts.used
