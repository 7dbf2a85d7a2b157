"""Matrices and matrix-free operators, one kind in each file."""
