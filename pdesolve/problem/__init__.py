"""Problems, and families of problems that differ in parameters, initial functions or coefficient fields."""

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
