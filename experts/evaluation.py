"""An ansatz with its weights, evaluated on a grid."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pdesolve.discretization.ansatz import Ansatz
from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.grid import StructuredGrid
from pdesolve.field import Field

_CHUNK = 1 << 15
_TOGETHER = 1 << 20


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's parameters, the CPU if it has none."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def evaluate(
    ansatz: Ansatz,
    parameters: Mapping[str, Tensor],
    grid: StructuredGrid,
    decomposition: Decomposition,
    weights: Tensor,
) -> Field:
    """u = g + m Σ w_i N_i on the nodes of a grid, each node by the weights of the patch that owns it.

    Arguments:
        parameters: name -> (batch,) or (1,).
        weights: (batch, n_patches, n_basis).

    Notes:
        Works through the nodes in chunks of 32768 and the cases one by one, so that memory beyond the field itself does
        not grow with either (it does where gradients are recorded). A basis that all cases share is made once, and
        combined for all of them by one matrix product for each chunk.
    """
    coordinates = {axis: value.flatten().to(weights) for axis, value in grid.coordinates().items()}
    owner = decomposition.owner(coordinates)
    if weights.shape[0] > 1 and ansatz.shares_basis(coordinates, parameters):
        return Field(_together(ansatz, parameters, coordinates, owner, weights, grid), grid, ansatz.fields)
    cases = []
    for case in range(weights.shape[0]):
        own = {k: v[case : case + 1] if v.shape[0] > 1 else v for k, v in parameters.items()}
        shaped = {name: value.reshape(-1, 1, 1) for name, value in own.items()}
        parts = []
        for start in range(0, grid.n_nodes, _CHUNK):
            piece = slice(start, start + _CHUNK)
            at = {axis: value[piece].reshape(1, 1, -1) for axis, value in coordinates.items()}
            offset, basis = ansatz(at, shaped)
            w = weights[case, owner[piece]]  # (point, n_basis)
            parts.append(offset[0, 0] + torch.linalg.vecdot(basis[0, 0], w.unsqueeze(1)))
        cases.append(torch.cat(parts).T.reshape(len(ansatz.fields), *grid.shape))
    return Field(torch.stack(cases), grid, ansatz.fields)


def _together(
    ansatz: Ansatz,
    parameters: Mapping[str, Tensor],
    coordinates: Mapping[str, Tensor],
    owner: Tensor,
    weights: Tensor,
    grid: StructuredGrid,
) -> Tensor:
    """u of all cases from a basis that they share, (batch, component, *grid)."""
    batch, patches, _ = weights.shape
    shaped = {name: value.reshape(-1, 1, 1) for name, value in parameters.items()}
    values = weights.new_empty((batch, len(ansatz.fields), grid.n_nodes))
    for patch in range(patches):
        for nodes in (owner == patch).nonzero()[:, 0].split(max(1, _TOGETHER // batch)):
            at = {axis: value[nodes].reshape(1, 1, -1) for axis, value in coordinates.items()}
            offset, basis = ansatz(at, shaped)
            field = weights[:, patch] @ basis[0, 0].flatten(0, 1).T  # (batch, point * component)
            values[:, :, nodes] = (offset[:, 0] + field.reshape(batch, *basis.shape[2:4])).mT
    return values.reshape(batch, len(ansatz.fields), *grid.shape)
