"""Which values does a program take at one width? The plain definitions of its instructions, in torch."""
