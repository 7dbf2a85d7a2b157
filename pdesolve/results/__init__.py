"""Results files: one ``.vtkhdf`` for each solution, opened by ParaView and read back bit for bit; PDEBench's files."""

from pdesolve.results.hdf5 import ResultsFileError
from pdesolve.results.pdebench import FlatLayout, PDEBenchData, PerSeedLayout, read_pdebench, write_pdebench
from pdesolve.results.vtkhdf import info, load, save

__all__ = [
    "FlatLayout",
    "PDEBenchData",
    "PerSeedLayout",
    "ResultsFileError",
    "info",
    "load",
    "read_pdebench",
    "save",
    "write_pdebench",
]
