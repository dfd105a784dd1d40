"""How could parities, terms, updates and multipliers be wrong? Characters lost, rarity forgotten, signs of exponents turned."""

from __future__ import annotations

from tpdyn.testing.mutants.mutant import of

PARITY = of(
    "orders",
    "readings/orders/parity.py",
    [
        (
            "odd times odd is odd",
            "return _made(p.offset ^ q.offset, q.rows, q.mixed, p)",
            "return _made(p.offset | q.offset, q.rows, q.mixed, p)",
        ),
        (
            "a sum has the characters of its first term",
            "return _made(p.offset, (*q.rows, p.offset ^ q.offset), q.mixed, p)",
            "return _made(p.offset, q.rows, q.mixed, p)",
        ),
        ("an even function keeps the sign", "return _parity(0, p.rows, p.mixed)", "return p"),
        ("any function is odd", "return _made(0, (p.offset,), 0, p)", "return p"),
        (
            "characters that differ are contained",
            "return not space.reduced(p.offset ^ q.offset) and not any(map(space.reduced, q.rows))",
            "return not any(map(space.reduced, q.rows))",
        ),
        ("an average keeps what is odd", "return solve(p, block(axis), 0)", "return p"),
        ("a fluctuation keeps its axis", "return _mapped(p, lambda vector: vector ^ (vector & mask))", "return p"),
        ("hats of orthogonal vectors are one", "            coded ^= met.own[low]", "            coded ^= 0"),
        (
            "a hat is even in its own source",
            "return _made(moved(p.offset) ^ source, map(moved, p.rows), mixed)",
            "return _made(moved(p.offset), map(moved, p.rows), mixed)",
        ),
        ("a dot gives back nothing", "decoded ^= sources.get(low, 0)", "decoded ^= 0"),
        ("late sources are told apart", "shared = met.shared << other", "shared = 0"),
        (
            "mixed sources are forgotten in a hat",
            "mixed = p.mixed ^ (p.mixed & mask) | code(p.mixed) | shared",
            "mixed = p.mixed ^ (p.mixed & mask)",
        ),
    ],
)

TERMS = of(
    "orders",
    "readings/orders/terms.py",
    [
        (
            "the mean of rare entries is that of dense ones",
            "return self.order if self.rarity is ZERO or not self.rarity else self.order - self.rarity\n",
            "return self.order\n",
        ),
        (
            "the root mean square of rare entries is their mean",
            "else self.order - self.rarity / 2",
            "else self.order - self.rarity",
        ),
        ("the less rare decides", "else largest([x.rarity, y.rarity])", "else min(x.rarity, y.rarity)"),
        (
            "the typical entry is the root mean square",
            "return largest([term.mean_order for term in terms]) if terms else None",
            "return largest([term.rms_order for term in terms]) if terms else None",
        ),
        (
            "a single number is as small as its mean",
            "return (Term(largest([term.rms_order for term in terms])),)",
            "return (Term(largest([term.mean_order for term in terms])),)",
        ),
        (
            "what merges keeps the first parity",
            "        parity = hull(parity, term.parity)\n    order = largest([term.order for term in terms])",
            "        parity = parity\n    order = largest([term.order for term in terms])",
        ),
        (
            "what merges is as small as the last",
            "    order = largest([term.order for term in terms])\n    if isinstance(order, float)",
            "    order = terms[-1].order\n    if isinstance(order, float)",
        ),
        (
            "what merges forgets rarity",
            "return Term(order, parity, -largest([2 * (root - order), mean - order]))",
            "return Term(order, parity)",
        ),
        (
            "a term dominates whatever its parity",
            "if leader.gaussian == term.gaussian and contains(leader.parity, term.parity):",
            "if leader.gaussian == term.gaussian:",
        ),
        (
            "a matrix dominates a vector",
            "if leader.gaussian == term.gaussian and contains(leader.parity, term.parity):",
            "if contains(leader.parity, term.parity):",
        ),
        (
            "lists are cut",
            "    return (*matrices, *(_merged_in_pairs(plain, most) if rare else _shortened(_ranked(plain), most)))",
            "    return (*matrices, *_ranked(plain)[:most])",
        ),
        (
            "the smaller of a kind is kept",
            "if known is None or exceeds(term.order, known.order):",
            "if known is None or exceeds(known.order, term.order):",
        ),
        (
            "the whole is the base",
            "return self._sum.again() if self.change else self.base",
            "return self.base",
        ),
        (
            "a change may be larger than the whole and the base",
            "    if reaches(largest(bounds), moved):\n        return value",
            "    if True:\n        return value",
        ),
    ],
)

READING = of(
    "orders",
    "readings/orders/reading.py",
    [
        (
            "weight decay is forgotten",
            "change = [*last.change, *self._decayed(combine, previous, last, power)]",
            "change = [*last.change]",
        ),
        (
            "weight decay takes off half an order more",
            "return scaled(last.total, own.order + power)",
            "return scaled(last.total, own.order + power + Fraction(1, 2))",
        ),
        (
            "earlier updates are forgotten",
            "change = [*last.change, *self._decayed(combine, previous, last, power)]",
            "change = [*self._decayed(combine, previous, last, power)]",
        ),
        (
            "the learning rate's exponent has the other sign",
            "power = -self.exponents.rate.get(owner, ZERO)",
            "power = self.exponents.rate.get(owner, ZERO)",
        ),
        (
            "the multiplier's exponent has the other sign",
            'value.times(-self.exponents.multiplier.get(owners.get(operand.var, ""), ZERO))',
            'value.times(self.exponents.multiplier.get(owners.get(operand.var, ""), ZERO))',
        ),
        (
            "gradients do not see the multiplier",
            'owners = self.facts.gradient_of if statement.origin.phase == "optimizer" else self.facts.owner',
            "owners = self.facts.owner",
        ),
        (
            "updates are those of the base",
            "change += scaled(placed(value.total, axes), scale.order + power)",
            "change += scaled(placed(value.base, axes), scale.order + power)",
        ),
        (
            "the base is updated",
            "            change.append(Term(combine.constant.order + power))\n        return Value(first.base, tidy(change, first.wide), "
            "None, first.wide)",
            "            change.append(Term(combine.constant.order + power))\n        return Value(tidy([*first.base, *change], first.wide), "
            "tidy(change, first.wide), None, first.wide)",
        ),
        (
            "a frozen parameter learns",
            "        if owner in self.exponents.frozen:\n            return last",
            "        if False:\n            return last",
        ),
        (
            "picked rows stay rare",
            "made = moved(value, self.facts.layout(position), self.sources, -rows)",
            "made = moved(value, self.facts.layout(position), self.sources)",
        ),
        (
            "the scale of a contraction is forgotten",
            "power = contract.scale.order\n        if power is not None and position in self.exponents.site:",
            "power = contract.scale.order and ZERO\n        if power is not None and position in self.exponents.site:",
        ),
        (
            "initial sizes have the other sign",
            "return leaf_value(instruction, position, len(statement.wide_axes), -smaller, self.sources)",
            "return leaf_value(instruction, position, len(statement.wide_axes), smaller, self.sources)",
        ),
        (
            "a contribution is that of the base",
            "in_training[k] = by_itself[k] = values[k].change",
            "in_training[k] = by_itself[k] = values[k].base",
        ),
        (
            "multipliers behind a value do not count",
            "order = None if order is None else order + behind",
            "order = order",
        ),
    ],
)

SPECTRAL = of(
    "orders",
    "readings/orders/spectral.py",
    [
        (
            "eigenvalues are as large as entries",
            "return tidy([Term(term.rms_order + size) for term in terms], wide)",
            "return tidy([Term(term.rms_order) for term in terms], wide)",
        ),
        (
            "a function of a matrix has entries as large as its eigenvalues",
            "return [] if order is None else [Term(order - size, term.parity) for term in terms]",
            "return [] if order is None else [Term(order, term.parity) for term in terms]",
        ),
        (
            "no function grows at zero",
            "return here is not None and below is not None and exceeds(below, here)",
            "return False",
        ),
    ],
)

LEAVES = of(
    "orders",
    "readings/orders/leaves.py",
    [
        (
            "data have no size of their own",
            "return Value((Term(ZERO if law.scale.order is None else law.scale.order),), (), None, wide)",
            "return Value((Term(ZERO),), (), None, wide)",
        ),
        ("a Gaussian vector is even", "return Term(order, odd_in(sources.leaf(position)))", "return Term(order)"),
        (
            "zeros and ones are odd",
            'parity = of_function(odd_in(sources.leaf(position)), "neither") if wide == 1 else EVEN',
            "parity = odd_in(sources.leaf(position)) if wide == 1 else EVEN",
        ),
        ("the mean of a leaf is forgotten", "            terms = list(constant)\n", "            terms = []\n"),
        (
            "all matrices are one",
            "return Term(order, EVEN, ZERO, Gaussian(position, (0, 1)))",
            "return Term(order, EVEN, ZERO, Gaussian(0, (0, 1)))",
        ),
    ],
)

FACTS = (
    *of(
        "orders",
        "facts/own.py",
        [
            (
                "the smallest update decides the rate",
                "    return max(updates, default=None)",
                "    return min(updates, default=None)",
            ),
            (
                "output-like weights are input-like",
                'return "input-like" if kept else "output-like"',
                'return "output-like" if kept else "input-like"',
            ),
            (
                "multipliers have the other sign",
                "of_role.append(-power - folded.get(position, ZERO))",
                "of_role.append(power - folded.get(position, ZERO))",
            ),
            (
                "multipliers behind a sum are forgotten",
                "of_role.append(-power - folded.get(position, ZERO))",
                "of_role.append(-power)",
            ),
        ],
    ),
    *of(
        "orders",
        "facts/folded.py",
        [
            ("one use with a multiplier is enough", "if powers and all(powers):", "if powers and any(powers):"),
            (
                "the smallest multiplier counts",
                "multipliers[position] = max(powers)",
                "multipliers[position] = min(powers)",
            ),
            (
                "what lies behind a sum is forgotten",
                "powers = [power + (multipliers.get(at, ZERO) if at is not None else ZERO) for power, at in uses[position]]",
                "powers = [power for power, at in uses[position]]",
            ),
        ],
    ),
)

MUTANTS = (*PARITY, *TERMS, *READING, *SPECTRAL, *LEAVES, *FACTS)
