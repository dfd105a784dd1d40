"""How are inequalities with rational coefficients solved, exactly? Linear forms, linear programs, polytopes."""
