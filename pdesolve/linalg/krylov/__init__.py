"""Iterations: one solver in each file, preconditioners, and what they share."""
