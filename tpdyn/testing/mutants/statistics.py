"""How could a verdict on runs be wrong? Intervals too short, one-sided, or without what finite widths hide."""

from __future__ import annotations

from tpdyn.testing.mutants.mutant import of

ESTIMATE = of(
    "statistics",
    "claims/statistics.py",
    [
        ("growth overtakes at once", "GROWING_CROSSOVER = 6.0", "GROWING_CROSSOVER = 1.0"),
        ("finite widths hide nothing", "CROSSOVER = 1.0\n", "CROSSOVER = 1e-9\n"),
        ("finite widths hide much", "CROSSOVER = 1.0\n", "CROSSOVER = 20.0\n"),
        ("the margin reaches the neighbouring order", "MARGIN = 0.25", "MARGIN = 0.5"),
        ("the margin is a tenth", "MARGIN = 0.25", "MARGIN = 0.1"),
        ("confidence is 1 in 2", "CONFIDENCE = 0.99", "CONFIDENCE = 0.5"),
        ("one finite-width term", "TERMS = 3", "TERMS = 1"),
        ("the terms leave nothing over", "MODEL_ERROR = 0.003", "MODEL_ERROR = 0.0"),
        ("round-off is a signal", "FLOOR = 32.0", "FLOOR = 0.0"),
        (
            "widths with few values are kept",
            "keep = usable.sum(axis=1) * 2 >= max(values.shape[1], 1)",
            "keep = usable.sum(axis=1) >= 1",
        ),
        (
            "the noise of the widths is pooled",
            "noise_variance = float(variance * (weights**2 / counts).sum())",
            "noise_variance = float(variance * (weights**2).sum() / counts.sum())",
        ),
        (
            "the noise does not shrink with the seeds",
            "noise_variance = float(variance * (weights**2 / counts).sum())",
            "noise_variance = float(variance * (weights**2).sum())",
        ),
        (
            "the quantile is one-sided",
            "half = float(stats.t.ppf(0.5 + confidence / 2, effective)) * math.sqrt(total)",
            "half = float(stats.t.ppf(confidence, effective)) * math.sqrt(total)",
        ),
        (
            "a normal for Student's t",
            "half = float(stats.t.ppf(0.5 + confidence / 2, effective)) * math.sqrt(total)",
            "half = float(stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt(total)",
        ),
        ("the interval forgets finite widths", "total = bias_variance + noise_variance", "total = noise_variance"),
        ("the interval forgets noise", "total = bias_variance + noise_variance", "total = bias_variance"),
        ("one seed is sure", "    if not freedom:\n        half = math.inf", "    if not freedom:\n        half = 0.0"),
        (
            "what seeds have in common is noise",
            "    columns[np.nonzero(later)[0], usable.shape[0] + s[later] - 1] = 1.0\n",
            "",
        ),
        ("degrees of freedom are counted twice", "freedom = len(w) - int(rank)", "freedom = 2 * len(w) - int(rank)"),
        (
            "sizes below the floor count",
            "usable = np.isfinite(values) & (values > np.broadcast_to(np.asarray(floor), values.shape)) & (values > 0)",
            "usable = np.isfinite(values) & (values > 0)",
        ),
        (
            "more seeds expect the same interval",
            "weights, hidden = _weights(n, np.full(len(n), spread**2 / seeds), crossover, part)",
            "weights, hidden = _weights(n, np.full(len(n), spread**2), crossover, part)",
        ),
    ],
)

JUDGE = of(
    "statistics",
    "claims/statistics.py",
    [
        (
            "overlap is agreement",
            "    if high <= margin and (low >= -margin or at_most):",
            "    if low <= margin and (high >= -margin or at_most):",
        ),
        (
            "below an upper bound disagrees",
            "if low > margin or (high < -margin and not at_most):",
            "if low > margin or high < -margin:",
        ),
        (
            "above an upper bound agrees",
            "if low > margin or (high < -margin and not at_most):",
            "if (low > margin and not at_most) or (high < -margin and not at_most):",
        ),
        ("too small never disagrees", "if low > margin or (high < -margin and not at_most):", "if low > margin:"),
    ],
)

REPORT = of(
    "statistics",
    "claims/report.py",
    [
        (
            "growth has no crossover of its own",
            "return _Hides(GROWING_CROSSOVER) if part is None",
            "return _Hides(CROSSOVER) if part is None",
        ),
        (
            "a size that grows has no crossover of its own",
            "hidden = _Hides(GROWING_CROSSOVER if order is not None and order > 0 else CROSSOVER)",
            "hidden = _Hides(CROSSOVER)",
        ),
        ("NaN is expected", "if diverged.any() and not may_diverge:", "if False:"),
        (
            "zero agrees with any order",
            'return "disagrees", f"{what}: exactly zero in every run',
            'return "agrees", f"{what}: exactly zero in every run',
        ),
        (
            "what must be zero may be anything",
            'return "disagrees", f"{what}: predicted to be zero',
            'return "agrees", f"{what}: predicted to be zero',
        ),
        ("functions of growing values contradict", 'if mixed and verdict != "agrees":', "if False:"),
        (
            "outputs are compared by their mean",
            "sizes, changes = (measurement.size, measurement.change) if row.wide else (measurement.rms, measurement.change_rms)",
            "sizes, changes = measurement.size, measurement.change",
        ),
        (
            "the last step is compared, whatever grows",
            "return min(growing, default=min(row.step for row in seen))",
            "return steps - 1",
        ),
    ],
)

OUTCOME = of(
    "statistics",
    "claims/outcome.py",
    [
        (
            "a contradiction is outvoted",
            "if any(row.verdict in AGAINST for row in rows):",
            "if all(row.verdict in AGAINST for row in rows):",
        ),
        (
            "no claim is a confirmation",
            "return Outcome.CONFIRMED if claims and all(claim.met for claim in claims) else Outcome.UNDECIDED",
            "return Outcome.CONFIRMED if all(claim.met for claim in claims) else Outcome.UNDECIDED",
        ),
        (
            "one claim is enough",
            "return Outcome.CONFIRMED if claims and all(claim.met for claim in claims) else Outcome.UNDECIDED",
            "return Outcome.CONFIRMED if claims and any(claim.met for claim in claims) else Outcome.UNDECIDED",
        ),
        (
            "a bound confirms that something moves",
            'return row.change_verdict == "agrees" and judge(row.change_order, row.measured_change_order, margin=margin) == (\n            "agrees"\n        )',
            'return row.change_verdict == "agrees"',
        ),
        (
            "some frozen layer is enough for a kernel",
            '_claim("every hidden representation is frozen", hidden, at_most, some=False)',
            '_claim("every hidden representation is frozen", hidden, at_most)',
        ),
        (
            "some output is enough for trivial",
            '_claim("every output vanishes as predicted", outputs, at_most, some=False)',
            '_claim("every output vanishes as predicted", outputs, at_most)',
        ),
        ("the output need not move", "            return (moving, frozen)", "            return (frozen,)"),
        (
            "features need not move",
            'return (moving, _claim("some hidden representation changes at order 0", learning, exactly))',
            "return (moving,)",
        ),
    ],
)

DECIDING = of(
    "statistics",
    "claims/deciding.py",
    [
        ("every look may err", "return 1.0 - alpha / float(2**look)", "return 1.0 - alpha"),
        (
            "plans count on luck",
            "return half + float(stats.norm.ppf(0.5 + POWER / 2)) * deviation <= margin",
            "return half <= margin",
        ),
    ],
)

OPTIMUM = of(
    "statistics",
    "tuning/optimum.py",
    [
        ("the vertex has the other sign", "x[lowest] - b / (2 * a)", "x[lowest] + b / (2 * a)"),
        (
            "an optimum at the edge is one",
            "if not self.edges and max(-self.exponent.low, self.exponent.high) <= MARGIN:",
            "if max(-self.exponent.low, self.exponent.high) <= MARGIN:",
        ),
        ("cliffs are parabolas", "if max(left, right) <= CLIFF * min(left, right):", "if True:"),
        (
            "a normal for Student's t",
            "stats.t.ppf(0.5 + confidence / 2, len(values) - 1)",
            "stats.norm.ppf(0.5 + confidence / 2)",
        ),
        ("the grid leaves nothing open", "half = math.hypot(half, more)", "half = half"),
    ],
)

MUTANTS = (*ESTIMATE, *JUDGE, *REPORT, *OUTCOME, *DECIDING, *OPTIMUM)
