"""pdesolve: PDEs solved by mixtures of experts that meet the equation as a hard constraint, in PyTorch.

What not every use needs (finite elements, experts on meshes, one-off solvers) is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from pdesolve.condition import AbstractCondition, Dirichlet, Flux, InitialCondition, Neumann, Periodic, Robin
from pdesolve.discretization.abstract import AbstractDiscretization
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import Collocation, ForwardMode, TaylorMode
from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.discretization.fourier import FourierSpectral
from pdesolve.domains import (
    AbstractSampler,
    Box,
    CellValues,
    Cuboid,
    Decomposition,
    GradedSampler,
    Interval,
    MeshDecomposition,
    MeshDomain,
    NodeValues,
    OverlappingDecomposition,
    Patch,
    RandomInclusions,
    Rectangle,
    SimplexMesh,
    SobolSampler,
    StructuredGrid,
    TimeInterval,
    UniformSampler,
    cartesian_decomposition,
    graph_decomposition,
    read_mesh,
)
from pdesolve.execution import AbstractExecution, Compiled, Eager
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.assignment import AbstractAssignment, OnePerPatch, Shared
from pdesolve.experts.bounds import Bounds
from pdesolve.experts.coordinate_network import CoordinateNetwork
from pdesolve.experts.coupling import AbstractCoupling, Independent, InterfaceRows
from pdesolve.experts.fourier_neural_operator import FourierNeuralOperator
from pdesolve.experts.gate import TopOneGate
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer, LayerReport
from pdesolve.experts.linear_constraint import AbstractLinearConstraint, Violation
from pdesolve.experts.mass_balance import MassBalance
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert, soft_expert
from pdesolve.experts.partition_of_unity import PartitionOfUnity
from pdesolve.experts.row_weight import AbstractRowWeight, TimePower, Unweighted
from pdesolve.experts.rows import RowCounts
from pdesolve.experts.soft_constraint_expert import SoftConstraintExpert
from pdesolve.field import Field
from pdesolve.frames.abstract import (
    AbstractCoordinateMap,
    AbstractLifting,
    FunctionCoordinates,
    FunctionLifting,
    JoinedCoordinates,
    NoLifting,
)
from pdesolve.frames.additive import AdditiveLifting
from pdesolve.frames.generic import Frame, generic_frame
from pdesolve.frames.similarity import SimilarityCoordinates, SimilarityLifting
from pdesolve.frames.transfinite import ScaledCoordinates, TransfiniteLifting
from pdesolve.frames.walls import WallLifting
from pdesolve.implicit import AbstractAdjoint, DetachedAdjoint, ImplicitAdjoint
from pdesolve.jet import Jet
from pdesolve.lazy import loader
from pdesolve.linalg.block_cholesky import BlockCholesky, BlockMatrix
from pdesolve.nonlinear.gauss_newton import GaussNewton
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, minimise
from pdesolve.nonlinear.ridge import AbstractRidge, FixedRidge, RelativeRidge
from pdesolve.nonlinear.whitening import Whitening
from pdesolve.pde.abstract import AbstractPDE, FunctionPDE
from pdesolve.pde.allen_cahn import AllenCahn
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.pde.fisher_kpp import FisherKPP
from pdesolve.pde.fitzhugh_nagumo import FitzHughNagumo
from pdesolve.pde.heat import Heat
from pdesolve.pde.helmholtz import Helmholtz
from pdesolve.pde.klein_gordon import KleinGordon
from pdesolve.pde.korteweg_de_vries import KortewegDeVries
from pdesolve.pde.linear_advection import LinearAdvection
from pdesolve.pde.nonlinear_diffusion import NonlinearDiffusion
from pdesolve.pde.steady_navier_stokes import SteadyNavierStokes
from pdesolve.problem import (
    AbstractDistribution,
    Family,
    LogUniform,
    MeshFamily,
    Observations,
    Problem,
    ProblemFamily,
    Uniform,
)
from pdesolve.reference import (
    MethodOfLines,
    diffusion_sorption_family,
    diffusion_sorption_frame,
    diffusion_sorption_function_family,
    diffusion_sorption_function_frame,
    diffusion_sorption_problem,
    reference_solution,
)
from pdesolve.reference.abstract import AbstractReference, ExactSolution
from pdesolve.results import FlatLayout, PDEBenchData, PerSeedLayout, read_pdebench, write_pdebench
from pdesolve.solution import Solution
from pdesolve.status import SolveError, SolveStatus
from pdesolve.training import (
    CheckpointError,
    CosineDecay,
    EarlyStop,
    TrainingError,
    TrainingReport,
    TrainingSettings,
    load_expert,
    resume,
    save_expert,
    solve,
    train,
)
from pdesolve.unrolled import UnrolledAdjoint

if TYPE_CHECKING:
    from pdesolve.convex import ConvexAdjoint as ConvexAdjoint
    from pdesolve.discretization.finite_elements.method import FiniteElements as FiniteElements
    from pdesolve.discretization.finite_elements.stabilisation import StreamlineUpwind as StreamlineUpwind
    from pdesolve.discretization.finite_elements.stabilisation import Unstabilised as Unstabilised
    from pdesolve.discretization.finite_elements.time_scheme import BDF2 as BDF2
    from pdesolve.discretization.finite_elements.time_scheme import ThetaMethod as ThetaMethod
    from pdesolve.experts.classical import Classical as Classical
    from pdesolve.experts.classical import ClassicalExpert as ClassicalExpert
    from pdesolve.experts.gaussian_network import GaussianNetwork as GaussianNetwork
    from pdesolve.experts.gaussians.recovery import ParameterRecovery as ParameterRecovery
    from pdesolve.experts.gaussians.recovery import Recovered as Recovered
    from pdesolve.experts.lagrangian.fitting import LagrangianReport as LagrangianReport
    from pdesolve.experts.lagrangian.fitting import Stage as Stage
    from pdesolve.experts.lagrangian.flow import Follow as Follow
    from pdesolve.experts.lagrangian.flow import Still as Still
    from pdesolve.experts.lagrangian.one_off import LagrangianFit as LagrangianFit
    from pdesolve.experts.lagrangian.patched import PatchedBranch as PatchedBranch
    from pdesolve.experts.lagrangian.pinn import LagrangianPINN as LagrangianPINN
    from pdesolve.experts.lagrangian.spectral import SpectralBranch as SpectralBranch
    from pdesolve.experts.lagrangian.tanh import TanhBranch as TanhBranch
    from pdesolve.experts.lagrangian.zero import ZeroBranch as ZeroBranch
    from pdesolve.experts.mesh_coupling import AbstractMeshCoupling as AbstractMeshCoupling
    from pdesolve.experts.mesh_coupling import BlendedPatches as BlendedPatches
    from pdesolve.experts.mesh_coupling import SeparatePatches as SeparatePatches
    from pdesolve.experts.mesh_coupling import TiedPatches as TiedPatches
    from pdesolve.experts.mesh_mixture import MeshMixture as MeshMixture
    from pdesolve.experts.patch_features import PatchFeatures as PatchFeatures
    from pdesolve.experts.patch_fields import AbstractPatchFields as AbstractPatchFields
    from pdesolve.experts.patch_fields import EquationFields as EquationFields
    from pdesolve.experts.patch_fields import NetworkFields as NetworkFields
    from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians as PhysicsInformedGaussians
    from pdesolve.pde.diffusion import Diffusion as Diffusion
    from pdesolve.pde.divergence_form import AbstractDivergenceForm as AbstractDivergenceForm
    from pdesolve.pde.divergence_form import DivergenceForm as DivergenceForm
    from pdesolve.pde.elasticity import LinearElasticity as LinearElasticity
    from pdesolve.pde.heat_conduction import HeatConduction as HeatConduction
    from pdesolve.training.slabs import fit_slabs as fit_slabs

__version__ = "0.1.0"

__all__ = [
    "BDF2",
    "AbstractAdjoint",
    "AbstractAssignment",
    "AbstractCondition",
    "AbstractCoordinateMap",
    "AbstractCoupling",
    "AbstractDiscretization",
    "AbstractDistribution",
    "AbstractDivergenceForm",
    "AbstractExecution",
    "AbstractExpert",
    "AbstractLifting",
    "AbstractLinearConstraint",
    "AbstractMeshCoupling",
    "AbstractNonlinearSolver",
    "AbstractPDE",
    "AbstractPatchFields",
    "AbstractReference",
    "AbstractRidge",
    "AbstractRowWeight",
    "AbstractSampler",
    "AdditiveLifting",
    "AllenCahn",
    "Ansatz",
    "BlendedPatches",
    "BlockCholesky",
    "BlockMatrix",
    "Bounds",
    "Box",
    "Burgers",
    "CellValues",
    "CheckpointError",
    "Classical",
    "ClassicalExpert",
    "Collocation",
    "Compiled",
    "ConvexAdjoint",
    "CoordinateNetwork",
    "CosineDecay",
    "Cuboid",
    "Decomposition",
    "DetachedAdjoint",
    "Diffusion",
    "DiffusionSorption",
    "Dirichlet",
    "DivergenceForm",
    "Eager",
    "EarlyStop",
    "EquationFields",
    "ExactSolution",
    "Family",
    "Field",
    "FiniteDifferences",
    "FiniteElements",
    "FisherKPP",
    "FitzHughNagumo",
    "FixedRidge",
    "FlatLayout",
    "Flux",
    "Follow",
    "ForwardMode",
    "FourierNeuralOperator",
    "FourierSpectral",
    "Frame",
    "FunctionCoordinates",
    "FunctionLifting",
    "FunctionPDE",
    "GaussNewton",
    "GaussianNetwork",
    "GradedSampler",
    "HardConstraintExpert",
    "HardConstraintLayer",
    "Heat",
    "HeatConduction",
    "Helmholtz",
    "ImplicitAdjoint",
    "Independent",
    "InitialCondition",
    "InterfaceRows",
    "Interval",
    "Jet",
    "JoinedCoordinates",
    "KleinGordon",
    "KortewegDeVries",
    "LagrangianFit",
    "LagrangianPINN",
    "LagrangianReport",
    "LayerReport",
    "LevenbergMarquardt",
    "LinearAdvection",
    "LinearElasticity",
    "LogUniform",
    "MassBalance",
    "MeshDecomposition",
    "MeshDomain",
    "MeshFamily",
    "MeshMixture",
    "MethodOfLines",
    "MixtureOfExperts",
    "NetworkFields",
    "Neumann",
    "NoLifting",
    "NodeValues",
    "NonlinearDiffusion",
    "Observations",
    "OnePerPatch",
    "OverlappingDecomposition",
    "PDEBenchData",
    "ParameterRecovery",
    "PartitionOfUnity",
    "Patch",
    "PatchFeatures",
    "PatchedBranch",
    "PerSeedLayout",
    "Periodic",
    "PhysicsInformedGaussians",
    "Problem",
    "ProblemFamily",
    "RandomInclusions",
    "Recovered",
    "Rectangle",
    "RelativeRidge",
    "Robin",
    "RowCounts",
    "ScaledCoordinates",
    "SeparatePatches",
    "Shared",
    "SimilarityCoordinates",
    "SimilarityLifting",
    "SimplexMesh",
    "SobolSampler",
    "SoftConstraintExpert",
    "Solution",
    "SolveError",
    "SolveStatus",
    "SpectralBranch",
    "Stage",
    "SteadyNavierStokes",
    "Still",
    "StreamlineUpwind",
    "StructuredGrid",
    "TanhBranch",
    "TaylorMode",
    "ThetaMethod",
    "TiedPatches",
    "TimeInterval",
    "TimePower",
    "TopOneGate",
    "TrainingError",
    "TrainingReport",
    "TrainingSettings",
    "TransfiniteLifting",
    "Uniform",
    "UniformSampler",
    "UnrolledAdjoint",
    "Unstabilised",
    "Unweighted",
    "Violation",
    "WallLifting",
    "Whitening",
    "ZeroBranch",
    "cartesian_decomposition",
    "diffusion_sorption_family",
    "diffusion_sorption_frame",
    "diffusion_sorption_function_family",
    "diffusion_sorption_function_frame",
    "diffusion_sorption_problem",
    "fit_slabs",
    "generic_frame",
    "graph_decomposition",
    "load_expert",
    "minimise",
    "parametric_expert",
    "read_mesh",
    "read_pdebench",
    "reference_solution",
    "resume",
    "save_expert",
    "soft_expert",
    "solve",
    "train",
    "write_pdebench",
]

_HOMES = {
    "AbstractDivergenceForm": "pde.divergence_form",
    "AbstractMeshCoupling": "experts.mesh_coupling",
    "AbstractPatchFields": "experts.patch_fields",
    "BDF2": "discretization.finite_elements.time_scheme",
    "BlendedPatches": "experts.mesh_coupling",
    "Classical": "experts.classical",
    "ClassicalExpert": "experts.classical",
    "ConvexAdjoint": "convex",
    "Diffusion": "pde.diffusion",
    "DivergenceForm": "pde.divergence_form",
    "EquationFields": "experts.patch_fields",
    "FiniteElements": "discretization.finite_elements.method",
    "Follow": "experts.lagrangian.flow",
    "GaussianNetwork": "experts.gaussian_network",
    "HeatConduction": "pde.heat_conduction",
    "LagrangianFit": "experts.lagrangian.one_off",
    "LagrangianPINN": "experts.lagrangian.pinn",
    "LagrangianReport": "experts.lagrangian.fitting",
    "LinearElasticity": "pde.elasticity",
    "MeshMixture": "experts.mesh_mixture",
    "NetworkFields": "experts.patch_fields",
    "ParameterRecovery": "experts.gaussians.recovery",
    "PatchFeatures": "experts.patch_features",
    "PatchedBranch": "experts.lagrangian.patched",
    "PhysicsInformedGaussians": "experts.physics_informed_gaussians",
    "Recovered": "experts.gaussians.recovery",
    "SeparatePatches": "experts.mesh_coupling",
    "SpectralBranch": "experts.lagrangian.spectral",
    "Stage": "experts.lagrangian.fitting",
    "Still": "experts.lagrangian.flow",
    "StreamlineUpwind": "discretization.finite_elements.stabilisation",
    "TanhBranch": "experts.lagrangian.tanh",
    "ThetaMethod": "discretization.finite_elements.time_scheme",
    "TiedPatches": "experts.mesh_coupling",
    "Unstabilised": "discretization.finite_elements.stabilisation",
    "ZeroBranch": "experts.lagrangian.zero",
    "fit_slabs": "training.slabs",
}

__getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
