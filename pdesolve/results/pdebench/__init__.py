"""PDEBench's files: written for others' code, and read whoever wrote them."""

from pdesolve.results.pdebench.data import PDEBenchData
from pdesolve.results.pdebench.layout import AbstractPDEBenchLayout, FlatLayout, PerSeedLayout
from pdesolve.results.pdebench.read import is_pdebench, pdebench_info, read_pdebench
from pdesolve.results.pdebench.write import write_pdebench

__all__ = [
    "AbstractPDEBenchLayout",
    "FlatLayout",
    "PDEBenchData",
    "PerSeedLayout",
    "is_pdebench",
    "pdebench_info",
    "read_pdebench",
    "write_pdebench",
]
