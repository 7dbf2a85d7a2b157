"""What a network is told of a node on a patch of a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pdesolve.domains.mesh_values import CellValues
from pdesolve.experts.mesh_stack import PatchStack

if TYPE_CHECKING:
    from pdesolve.discretization.finite_elements.weak_form import Case


@final
@dataclass(frozen=True)
class PatchFeatures:
    """Place within the patch and, of each coefficient, its logarithm at the node and the mean of that over the patch.

    Arguments:
        coefficients: names of positive parameters (default none: the basis is the same for all cases).
        scale: log-range that becomes one unit (default 3).
    """

    coefficients: tuple[str, ...] = ()
    scale: float = 3.0

    def count(self, dimension: int) -> int:
        """Number of features on a mesh of a dimension."""
        return dimension + 2 * len(self.coefficients)

    def make(self, stack: PatchStack, case: Case, places: Tensor) -> Tensor:
        """(n, features) at some of the stacked nodes.

        Arguments:
            stack: the patches.
            case: parameters.
            places: the nodes, (n,).
        """
        patch, columns = stack.node_patch[places], [stack.positions[places]]
        for name in self.coefficients:
            local = self._at_nodes(stack, case, name)[stack.mesh_nodes]
            number = torch.bincount(stack.node_patch, minlength=stack.count)
            mean = local.new_zeros(stack.count).index_add(0, stack.node_patch, local) / number
            columns += [local[places].unsqueeze(1), mean[patch].unsqueeze(1)]
        return torch.cat(columns, 1)

    def _at_nodes(self, stack: PatchStack, case: Case, name: str) -> Tensor:
        value, mesh = case[name], stack.inner.mesh
        raw = value if isinstance(value, Tensor) else value.case(0)
        if bool((raw <= 0).any()):
            raise ValueError(
                f"the features read the logarithm of {name!r}, which is not positive everywhere: leave out of "
                "PatchFeatures what may be zero or negative, such as sources"
            )
        if isinstance(value, Tensor):
            return (torch.log(value) / self.scale).expand(mesh.n_nodes)
        if not isinstance(value, CellValues):
            return torch.log(value.case(0)) / self.scale
        nodes = mesh.cells.reshape(-1)
        share = mesh.measures.unsqueeze(1).expand_as(mesh.cells).reshape(-1)
        logs = torch.log(value.case(0)).unsqueeze(1).expand_as(mesh.cells).reshape(-1) / self.scale
        total = logs.new_zeros(mesh.n_nodes).index_add(0, nodes, share)
        return logs.new_zeros(mesh.n_nodes).index_add(0, nodes, share * logs) / total
