"""pdesolve: PDEs solved by mixtures of experts that meet the equation as a hard constraint, in PyTorch."""

from pdesolve.status import SolveError, SolveStatus  # isort: split
from pdesolve.domains import (
    Box,
    Cuboid,
    Decomposition,
    GradedSampler,
    Interval,
    Patch,
    Rectangle,
    SobolSampler,
    StructuredGrid,
    TimeInterval,
    UniformSampler,
    cartesian_decomposition,
)
from pdesolve.linalg.block_cholesky import BlockCholesky, BlockMatrix  # isort: split
from pdesolve.field import Field
from pdesolve.solution import Solution  # isort: split
from pdesolve.jet import Jet
from pdesolve.pde.abstract import AbstractPDE, FunctionPDE
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.pde.heat import Heat  # isort: split
from pdesolve.condition import Dirichlet, InitialCondition, Neumann, Periodic, Robin
from pdesolve.problem import LogUniform, Problem, ProblemFamily, Uniform  # isort: split
from pdesolve.frames.abstract import (
    AbstractCoordinateMap,
    AbstractLifting,
    FunctionCoordinates,
    FunctionLifting,
    NoLifting,
)
from pdesolve.frames.generic import Frame, generic_frame
from pdesolve.frames.similarity import SimilarityCoordinates, SimilarityLifting
from pdesolve.frames.transfinite import ScaledCoordinates, TransfiniteLifting  # isort: split
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import Collocation, ForwardMode, TaylorMode
from pdesolve.discretization.finite_differences import FiniteDifferences  # isort: split
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import minimise
from pdesolve.nonlinear.ridge import FixedRidge, RelativeRidge
from pdesolve.nonlinear.whitening import Whitening
from pdesolve.implicit import DetachedAdjoint, ImplicitAdjoint  # isort: split
from pdesolve.reference import MethodOfLines
from pdesolve.experts.abstract import AbstractExpert  # isort: split
from pdesolve.experts.coordinate_network import CoordinateNetwork
from pdesolve.experts.coupling import Independent, InterfaceRows
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer, LayerReport
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert, soft_expert
from pdesolve.experts.row_weight import TimePower, Unweighted
from pdesolve.experts.rows import RowCounts
from pdesolve.experts.soft_constraint_expert import SoftConstraintExpert

__version__ = "0.1.0"

__all__ = [name for name in dir() if not name.startswith("_") and name[0].isupper()] + [
    "cartesian_decomposition",
    "generic_frame",
    "minimise",
    "parametric_expert",
    "soft_expert",
]
