"""How big is each value of a program, and its change in training? Exact powers of the width, free of sampling."""
