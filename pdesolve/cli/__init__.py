"""The command ``pdesolve``."""
