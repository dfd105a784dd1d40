"""What does a script do, operation by operation? It runs as always, and a tape is written."""
