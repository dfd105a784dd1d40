"""What does TensorBoard show of dynamics in a tab of its own? This part reads logs and serves them; it never imports torch."""
