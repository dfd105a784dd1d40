"""How does tpdyn attach to a framework's training loop? One callback a framework, which is imported only when it is used."""
