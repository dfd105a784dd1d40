"""Where do the runs behind the proofs stay? In the store that `TPDYN_RUNS` names, as `tpdyn verify` does; else nowhere.

Suppose that a verification is stopped in the middle of a proof that trains networks. It later goes on with the runs it has.
They count for the same proof, arguments, package and versions only.
"""

from __future__ import annotations

import os

from tpdyn.store.identity import identity_of, package
from tpdyn.store.means import HERE, Means
from tpdyn.store.store import Store

VARIABLE = "TPDYN_RUNS"


def kept(file: str, *arguments: object) -> Means:
    """Return the means to keep the runs of a proof.

    file: of the proof. arguments: all else that its runs depend on; their `repr` must tell them apart.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return HERE
    identity = identity_of(file, [repr(each) for each in arguments]) | {"package": package()}
    return Means(Store.under(folder), identity, os.path.basename(file))
