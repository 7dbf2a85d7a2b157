"""Factorisations: one solver in each file, and what they share."""
