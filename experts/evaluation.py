"""An ansatz with its weights, evaluated on a grid."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pdesolve.discretization.ansatz import AbstractAnsatz
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.patch import AbstractDecomposition, Blend
from pdesolve.experts.grouping import grouped
from pdesolve.field import Field

_CHUNK = 1 << 15
_TOGETHER = 1 << 20


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's parameters, the CPU if it has none."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def evaluate(
    ansatz: AbstractAnsatz,
    parameters: Mapping[str, Tensor],
    grid: StructuredGrid,
    decomposition: AbstractDecomposition,
    weights: Tensor,
) -> Field:
    """u = g + m Σ_k φ_k Σ_i w_ki b_ki on the nodes of a grid, φ as the decomposition says: one for the owner.

    Arguments:
        parameters: name -> (batch,) or (1,).
        weights: (batch, n_patches, n_basis).

    Notes:
        Works through the nodes in chunks of 32768 and the cases one by one, so that memory beyond the field itself does
        not grow with either (it does where gradients are recorded). A basis that all cases share is made once, and
        combined for all of them by one matrix product for each chunk.
    """
    coordinates = {axis: value.flatten().to(weights) for axis, value in grid.coordinates().items()}
    blend = decomposition.blend(coordinates)
    if weights.shape[0] > 1 and not ansatz.patchwise and ansatz.shares_basis(coordinates, parameters):
        return Field(_together(ansatz, parameters, coordinates, blend, weights, grid), grid, ansatz.fields)
    cases = []
    for case in range(weights.shape[0]):
        own = {k: v[case : case + 1] if v.shape[0] > 1 else v for k, v in parameters.items()}
        shaped = {name: value.reshape(-1, 1, 1) for name, value in own.items()}
        parts = []
        for start in range(0, grid.n_nodes, _CHUNK):
            piece = slice(start, start + _CHUNK)
            at = {axis: value[piece].reshape(1, 1, -1) for axis, value in coordinates.items()}
            near = Blend(blend.index[:, piece], blend.weight[:, piece])
            combine = _combined_by_patch if ansatz.patchwise else _combined
            parts.append(combine(ansatz, at, shaped, near, weights[case]))
        cases.append(torch.cat(parts).T.reshape(len(ansatz.fields), *grid.shape))
    return Field(torch.stack(cases), grid, ansatz.fields)


def _combined(
    ansatz: AbstractAnsatz, at: Mapping[str, Tensor], parameters: Mapping[str, Tensor], blend: Blend, w: Tensor
) -> Tensor:
    """u at points of one case, (point, component): patches share their basis, so their weights are blended.

    Arguments:
        at: by axis, (1, 1, point).
        blend: patches and their shares, (share, point).
        w: (n_patches, n_basis).
    """
    offset, basis = ansatz(at, parameters)
    parts = [share.unsqueeze(-1) * w[index] for index, share in zip(blend.index, blend.weight, strict=True)]
    u: Tensor = offset[0, 0] + torch.linalg.vecdot(basis[0, 0], sum(parts[1:], parts[0]).unsqueeze(1))
    return u


def _combined_by_patch(
    ansatz: AbstractAnsatz, at: Mapping[str, Tensor], parameters: Mapping[str, Tensor], blend: Blend, w: Tensor
) -> Tensor:
    """As ``_combined``, patches having bases of their own: each is evaluated at the points that it has a share in.

    The points of a patch fill pieces of one length, the last of them up to it with a repeated point.
    """
    there = blend.weight > 0
    share, patch, point = blend.weight[there], blend.index[there], there.nonzero()[:, 1]
    groups = grouped(patch, len(w), max(1, -(-len(patch) // (2 * len(w)))))
    of, which = groups.of, point[groups.table]
    offset, basis = ansatz({axis: x[0, 0][which].unsqueeze(0) for axis, x in at.items()}, parameters, of)
    values = offset[0] + torch.linalg.vecdot(basis[0], w[of][:, None, None])
    found = values[groups.there] * share[groups.table][groups.there].unsqueeze(-1)
    u: Tensor = found.new_zeros(there.shape[1], found.shape[-1]).index_add(0, which[groups.there], found)
    return u


def _together(
    ansatz: AbstractAnsatz,
    parameters: Mapping[str, Tensor],
    coordinates: Mapping[str, Tensor],
    blend: Blend,
    weights: Tensor,
    grid: StructuredGrid,
) -> Tensor:
    """u of all cases from a basis that they share, (batch, component, *grid): a sum over patches and their shares."""
    batch, patches, _ = weights.shape
    shaped = {name: value.reshape(-1, 1, 1) for name, value in parameters.items()}
    values = weights.new_zeros((batch, len(ansatz.fields), grid.n_nodes))
    for patch in range(patches):
        for index, share in zip(blend.index, blend.weight, strict=True):
            for nodes in ((index == patch) & (share > 0)).nonzero()[:, 0].split(max(1, _TOGETHER // batch)):
                at = {axis: value[nodes].reshape(1, 1, -1) for axis, value in coordinates.items()}
                offset, basis = ansatz(at, shaped)
                field = weights[:, patch] @ basis[0, 0].flatten(0, 1).T  # (batch, point * component)
                u = offset[:, 0] + field.reshape(batch, *basis.shape[2:4])
                values[:, :, nodes] += (share[nodes].unsqueeze(-1) * u).mT
    return values.reshape(batch, len(ansatz.fields), *grid.shape)
