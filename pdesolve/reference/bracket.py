"""A part to try things on: an angle bracket with two drilled holes, made without a mesh generator."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.domains.mesh_parts import with_boundaries
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_repair import drop_unused, turn_cells

LENGTH, WIDTH, HEIGHT = 5, 3, 4
RADIUS, REACH = 0.55, 1.25
BASE_HOLE, FLANGE_HOLE = (3.5, 1.5), (1.5, 2.5)

# Kuhn's six tetrahedra of a cube: from corner 000 to 111, one axis after another; the same in every cube, so they fit.
PATHS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def bracket(n: int = 10) -> SimplexMesh:
    """An angle bracket of thickness 1: a base 5 x 3 and a flange 4 high, each with a hole of radius 0.55.

    Boundaries ``"bottom"`` (under the base), ``"base_hole"``, ``"flange_hole"`` and ``"outside"`` (the rest);
    subdomains ``"base"`` (x > 1) and ``"flange"`` (x < 1).

    Arguments:
        n: cells through the thickness, even (default 10: 25 950 nodes).

    Raises:
        ValueError: an n that is odd or below 2.
        TypeError: an n that is no integer.

    Notes:
        Cubes cut into tetrahedra. Around a hole squares are bent into circles; the holes are polygons of 4 n sides.
    """
    n = positive_int(n, "the number of cells through the thickness")
    if n % 2:
        raise ValueError(f"the number of cells through the thickness must be even, got {n}; take {n + 1}")
    points, cells = _carved(n)
    x, y, z = points.unbind(1)
    base, flange = x > 1.0, x <= 1.0
    bent = points.clone()
    bent[base] = torch.stack([*_bend(x, y, BASE_HOLE), z], 1)[base]
    bent[flange] = torch.stack([x, *_bend(y, z, FLANGE_HOLE)], 1)[flange]
    cells = turn_cells(bent, cells)
    middle = bent[cells].mean(1)[:, 0]
    parts = {"base": (middle > 1).nonzero().squeeze(1), "flange": (middle <= 1).nonzero().squeeze(1)}
    mesh = SimplexMesh(bent, cells, {}, parts)

    def base_hole(p: Tensor) -> Tensor:
        return _drilled(p[:, :2], p[:, 2], BASE_HOLE)

    def flange_hole(p: Tensor) -> Tensor:
        return _drilled(p[:, 1:], p[:, 0], FLANGE_HOLE)

    def bottom(p: Tensor) -> Tensor:
        return p[:, 2] < 1e-9

    return with_boundaries(
        mesh,
        {
            "bottom": bottom,
            "base_hole": base_hole,
            "flange_hole": flange_hole,
            "outside": lambda p: ~(bottom(p) | base_hole(p) | flange_hole(p)),
        },
    )


def _drilled(across: Tensor, along: Tensor, hole: tuple[float, float]) -> Tensor:
    """Middles of the facets inside a hole: within the circle, since chords are, and within the thickness."""
    inside: Tensor = torch.linalg.vector_norm(across - across.new_tensor(hole), dim=1) < RADIUS
    return inside & (along > 1e-9) & (along < 1 - 1e-9)


def _carved(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and tetrahedra of the cubes that belong to the part, square holes left out."""
    counts = (LENGTH * n, WIDTH * n, HEIGHT * n)
    index = torch.stack(torch.meshgrid(*(torch.arange(c) for c in counts), indexing="ij"), -1).reshape(-1, 3)
    centre = (index.double() + 0.5) / n
    x, y, z = centre.unbind(1)
    keep = (z < 1) | (x < 1)
    for across, hole, side in (((x, y), BASE_HOLE, x > 1), ((y, z), FLANGE_HOLE, x < 1)):
        inside = ((across[0] - hole[0]).abs() < 0.5) & ((across[1] - hole[1]).abs() < 0.5)
        keep &= ~(inside & side)
    index = index[keep]
    step = torch.eye(3, dtype=torch.int64)
    corners = [torch.stack([index + step[list(path[:k])].sum(0) for k in range(4)], 1) for path in PATHS]
    strides = torch.tensor([(counts[1] + 1) * (counts[2] + 1), counts[2] + 1, 1])
    cells = (torch.stack(corners, 1).flatten(0, 1) * strides).sum(-1)
    nodes = torch.stack(torch.meshgrid(*(torch.arange(c + 1) for c in counts), indexing="ij"), -1).reshape(-1, 3)
    points, cells, _ = drop_unused(nodes.double() / n, cells)
    return points, cells


def _bend(u: Tensor, v: Tensor, hole: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Squares around a hole become circles at half a side 0.5 and stay squares at ``REACH``."""
    du, dv = u - hole[0], v - hole[1]
    square, circle = torch.maximum(du.abs(), dv.abs()), (du**2 + dv**2).sqrt()
    share = ((square - 0.5) / (REACH - 0.5)).clamp(0, 1)
    # on the ray through a point: from the circle at share 0 to the square at share 1
    scale = (1 - share) * RADIUS / circle.clamp(min=1e-300) + share * REACH / square.clamp(min=1e-300)
    scale = torch.where(square < REACH, scale, 1.0)
    return hole[0] + du * scale, hole[1] + dv * scale
