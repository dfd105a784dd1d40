"""Matrices that are kept whole: identities, diagonals, eigenvectors."""
