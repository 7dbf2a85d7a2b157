"""Nonlinear least squares over (sample, patch): problems, solvers and the driver that runs them."""
