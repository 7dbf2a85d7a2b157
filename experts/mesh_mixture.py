"""A mixture of experts over patches of a mesh."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from pdesolve.discretization.finite_elements.method import FiniteElements, cases_of, device_of_inputs
from pdesolve.domains.mesh_parts import components
from pdesolve.domains.mesh_values import AbstractMeshValues
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.mesh_coupling import AbstractMeshCoupling, BlendedPatches, GalerkinSystem, StackedEquation
from pdesolve.experts.mesh_stack import ElementSum, PatchStack
from pdesolve.experts.patch_features import PatchFeatures
from pdesolve.experts.patch_fields import AbstractPatchFields, EquationFields, PatchFactors, is_symmetric
from pdesolve.experts.provenance import provenance
from pdesolve.field import Field
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.block_sparse import BlockSparseOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.problem import Problem
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus, raise_unless_converged

if TYPE_CHECKING:
    from pdesolve.discretization.finite_elements.discrete_problem import DiscreteProblem
    from pdesolve.discretization.finite_elements.weak_form import Case
    from pdesolve.domains.mesh_decomposition import MeshDecomposition

_LEVELS = ((1e-12, 1e-10), (1e-8, 1e-7))
"""Part of a patch's largest eigenvalue (of its scaled Gram matrix) below which others count as none, and the ridge."""

_NULL = 1e-10
"""Row sums over diagonal entries below which a part of the mesh floats; the same for the sum of a source."""

_HELD = 1e-8
"""Part of the largest singular value of motions at prescribed values below which a motion is not held."""


@dataclass(frozen=True, eq=False)
class MeshPatchSolve:
    """One case solved.

    Arguments:
        u: at the P nodes of the mesh, field after field, (F P,).
        pieces: each patch's own fields at the nodes of the inner patches, stacked.
        weights: w, (K, N).
        defect: f - K u, zero where values are prescribed, (F P,).
        matrix: K over each patch and its surroundings, stacked.
        factors: of that matrix inside the patches, where fields were made with it.
        status: a scalar.
        seconds: of the fields, and of the coupled system.
    """

    u: Tensor
    pieces: Tensor
    weights: Tensor
    defect: Tensor
    matrix: SparseOperator
    factors: PatchFactors | None
    status: Tensor
    seconds: tuple[float, float]


@final
class MeshMixture(AbstractExpert):
    """u = Σ_k φ_k (p_k + Σ_i w_ki b_ki) on patches of a mesh, the equation being a finite-element operator K u = f.

    A network gives N values at nodes of each patch, ``fields`` makes basis fields of them, and ``coupling`` one
    system Bᵀ K B w = Bᵀ (f - K p) for the weights of all patches: Galerkin's method in the span of the experts.
    Gradients reach the network (``residual``) and the coefficients through both solves.

    Arguments:
        problem: linear, steady, on a mesh; of F fields.
        network: features (n, features) to basis values (n, F N), field after field; shared by all patches.
        decomposition: whose owners are the patches; its overlap is the coupling's.
        fields: default ``EquationFields()``; ``NetworkFields()`` takes the network's output as it is.
        coupling: default ``BlendedPatches()``; ``TiedPatches()`` or ``SeparatePatches()``.
        features: default ``PatchFeatures()``, the place in the patch alone.
        method: default ``FiniteElements(order)`` with the order of the mesh.

    Raises:
        TypeError: a problem on a box.
        ValueError: time, a nonlinear equation, a decomposition of another mesh, an order other than the
            mesh's, a network of another number of features.
        SolveError: at the call, a case that failed, unless ``throw=False``.

    Notes:
        The error against a converged solution is that of the elements and that of the span; with ``EquationFields`` and
        N = 32 the former is the larger (docs/finite_elements.md). Cases are solved one after another, as sparse
        factorisations are, on the CPU; the network runs where its parameters are, results go where the inputs are.

    Good values: N = 16 to 32; patches of 500 to 5000 nodes.
    """

    def __init__(
        self,
        problem: Problem,
        network: nn.Module,
        decomposition: MeshDecomposition,
        *,
        fields: AbstractPatchFields | None = None,
        coupling: AbstractMeshCoupling | None = None,
        features: PatchFeatures | None = None,
        method: FiniteElements | None = None,
    ) -> None:
        from pdesolve.domains.mesh_decomposition import MeshDecomposition  # loads when it is first used

        super().__init__()
        mesh = problem.mesh_domain.mesh
        if decomposition.mesh is not mesh:
            raise ValueError("the decomposition cuts another mesh than the problem's: decompose problem.domain.mesh")
        if problem.domain.has_time or not problem.trace.linear:
            raise ValueError("a MeshMixture covers linear steady problems: use Classical for others")
        method = method or FiniteElements(mesh.order)
        if method.order != mesh.order:
            raise ValueError(f"elements of order {method.order} on a mesh of order {mesh.order}: take the mesh's order")
        self._problem, self.network = problem, network
        self.fields, self.coupling = fields or EquationFields(), coupling or BlendedPatches()
        self.features = features or PatchFeatures()
        self.discrete: DiscreteProblem = method.discretise(problem)
        layers = self.coupling.layers
        inner = MeshDecomposition(mesh, decomposition.owner, layers, decomposition.cost)
        outer = MeshDecomposition(mesh, decomposition.owner, layers + self.fields.layers)
        self.stack = PatchStack(inner, outer, len(problem.field_names))

    @property
    def problem(self) -> Problem:
        return self._problem

    def residual(self, parameters: Mapping[str, Any], generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        found = [self.solve(case) for case in cases_of(self.problem, parameters)]
        status = torch.stack([f.status for f in found]).unsqueeze(1).expand(-1, self.stack.count)
        device = device_of_inputs(parameters)
        return {"equation": torch.stack([self._local_energies(f) for f in found]).to(device)}, status.to(device)

    def forward(
        self,
        parameters: Mapping[str, Any],
        grid: Any = None,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        """As ``AbstractExpert.forward``; ``grid`` is the problem's mesh (default); parameters may be fields on it."""
        check_mesh(self.problem, grid)
        found = [self.solve(case, self.seeds(case).detach()) for case in cases_of(self.problem, parameters)]
        status = torch.stack([f.status for f in found]).unsqueeze(1).expand(-1, self.stack.count)
        if throw:
            raise_unless_converged(status)
        device = device_of_inputs(parameters)
        values = torch.stack([f.u for f in found]).unflatten(1, (self.stack.fields, -1)).to(device)
        field = Field(values, self.problem.mesh_domain.mesh, self.problem.field_names)
        stats = {
            "fields_seconds": torch.tensor([f.seconds[0] for f in found]),
            "system_seconds": torch.tensor([f.seconds[1] for f in found]),
            "jump": torch.stack([self.jump(f) for f in found]).detach(),
        }
        numbers = {k: torch.as_tensor(v) for k, v in parameters.items() if not isinstance(v, AbstractMeshValues)}
        record = provenance(self.problem, self, coupling=self.coupling, fields=self.fields)
        return Solution(field, status.to(device), stats, numbers, provenance=record)

    def jump(self, found: MeshPatchSolve) -> Tensor:
        """max |u_a - u_b| of neighbours' own fields at the nodes of their interfaces, over max |u|."""
        core = self.stack.core
        _, first, second = core.interfaces
        if not first.numel():
            return found.u.new_zeros(())
        a, b = (core.at(found.pieces.unsqueeze(0), side) for side in (first, second))
        largest = found.u.abs().max()
        return (a - b).abs().max() / torch.where(largest > 0, largest, 1.0)

    def seeds(self, case: Case) -> Tensor:
        """What the network says for the stacked unknowns that the fields ask for, (N, n).

        Raises:
            ValueError: outputs that are no multiple of the number of fields.
        """
        nodes, number, field = self._asked
        features = self.features.make(self.stack, case, nodes)
        device = next((p.device for p in self.network.parameters()), features.device)
        values: Tensor = self.network(features.to(device)).to(features)
        if values.shape[1] % self.stack.fields:
            raise ValueError(
                f"the network has {values.shape[1]} outputs for {self.stack.fields} fields: give a multiple, N for each"
            )
        chosen: Tensor = values.unflatten(1, (self.stack.fields, -1))[number, field].T
        return chosen

    def solve(self, case: Case, seeds: Tensor | None = None) -> MeshPatchSolve:
        """One case; differentiable in its tensors and the seeds.

        Arguments:
            case: parameters.
            seeds: default ``seeds(case)``, with the network's gradient.
        """
        started = time.perf_counter()
        self.discrete.check(case)
        discrete, stack, n_fields = self.discrete, self.stack, self.stack.fields
        zero = torch.zeros(n_fields * discrete.space.size, dtype=torch.float64)
        lift = discrete.lifted(zero, case, None).reshape(n_fields, -1)
        matrices, vectors = [], []
        for integrand in discrete.integrands(case, None):
            state = integrand.state(lift, None)
            matrices.append(integrand.matrices(state, {}).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2))
            vectors.append(-integrand.residual(state).movedim(1, 0).flatten(1))
        entries, loads = torch.cat(matrices), torch.cat(vectors)
        around, inner, whole = self._sums
        matrix = around.matrix(entries)
        seeds = self.seeds(case) if seeds is None else seeds
        made = self.fields.make(stack, matrix, around.vector(loads), self._fixed, seeds)
        middle = time.perf_counter()
        core, own = stack.core, made.at(stack.core_places)
        stiffness, load = whole.matrix(entries), whole.vector(loads)
        at_nodes = discrete.space.at_nodes(lift).reshape(-1)
        defect = load - stiffness.mv(core.joined(own.offset))
        equation = StackedEquation(inner.matrix(entries), inner.vector(loads), defect[core.nodes])
        weights, status = _solved(self.coupling.system(core, equation, own), is_symmetric(stiffness))
        pieces = own.offset + (weights[core.patch] * own.basis.T).sum(1)
        worst = torch.maximum(made.status, status)
        singular = self._undetermined(stiffness, load)
        if singular != SolveStatus.CONVERGED:
            worst = torch.full_like(worst, int(singular))
        pieces = pieces + self._level(stiffness, load, core.joined(pieces))[core.nodes]
        correction = core.joined(pieces)
        rest = (load - stiffness.mv(correction)).index_fill(0, self._fixed_unknowns, 0.0)
        u, pieces = correction + at_nodes, pieces + at_nodes[core.nodes]
        seconds = middle - started, time.perf_counter() - middle
        return MeshPatchSolve(u, pieces, weights, rest, matrix, made.factors, worst, seconds)

    def _undetermined(self, stiffness: SparseOperator, load: Tensor) -> SolveStatus:
        """What the coupled system cannot tell, being regularised: whether parts of the mesh float.

        Returns:
            ``SINGULAR`` where one of several parts does, one of several fields, or one with transport; ``INCOMPATIBLE``
            where the whole does and the source does not add up to zero.
        """
        if not len(self._loose):
            return SolveStatus.CONVERGED
        with torch.no_grad():
            across, down = self._null(stiffness), self._null(stiffness.transposed())
            if not across and not down:
                return SolveStatus.CONVERGED
            # with transport it is not known what the source has to fit
            if self.stack.fields * (int(self._parts.max()) + 1) > 1 or not (across and down):
                return SolveStatus.SINGULAR
            outside = float(load.sum().abs()) > _NULL * len(load) ** 0.5 * float(load.norm())
            return SolveStatus.INCOMPATIBLE if outside else SolveStatus.CONVERGED

    def _null(self, stiffness: SparseOperator) -> bool:
        """Whether a combination of the loose motions is in the null space."""
        scale = stiffness.diagonal().abs().clamp_min(torch.finfo(stiffness.values.dtype).tiny)
        pushed = stiffness.mv(self._loose) / scale
        return bool(pushed.isfinite().all()) and bool((torch.linalg.svdvals(pushed) <= _NULL).any())

    def _level(self, stiffness: SparseOperator, load: Tensor, found: Tensor) -> Tensor:
        """The loose motion by which u is off, (F P,): Galerkin's method in these motions.

        What holds the level of such a part, heat transfer at its walls or springs, may be far weaker than the ridge of
        the coupled system. Where nothing does, the mean becomes zero.
        """
        if not len(self._loose):
            return torch.zeros_like(found)
        if self._null(stiffness.with_tensors([stiffness.values.detach()])):
            return -found.mean() * torch.ones_like(found)
        pushed = stiffness.mv(self._loose)
        right = self._loose @ (load - stiffness.mv(found))
        level: Tensor = torch.linalg.solve((pushed @ self._loose.T).T, right) @ self._loose
        return level

    @cached_property
    def _loose(self) -> Tensor:
        """Motions of each part of the mesh that no prescribed value holds, (n, F P): of the order of one.

        Constants of each field, and where the fields are as many as the axes, such as displacements, rotations.
        """
        points, n_fields = self.stack.inner.mesh.points, self.stack.fields
        fixed = torch.zeros(n_fields * len(points), dtype=torch.bool)
        fixed[self._fixed_unknowns] = True
        found = [points.new_zeros(0, len(fixed))]
        for part in range(int(self._parts.max()) + 1):
            nodes = (self._parts == part).nonzero().squeeze(1)
            motions = _motions(points[nodes], n_fields)
            unknowns = self.stack.unknowns(nodes, len(points))
            free = _vanishing(motions, fixed[unknowns])
            found.append(free.new_zeros(len(free), len(fixed)).index_copy(1, unknowns, free))
        return torch.cat(found)

    @cached_property
    def _parts(self) -> Tensor:
        """Which piece of the mesh each node belongs to, (P,)."""
        mesh = self.stack.inner.mesh
        found = torch.zeros(mesh.n_nodes, dtype=torch.int64)
        found[mesh.cells] = components(mesh).unsqueeze(1).expand_as(mesh.cells)
        return found

    def _local_energies(self, found: MeshPatchSolve) -> Tensor:
        """√(r_kᵀ K_k⁻¹ r_k) of each patch, (K,): what a correction there, zero around it, would gain in energy.

        r is orthogonal to the span of the experts, so these are an additive Schwarz estimate of the error in the energy
        norm (Toselli & Widlund, *Domain Decomposition Methods*, 2005, section 2.5): no solution is needed.
        """
        stack = self.stack
        factors = found.factors or PatchFactors.of(stack, found.matrix, self._fixed, None)
        right = found.defect[stack.nodes[factors.free]]
        gain, _ = factors.fixed().solve(right)
        energy = right.new_zeros(stack.count).index_add(0, stack.patch[factors.free], right * gain)
        return energy.clamp_min(torch.finfo(energy.dtype).tiny).sqrt()

    @cached_property
    def _tables(self) -> list[Any]:
        defaults: Case = {k: torch.tensor(float(v), dtype=torch.float64) for k, v in self.problem.parameters.items()}
        return [integrand.table for integrand in self.discrete.integrands(defaults, None)]

    @cached_property
    def _fixed_unknowns(self) -> Tensor:
        """The unknowns of the mesh with prescribed values, (n,)."""
        size, n_nodes = self.discrete.space.size, len(self._node_of)
        return self.discrete.fixed // size * n_nodes + self._node_of[self.discrete.fixed % size]

    @cached_property
    def _fixed(self) -> Tensor:
        """Whether a stacked unknown has a prescribed value, (F S,)."""
        there = torch.zeros(self.stack.fields * self.discrete.space.size, dtype=torch.bool)
        there[self._fixed_unknowns] = True
        return there[self.stack.nodes]

    @cached_property
    def _asked(self) -> tuple[Tensor, Tensor, Tensor]:
        """Stacked nodes at which the network is asked; of each value read, its place among them and its field."""
        places = self.fields.places(self.stack, self._fixed)
        nodes, number = torch.unique(places % self.stack.n_nodes, return_inverse=True)
        return nodes, number, places // self.stack.n_nodes

    @cached_property
    def _node_of(self) -> Tensor:
        """The node of the mesh at each degree of freedom, (P,)."""
        order = self.discrete.space.node_dofs
        return torch.zeros_like(order).index_copy(0, order, torch.arange(len(order)))

    @cached_property
    def _sums(self) -> tuple[ElementSum, ElementSum, ElementSum]:
        """Over each patch with its surroundings, over each inner patch, over the mesh."""
        places = self._node_of[torch.cat([table.dofs for table in self._tables])]
        places = self.stack.unknowns(places, self.discrete.space.size)
        whole = ElementSum.of(torch.arange(len(places)), places, self.stack.fields * self.discrete.space.size)
        around, inner = (stack.sums(self._tables, self._node_of) for stack in (self.stack, self.stack.core))
        return around, inner, whole


def _motions(points: Tensor, n_fields: int) -> Tensor:
    """Constants of each field, and rotations about the middle where there is a field for each axis, (n, F P)."""
    eye = torch.eye(n_fields, dtype=points.dtype)
    found = [eye.unsqueeze(2).expand(-1, -1, len(points))]
    if n_fields == points.shape[1]:
        place = points - points.mean(0)
        place = place / place.abs().max()
        for a, b in combinations(range(n_fields), 2):
            found.append((torch.outer(eye[b], place[:, a]) - torch.outer(eye[a], place[:, b])).unsqueeze(0))
    return torch.cat(found).flatten(1)


def _vanishing(motions: Tensor, fixed: Tensor) -> Tensor:
    """The combinations of motions (n, F P) that are zero where values are prescribed."""
    if not bool(fixed.any()):
        return motions
    held = torch.cat([motions[:, fixed], motions.new_zeros(len(motions), len(motions))], 1)  # at least as wide as long
    left, size, _ = torch.linalg.svd(held, full_matrices=False)
    rank = int((size > _HELD * size.amax()).sum())
    free: Tensor = left[:, rank:].T @ motions
    return free


def check_mesh(problem: Problem, mesh: object) -> None:
    """Raise unless a solution is wanted on the problem's own mesh.

    Raises:
        TypeError: no mesh.
        ValueError: another mesh.
    """
    if mesh is None or mesh is problem.mesh_domain.mesh:
        return
    if not isinstance(mesh, SimplexMesh):
        raise TypeError(f"a solution on a mesh is wanted on that mesh, got {type(mesh).__name__}: leave it out")
    raise ValueError(
        "the solution lives on the problem's mesh, another was given: leave it out, or make the problem there"
    )


def _solved(system: GalerkinSystem, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Weights (K, N) and status, in unknowns in which each patch's own block is the identity on its range.

    Neighbours that overlap can say the same in two ways: a ridge chooses between them, far below any error of the span.
    Where they can nearly always, rounding leaves the system indefinite or singular: then once more with fewer unknowns.
    A symmetric system that is indefinite still, as of Helmholtz' equation, is solved like one that is not symmetric.

    Arguments:
        system: of the weights.
        symmetric: whether K is.
    """
    if not system.right.numel():
        return system.right, torch.zeros((), dtype=torch.int64)
    weights, status = _white_solve(system, symmetric, *_LEVELS[0])
    if int(status) in (SolveStatus.CONVERGED, SolveStatus.NON_FINITE):
        return weights, status
    weights, status = _white_solve(system, symmetric, *_LEVELS[1])
    if symmetric and int(status) not in (SolveStatus.CONVERGED, SolveStatus.NON_FINITE):
        return _white_solve(system, False, *_LEVELS[0])
    return weights, status


def _white_solve(system: GalerkinSystem, symmetric: bool, rank: float, ridge: float) -> tuple[Tensor, Tensor]:
    from pdesolve.linalg import linear_solve  # solvers load when they are used

    count, n = system.right.shape
    with torch.no_grad():
        whiten, dead = _whitening(system.diagonal, rank)
    diagonal = whiten.mT @ system.diagonal @ whiten + torch.diag_embed(dead + ridge)
    right = (whiten.mT @ system.right.unsqueeze(-1)).squeeze(-1)
    ends = torch.tensor(system.edges, dtype=torch.int64).reshape(-1, 2).T
    upper = whiten[ends[0]].mT @ system.upper @ whiten[ends[1]]
    lower = whiten[ends[1]].mT @ system.lower @ whiten[ends[0]]
    operator: AbstractLinearOperator
    if symmetric:
        diagonal = 0.5 * (diagonal + diagonal.mT)
        operator = BlockSparseOperator(diagonal, 0.5 * (upper + lower.mT), system.edges, positive_definite=True)
    else:
        full = diagonal.new_zeros(count, count, n, n)
        own = torch.arange(count)
        full = full.index_put((own, own), diagonal).index_put((ends[0], ends[1]), upper)
        full = full.index_put((ends[1], ends[0]), lower)
        operator = DenseOperator(full.transpose(1, 2).reshape(count * n, count * n))
    found, report = linear_solve(operator, right.reshape(-1), throw=False)
    return (whiten @ found.reshape(count, n, 1)).squeeze(-1), report.status


def _whitening(diagonal: Tensor, rank: float) -> tuple[Tensor, Tensor]:
    """T with Tᵀ G T = ±1 on the range of each block's symmetric part, and one for each direction that is left out."""
    symmetric = 0.5 * (diagonal + diagonal.mT)
    sound = symmetric.isfinite().all(-1).all(-1)[:, None, None]
    symmetric = torch.where(sound, symmetric, 0.0)
    size = symmetric.diagonal(dim1=1, dim2=2)
    scale = torch.where(size > 0, size, 1.0).rsqrt() * (size > 0)
    values, vectors = torch.linalg.eigh(scale.unsqueeze(-1) * symmetric * scale.unsqueeze(-2))
    values = values.abs()
    kept = values > rank * values.amax(1, keepdim=True).clamp_min(1e-300)
    factor = torch.where(kept, values.clamp_min(1e-300).rsqrt(), 0.0)
    return scale.unsqueeze(-1) * vectors * factor.unsqueeze(-2), (~kept).to(diagonal.dtype)
