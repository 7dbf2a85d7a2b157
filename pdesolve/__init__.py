"""pdesolve: PDEs solved by mixtures of experts that meet the equation as a hard constraint, in PyTorch.

What not every use needs (finite elements, experts on meshes, one-off solvers) is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from pdesolve.condition import AbstractCondition, Dirichlet, Flux, InitialCondition, Neumann, Periodic, Robin
from pdesolve.discretization.abstract import AbstractDiscretization
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import Collocation, ForwardMode, TaylorMode
from pdesolve.discretization.finite_differences import FiniteDifferences
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
from pdesolve.experts.coordinate_network import CoordinateNetwork
from pdesolve.experts.coupling import AbstractCoupling, Independent, InterfaceRows
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer, LayerReport
from pdesolve.experts.linear_constraint import AbstractLinearConstraint, Violation
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert, soft_expert
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
from pdesolve.solution import Solution
from pdesolve.status import SolveError, SolveStatus

if TYPE_CHECKING:
    from pdesolve.convex import ConvexAdjoint as ConvexAdjoint
    from pdesolve.discretization.finite_elements.method import FiniteElements as FiniteElements
    from pdesolve.discretization.finite_elements.stabilisation import StreamlineUpwind as StreamlineUpwind
    from pdesolve.discretization.finite_elements.stabilisation import Unstabilised as Unstabilised
    from pdesolve.discretization.finite_elements.time_scheme import BDF2 as BDF2
    from pdesolve.discretization.finite_elements.time_scheme import ThetaMethod as ThetaMethod
    from pdesolve.discretization.fourier import FourierSpectral as FourierSpectral
    from pdesolve.experts.bounds import Bounds as Bounds
    from pdesolve.experts.classical import Classical as Classical
    from pdesolve.experts.classical import ClassicalExpert as ClassicalExpert
    from pdesolve.experts.fourier_neural_operator import FourierNeuralOperator as FourierNeuralOperator
    from pdesolve.experts.gate import TopOneGate as TopOneGate
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
    from pdesolve.experts.mass_balance import MassBalance as MassBalance
    from pdesolve.experts.mesh_coupling import AbstractMeshCoupling as AbstractMeshCoupling
    from pdesolve.experts.mesh_coupling import BlendedPatches as BlendedPatches
    from pdesolve.experts.mesh_coupling import SeparatePatches as SeparatePatches
    from pdesolve.experts.mesh_coupling import TiedPatches as TiedPatches
    from pdesolve.experts.mesh_mixture import MeshMixture as MeshMixture
    from pdesolve.experts.partition_of_unity import PartitionOfUnity as PartitionOfUnity
    from pdesolve.experts.patch_features import PatchFeatures as PatchFeatures
    from pdesolve.experts.patch_fields import AbstractPatchFields as AbstractPatchFields
    from pdesolve.experts.patch_fields import EquationFields as EquationFields
    from pdesolve.experts.patch_fields import NetworkFields as NetworkFields
    from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians as PhysicsInformedGaussians
    from pdesolve.frames.additive import AdditiveLifting as AdditiveLifting
    from pdesolve.frames.generic import Frame as Frame
    from pdesolve.frames.generic import generic_frame as generic_frame
    from pdesolve.frames.similarity import SimilarityCoordinates as SimilarityCoordinates
    from pdesolve.frames.similarity import SimilarityLifting as SimilarityLifting
    from pdesolve.frames.transfinite import ScaledCoordinates as ScaledCoordinates
    from pdesolve.frames.transfinite import TransfiniteLifting as TransfiniteLifting
    from pdesolve.frames.walls import WallLifting as WallLifting
    from pdesolve.pde.allen_cahn import AllenCahn as AllenCahn
    from pdesolve.pde.burgers import Burgers as Burgers
    from pdesolve.pde.diffusion import Diffusion as Diffusion
    from pdesolve.pde.diffusion_sorption import DiffusionSorption as DiffusionSorption
    from pdesolve.pde.divergence_form import AbstractDivergenceForm as AbstractDivergenceForm
    from pdesolve.pde.divergence_form import DivergenceForm as DivergenceForm
    from pdesolve.pde.elasticity import LinearElasticity as LinearElasticity
    from pdesolve.pde.fisher_kpp import FisherKPP as FisherKPP
    from pdesolve.pde.fitzhugh_nagumo import FitzHughNagumo as FitzHughNagumo
    from pdesolve.pde.heat import Heat as Heat
    from pdesolve.pde.heat_conduction import HeatConduction as HeatConduction
    from pdesolve.pde.helmholtz import Helmholtz as Helmholtz
    from pdesolve.pde.klein_gordon import KleinGordon as KleinGordon
    from pdesolve.pde.korteweg_de_vries import KortewegDeVries as KortewegDeVries
    from pdesolve.pde.linear_advection import LinearAdvection as LinearAdvection
    from pdesolve.pde.nonlinear_diffusion import NonlinearDiffusion as NonlinearDiffusion
    from pdesolve.pde.steady_navier_stokes import SteadyNavierStokes as SteadyNavierStokes
    from pdesolve.reference import MethodOfLines as MethodOfLines
    from pdesolve.reference import diffusion_sorption_family as diffusion_sorption_family
    from pdesolve.reference import diffusion_sorption_frame as diffusion_sorption_frame
    from pdesolve.reference import diffusion_sorption_function_family as diffusion_sorption_function_family
    from pdesolve.reference import diffusion_sorption_function_frame as diffusion_sorption_function_frame
    from pdesolve.reference import diffusion_sorption_problem as diffusion_sorption_problem
    from pdesolve.reference import reference_solution as reference_solution
    from pdesolve.reference.abstract import AbstractReference as AbstractReference
    from pdesolve.reference.abstract import ExactSolution as ExactSolution
    from pdesolve.results import FlatLayout as FlatLayout
    from pdesolve.results import PDEBenchData as PDEBenchData
    from pdesolve.results import PerSeedLayout as PerSeedLayout
    from pdesolve.results import read_pdebench as read_pdebench
    from pdesolve.results import write_pdebench as write_pdebench
    from pdesolve.training import CheckpointError as CheckpointError
    from pdesolve.training import CosineDecay as CosineDecay
    from pdesolve.training import EarlyStop as EarlyStop
    from pdesolve.training import TrainingError as TrainingError
    from pdesolve.training import TrainingReport as TrainingReport
    from pdesolve.training import TrainingSettings as TrainingSettings
    from pdesolve.training import load_expert as load_expert
    from pdesolve.training import resume as resume
    from pdesolve.training import save_expert as save_expert
    from pdesolve.training import solve as solve
    from pdesolve.training import train as train
    from pdesolve.training.slabs import fit_slabs as fit_slabs
    from pdesolve.unrolled import UnrolledAdjoint as UnrolledAdjoint

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
    "AbstractReference": "reference.abstract",
    "AdditiveLifting": "frames.additive",
    "AllenCahn": "pde.allen_cahn",
    "BDF2": "discretization.finite_elements.time_scheme",
    "BlendedPatches": "experts.mesh_coupling",
    "Bounds": "experts.bounds",
    "Burgers": "pde.burgers",
    "CheckpointError": "training",
    "Classical": "experts.classical",
    "ClassicalExpert": "experts.classical",
    "ConvexAdjoint": "convex",
    "CosineDecay": "training",
    "Diffusion": "pde.diffusion",
    "DiffusionSorption": "pde.diffusion_sorption",
    "DivergenceForm": "pde.divergence_form",
    "EarlyStop": "training",
    "EquationFields": "experts.patch_fields",
    "ExactSolution": "reference.abstract",
    "FiniteElements": "discretization.finite_elements.method",
    "FisherKPP": "pde.fisher_kpp",
    "FitzHughNagumo": "pde.fitzhugh_nagumo",
    "FlatLayout": "results",
    "Follow": "experts.lagrangian.flow",
    "FourierNeuralOperator": "experts.fourier_neural_operator",
    "FourierSpectral": "discretization.fourier",
    "Frame": "frames.generic",
    "GaussianNetwork": "experts.gaussian_network",
    "Heat": "pde.heat",
    "HeatConduction": "pde.heat_conduction",
    "Helmholtz": "pde.helmholtz",
    "KleinGordon": "pde.klein_gordon",
    "KortewegDeVries": "pde.korteweg_de_vries",
    "LagrangianFit": "experts.lagrangian.one_off",
    "LagrangianPINN": "experts.lagrangian.pinn",
    "LagrangianReport": "experts.lagrangian.fitting",
    "LinearAdvection": "pde.linear_advection",
    "LinearElasticity": "pde.elasticity",
    "MassBalance": "experts.mass_balance",
    "MeshMixture": "experts.mesh_mixture",
    "MethodOfLines": "reference",
    "NetworkFields": "experts.patch_fields",
    "NonlinearDiffusion": "pde.nonlinear_diffusion",
    "PDEBenchData": "results",
    "ParameterRecovery": "experts.gaussians.recovery",
    "PartitionOfUnity": "experts.partition_of_unity",
    "PatchFeatures": "experts.patch_features",
    "PatchedBranch": "experts.lagrangian.patched",
    "PerSeedLayout": "results",
    "PhysicsInformedGaussians": "experts.physics_informed_gaussians",
    "Recovered": "experts.gaussians.recovery",
    "ScaledCoordinates": "frames.transfinite",
    "SeparatePatches": "experts.mesh_coupling",
    "SimilarityCoordinates": "frames.similarity",
    "SimilarityLifting": "frames.similarity",
    "SpectralBranch": "experts.lagrangian.spectral",
    "Stage": "experts.lagrangian.fitting",
    "SteadyNavierStokes": "pde.steady_navier_stokes",
    "Still": "experts.lagrangian.flow",
    "StreamlineUpwind": "discretization.finite_elements.stabilisation",
    "TanhBranch": "experts.lagrangian.tanh",
    "ThetaMethod": "discretization.finite_elements.time_scheme",
    "TiedPatches": "experts.mesh_coupling",
    "TopOneGate": "experts.gate",
    "TrainingError": "training",
    "TrainingReport": "training",
    "TrainingSettings": "training",
    "TransfiniteLifting": "frames.transfinite",
    "UnrolledAdjoint": "unrolled",
    "Unstabilised": "discretization.finite_elements.stabilisation",
    "WallLifting": "frames.walls",
    "ZeroBranch": "experts.lagrangian.zero",
    "diffusion_sorption_family": "reference",
    "diffusion_sorption_frame": "reference",
    "diffusion_sorption_function_family": "reference",
    "diffusion_sorption_function_frame": "reference",
    "diffusion_sorption_problem": "reference",
    "fit_slabs": "training.slabs",
    "generic_frame": "frames.generic",
    "load_expert": "training",
    "read_pdebench": "results",
    "reference_solution": "reference",
    "resume": "training",
    "save_expert": "training",
    "solve": "training",
    "train": "training",
    "write_pdebench": "results",
}

_PACKAGES = ("reference", "results", "training")

__getattr__ = loader(__name__, _HOMES, _PACKAGES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_PACKAGES})
