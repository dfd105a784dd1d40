"""How could powers of the width be fitted wrongly? Errors too small or too large, differences that are not looked at."""

from __future__ import annotations

from tpdyn.testing.mutants.mutant import of

POWERS = of(
    "fitting",
    "recorder/fitting/powers.py",
    [
        ("any measured power is accepted", "    if best[0] > 16:\n        return None\n", ""),
        (
            "every measured power is clear",
            "clear = all(chi2 > best[0] + 9 for chi2, power, _ in tried if power != best[1])",
            "clear = True",
        ),
        ("the likeliest power is clear", "clear = all(chi2 > best[0] + 9 for", "clear = all(chi2 > best[0] for"),
        (
            "ties go to the last power",
            "best = min(tried, key=lambda item: item[0])",
            "best = min(reversed(tried), key=lambda item: item[0])",
            "chi^2 of two powers is equal at one width at most; scripts are recorded at two or more",
        ),
        (
            "powers have the other sign",
            "power = Fraction(slope).limit_denominator(denominator)",
            "power = -Fraction(slope).limit_denominator(denominator)",
        ),
        (
            "powers are whole",
            "power = Fraction(slope).limit_denominator(denominator)",
            "power = Fraction(slope).limit_denominator(1)",
        ),
        ("the widths between need not agree", "if misfit > 4 * roundoff or abs(c) <", "if abs(c) <"),
        (
            "summands that are round-off are believed",
            "if misfit > 4 * roundoff or abs(c) < HIDDEN * max(abs(value) for value in values):",
            "if misfit > 4 * roundoff:",
        ),
        (
            "float32 is tried first",
            "for tolerance, denominator in ((TIGHT, 12), (LOOSE, 4)):",
            "for tolerance, denominator in ((LOOSE, 4), (TIGHT, 12)):",
        ),
        (
            "dims may be rounded",
            "if all(value == coefficient * width**power for width, value in zip(widths, values, strict=True)):",
            "if all(abs(value - coefficient * width**power) < 1 for width, value in zip(widths, values, strict=True)):",
        ),
        (
            "sums of two powers lose the smaller",
            "return Scaling.of(_plain(a), high) + Scaling.of(_plain(b), low)",
            "return Scaling.of(_plain(a), high)",
        ),
        ("roots of dims are not seen", "    for doubled in (1, 3):", "    for doubled in ():"),
        (
            "a quotient keeps its power only",
            "return (numerator, over) if fits and shift != 0 else None",
            "return (numerator, Scaling.of(1)) if fits and shift != 0 else None",
        ),
        (
            "any quotient fits",
            "fits = all(abs(x - float(value)) <= 1e3 * TIGHT * abs(x) for x, value in zip(quotients, values, strict=True))",
            "fits = True",
        ),
    ],
)

WIDTHS = of(
    "fitting",
    "recorder/fitting/widths.py",
    [
        (
            "sampling errors are ten times too large",
            "errors = [1.5 / (2 * count) ** 0.5 for count in counts]",
            "errors = [15 / (2 * count) ** 0.5 for count in counts]",
        ),
        (
            "sampling errors are ten times too small",
            "errors = [1.5 / (2 * count) ** 0.5 for count in counts]",
            "errors = [0.15 / (2 * count) ** 0.5 for count in counts]",
        ),
        ("any mean is zero", "centred = all(abs(m) <= 5 * d / c**0.5", "centred = all(abs(m) <= 50 * d / c**0.5"),
        ("no mean is zero", "centred = all(abs(m) <= 5 * d / c**0.5", "centred = all(abs(m) <= 0.05 * d / c**0.5"),
        ("a negative mean is positive", "sign = 1 if means[0] > 0 else -1", "sign = 1"),
        ("an uncertain power is not said", "if not (fitted[1] and mean[1]):", "if False:"),
        (
            "epsilon is not compared",
            "return (*shared, tuple(operand for _, operand in terms), epsilon)",
            "return (*shared, tuple(operand for _, operand in terms))",
        ),
        (
            "the axis of a softmax is not compared",
            "return (*shared, function, operands, len(parameters), along)",
            "return (*shared, function, operands, len(parameters))",
        ),
        (
            "the module is not compared",
            "return (origin.step, origin.phase, origin.module)",
            "return (origin.step, origin.phase)",
        ),
        (
            "the step is not compared",
            "return (origin.step, origin.phase, origin.module)",
            "return (origin.phase, origin.module)",
        ),
        (
            "lengths of recordings are not compared",
            "            if len(lowered.statements) != count:",
            "            if False:",
        ),
        (
            "named values are not compared",
            "                if mine == other:\n                    continue",
            "                if True:\n                    continue",
        ),
        (
            "operands are not compared",
            "            return (*shared, operands)\n        case Combine",
            "            return shared\n        case Combine",
        ),
        (
            "no dim need depend on the width",
            "if len(lowereds) > 1 and not any(dim.order for statement in statements for dim in statement.shape):",
            "if False:",
        ),
        ("sparse data pass for dense", "if growing == 1 and is_sparse(tensors):", "if False:"),
        ("data have no size of their own", "        return replace(law, scale=size)\n", "        return law\n"),
        (
            "the shape need not be the same",
            "if version.instruction == first.instruction and version.shape == first.shape:",
            "if version.instruction == first.instruction:",
        ),
    ],
)

MUTANTS = (*POWERS, *WIDTHS)
