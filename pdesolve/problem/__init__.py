"""What is to be solved: a problem, or a family of them."""

from pdesolve.problem.distribution import AbstractDistribution, LogUniform, Uniform
from pdesolve.problem.family import Family, ProblemFamily
from pdesolve.problem.mesh_family import MeshFamily
from pdesolve.problem.observations import Observations
from pdesolve.problem.problem import Problem

__all__ = [
    "AbstractDistribution",
    "Family",
    "LogUniform",
    "MeshFamily",
    "Observations",
    "Problem",
    "ProblemFamily",
    "Uniform",
]
