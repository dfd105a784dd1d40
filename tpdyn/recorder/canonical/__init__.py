"""How is a program written once its atoms are known? Axes that nothing splits, without reshapes and fused wide dims.

Three things happen to the fitted statements:

* each axis becomes its atoms, labels are numbered anew, and reshapes and axes of size 1 vanish. A `View` says how the
  script's dims are products of axes;
* **unstacking**: some atoms count the parts of a wide dim (the 3 of a fused qkv projection). Such an atom is written out.
  Each value with that atom becomes several values. Slices and concatenations along it choose among them, and a contraction
  over it becomes a sum. The parts of a fused weight are independent Gaussian matrices, and the theory must see them apart;
* the zeros that follow (the padding in the gradient of a slice) are dropped from sums and products.

Then the result is tidied and named (`tidy`).
"""

from __future__ import annotations

from tpdyn.recorder.canonical.write import Canonical, canonical

__all__ = ["Canonical", "canonical"]
