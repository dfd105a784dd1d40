"""Which learning rates let every layer be updated maximally by itself ("full alignment")? The table of Everett et al., as data.

Source: Everett et al. (arXiv 2407.05872), Table 1. Its columns for SGD and Adafactor were looked up in a public transcription
of the table (github.com/iejMac/paramR, research/configs/lib.py). All twelve are what the derivation gives.
"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.parametrizing.families import Family, Optimizer, _family

HALF = Fraction(1, 2)
_TABLE = "Everett et al. 2024, Table 1"
_SCALED: Optimizer = "parameter-scaled"

EVERETT: tuple[Family, ...] = (
    _family("SP", "sgd", _TABLE, (0, 0, -HALF), (0, HALF, HALF), (0, HALF, 1)),
    _family("NTP", "sgd", _TABLE, (0, 0, -HALF), (HALF, 0, -HALF), (HALF, 0, 0)),
    _family("muP", "sgd", _TABLE, (-HALF, HALF, 0), (0, HALF, 0), (HALF, HALF, 0)),
    _family("MFP", "sgd", _TABLE, (0, 0, -1), (HALF, 0, -1), (1, 0, -1)),
    _family("SP", "entrywise", _TABLE, (0, 0, 0), (0, HALF, 1), (0, HALF, 1)),
    _family("NTP", "entrywise", _TABLE, (0, 0, 0), (HALF, 0, HALF), (HALF, 0, HALF)),
    _family("muP", "entrywise", _TABLE, (-HALF, HALF, HALF), (0, HALF, 1), (HALF, HALF, HALF)),
    _family("MFP", "entrywise", _TABLE, (0, 0, 0), (HALF, 0, HALF), (1, 0, 0)),
    _family("SP", _SCALED, _TABLE, (0, 0, 0), (0, HALF, HALF), (0, HALF, HALF)),
    _family("NTP", _SCALED, _TABLE, (0, 0, 0), (HALF, 0, HALF), (HALF, 0, HALF)),
    _family("muP", _SCALED, _TABLE, (-HALF, HALF, 0), (0, HALF, HALF), (HALF, HALF, 0)),
    _family("MFP", _SCALED, _TABLE, (0, 0, 0), (HALF, 0, HALF), (1, 0, 0)),
)
"""Per-layer rates under "full alignment". Each layer's own update then contributes at order 0, in all of them. But SP and
NTP keep a readout of order n^-1/2. Training aligns it with the changes of its input, so the output changes by n^1/2. They
are unstable as the width grows (Tensor Programs IV, Theorem 3.3; IVb, Theorem 2.8.12). muP and MFP are the maximal update
parametrization.
"""
