"""Machine-learning solvers for partial differential equations."""

__version__ = "0.1.0"
