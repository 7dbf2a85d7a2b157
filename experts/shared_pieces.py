"""Points sorted by the patches that a blended field has there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.discretization.abstract import Points
from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.experts.grouping import grouped


@dataclass(frozen=True, eq=False)
class SharedPieces:
    """Pieces of points with equally many patches.

    Arguments:
        points: the points, (piece, point).
        patches: those of each piece, (piece, J).
        table: where the points stood before, as indices into the flattened (piece, point), (piece, point).
        there: which count; the others fill a piece up, (piece, point).
    """

    points: Points
    patches: Tensor
    table: Tensor
    there: Tensor

    def chosen(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """What belongs to the points of a tensor that has one value for each, or as it is if it has not."""
        if tuple(tensor.shape[1:]) != tuple(shape):
            return tensor
        return tensor.flatten(1)[:, self.table]

    def weights(self, weight: Tensor) -> Tensor:
        """The weights of the points, zero for those that only fill a piece up."""
        return weight.flatten()[self.table] * self.there


def shared_pieces(mixed: OverlappingDecomposition, points: Points, weight: Tensor) -> list[SharedPieces]:
    """The points that have a weight, those with one patch first: a piece for each patch, in order, be it empty.

    Along axes on which patches do not overlap a point belongs to the patch of its piece.

    Arguments:
        mixed: which patches there are at a point.
        points: with the patch of each piece.
        weight: (piece, point).
    """
    assert points.patches is not None
    n_patches, shape = len(mixed.patches), points.shape
    device = points.patches.device
    at = dict(points.coordinates)
    for axis in mixed.domain.axes:
        if not mixed.is_along(axis):
            middle = [sum(patch.box.bounds(axis)) / 2 for patch in mixed.base.patches]
            at[axis] = (
                torch.tensor(middle, dtype=at[axis].dtype, device=device)[points.patches].unsqueeze(1).expand(shape)
            )
    blend = mixed.blend(at)
    members = (
        torch.where(blend.weight > 0, blend.index, -1).movedim(0, -1).flatten(0, 1).sort(-1, descending=True).values
    )
    used = (weight.flatten() > 0).nonzero()[:, 0]
    sets, key = torch.unique(members[used], dim=0, return_inverse=True)
    sizes = (sets >= 0).sum(-1)
    alone = members[used, 0]
    found = []
    for count in range(1, members.shape[-1] + 1):
        mine = sizes[key] == count
        chosen, names = used[mine], key[mine]
        if count == 1:
            counts = torch.bincount(alone[mine], minlength=n_patches)
            groups = grouped(alone[mine], n_patches, max(1, int(counts.max())), at_least=1)
            patches = groups.of.unsqueeze(1)
        elif len(chosen):
            groups = grouped(names, len(sets), -(-len(chosen) // int((sizes == count).sum())))
            patches = sets[groups.of, :count]
        else:
            continue
        table = chosen[groups.table] if len(chosen) else torch.zeros_like(groups.table)
        coordinates = {axis: x.flatten()[table] for axis, x in points.coordinates.items()}
        nodes = None if points.nodes is None else points.nodes.flatten(0, 1)[table]
        found.append(SharedPieces(Points(coordinates, nodes), patches, table, groups.there))
    return found
