"""Random points in boxes and on their faces, and random nodes of grids; the generator is an argument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.domains.geometry import AXES, Box, finite_float, nearest_hint, positive_int

SOBOL_DIGITS = 1 << 30


class AbstractSampler(ABC):
    """How points are spread in a box: override ``unit_points``, call ``sample``."""

    @abstractmethod
    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """Points in the unit cube, one independent set per box.

        Arguments:
            axes: the axis letters of the boxes.
            n_boxes, n: number of sets, and of points in each.
            generator: the only source of randomness.

        Returns:
            (n_boxes, n, len(axes)) float64 on the generator's device.
        """

    def sample(
        self,
        boxes: Box | Sequence[Box],
        n: int,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Points inside boxes with the same axes.

        Arguments:
            boxes: one box or several.
            n: number of points in each box.
            generator: the only source of randomness.
            dtype, device: of the result; device None: that of the generator.

        Returns:
            Axis letter to coordinates of shape (n_boxes, n), also for a single box.

        Raises:
            ValueError: on no boxes, boxes with different axes, or n < 1.
        """
        boxes = _as_boxes(boxes)
        axes = boxes[0].axes
        unit = self.unit_points(axes, len(boxes), positive_int(n, "the number of points"), generator)
        lower = torch.tensor([box.lower for box in boxes], dtype=unit.dtype, device=unit.device)[:, None]
        upper = torch.tensor([box.upper for box in boxes], dtype=unit.dtype, device=unit.device)[:, None]
        points = torch.minimum(lower + (upper - lower) * unit, upper).to(device or unit.device, dtype)
        return dict(zip(axes, points.unbind(-1), strict=True))


@dataclass(frozen=True)
class UniformSampler(AbstractSampler):
    """Independent, uniformly distributed points."""

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractSampler.unit_points``."""
        shape = (n_boxes, n, len(axes))
        return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)


@dataclass(frozen=True)
class SobolSampler(AbstractSampler):
    """Scrambled Sobol points: more even than independent ones, most of all where n is a power of 2.

    All boxes get one scrambled sequence, each with its own random digital shift: still a (t, m, s)-net.

    Source: Owen, Randomly permuted (t, m, s)-nets and (t, s)-sequences (1995); for the digital shift
        L'Ecuyer and Lemieux, Recent advances in randomized quasi-Monte Carlo methods (2002), section 2.
    """

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractSampler.unit_points``."""
        device = generator.device
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=device))
        engine = torch.quasirandom.SobolEngine(len(axes), scramble=True, seed=seed)
        digits = (engine.draw(n, dtype=torch.float64) * SOBOL_DIGITS).long().to(device)
        shift = torch.randint(SOBOL_DIGITS, (n_boxes, 1, len(axes)), generator=generator, device=device)
        return ((digits ^ shift).double() + 0.5) / SOBOL_DIGITS


@dataclass(frozen=True)
class GradedSampler(AbstractSampler):
    """Points that crowd towards the lower ends of some axes: coordinate = lower + extent · s^power.

    Arguments:
        powers: axis letter to power; 1 leaves an axis as it is, 2 for "t" is uniform in √t, below 1 crowds
            towards the upper end. Axes that are not named have 1.
        base: spreads s in the unit cube.

    Raises:
        ValueError: on an unknown axis or a power that is not positive.
        TypeError: on a power that is no number.
    """

    powers: Mapping[str, float]
    base: AbstractSampler = field(default_factory=UniformSampler)

    def __post_init__(self) -> None:
        for axis, power in self.powers.items():
            if axis not in AXES:
                raise ValueError(f"the powers name the unknown axis {axis!r}; {nearest_hint(str(axis), AXES)}")
            if finite_float(power, f"the power of axis {axis!r}") <= 0:
                raise ValueError(f"the power of axis {axis!r} must be positive, got {power}")

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractSampler.unit_points``.

        Raises:
            ValueError: when ``powers`` names an axis the boxes do not have.
        """
        absent = [axis for axis in self.powers if axis not in axes]
        if absent:
            raise ValueError(f"the powers name axis {absent[0]!r}; {nearest_hint(absent[0], axes)}")
        points = self.base.unit_points(axes, n_boxes, n, generator)
        return points ** points.new_tensor([self.powers.get(axis, 1.0) for axis in axes])


def face_points(
    boxes: Box | Sequence[Box],
    boundary_name: str,
    n: int,
    generator: torch.Generator,
    sampler: AbstractSampler | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> dict[str, Tensor]:
    """Points on one face of each box; the face's own coordinate is exactly its position.

    Arguments:
        boxes: one box or several with the same axes.
        boundary_name: such as ``"left"``; also ``"initial"`` and ``"final"``.
        n: number of points on each face.
        generator: the only source of randomness.
        sampler: spreads the points; None: ``UniformSampler()``.
        dtype, device: of the result; device None: that of the generator.

    Returns:
        Axis letter to coordinates of shape (n_boxes, n), also for a single box.

    Raises:
        ValueError: on a boundary the boxes do not have, and as for ``AbstractSampler.sample``.
    """
    boxes = _as_boxes(boxes)
    faces = [box.boundary(boundary_name) for box in boxes]
    points = (sampler or UniformSampler()).sample(boxes, n, generator, dtype, device)
    axis = faces[0].axis
    position = torch.tensor([face.position for face in faces], dtype=torch.float64)
    points[axis] = position.to(points[axis])[:, None].expand_as(points[axis]).clone()
    return points


def sample_nodes(
    ranges: Sequence[Sequence[tuple[int, int]]],
    n: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
) -> Tensor:
    """Random nodes of blocks of a grid, such as patches: each node of a block with the same probability.

    A block of N ≥ n nodes gives n different ones. A smaller one gives each node ⌊n/N⌋ or ⌈n/N⌉ times. Memory
    and time grow with n, not with N.

    Arguments:
        ranges: per block and axis the half-open range (start, stop) of node indices.
        n: number of nodes from each block.
        generator: the only source of randomness.
        device: of the result; None: that of the generator.

    Returns:
        (n_blocks, n, n_axes) int64 node indices of the whole grid.

    Raises:
        ValueError: on no blocks, an empty or negative range, blocks with different numbers of axes, or n < 1.

    Notes: nodes of one sample repel each other a little, so pairs are not exactly equally likely. Sorted
        uniform draws y_k from N - n + 1 values give the n different nodes y_k + k; a random cyclic shift
        makes each node equally likely.
    """
    blocks = [tuple(tuple(pair) for pair in block) for block in ranges]
    if not blocks or not blocks[0] or any(len(block) != len(blocks[0]) for block in blocks):
        raise ValueError(f"ranges needs at least one block, all with the same number of axes; got {blocks}")
    bounds = torch.tensor(blocks, device=generator.device)  # (n_blocks, n_axes, 2)
    if bounds.dtype != torch.int64 or bounds.shape[-1] != 2:
        raise ValueError(f"ranges must hold pairs (start, stop) of integers, got {blocks}")
    start, size = bounds[..., 0], bounds[..., 1] - bounds[..., 0]
    if bool((size < 1).any()) or bool((start < 0).any()):
        raise ValueError(f"each range (start, stop) needs 0 <= start < stop, got {blocks}")
    flat = _flat_nodes(size.prod(1, keepdim=True), positive_int(n, "the number of nodes"), generator)
    columns = []
    for axis in reversed(range(size.shape[1])):
        columns.append(start[:, axis, None] + flat % size[:, axis, None])
        flat = flat // size[:, axis, None]
    return torch.stack(columns[::-1], -1).to(device or generator.device)


def _flat_nodes(count: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """(n_blocks, n) of 0..count-1; count: (n_blocks, 1)."""
    uniform = torch.rand((len(count), n + 1), generator=generator, dtype=torch.float64, device=count.device)
    draws, shift = uniform[:, :-1], uniform[:, -1:]
    rank = torch.arange(n, device=count.device)
    free = (count - n).clamp(min=0) + 1
    different = (draws * free).long().sort(dim=1).values + rank + (shift * count).long()
    # Steps of count/n < 1 from a random start meet each node equally often.
    systematic = ((rank + shift) * (count / n)).long()
    return torch.where(count >= n, different % count, torch.minimum(systematic, count - 1))


def _as_boxes(boxes: Box | Sequence[Box]) -> list[Box]:
    listed = [boxes] if isinstance(boxes, Box) else list(boxes)
    if not listed:
        raise ValueError("there must be at least one box to sample from, got none")
    for box in listed:
        if box.axes != listed[0].axes:
            raise ValueError(f"all boxes must have the same axes, got {listed[0].axes} and {box.axes}")
    return listed
