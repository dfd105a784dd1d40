"""What do the orders of all values mean? A regime, the value that decides it, and the exponents that are best."""
