"""Which values do a network and its training have in the limit of infinite width? Kernels, dynamics, distributions."""
