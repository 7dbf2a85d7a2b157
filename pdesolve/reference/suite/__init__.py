"""The benchmark suite of one-off solvers: named problems, each with a reference that states its own error."""

from pdesolve.reference.suite.allen_cahn import allen_cahn_problem
from pdesolve.reference.suite.burgers import burgers_problem
from pdesolve.reference.suite.flow_mixing import flow_mixing_problem
from pdesolve.reference.suite.helmholtz import helmholtz_problem
from pdesolve.reference.suite.klein_gordon import klein_gordon_problem
from pdesolve.reference.suite.korteweg_de_vries import korteweg_de_vries_problem
from pdesolve.reference.suite.lid_driven_cavity import cavity_problem, parabolic_lid, sine_lid, unit_lid
from pdesolve.reference.suite.nonlinear_diffusion import nonlinear_diffusion_problem

__all__ = [
    "allen_cahn_problem",
    "burgers_problem",
    "cavity_problem",
    "flow_mixing_problem",
    "helmholtz_problem",
    "klein_gordon_problem",
    "korteweg_de_vries_problem",
    "nonlinear_diffusion_problem",
    "parabolic_lid",
    "sine_lid",
    "unit_lid",
]
