"""Experts: solvers that own patches of a domain."""

from __future__ import annotations

if __name__ != "pdesolve.experts":
    raise ImportError(f"this package is pdesolve.experts, not {__name__!r}: import it by its full name")
