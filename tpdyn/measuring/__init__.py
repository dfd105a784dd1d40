"""What does the real script do? It is run at many widths and seeds, and the size of everything is written down."""
