"""Do the runs agree with the theory? Orders estimated from runs, compared with those that are predicted."""
