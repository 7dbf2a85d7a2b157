"""Experts: solvers that own patches of a domain."""

from __future__ import annotations

if __name__ != "pdesolve.experts":
    raise ImportError(
        f"this folder is the package pdesolve.experts, but it was imported as {__name__!r}: "
        "write `from pdesolve.experts import ...`"
    )
