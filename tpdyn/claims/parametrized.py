"""How does a test ask for claims? One test a claim, with its name as id: `parametrize_with_claims`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tpdyn.claims.claim import Claim


def parametrize_with_claims(
    claims: Sequence[Claim],
    *,
    expected_failed_claims: Mapping[str, str] | Callable[[Claim], str | None] | None = None,
    xfail_strict: bool | None = None,
    callback: Callable[[Any], object] | None = None,
) -> Any:
    """Return a decorator that makes one test of each claim: `def test(claim, tpdyn_check): tpdyn_check(claim)`.

    expected_failed_claims: names of claims (or a function of a claim) with the reason why they may fail. These tests
    are marked as expected failures. xfail_strict: whether one that passes after all fails; as pytest is configured
    unless given. callback: told the finding of each claim. Claims share the chance of error: alpha / m each. Raises
    ValueError for a name that does not belong to a claim. Needs pytest.
    """
    import pytest

    names = [claim.name for claim in claims]
    known = expected_failed_claims if isinstance(expected_failed_claims, Mapping) else {}
    unknown = [name for name in known if name not in names]
    if unknown:
        raise ValueError(f"expected_failed_claims names {', '.join(unknown)}; the claims are: {', '.join(names)}")
    tests = []
    for claim in claims:
        reason = expected_failed_claims(claim) if callable(expected_failed_claims) else known.get(claim.name)
        marks: list[Any] = [pytest.mark.tpdyn(together=len(claims), callback=callback)]
        if reason:
            xfail: Any = pytest.mark.xfail  # without `strict`, as pytest is configured
            marks.append(xfail(reason=reason) if xfail_strict is None else xfail(reason=reason, strict=xfail_strict))
        tests.append(pytest.param(claim, id=claim.name, marks=marks))
    return pytest.mark.parametrize("claim", tests)
