"""Which values are not plain tensors while a tape is lowered? Known numbers, choices, complex pairs, whole matrices."""
