"""Results files: one ``.vtkhdf`` for each solution, opened by ParaView and read back bit for bit."""

from pdesolve.results.safe_open import ResultsFileError
from pdesolve.results.vtkhdf import info, load, save

__all__ = ["ResultsFileError", "info", "load", "save"]
