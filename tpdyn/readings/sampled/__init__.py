"""What values does a program take at any width, without storing a wide matrix? Gaussian conditioning, exact in law."""
