"""Classical solvers that make reference solutions, and the benchmark problems they are made for."""

from pdesolve.reference.benchmarks import (
    REFERENCE_METHOD,
    diffusion_sorption_family,
    diffusion_sorption_frame,
    diffusion_sorption_problem,
    reference_solution,
)
from pdesolve.reference.bracket import bracket
from pdesolve.reference.cache import data_folder, load_reference, save_reference
from pdesolve.reference.classical import (
    ClassicalResult,
    classical_error_table,
    classical_rivals,
    time_at_error,
)
from pdesolve.reference.function_family import diffusion_sorption_function_family, diffusion_sorption_function_frame
from pdesolve.reference.method_of_lines import MethodOfLines
from pdesolve.reference.pdebench import pdebench_solution
from pdesolve.reference.stencils import Grading

__all__ = [
    "REFERENCE_METHOD",
    "ClassicalResult",
    "Grading",
    "MethodOfLines",
    "bracket",
    "classical_error_table",
    "classical_rivals",
    "data_folder",
    "diffusion_sorption_family",
    "diffusion_sorption_frame",
    "diffusion_sorption_function_family",
    "diffusion_sorption_function_frame",
    "diffusion_sorption_problem",
    "load_reference",
    "pdebench_solution",
    "reference_solution",
    "save_reference",
    "time_at_error",
]
