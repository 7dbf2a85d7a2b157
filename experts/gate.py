"""A gate that learns which of a few networks each patch has."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from pdesolve.discretization.ansatz import AbstractAnsatz, Ansatz, in_dtype_of
from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.geometry import BOUNDARIES, finite_float, positive_int
from pdesolve.experts.assignment import AbstractAssignment, Route, named
from pdesolve.experts.coordinate_network import CoordinateNetwork
from pdesolve.experts.evaluation import device_of
from pdesolve.experts.hard_constraint_layer import PatchSolve
from pdesolve.experts.network_stack import NetworkStack
from pdesolve.problem import AbstractDistribution
from pdesolve.status import SolveStatus


@final
@dataclass(frozen=True)
class TopOneGate(AbstractAssignment):
    """Each patch has one of E networks, which a gate p(e | patch, case) chooses: argmax_e p, in training drawn from p.

    The gate reads the patch's centre and size relative to the domain, the boundaries it touches, and the case's
    parameters if asked to. The solve makes every cost invariant under scaling a basis, so the usual product of basis
    and probability would give the gate no gradient at all. It compares costs instead: c_k(e), the sum of squares of a
    patch's rows when all patches have the network e, at the points of the step. Training then adds the gradient of

        Σ_k Σ_e p(e | k) log c_k(e) + α (E Σ_e P_e² - 1),   P_e = mean_k p(e | k),

    to that of log Σ rows², in which every patch has a network drawn from p.

    Arguments:
        experts: E >= 1.
        distributions: parameters that the gate reads too, by name, scaled as they say, such as
            ``family.distributions`` (default none).
        balance: α >= 0; keeps all networks in use, so that they can part (default 1).
        spread: the networks start as copies of the expert's, all but the first with noise of this size relative to
            the root mean square of each parameter (default 0.5).
        hidden: width of the gate's hidden layer (default 16).
        seed: of gate and noise.

    Raises:
        TypeError, ValueError: a number out of its range; when the mixture is made, more networks than patches, which
            would lie idle, unless the gate reads parameters.

    Notes:
        A gate whose numbers are not finite chooses nothing: the basis of that patch and case is NaN, its status
        NON_FINITE. Draws are made in training mode and where gradients are recorded only: what ``forward`` gives does
        not depend on any. A step takes E further solves without a gradient. Patches that are tied are compared all with
        the same network, as K patches have E^K choices.

    Good values: E of 2 to 4.

    Source: Shazeer et al., ICLR 2017, section 4, the balance; Fedus, Zoph & Shazeer, J. Mach. Learn. Res. 23 (2022),
        one network at a time.
    """

    experts: int
    distributions: Mapping[str, AbstractDistribution] = field(default_factory=dict)
    balance: float = 1.0
    spread: float = 0.5
    hidden: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int(self.experts, "the number of experts")
        positive_int(self.hidden, "the width of the gate")
        for name in ("balance", "spread"):
            if finite_float(getattr(self, name), name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name, distribution in self.distributions.items():
            if not isinstance(distribution, AbstractDistribution):
                raise TypeError(
                    f"distributions[{name!r}] must be an AbstractDistribution, got {type(distribution).__name__}"
                )

    def backbone(self, given: Ansatz, decomposition: Decomposition) -> AbstractAnsatz:
        patches = len(decomposition.patches)
        if self.experts > patches and not self.distributions:
            raise ValueError(
                f"{self.experts} experts for {patches} patches: at most one for each can be in use; take fewer, or let "
                "the gate read parameters (distributions)"
            )
        generator = torch.Generator().manual_seed(self.seed)
        networks = [given.network]
        networks += [_disturbed(given.network, self.spread, generator) for _ in range(self.experts - 1)]
        gate = PatchGate(decomposition, self.experts, self.distributions, self.hidden, generator)
        return GatedAnsatz(given, networks, gate.to(device_of(given)))

    def route(self, backbone: AbstractAnsatz, parameters: Mapping[str, Tensor], generator: torch.Generator) -> Route:
        assert isinstance(backbone, GatedAnsatz)  # as ``backbone`` made it
        if not (torch.is_grad_enabled() and backbone.training):
            return Route(backbone)
        log_p, valid = backbone.gate(parameters)
        batch = max((value.shape[0] for value in parameters.values()), default=1)
        log_p, valid = log_p.expand(batch, *log_p.shape[1:]), valid.expand(batch, *valid.shape[1:])
        draw = torch.rand(valid.shape, generator=generator, dtype=log_p.dtype, device=generator.device).to(log_p.device)
        below = log_p.detach().exp().cumsum(-1) < draw.unsqueeze(-1)
        chosen = below.sum(-1).clamp_max(self.experts - 1)

        def credit(rows: dict[str, Tensor], others: Sequence[PatchSolve]) -> dict[str, Tensor]:
            """The rows times one, with a gradient to the gate: d log Σ (f r)² = 2 df where f = 1."""
            p, shares = log_p.exp(), log_p.exp().mean(dim=(0, 1))
            learned = (p * compared(others, valid)).sum((1, 2))
            learned = learned + self.balance * (self.experts * shares.square().sum() - 1.0)
            factor = (1.0 + 0.5 * (learned - learned.detach())).unsqueeze(1)
            return {name: _scaled(r, factor) for name, r in rows.items()}

        alone = [torch.full_like(chosen, e) for e in range(self.experts)] if self.experts > 1 else []
        return Route(
            RoutedAnsatz(backbone, chosen, valid),
            tuple(RoutedAnsatz(backbone, everywhere, valid) for everywhere in alone),
            credit,
        )


def compared(others: Sequence[PatchSolve], valid: Tensor) -> Tensor:
    """log c_k(e) less its mean over e, (batch, patch, expert); zero where any of them is not known.

    Arguments:
        others: for each network the solve in which all patches have it.
        valid: where the gate chose, (batch, patch).
    """
    if not others:
        return torch.zeros_like(valid, dtype=torch.float64).unsqueeze(-1)
    with torch.no_grad():
        costs = torch.stack([found.rows.patch_costs(found.weights) for found in others], dim=-1)
        solved = torch.stack([found.report.status == SolveStatus.CONVERGED for found in others], dim=-1)
        good = (solved & torch.isfinite(costs)).all(-1) & valid
        logs = costs.clamp_min(torch.finfo(costs.dtype).tiny).log()
        return torch.where(good.unsqueeze(-1), logs - logs.mean(-1, keepdim=True), 0.0)


@final
class PatchGate(nn.Module):
    """log p(e | patch, case), from features of the patch and of the case's parameters.

    Arguments:
        decomposition: the patches.
        experts: E.
        distributions: of the parameters that it reads.
        hidden: width.
        generator: draws the initial weights.
    """

    features: Tensor

    def __init__(
        self,
        decomposition: Decomposition,
        experts: int,
        distributions: Mapping[str, AbstractDistribution],
        hidden: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.distributions = dict(distributions)
        self.register_buffer("features", patch_features(decomposition), persistent=False)
        size = self.features.shape[1] + len(self.distributions)
        self.network = CoordinateNetwork(size, experts, widths=(hidden,), scale=1.0, generator=generator)

    def forward(self, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """log p, (batch or 1, patch, expert) in float64, and where it is finite, (batch or 1, patch).

        Arguments:
            parameters: name -> one value for each case, any shape; or one.

        Raises:
            ValueError: a parameter is missing.
        """
        columns = [self.features.unsqueeze(0)]
        for name, distribution in self.distributions.items():
            if name not in parameters:
                raise ValueError(f"the gate reads {name!r}, which is no parameter of the problem: {sorted(parameters)}")
            scaled = distribution.scaled(parameters[name].detach().flatten()).to(self.features)
            columns.append(scaled.reshape(-1, 1, 1).expand(-1, len(self.features), 1))
        batch = max(column.shape[0] for column in columns)
        given = torch.cat([column.expand(batch, -1, -1) for column in columns], dim=-1)
        finite = torch.isfinite(given).all(-1)
        safe = torch.where(finite.unsqueeze(-1), given, torch.zeros_like(given))  # 0 * NaN is NaN in the backward pass
        log_p = torch.log_softmax(self.network(in_dtype_of(self.network, safe)).to(torch.float64), dim=-1)
        return log_p, finite & torch.isfinite(log_p).all(-1)


def patch_features(decomposition: Decomposition) -> Tensor:
    """Centre in [-1, 1] and size in (0, 1] along each axis, one for each boundary touched, (patch, feature) float64."""
    domain, rows = decomposition.domain, []
    for patch in decomposition.patches:
        row = []
        for axis in domain.axes:
            (low, high), (first, last) = domain.bounds(axis), patch.box.bounds(axis)
            row += [(first + last - low - high) / (high - low), (last - first) / (high - low)]
            row += [
                float(patch.box.boundary(name).position == domain.boundary(name).position) for name in BOUNDARIES[axis]
            ]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@final
class GatedAnsatz(AbstractAnsatz):
    """u_c = g_c + m_c Σ_i w_ki N_e(k)ci(ξ(x; p)), e(k) the network that the gate finds most probable for patch k.

    Arguments:
        given: the ansatz whose frame it takes.
        networks: one for each expert.
        gate: chooses.
    """

    patchwise = True

    def __init__(self, given: Ansatz, networks: list[nn.Module], gate: PatchGate) -> None:
        super().__init__(given.coordinates, given.lifting, given.fields)
        self.network, self.gate = NetworkStack(networks), gate

    def choice(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The network of each patch, (batch or 1, patch) int64.

        Arguments:
            parameters: name -> (batch,); those that the gate does not read may be left out.
        """
        log_p: Tensor = self.gate(parameters)[0]
        return log_p.argmax(-1)

    def outputs(self, features: Any, parameters: Mapping[str, Tensor], patches: Tensor | None) -> Any:
        log_p, valid = self.gate(parameters)
        return chosen_outputs(self.network, features, log_p.argmax(-1), valid, named(patches))


@final
class RoutedAnsatz(AbstractAnsatz):
    """A ``GatedAnsatz`` with the choices of one training step.

    Arguments:
        gated: whose networks it uses.
        chosen: the network of each patch, (batch, patch).
        valid: where the gate chose, (batch, patch).
    """

    patchwise = True

    def __init__(self, gated: GatedAnsatz, chosen: Tensor, valid: Tensor) -> None:
        super().__init__(gated.coordinates, gated.lifting, gated.fields)
        self.network, self.chosen, self.valid = gated.network, chosen, valid

    def outputs(self, features: Any, parameters: Mapping[str, Tensor], patches: Tensor | None) -> Any:
        return chosen_outputs(self.network, features, self.chosen, self.valid, named(patches))


def chosen_outputs(network: NetworkStack, features: Any, chosen: Tensor, valid: Tensor, patches: Tensor) -> Any:
    """Outputs of the networks that were chosen for the patches of pieces of points; NaN where none was."""
    out = network(features, chosen[:, patches])
    chosen_or_nan = torch.where(valid[:, patches], 1.0, torch.nan).to(out.dtype)[..., None, None]
    return out * chosen_or_nan


def _scaled(rows: Tensor, factor: Tensor) -> Tensor:
    """rows * factor; rows that are not finite give the factor no gradient, as 0 * NaN is NaN."""
    finite = torch.isfinite(rows)
    return torch.where(finite, torch.where(finite, rows, 0.0) * factor, rows)


def _disturbed(network: nn.Module, spread: float, generator: torch.Generator) -> nn.Module:
    found = copy.deepcopy(network)
    with torch.no_grad():
        for p in found.parameters():
            noise = torch.empty(p.shape, dtype=p.dtype).normal_(generator=generator).to(p.device)
            p.add_(spread * p.square().mean().sqrt() * noise)
    return found
