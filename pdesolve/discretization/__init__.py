"""Discretisations: what turns values on a grid, or an ansatz at points, into derivatives."""

from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.discretization.fourier import FourierSpectral

__all__ = ["FiniteDifferences", "FourierSpectral"]
