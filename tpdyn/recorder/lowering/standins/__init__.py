"""Which values are no plain tensors while a tape is lowered? Known numbers, choices, complex pairs, whole matrices."""
