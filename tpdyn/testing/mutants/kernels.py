"""How could kernels be wrong? Variances without their width, slopes without their square, kinks integrated across."""

from __future__ import annotations

from tpdyn.testing.mutants.mutant import of

ATOMS = of(
    "kernels",
    "readings/kernels/atoms.py",
    [
        (
            "the variance of a matrix is its standard deviation",
            "    variance = leaf.law.std * leaf.law.std\n        parts = []",
            "    variance = leaf.law.std\n        parts = []",
        ),
        (
            "the tangent kernel forgets the weights themselves",
            'if kind == "second" or leaf.kind == "parameter":\n            parts.append(scaled(self.pair("second", tile, read, read_v, child), variance',
            'if kind == "second":\n            parts.append(scaled(self.pair("second", tile, read, read_v, child), variance',
        ),
        ("the tangent kernel forgets what lies below", 'if kind == "tangent" and not variance.is_zero:', "if False:"),
        (
            "weights are learned where they are frozen",
            'if kind == "second" or leaf.kind == "parameter":\n            parts.append(scaled(self.pair("second", tile, read, read_v, child), variance',
            'if True:\n            parts.append(scaled(self.pair("second", tile, read, read_v, child), variance',
        ),
        ("all leaves are one", "same = u.var == v.var", "same = True"),
        ("all matrices are one", "matrix[0].var == matrix_v[0].var else None", "True else None"),
        (
            "the size of the contracted axis is forgotten",
            "            scale = scale * shape[axis]\n",
            "            pass\n",
        ),
        ("means are not taken off covariances", "cov = cov - law.mean * law_b.mean", "cov = cov"),
        (
            "the slope is taken once",
            "return summed(Sized(moving.value * slope, every, moving.order), out, {*u.labels, *v.labels})",
            "return summed(Sized(moving.value, every, moving.order), out, {*u.labels, *v.labels})",
        ),
        ("f' for f in the tangent kernel", "slopes.append(function.slope)", "slopes.append(function)"),
        (
            "different rows of a table are the same",
            "equal = (expanded(a, every).value == expanded(b, every).value)",
            "equal = (expanded(a, every).value == expanded(a, every).value)",
        ),
        (
            "a product's tangent kernel moves one factor only",
            "        for k, (_, pair) in enumerate(groups):\n            moving",
            "        for k, (_, pair) in enumerate(groups[:1]):\n            moving",
        ),
        (
            "independent values have no mean",
            "return product(present, out, {*u.labels, *v.labels}) if len(present) == 2 else None",
            "return None",
        ),
        (
            "the mean of a leaf is forgotten",
            '        if kind == "second":\n            location = leaf.law.location * leaf_v.law.location\n            if not location.is_zero:',
            '        if kind == "second":\n            location = leaf.law.location * leaf_v.law.location\n            if False:',
        ),
    ],
)

GAUSSIAN = of(
    "kernels",
    "readings/kernels/gaussian.py",
    [
        (
            "closed forms are taken for any mean",
            "closed = closed_form(f) if f == g and a.mean is None and b.mean is None else None",
            "closed = closed_form(f) if f == g else None",
        ),
        (
            "closed forms are taken for two functions",
            "closed = closed_form(f) if f == g and a.mean is None and b.mean is None else None",
            "closed = closed_form(f) if a.mean is None and b.mean is None else None",
        ),
        ("the product of means is forgotten", "return cov + a.location * b.location", "return cov"),
        (
            "the variance is the covariance",
            "moment = closed(torch, a.variance, cov, b.variance, *f.parameters)",
            "moment = closed(torch, a.variance, cov, a.variance, *f.parameters)",
        ),
    ],
)

QUADRATURE = of(
    "kernels",
    "readings/kernels/quadrature.py",
    [
        (
            "the correlation is a covariance",
            "rho = (c / (v * w).sqrt().clamp_min(1e-300)).clamp(-1, 1)",
            "rho = c.clamp(-1, 1)",
        ),
        (
            "the series is cut at ten",
            "DEGREE = 128",
            "DEGREE = 10",
            "what the series misses is integrated over the plane: slower, not wrong",
        ),
        ("nothing is integrated over the plane", "TOLERANCE = 1e-11", "TOLERANCE = 1e3"),
        (
            "panels do not end at kinks",
            "    ends = torch.cat([ends, breaks.clamp(-LENGTH, LENGTH)], 1).sort(1).values\n",
            "",
        ),
        (
            "Hermite polynomials without their norm",
            "(nodes * here - math.sqrt(k) * below) / math.sqrt(k + 1)",
            "(nodes * here - k * below) / math.sqrt(k + 1)",
        ),
        (
            "the second function is the first",
            "b, squares_b, back_b = _per_sample(g, n, w, kinks[1])",
            "b, squares_b, back_b = _per_sample(f, n, w, kinks[1])",
        ),
        (
            "the Gaussian has variance 2",
            "torch.exp(-nodes * nodes / 2) / math.sqrt(2 * math.pi)",
            "torch.exp(-nodes * nodes / 4) / math.sqrt(4 * math.pi)",
        ),
        (
            "the plane forgets what is independent",
            "spread = (e * left)[:, None].expand_as(x).flatten()",
            "spread = (e * 0)[:, None].expand_as(x).flatten()",
        ),
    ],
)

OTHERS = (
    *of(
        "kernels",
        "readings/kernels/linear.py",
        [
            ("the constant of a sum is forgotten", 'if kind == "second" and not constant.is_zero:', "if False:"),
            (
                "a factor of a sum is forgotten",
                "return scaled(self.pair(kind, tile, read, v, out), scale)",
                "return self.pair(kind, tile, read, v, out)",
            ),
            (
                "slices start at zero",
                "read, picked, self.entries(u.var, instruction),",
                "read, picked, self.entries(u.var, instruction) - instruction.entries(1).start,",
            ),
            (
                "parts end to end are exchanged",
                "return end_to_end(parts, out.index(along) if along in out else None, out)\n\n    def _blocks",
                "return end_to_end(parts[::-1], out.index(along) if along in out else None, out)\n\n    def _blocks",
            ),
        ],
    ),
    *of(
        "kernels",
        "readings/kernels/sized.py",
        [
            (
                "the smallest power leads",
                "    top = max(part.order for part in present)\n    leading =",
                "    top = min(part.order for part in present)\n    leading =",
            ),
            (
                "powers of the width are not added up",
                "return Sized(value, sized.labels, sized.order + power)",
                "return Sized(value, sized.labels, sized.order)",
            ),
            ("a sum over what nobody has counts once", "        factor *= label.size\n", "        pass\n"),
            (
                "axes that run apart run together",
                "        if one is not other and (one in out or other in out):",
                "        if False:",
            ),
        ],
    ),
    *of(
        "kernels",
        "readings/kernels/numbers.py",
        [
            (
                "what fluctuates passes for a number",
                "if number.fluctuation is not None and number.fluctuation >= 0:",
                "if False:",
            ),
            ("what grows passes for a number", "if number.order is not None and number.order > 0:", "if False:"),
            (
                "what vanishes does not",
                "return number.value if number.order == 0 else torch.zeros_like(number.value)",
                "return number.value",
            ),
        ],
    ),
)

EXPECTATIONS = of(
    "kernels",
    "program/law.py",
    [
        (
            "a uniform number has the variance of its ends",
            "return self.scale * Scaling.of(3**-0.5)",
            "return self.scale",
        ),
        (
            "zeros and ones have the variance p",
            "return Scaling.of(math.sqrt(p * (1 - p)))",
            "return Scaling.of(math.sqrt(p))",
        ),
        (
            "a multiple of a law keeps its scale",
            "scale = self.scale * Scaling.of(-slope if slope < 0 else slope)",
            "scale = self.scale",
        ),
        (
            "a shift of a law is forgotten",
            "return Law(self.kind, self.location * Scaling.of(slope) + Scaling.of(shift), scale)",
            "return Law(self.kind, self.location * Scaling.of(slope), scale)",
        ),
        (
            "uniform numbers are drawn on the positive half",
            "noise.mul_(2).sub_(1).mul_(scale)",
            "noise.mul_(scale)",
        ),
    ],
)

MUTANTS = (*ATOMS, *GAUSSIAN, *QUADRATURE, *OTHERS, *EXPECTATIONS)
