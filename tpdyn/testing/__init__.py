"""What do properties draw from, and would a test notice if a rule were wrong? For our tests and for yours."""
