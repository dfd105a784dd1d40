"""How do dims and constants depend on the width? Fitted to recordings at several widths, verified at another."""
