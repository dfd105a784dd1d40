"""How could the sampler be wrong? Conditioning without its dot, noise where something is known, transpositions lost."""

from __future__ import annotations

from tpdyn.testing.mutants.mutant import of

GAUSSIAN = of(
    "sampled",
    "readings/sampled/gaussian.py",
    [
        (
            "the dot is dropped",
            "known.add_to(answers, told.inner(new), 1.0)  # dot",
            "known.add_to(answers, told.inner(new), 0.0)  # dot",
        ),
        (
            "the dot has the other sign",
            "known.add_to(answers, told.inner(new), 1.0)  # dot",
            "known.add_to(answers, told.inner(new), -1.0)  # dot",
        ),
        (
            "noise also where the transpose has told",
            "        known.add_to(answers, known.inner(answers), -1.0)  # hat",
            "        # hat",
        ),
        (
            "the noise is 10 % too large",
            "answers = self.draw[across](new.shape[0]).to(self.dtype) * self.std\n",
            "answers = self.draw[across](new.shape[0]).to(self.dtype) * self.std * 1.1\n",
        ),
        (
            "a wide matrix has the noise of its columns",
            "across = other(side)\n        known, told = self.asked[across], self.answers[across]",
            "across = side\n        known, told = self.asked[across], self.answers[across]",
        ),
        (
            "every vector is a new direction",
            "        coefficients = known.inner(rest)\n        known.add_to(rest, coefficients, -1.0)\n",
            "        coefficients = known.inner(rest) * 0\n",
        ),
        (
            "orthogonalised once",
            '            again = known.inner(rest)  # "twice is enough"',
            '            again = known.inner(rest) * 0  # "twice is enough"',
        ),
        (
            "nothing counts as a new direction below a tenth",
            "active = left > tolerance * length",
            "active = left > 0.1 * length",
        ),
        ("what the Gram matrix cannot tell apart is dropped", "WELL_CONDITIONED = 1e-6", "WELL_CONDITIONED = 0.5"),
        (
            "the answer is not scaled back",
            "return self.answers[side].combined(coefficients * largest[:, None])",
            "return self.answers[side].combined(coefficients)",
        ),
        ("what is not finite is zero", "            result[~torch.isfinite(largest)] = math.nan\n", ""),
        (
            "the norm counts what both sides know twice",
            "known = float(columns.square().sum() + rows.square().sum() - both.square().sum())",
            "known = float(columns.square().sum() + rows.square().sum())",
        ),
        (
            "the norm forgets what the transpose told",
            "known = float(columns.square().sum() + rows.square().sum() - both.square().sum())",
            "known = float(columns.square().sum() - both.square().sum())",
        ),
        (
            "the rest of the norm is not shared",
            "            self._share_norm(answers, known.count, side)",
            "            pass",
        ),
        (
            "the remainder has no variance",
            "return known + self.remainder * self.std**2",
            "return known + self.remainder",
        ),
        (
            "implied matrices forget the overlap",
            "return y.T @ q + u.T @ v - u.T @ ((u @ y.T) @ q) + rest",
            "return y.T @ q + u.T @ v + rest",
        ),
        (
            "orthogonal matrices with independent columns",
            "        for _ in range(2):\n            known.add_to(answers, known.inner(answers), -1.0)\n        return orthonormal(answers)",
            "        return orthonormal(answers)",
        ),
        (
            "the norm of an orthogonal matrix counts its longer side",
            "return self.std**2 * min(self.shape.values())",
            "return self.std**2 * max(self.shape.values())",
        ),
    ],
)

ATOMS = of(
    "sampled",
    "readings/sampled/atoms.py",
    [
        (
            "rows and columns are exchanged",
            '        if self.split == (batch, kept, over):\n            return "columns"',
            '        if self.split == (batch, kept, over):\n            return "rows"',
        ),
        (
            "a transposed sum of outer products is none",
            "return LowRank(self.right, self.core.T, self.left)",
            "return LowRank(self.right, self.core, self.left)",
        ),
        (
            "a multiple of low rank is none",
            "return LowRank(self.left, self.core * scale, self.right)",
            "return LowRank(self.left, self.core, self.right)",
        ),
        (
            "a sum of low rank keeps the last",
            "core[_indices(left, each.left)[:, None], _indices(right, each.right)[None]] += each.core",
            "core[_indices(left, each.left)[:, None], _indices(right, each.right)[None]] = each.core",
        ),
        (
            "a product of low rank forgets the Gram matrix",
            "return LowRank(self.left, self.core @ gram @ other.core, other.right)",
            "return LowRank(self.left, self.core @ other.core, other.right)",
        ),
        (
            "the norm of a stack is that of one matrix",
            "return sum(self.operator(k).squared_norm() for k in range(math.prod(self.shape[axis] for axis in batch)))",
            "return self.operator(0).squared_norm()",
        ),
        (
            "independent matrices are one",
            "product = torch.stack([self.operator(number).times(x[number], side) for number in range(x.shape[0])])",
            "product = torch.stack([self.operator(0).times(x[number], side) for number in range(x.shape[0])])",
        ),
    ],
)

MATRIX = of(
    "sampled",
    "readings/sampled/matrix.py",
    [
        ("sums over what nobody has are forgotten", "out), alpha=scale * unmet)", "out), alpha=scale)"),
        (
            "a product of a matrix forgets its factor",
            "terms.append(Term(c * unmet, lazy, _axes(rank)))",
            "terms.append(Term(unmet, lazy, _axes(rank)))",
        ),
        (
            "functions of matrices are left out of products",
            "        if lazy:\n            total += _by_tiles",
            "        if False:\n            total += _by_tiles",
        ),
        ("inner products forget the second factor", "total += c * d * unmet * product", "total += c * unmet * product"),
        (
            "the same atom twice counts once",
            "merged[key] = Term(before + scale, atom, axes)",
            "merged[key] = Term(scale, atom, axes)",
        ),
        (
            "a product of matrices forgets a transposition",
            "two = two if y_labels[1] < 2 else two.transposed  # summed, kept",
            "two = two  # summed, kept",
        ),
        (
            "a placed matrix forgets its factor",
            "return [Term(scale * c, atom, tuple(labels[axis] for axis in axes)) for c, atom, axes in self.terms]",
            "return [Term(scale, atom, tuple(labels[axis] for axis in axes)) for c, atom, axes in self.terms]",
        ),
        ("tiles forget the first factor", "total = part * scale if scale != 1 else part", "total = part"),
    ],
)

OTHERS = (
    *of(
        "sampled",
        "readings/sampled/rule.py",
        [
            (
                "the mean of a matrix is forgotten",
                "terms = [vector(self.one * location, (), len(shape))] if location else []",
                "terms = []",
            ),
            (
                "the factor of a contraction is forgotten",
                "return x.times(of_x, y, of_y, out, sizes) * scale",
                "return x.times(of_x, y, of_y, out, sizes)",
            ),
            (
                "the constant of a sum is forgotten",
                "atoms = [vector(self.one * constant.at(self.width), (), rank)] if not constant.is_zero else []",
                "atoms = []",
            ),
            (
                "a square of matrices is their product with one",
                "term = entrywise(torch.square, [(x, x_labels)], rank)",
                "term = entrywise(torch.abs, [(x, x_labels)], rank)",
            ),
        ],
    ),
    *of(
        "sampled",
        "readings/sampled/noise.py",
        [
            (
                "both sides of a matrix draw the same noise",
                'f"{position} {axes} {number}"',
                'f"{position} {number}"',
            ),
            (
                "all matrices draw the same noise",
                'f"{position} {axes} {number}"',
                'f"{axes} {number}"',
            ),
            (
                "all seeds draw the same noise",
                'f"{self.seed} {key}"',
                "key",
            ),
        ],
    ),
    *of(
        "sampled",
        "readings/sampled/rows.py",
        [
            (
                "only the last block answers",
                "            start += block.shape[0]\n        return x",
                "        return x",
            ),
            (
                "single precision is summed in single precision",
                "if x.dtype == torch.float64 or n <= CHUNK:",
                "if True:",
            ),
        ],
    ),
)

MUTANTS = (*GAUSSIAN, *ATOMS, *MATRIX, *OTHERS)
