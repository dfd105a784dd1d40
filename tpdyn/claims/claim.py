"""What can be claimed of a training script, or of numbers that a network draws? Six kinds of claims, as plain data.

A claim says what, of whom, and within which margin. `tpdyn.claims.checking.check` tests it: it holds, it fails, or the runs
leave it undecided.

* `regime(train, "feature learning")`, `order(train, "fc1", change=0)`, `transfer(train)`: of a script, a function of the width
  or a target such as "train.py:main".
* `limit(draw, 4.0)`, `kernel(draw, K)`, `law(draw, covariance=K)`: of numbers, `draw(width, seed)` being an array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Union, final

import numpy as np
from numpy.typing import ArrayLike

from tpdyn.exponents import show_order
from tpdyn.regimes.prediction import Regime

Subject = Union[Callable[[int], Any], str]
Draw = Callable[[int, int], ArrayLike]

MARGIN = 0.05
"""Half of the difference of 10 % that a claim about numbers is to tell apart, relative to the claimed size."""


@final
@dataclass(frozen=True)
class RegimeClaim:
    """The script is in this regime, and the runs confirm it."""

    subject: Subject
    regime: Regime
    widths: tuple[int, ...] = (64, 128, 256, 512)
    seeds: int = 8
    steps: int = 3

    @property
    def name(self) -> str:
        """To be told apart by."""
        return f"regime[{subject_name(self.subject)}, {self.regime.value}]"


@final
@dataclass(frozen=True)
class OrderClaim:
    """The size or the change of a module's output has this order (an exponent of the width)."""

    subject: Subject
    module: str
    what: Literal["size", "change"]
    order: Fraction
    widths: tuple[int, ...] = (64, 128, 256, 512)
    seeds: int = 8
    steps: int = 3

    @property
    def name(self) -> str:
        """To be told apart by."""
        return f"order[{subject_name(self.subject)}, {self.what} of {self.module}, {show_order(self.order)}]"


@final
@dataclass(frozen=True)
class TransferClaim:
    """The best value of a hyperparameter moves with the width, or does not."""

    subject: Subject
    moves: bool = False
    hyperparameter: str = "lr"
    widths: tuple[int, ...] = (64, 128, 256)
    factors: tuple[float, ...] = tuple(2.0**power for power in range(-4, 5))
    seeds: int = 4
    steps: int = 30

    @property
    def name(self) -> str:
        """To be told apart by."""
        return f"transfer[{subject_name(self.subject)}, {self.hyperparameter} {'moves' if self.moves else 'stays'}]"


@final
@dataclass(frozen=True, eq=False)
class LimitClaim:
    """The mean over seeds of `draw(width, seed)` tends to these values. margin: relative to the largest of them."""

    draw: Draw
    values: np.ndarray[Any, np.dtype[np.float64]]
    widths: tuple[int, ...] = (64, 128, 256)
    seeds: int = 32
    margin: float = MARGIN
    looks: int = 8

    @property
    def name(self) -> str:
        """To be told apart by."""
        return f"limit[{subject_name(self.draw)}]"


@final
@dataclass(frozen=True, eq=False)
class KernelClaim:
    """`E[f f^T]` tends to a kernel, f = `draw(width, seed)` being "samples" or "samples outputs" (averaged over outputs).

    margin: relative to the root of the product of the two variances.
    """

    draw: Draw
    kernel: np.ndarray[Any, np.dtype[np.float64]]
    widths: tuple[int, ...] = (64, 128, 256)
    seeds: int = 64
    margin: float = MARGIN
    looks: int = 9

    @property
    def name(self) -> str:
        """To be told apart by."""
        return f"kernel[{subject_name(self.draw)}]"


@final
@dataclass(frozen=True, eq=False)
class LawClaim:
    """`draw(width, seed)`, a vector, is Gaussian in the limit, with this mean and covariance.

    margin: of the second moments, as for a kernel, and of the distance of distribution functions (Kolmogorov's).
    """

    draw: Draw
    mean: np.ndarray[Any, np.dtype[np.float64]]
    covariance: np.ndarray[Any, np.dtype[np.float64]]
    widths: tuple[int, ...] = (64, 128, 256)
    seeds: int = 64
    margin: float = MARGIN
    looks: int = 9

    @property
    def name(self) -> str:
        """To be told apart by."""
        return f"law[{subject_name(self.draw)}]"


Claim = Union[RegimeClaim, OrderClaim, TransferClaim, LimitClaim, KernelClaim, LawClaim]


def regime(subject: Subject, regime: Regime | str, **settings: Any) -> RegimeClaim:
    """Claim that a script is in a regime: "feature learning", "kernel", "trivial", "unstable". settings: fields of the claim.

    Raises ValueError for a regime that there is not.
    """
    known = {each.value: each for each in Regime}
    word = regime.value if isinstance(regime, Regime) else regime.replace("-", " ").replace("_", " ").lower()
    if word not in known:
        raise ValueError(f"regime is {regime!r}; expected one of: {', '.join(known)}")
    return RegimeClaim(subject, known[word], **settings)


def order(
    subject: Subject,
    module: str,
    *,
    size: Fraction | int | str | None = None,
    change: Fraction | int | str | None = None,
    **settings: Any,
) -> OrderClaim:
    """Claim the order of a module's output, of its initial size or of its change in training: 0, "-1/2", Fraction(1, 2).

    Raises ValueError unless one of the two is given.
    """
    if (size is None) == (change is None):
        raise ValueError(f"size is {size!r} and change is {change!r}; expected one of them, such as change=0")
    what: Literal["size", "change"] = "size" if size is not None else "change"
    return OrderClaim(subject, module, what, Fraction(size if size is not None else change), **settings)  # type: ignore[arg-type]


def transfer(subject: Subject, *, moves: bool = False, **settings: Any) -> TransferClaim:
    """Claim that the best hyperparameter stays where it is as the width grows (or moves). settings: fields of the claim."""
    return TransferClaim(subject, moves, **settings)


def limit(draw: Draw, values: ArrayLike, **settings: Any) -> LimitClaim:
    """Claim the limit of the mean of `draw(width, seed)`. settings: fields of the claim."""
    return LimitClaim(draw, np.asarray(values, dtype=np.float64), **settings)


def kernel(draw: Draw, kernel: ArrayLike, **settings: Any) -> KernelClaim:
    """Claim the kernel of `draw(width, seed)`, "samples" or "samples outputs". Raises ValueError if it is not square."""
    return KernelClaim(draw, _square(kernel), **settings)


def law(draw: Draw, *, covariance: ArrayLike, mean: ArrayLike | None = None, **settings: Any) -> LawClaim:
    """Claim that `draw(width, seed)`, a vector, is Gaussian in the limit; of mean zero unless given.

    Raises ValueError if the covariance is not square, or not positive definite.
    """
    matrix = _square(covariance)
    if np.linalg.eigvalsh(matrix).min() <= 0:
        raise ValueError(f"the covariance has eigenvalues {np.linalg.eigvalsh(matrix)}; expected positive ones")
    given = np.zeros(len(matrix)) if mean is None else np.asarray(mean, dtype=np.float64).reshape(len(matrix))
    return LawClaim(draw, given, matrix, **settings)


def subject_name(subject: Subject | Draw) -> str:
    """Return a script's target, or the name of a function."""
    return subject if isinstance(subject, str) else str(getattr(subject, "__name__", type(subject).__name__))


def widened(claims: Sequence[Claim], widths: tuple[int, ...]) -> tuple[Claim, ...]:
    """Return the same claims at other widths."""
    from dataclasses import replace

    return tuple(replace(claim, widths=widths) for claim in claims)


def _square(matrix: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    square = np.atleast_2d(np.asarray(matrix, dtype=np.float64))
    if square.ndim != 2 or square.shape[0] != square.shape[1]:
        raise ValueError(f"the matrix has shape {square.shape}; expected as many rows as columns")
    return square
