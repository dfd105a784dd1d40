"""Where in abc-space are the regimes? Diagrams, cells and faces, exact."""
