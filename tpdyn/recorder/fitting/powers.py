"""Which function of the width takes these values at these widths? Powers fitted to a few numbers.

Whole numbers (dims) are fitted exactly, floats (constants of a script) up to the round-off of their arithmetic. Measured numbers
(the standard deviation of a sample) are fitted up to their sampling error. Each fit returns a `Scaling`, or None: it never guesses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from tpdyn.exponents import Scaling

Number = int | float | Fraction

TIGHT = 1e-12
"""Relative round-off of a constant that a script computes in float64 with a dozen operations (each at most 1.1e-16)."""
LOOSE = 1e-5
"""Relative round-off of a constant that went through float32 (6e-8 an operation, a hundred of them allowed)."""

HIDDEN = 1e-6
"""A summand this small beside a power may be the round-off of three float32 numbers that fell alike. So it is not believed.
"""

_POWERS = tuple(sorted({Fraction(k, 2) for k in range(-6, 7)} - {Fraction(0)}, key=lambda p: (abs(p), p > 0)))
_STATISTICAL = tuple(Fraction(k, 2) for k in (0, -1, -2, 1, 2, -3, -4))


def fit_whole(widths: Sequence[int], values: Sequence[int]) -> Scaling | None:
    """Return the whole number as const, `a*n^p`, `a*n + b`, `a*n^2 + b` or `a*n^2 + b*n`, exactly.

    With two widths a sum of two powers cannot be told from a power. Then the first that fits is taken, and the held-out
    width decides.

    >>> str(fit_whole((16, 24, 40), (2, 3, 5)))
    'n/8'
    """
    first = values[0]
    if all(value == first for value in values):
        return Scaling.of(first)
    if any(value == 0 for value in values):
        return _two_powers(widths, values)
    for power in (1, 2, 3):
        coefficient = Fraction(first, widths[0] ** power)
        if all(value == coefficient * width**power for width, value in zip(widths, values, strict=True)):
            return Scaling.of(plain(coefficient), power)
    for doubled in (1, 3):  # sqrt(n), n^3/2: their squares are powers of n
        square = Fraction(first * first, widths[0] ** doubled)
        root = Fraction(math.isqrt(square.numerator), math.isqrt(square.denominator))
        if root * root == square and all(
            value * value == square * width**doubled for width, value in zip(widths, values, strict=True)
        ):
            return Scaling.of(plain(root), Fraction(doubled, 2))
    return _two_powers(widths, values)


def is_logarithm(widths: Sequence[int], values: Sequence[int]) -> bool:
    """Tell whether whole numbers are `a log2(n) + b`, rounded down, up or to the nearest, with whole a and b.

    >>> is_logarithm((16, 24, 40), (4, 4, 5)), is_logarithm((16, 24, 40), (2, 3, 5))
    (True, False)
    """
    logs = [math.log2(width) for width in widths]
    slope = (values[-1] - values[0]) / (logs[-1] - logs[0])
    return any(
        len({value - a * rounded(log) for value, log in zip(values, logs, strict=True)}) == 1
        for a in {math.floor(slope), math.ceil(slope)} - {0}
        for rounded in (math.floor, math.ceil, round)
    )


def _two_powers(widths: Sequence[int], values: Sequence[int]) -> Scaling | None:
    for high, low in ((1, 0), (2, 0), (2, 1)):
        w0, w1 = widths[0], widths[-1]
        determinant = w0**high * w1**low - w1**high * w0**low
        a = Fraction(values[0] * w1**low - values[-1] * w0**low, determinant)
        b = Fraction(w0**high * values[-1] - w1**high * values[0], determinant)
        if all(value == a * width**high + b * width**low for width, value in zip(widths, values, strict=True)):
            return Scaling.of(plain(a), high) + Scaling.of(plain(b), low)
    return None


def fit_float(widths: Sequence[int], values: Sequence[Number]) -> Scaling | None:
    """Return the constant as `c`, `c*n^p` or `c + a*n^p`.

    First to float64's round-off (p with denominators up to 12), then to float32's (denominators up to 4). Tight comes
    first so that `1 - lr*decay/n`, which is 1 to float32's precision, keeps its small term.

    >>> str(fit_float((16, 24, 40), [1 - 0.01 / n for n in (16, 24, 40)]))
    '1 - 0.01*n^-1'
    """
    first = values[0]
    if all(value == first for value in values):
        return Scaling.of(first)
    numbers = [float(value) for value in values]
    if not all(math.isfinite(value) for value in numbers):
        return None
    for tolerance, denominator in ((TIGHT, 12), (LOOSE, 4)):
        largest = max(abs(value) for value in numbers)
        if max(numbers) - min(numbers) <= 0.1 * tolerance * largest:
            return Scaling.of(_short(numbers[0], tolerance))
        fitted = _power(widths, numbers, tolerance, denominator) or _shifted(widths, numbers, tolerance)
        if fitted is not None:
            return fitted
    return None


def _power(widths: Sequence[int], values: Sequence[float], tolerance: float, denominator: int) -> Scaling | None:
    """Fit `c * n^p`, p rational."""
    if any(value == 0 or (value > 0) != (values[0] > 0) for value in values):
        return None
    slope = math.log(values[-1] / values[0]) / math.log(widths[-1] / widths[0])
    power = Fraction(slope).limit_denominator(denominator)
    if power == 0:
        return None
    coefficients = [value * float(width) ** -float(power) for width, value in zip(widths, values, strict=True)]
    if max(coefficients) - min(coefficients) > tolerance * abs(coefficients[0]):
        return None
    return Scaling.of(_short(coefficients[0], tolerance), power)


def _shifted(widths: Sequence[int], values: Sequence[float], tolerance: float) -> Scaling | None:
    """Fit `c + a * n^p`: two coefficients from the outer widths, the widths between must agree.

    With two widths nothing is left to agree. So c is taken to be 1 and the rest must be a power.
    """
    roundoff = (8e-16 if tolerance == TIGHT else 2e-7) * max(abs(value) for value in values)
    variation = max(values) - min(values)
    if variation < 1e4 * roundoff:
        return None
    if len(values) == 2:
        rest = _power(widths, [value - 1.0 for value in values], 1e-9, 2)
        return None if rest is None or tolerance != TIGHT else Scaling.of(1) + rest
    best: tuple[float, float, float, Fraction] | None = None
    for power in _POWERS:
        bases = [float(width) ** float(power) for width in widths]
        a = (values[-1] - values[0]) / (bases[-1] - bases[0])
        c = values[0] - a * bases[0]
        misfit = max(abs(c + a * base - value) for base, value in zip(bases, values, strict=True))
        if best is None or misfit < best[0]:
            best = (misfit, c, a, power)
    assert best is not None
    misfit, c, a, power = best
    if misfit > 4 * roundoff or abs(c) < HIDDEN * max(abs(value) for value in values):
        return None
    relative = max(4 * roundoff / variation, TIGHT)
    return Scaling.of(_short(c, 8 * roundoff / max(abs(c), roundoff))) + Scaling.of(_short(a, 8 * relative), power)


def fit_quotient(widths: Sequence[int], values: Sequence[Number]) -> tuple[Scaling, Scaling] | None:
    """Return the constant as `c*n^p / (1 + b*n^-q)`, b rational, q = 1 or 2, p = -2 ... 0: both, numerator first.

    One over `a*n + b` is not a sum of powers: the unbiased variance over n entries divides by n - 1. A mean over pairs
    of them divides by n (n - 1). The unbiased variance of a matrix divides by n^2 - 1.

    >>> [str(x) for x in fit_quotient((16, 24, 40), [1 / (n - 1) for n in (16, 24, 40)])]
    ['n^-1', '1 - n^-1']
    """
    if any(value == 0 or not math.isfinite(value) for value in values):
        return None
    for power in (0, -1, 1) if len(widths) > 2 else (0,):
        scaled = [Fraction(value) * Fraction(width) ** -power for width, value in zip(widths, values, strict=True)]
        found = _over_shifted(widths, scaled)
        if found is not None:
            return found[0] * Scaling.of(1, power), found[1]
    return _over_shifted(widths, [Fraction(value) for value in values], 2) if len(widths) > 2 else None


def _over_shifted(widths: Sequence[int], values: Sequence[Fraction], degree: int = 1) -> tuple[Scaling, Scaling] | None:
    """Fit `c*n^-degree / (1 + b*n^-degree)`."""
    ends = [(Fraction(widths[at]) ** degree, 1 / values[at]) for at in (0, -1)]
    slope = (ends[1][1] - ends[0][1]) / (ends[1][0] - ends[0][0])
    if slope == 0:
        return None
    shift = (ends[0][1] / slope - ends[0][0]).limit_denominator(16)
    if not 0 < abs(shift) < min(widths):  # else a pole among the widths, or no shift
        return None
    inverse = float(1 / slope)
    numerator = Scaling.of(_short(inverse, 1e3 * TIGHT), -degree)
    over = Scaling.of(1) + Scaling.of(plain(shift), -degree)
    quotients = [float(numerator.at(width)) / float(over.at(width)) for width in widths]
    fits = all(abs(x - float(value)) <= 1e3 * TIGHT * abs(x) for x, value in zip(quotients, values, strict=True))
    return (numerator, over) if fits else None


def fit_root(widths: Sequence[int], values: Sequence[float]) -> tuple[Scaling, float] | None:
    """Return the constant as `(a*n^p + b)^-1/2` with a, b > 0: its leading power, and the width from which on that leads.

    Glorot's initialisation divides by the number of inputs and outputs together, of which often only one grows.

    >>> root = fit_root((16, 24, 40), [(2 / (784 + n)) ** 0.5 for n in (16, 24, 40)])
    >>> str(root[0]), round(root[1])
    ('1.41421*n^-1/2', 784)
    """
    if len(widths) < 3 or any(not math.isfinite(value) or value <= 0 for value in values):
        return None
    square = fit_float(widths, [float(value) ** -2 for value in values])
    if square is None or len(square.terms) != 2:
        return None
    (a, power), (b, rest) = square.terms
    if rest != 0 or a <= 0 or b <= 0:
        return None
    return Scaling.of(float(a) ** -0.5, -power / 2), float(b / a) ** (1 / float(power))


def fit_measured(
    widths: Sequence[int], values: Sequence[float], errors: Sequence[float]
) -> tuple[Scaling, bool] | None:
    """Return a measured positive number with relative standard errors, as `c * n^p` with p a multiple of 1/2.

    Returns the best power and whether it is clear (every other power fits worse by 9 in chi^2: 3 sigma), or None when
    even the best misses by more than 4 sigma. Ties go to the power that comes first in 0, -1/2, -1, 1/2, ...
    """
    if any(value <= 0 for value in values):
        return None
    tried: list[tuple[float, Fraction, float]] = []
    for power in _STATISTICAL:
        logs = [math.log(v) - float(power) * math.log(w) for w, v in zip(widths, values, strict=True)]
        weights = [max(error, 1e-6) ** -2 for error in errors]  # a single entry has no spread
        mean = sum(g * x for g, x in zip(weights, logs, strict=True)) / sum(weights)
        chi2 = sum(g * (x - mean) ** 2 for g, x in zip(weights, logs, strict=True))
        tried.append((chi2, power, mean))
    best = min(tried, key=lambda item: item[0])
    if best[0] > 16:
        return None
    clear = all(chi2 > best[0] + 9 for chi2, power, _ in tried if power != best[1])
    return Scaling.of(float(f"{math.exp(best[2]):.3g}"), best[1]), clear


def plain(value: Fraction) -> int | Fraction:
    """Return a whole number as an int."""
    return value.numerator if value.denominator == 1 else value


def _short(value: float, tolerance: float) -> float:
    """Return the shortest decimal within the tolerance: `0.1` for a 0.1 that round-off made 0.1000000000000002."""
    for digits in range(1, 17):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= tolerance * abs(value):
            return short
    return value
