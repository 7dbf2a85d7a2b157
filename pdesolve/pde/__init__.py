"""Equations: one per file, each a residual in terms of named derivatives."""
