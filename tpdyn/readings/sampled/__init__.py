"""What values does a program take at any width, with no wide matrix stored? Gaussian conditioning, exact in law."""
