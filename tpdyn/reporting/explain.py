"""What does a word of the verdict mean? Short texts for `tpdyn explain order`."""

from __future__ import annotations

import difflib

TEXTS: dict[str, str] = {
    "order": "The order of a value is its exponent of the width n. A value of order 1/2 has entries of size sqrt(n): it grows by "
    "x1.41 when the width doubles. Order 0 does not depend on the width (x1.00), a negative order vanishes, `zero` is exactly 0.",
    "change": "The change of a value is its difference from the same step with the initial parameters. Data "
    "and random draws are the same. It shows what training has done to that value.",
    "size": "The size of a value is the mean absolute value of its entries, at initialisation.",
    "width": "The width n is the number that you let grow: hidden units, channels, d_model. Depth, batch and training time stay.",
    "regime": "How a script behaves as the width grows: unstable, trivial, kernel or feature learning. Orders decide it "
    "(Tensor Programs IV, arXiv 2011.14522).",
    "unstable": "Some representation, output or logit has a positive order. A wider network has larger values, and in the end "
    "blows up. Lower the rate or the initial size that the verdict names.",
    "trivial": "The output's change has a negative order: the wider the network, the less it learns from the same steps.",
    "kernel": "The output changes at order 0, but every hidden representation is frozen as the width grows. The network "
    "becomes a kernel machine; with Adam and its kin this is the operator regime.",
    "feature learning": "The output changes at order 0, and so does some hidden representation: wide networks learn features.",
    "frozen": "A representation is frozen if its change has a negative order. The wider the network, the closer it stays to "
    "its initial value.",
    "maximally updated": "A parameter is maximally updated if its own contribution to a change has order 0, the most that is "
    "stable. Feature learning needs one such layer. That the best learning rate stays needs all of them.",
    "mup": "The maximal update parametrization. With its initial sizes and learning rates every layer learns as much as it "
    "can without blowing up. The best learning rate then stays where it is as the width grows. `tpdyn derive` finds it for your "
    "script, `tpdyn fix` writes it.",
    "ntk": "The neural tangent parametrization: stable at any width, but in the kernel regime.",
    "sp": "Standard parametrization: what torch does unless told otherwise. At one learning rate for all layers it is unstable.",
    "evidence": "The runs confirm a regime if the rows on which it hangs agree. These are the value that decides (unstable) "
    "or the outputs (trivial). Else they are output and every representation (kernel), or output and some "
    "representation (feature learning). One row that "
    "disagrees contradicts it. Otherwise it is undecided (exit status 16): use more seeds and larger widths, or "
    "--until-decided.",
    "undecided": "The intervals on which the regime hangs are too wide, or nothing measures the value that decides. Use more "
    "seeds, larger widths, or --until-decided.",
    "not explained": "This value is a function of values that grow (a saturated tanh, say). Powers mix at the widths that were "
    "run, so its order cannot be compared: it neither confirms nor contradicts. The table calls it `odd`.",
    "interval": "The measured order lies in it with 99 % confidence, noise of the seeds and finite widths included. A row is "
    "`ok` if the interval is within 1/4 of the theory. It is `WRONG` if it is wholly outside of that, and `unclear` otherwise.",
    "crossover": "The width from which the leading power shows. Below it, parts of lower order are as large.",
    "bound": "`<=` marks an upper bound: a known cancellation may make the true order smaller.",
    "base width": "The width at which you tuned the script. There, `tpdyn fix` changes nothing; elsewhere it scales from it.",
    "program": "What tpdyn records: the script's few steps as one list of instructions with a symbolic width.",
    "epsilon": "The small constant of Adam or LayerNorm that guards a division. Orders take it as negligible; the verdict says "
    "up to which width that is so.",
}

ALIASES = {
    "feature-learning": "feature learning", "features": "feature learning", "operator": "kernel", "ntp": "ntk",
    "maximal update": "mup", "confirmed": "evidence", "contradicted": "evidence", "odd": "not explained",
    "unclear": "interval", "wrong": "interval", "ok": "interval", "<=": "bound", "base-width": "base width",
    "learns": "feature learning", "grows": "unstable", "vanishes": "frozen", "stays": "change",
    "orders": "order", "exponent": "order", "factor": "order", "seeds": "interval", "margin": "interval",
}  # fmt: skip


def explain(word: str) -> str:
    """Look up the text for a word; raise KeyError with the known words, the nearest first."""
    name = word.strip().lower()
    name = ALIASES.get(name, name)
    if name in TEXTS:
        return TEXTS[name]
    near = difflib.get_close_matches(name, [*TEXTS, *ALIASES], n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    raise KeyError(f"{word!r} is not explained{meant} There are: {', '.join(TEXTS)}")
