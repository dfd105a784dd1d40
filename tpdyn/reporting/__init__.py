"""How do results leave the house? As a verdict in the terminal, as what TensorBoard shows, as JSON."""
