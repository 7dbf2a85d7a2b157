"""When a point solves a nearest-point problem under linear constraints, and how far it is from that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.nonlinear.active_set import ActiveSet
from pdesolve.nonlinear.rows import times, transposed_times


@dataclass(frozen=True, eq=False)
class Point:
    """A candidate.

    Arguments:
        shift: v, (*batch, n).
        multipliers: y, (*batch, row).
        side: 1, -1 or 0, (*batch, row), the rows that are taken for active.
        error: of ``Conditions``, (*batch,).
    """

    shift: Tensor
    multipliers: Tensor
    side: Tensor
    error: Tensor

    def where(self, this: Tensor, other: Point) -> Point:
        """``self`` for the members in ``this``, else ``other``."""
        wide = this.unsqueeze(-1)
        return Point(
            torch.where(wide, self.shift, other.shift),
            torch.where(wide, self.multipliers, other.multipliers),
            torch.where(wide, self.side, other.side),
            torch.where(this, self.error, other.error),
        )

    def __getitem__(self, members: Tensor) -> Point:
        return Point(self.shift[members], self.multipliers[members], self.side[members], self.error[members])

    def put(self, members: Tensor, part: Point) -> Point:
        """With ``part`` in the place of some members."""
        pairs = ((self.shift, part.shift), (self.multipliers, part.multipliers), (self.side, part.side))
        shift, multipliers, side = (whole.index_put((members,), own) for whole, own in pairs)
        return Point(shift, multipliers, side, self.error.index_put((members,), part.error))


@dataclass(frozen=True, eq=False)
class Conditions:
    """min 1/2 |v|² with -below <= G v <= above, and how far a point is from solving it.

    Arguments:
        rows: G, (*batch, row, n), rows of length one or zero.
        above, below: (*batch, row).
        pinned: (*batch, row), rows with G v = above.
        scale: the size of v, (*batch,).
    """

    rows: Tensor
    above: Tensor
    below: Tensor
    pinned: Tensor
    scale: Tensor

    def __getitem__(self, members: Tensor) -> Conditions:
        parts = (self.rows, self.above, self.below, self.pinned, self.scale)
        return Conditions(*(t[members] for t in parts))

    def error(self, v: Tensor, y: Tensor) -> Tensor:
        """The largest violation of an optimality condition, relative, (*batch,).

        Of feasibility; of v + Gᵀy = 0; and for each row the smaller one of its multiplier and of its distance from the
        bound that this multiplier belongs to. NaN counts as infinite.
        """
        outside, force = self.outside(v), torch.linalg.vector_norm(v + transposed_times(self.rows, y), dim=-1)
        moved = times(self.rows, v)
        gap = torch.where(y > 0.0, self.above - moved, self.below + moved).abs()
        size = self.scale + largest(y.abs())
        slack = torch.where(self.pinned | (y == 0.0), 0.0, torch.minimum(gap, y.abs()))
        worst = torch.stack([largest(outside) / self.scale, force / size, largest(slack) / self.scale]).amax(0)
        return torch.where(torch.isfinite(worst), worst, torch.where(self.scale > 0.0, torch.inf, 0.0))

    def outside(self, v: Tensor) -> Tensor:
        """How far v lies beyond each row, (*batch, row)."""
        moved = times(self.rows, v)
        beyond = torch.maximum(moved - self.above, -self.below - moved).clamp_min(0.0)
        return torch.where(self.pinned, (moved - self.above).abs(), beyond)

    def on(self, side: Tensor) -> Point:
        """The point G_A⁺ b_A of the rows that are marked, refined once."""
        rows = ActiveSet.of(self.rows, side != 0)
        goal = torch.where(side > 0, self.above, torch.where(side < 0, -self.below, 0.0))
        v = rows.nearest(goal)
        v = v + rows.nearest(goal - times(self.rows, v))
        y = rows.multipliers(v)
        wrong = ~self.pinned & (y * side < 0.0)
        return Point(v, y, side, torch.where(wrong.any(-1), self._signed(v, y, wrong), self.error(v, y)))

    def _signed(self, v: Tensor, y: Tensor, wrong: Tensor) -> Tensor:
        """The error where multipliers of the wrong sign count as what is missing."""
        size = self.scale + largest(y.abs())
        missing = largest(torch.where(wrong, y.abs(), 0.0)) / size
        return torch.maximum(self.error(v, torch.where(wrong, 0.0, y)), missing)


def largest(t: Tensor) -> Tensor:
    """The largest entry, zero of none."""
    return t.amax(-1) if t.shape[-1] else t.sum(-1)
