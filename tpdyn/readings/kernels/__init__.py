"""Which kernels does a network have at initialisation, in the limit of infinite width? NNGP and NTK, read off its program."""
