"""Is a long run still what its prediction, or a smaller twin, said? A run watched on one fixed batch, now and then."""
