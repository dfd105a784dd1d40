"""Do runs that come to their limit confirm it, and do others not? Programs whose fluctuations and biases are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import tpdyn
from tpdyn.claims.beside import Beside, beside, counted, distances, to_dict
from tpdyn.exponents import Scaling
from tpdyn.limits.comparison import Approach, approach
from tpdyn.program.builder import Builder
from tpdyn.program.program import Program

n = Builder.n
SEEDS, WIDTHS = 128, (16, 32, 64, 128)


def chi(power: str = "0") -> Program:
    """`f = mean of u_i^2 + 5 (mean of u_i)^2 n^power`, u standard normal: E f = 1 + 5 n^(power - 1). A module: tanh(u)."""
    b = Builder()
    u = b.parameter("u", (2, n))
    b.mark("module", "h", b.apply("tanh", u))
    square = b.einsum("in,in->i", u, u, scale=Scaling.of(1, -1))
    mean = b.einsum("in->i", u, scale=Scaling.of(1, -1))
    far = b.einsum("i,i->i", mean, mean, scale=Scaling.of(5, power))
    b.mark("output", "f", b.combine((1, square), (1, far)))
    return b.build(widths=(16, 24))


@pytest.fixture(scope="module")
def found() -> Approach:
    program = chi()
    return approach(program, WIDTHS, SEEDS, beside=tpdyn.limit(program, 2**10, 2))


def verdicts(claims: tuple[Beside, ...], kind: str = "value") -> dict[str, str]:
    return {claim.what: claim.verdict for claim in claims if claim.kind == kind}


def test_what_theory_says_holds(found: Approach) -> None:
    """128 seeds see the value and its bias; the kernel of h scatters as the root of 1/n."""
    claims = beside(found)
    assert verdicts(claims)["bias"] == "holds", claims
    assert verdicts(claims, "kernel") | {"bias": ""} == {"value": "holds", "fluctuation": "holds", "bias": ""}, claims
    assert "fails" not in {claim.verdict for claim in claims}
    assert counted(claims).startswith("value: ")


def test_another_limit_fails(found: Approach) -> None:
    """Off by 30 %, the value fails; quantiles 30 % too far apart are another law."""
    limit = found.limit
    values = {name: replace(each, value=each.value * 1.3) for name, each in limit.values.items()}
    laws = {name: replace(each, value=each.value * 1.3) for name, each in limit.distributions.items()}
    other = replace(found, limit=replace(limit, values=values, distributions=laws))
    assert verdicts(beside(other))["value"] == "fails"
    assert verdicts(beside(other), "distribution") == {"law": "fails"}


def test_another_power_fails() -> None:
    """A bias and a fluctuation of n^-1/4."""
    program = chi("3/4")
    claims = beside(approach(program, WIDTHS, SEEDS, beside=tpdyn.limit(program, 2**10, 2)))
    assert verdicts(claims)["bias"] == "fails" and verdicts(claims)["fluctuation"] == "fails", claims


def test_few_seeds_decide_nothing(found: Approach) -> None:
    program = chi()
    claims = beside(approach(program, (16, 32), 2, beside=found.limit))
    assert {claim.verdict for claim in claims if claim.what == "fluctuation"} == {"undecided"}


def test_it_is_said_how_far_runs_are(found: Approach) -> None:
    row = found.row("f", 0)
    near, far = (f"{100 * distance:.2g} %" for distance in (row.distance[-1], row.distance[0]))
    assert distances(found).startswith(
        f"at width 128 you are {near} from the limit, at 16 it is {far} (outputs; feature kernels "
    )
    told = to_dict(found, beside(found))
    assert told["says"] == distances(found) and told["claims"][0]["what"] == "value"


def test_what_stays_random_has_no_distance() -> None:
    b = Builder()
    u, v = b.parameter("u", (n,)), b.parameter("v", (n,))
    b.mark("output", "f", b.einsum("n,n->", u, v, scale=Scaling.of(1, "-1/2")))
    program = b.build(widths=(16, 24))
    found = approach(program, (16, 64), 4, beside=tpdyn.limit(program, 2**8, 8))
    assert beside(found) == ()
    assert "there is no distance" in distances(found)


def test_constants_are_not_judged() -> None:
    b = Builder()
    b.mark("output", "f", b.combine((1, b.constant("c", 1, ())), constant=1))
    b.mark("module", "h", b.apply("tanh", b.parameter("u", (2, n))))
    program = b.build(widths=(16, 24))
    claims = beside(approach(program, (16, 64), 4, beside=tpdyn.limit(program, 2**8, 2)))
    assert {claim.name for claim in claims} == {"h"}
    assert torch.is_tensor(tpdyn.limit(program, 2**8, 2).values["f", 0].value)
