"""Points of a slab: even along periodic axes, Gauss' along the others and in time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.geometry import AXES, Box, positive_int
from pdesolve.experts.lagrangian.branch import LabelFrame


def label_points(
    frame: LabelFrame, counts: Mapping[str, int], shift: Mapping[str, float], device: torch.device | None = None
) -> dict[str, Tensor]:
    """The product of one set of nodes for each axis, flattened, by axis (point,).

    Arguments:
        frame: of the slab.
        counts: nodes by axis, time among them.
        shift: by periodic axis, the first node's place in units of the spacing, in [0, 1).
    """
    nodes = []
    for axis in frame.box.axes:
        low, high = frame.box.bounds(axis)
        if axis in frame.periodic:
            steps = torch.arange(counts[axis], dtype=torch.float64) + shift.get(axis, 0.0)
            nodes.append(low + (high - low) * steps / counts[axis])
        else:
            gauss = torch.from_numpy(np.polynomial.legendre.leggauss(counts[axis])[0])
            nodes.append(low + 0.5 * (high - low) * (gauss + 1.0))
    grid = torch.meshgrid(*(n.to(device) for n in nodes), indexing="ij")
    return {axis: values.flatten() for axis, values in zip(frame.box.axes, grid, strict=True)}


def random_points(frame: LabelFrame, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Independent uniform points, by axis (n,)."""
    found = {}
    for axis in frame.box.axes:
        low, high = frame.box.bounds(axis)
        unit = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
        found[axis] = low + (high - low) * unit
    return found


def default_counts(domain: Box, counts: Mapping[str, int] | None) -> dict[str, int]:
    """Nodes of a fit by axis, where they are not given."""
    many = len(domain.space_axes) > 1
    found = {axis: (10 if many else 24) if axis == "t" else (24 if many else 96) for axis in domain.axes}
    for axis, n in (counts or {}).items():
        if axis not in found:
            raise ValueError(
                f"counts names the axis {axis!r}, the domain has {', '.join(a for a in AXES if a in found)}"
            )
        found[axis] = positive_int(n, f"the count of axis {axis!r}")
    return found


def cut(box: Box, times: tuple[float, float]) -> Box:
    """The box with another time interval."""
    ends = {axis: box.bounds(axis) for axis in box.axes} | {"t": times}
    return Box(box.axes, tuple(ends[a][0] for a in box.axes), tuple(ends[a][1] for a in box.axes))
