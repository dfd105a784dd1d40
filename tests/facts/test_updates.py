"""Are the statements of an update found, and those of them that add an epsilon?"""

from __future__ import annotations

from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder

N = Builder.n


def adam() -> tuple[Facts, dict[str, int]]:
    """Two parameters; one is updated by `g / (sqrt(v) + eps)`, with a clipping factor that has an eps of its own."""
    b = Builder()
    at = {"w": b.parameter("w", (N,)), "u": b.parameter("u", (N,))}
    b.at(phase="backward")
    at["g"] = b.apply("tanh", at["w"])
    b.at(phase="optimizer")
    at["norm"] = b.combine((1, b.einsum("i,i->", at["g"], at["g"])), constant=1e-6, epsilon=True)
    at["second"] = b.einsum("i,i->i", at["g"], at["g"])
    at["guard"] = b.combine((1, b.apply("sqrt", at["second"])), constant=1e-8, epsilon=True)
    at["step"] = b.einsum("i,i->i", at["g"], b.apply("reciprocal", at["guard"]))
    at["clipped"] = b.einsum("i,->i", at["step"], b.apply("reciprocal", at["norm"]))
    at["other"] = b.combine((2, at["u"]))
    at["new"] = b.update("w", b.combine((1, at["w"]), (-1, at["clipped"])), gradient=at["g"])
    b.update("u", at["other"])
    return Facts.of(b.build()), at


def test_an_update_is_followed_back_to_the_gradient_and_no_further() -> None:
    facts, at = adam()
    found = facts.updates["w"]
    assert {at[name] for name in ("norm", "second", "guard", "step", "clipped", "new")} <= set(found)
    assert not {at["g"], at["w"], at["other"]} & set(found)
    assert list(found) == sorted(found)
    assert facts.updates["u"] == (at["other"],)


def test_an_epsilon_that_is_added_entry_by_entry_is_a_guard_and_that_of_a_norm_is_none() -> None:
    facts, at = adam()
    assert facts.guards == {"w": (at["guard"],), "u": ()}
