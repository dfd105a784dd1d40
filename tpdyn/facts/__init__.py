"""What is true of a program, whatever its exponents? Read off its statements, once, by small lemmas."""
