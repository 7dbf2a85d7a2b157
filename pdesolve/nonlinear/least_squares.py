"""One block least-squares problem: rows on patches, rows between patches, a ridge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from pdesolve.linalg.block_cholesky import BlockMatrix
from pdesolve.linalg.elimination import Edge
from pdesolve.nonlinear.constraints import LinearConstraints
from pdesolve.nonlinear.joint_rows import JointBlock
from pdesolve.nonlinear.rows import InterfaceBlock, RowBlock, times, transposed_times

_Item = TypeVar("_Item")


@dataclass(frozen=True, eq=False)
class Normal:
    """A linearisation: what a Gauss-Newton type step needs.

    Arguments:
        cost: 1/2 |r|², by member.
        gradient: Jᵀ r, (batch, patch, N).
        gram: JᵀJ.
        magnitude: size of the terms that cancel in r, by member; sets the round-off floor.
    """

    cost: Tensor
    gradient: Tensor
    gram: BlockMatrix
    magnitude: Tensor


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """min over w of 1/2 Σ |r(w)|² + 1/2 wᵀ Γ w, batched over samples and patches.

    A *member* is what is solved as one: a patch of a sample where patches are independent, a whole sample where
    interface rows couple them. Values by member have shape (batch, patch) or (batch, 1) and broadcast.

    Arguments:
        rows: blocks on the patches.
        interfaces: blocks between patches.
        ridge: Γ, (batch, patch, N, N), symmetric positive semidefinite, a constant in every derivative.
        constraints: rows that must hold; ``minimise_constrained`` respects them, cost and gradients do not know them.
        joint: blocks that read several patches at once. Without these and interfaces every patch is independent.
    """

    rows: tuple[RowBlock, ...]
    interfaces: tuple[InterfaceBlock, ...] = ()
    ridge: Tensor | None = None
    constraints: tuple[LinearConstraints, ...] = ()
    joint: tuple[JointBlock, ...] = ()

    @property
    def tied(self) -> bool:
        """Whether a sample is solved as one."""
        return bool(self.interfaces or self.joint)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(batch, patches, unknowns of a patch)."""
        batch, patches, _ = self.rows[0].offset[0].shape
        return batch, patches, self.rows[0].basis[0].shape[-1]

    @property
    def like(self) -> Tensor:
        return self.rows[0].basis[0]

    def row_counts(self) -> Tensor:
        """Rows that determine each patch, padding left out, (patch,)."""
        counts = sum((block.count() for block in self.rows[1:]), self.rows[0].count())
        for interface in self.interfaces:
            a, b = interface.count()
            counts = interface.scatter(counts.unsqueeze(0), a.unsqueeze(0), b.unsqueeze(0)).squeeze(0)
        for block in self.joint:
            shared = block.block.count()[:, None].expand(-1, len(block.patches[0])).unsqueeze(0)
            counts = block.scatter(counts[None, :, None], shared).flatten()
        return counts

    @property
    def edges(self) -> tuple[Edge, ...]:
        found: dict[Edge, None] = {}
        for block in self.interfaces:
            found.update(dict.fromkeys(block.edges))
        for joint in self.joint:
            found.update(dict.fromkeys(joint.pairs))
        return tuple(found)

    def zeros(self) -> Tensor:
        """The starting point w = 0: the lifting."""
        return self.like.new_zeros(self.shape)

    def by_member(self, per_patch: Tensor) -> Tensor:
        """Sum (batch, patch) over what is solved as one."""
        return per_patch.sum(1, keepdim=True) if self.tied else per_patch

    def any_member(self, per_patch: Tensor) -> Tensor:
        """Logical or over what is solved as one."""
        return per_patch.any(1, keepdim=True) if self.tied else per_patch

    def max_member(self, per_patch: Tensor) -> Tensor:
        return per_patch.amax(1, keepdim=True) if self.tied else per_patch

    @property
    def blocks(self) -> tuple[RowBlock | InterfaceBlock | JointBlock, ...]:
        return *self.rows, *self.interfaces, *self.joint

    def tensors(self) -> list[Tensor]:
        """All tensors that a gradient may be asked for, block after block."""
        found = [t for block in self.blocks for t in block.tensors()]
        return found + [t for block in self.constraints for t in block.tensors()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> LeastSquares:
        """The same problem on other tensors, in the order of ``tensors()``."""
        queue = iter(tensors)
        rows = tuple(b.with_tensors(_next(queue, len(b.tensors()))) for b in self.rows)
        interfaces = tuple(b.with_tensors(_next(queue, len(b.tensors()))) for b in self.interfaces)
        joint = tuple(b.with_tensors(_next(queue, len(b.tensors()))) for b in self.joint)
        constraints = tuple(b.with_tensors(_next(queue, len(b.tensors()))) for b in self.constraints)
        return replace(self, rows=rows, interfaces=interfaces, joint=joint, constraints=constraints)

    def parts(self) -> list[Tensor]:
        """All tensors that the problem is made of, block after block, and the ridge if there is one."""
        ridge = [] if self.ridge is None else [self.ridge]
        return [t for block in self.blocks for t in block.parts()] + ridge

    def with_parts(self, parts: Sequence[Tensor]) -> LeastSquares:
        """The same problem on other tensors, in the order of ``parts()``."""
        queue = iter(parts)
        rows = tuple(b.with_parts(_next(queue, len(b.parts()))) for b in self.rows)
        interfaces = tuple(b.with_parts(_next(queue, len(b.parts()))) for b in self.interfaces)
        joint = tuple(b.with_parts(_next(queue, len(b.parts()))) for b in self.joint)
        ridge = None if self.ridge is None else next(queue)
        return replace(self, rows=rows, interfaces=interfaces, joint=joint, ridge=ridge)

    def memberwise(self) -> LeastSquares:
        """The problem with no tensor of ``tensors()`` but shared bases serving two members."""
        rows = tuple(b.memberwise() for b in self.rows)
        joint = tuple(b.memberwise() for b in self.joint)
        return replace(self, rows=rows, interfaces=tuple(b.memberwise() for b in self.interfaces), joint=joint)

    def masked(self, good: Tensor) -> list[Tensor]:
        """``tensors()`` of a ``memberwise`` problem with those of other members than ``good`` made constants.

        Arguments:
            good: (batch, patch).
        """
        rows = [constant_unless(good, t) for block in self.rows for t in block.tensors()]
        tied: list[InterfaceBlock | JointBlock] = [*self.interfaces, *self.joint]
        return rows + [constant_unless(good[:, :1], t) for block in tied for t in block.tensors()]

    def detached(self) -> LeastSquares:
        return self.with_tensors([t.detach() for t in self.tensors()])

    def transformed(self, transform: Tensor) -> LeastSquares:
        """The problem in unknowns c with w = transform c, (batch, patch, N, N)."""
        ridge = None if self.ridge is None else transform.mT @ self.ridge @ transform
        return LeastSquares(
            tuple(b.transformed(transform) for b in self.rows),
            tuple(b.transformed(transform) for b in self.interfaces),
            ridge,
            tuple(b.transformed(transform) for b in self.constraints),
            tuple(b.transformed(transform) for b in self.joint),
        )

    def cost(self, w: Tensor) -> Tensor:
        """1/2 |r|² + 1/2 wᵀΓw, by member."""
        total = sum((b.residual(w).square().sum(-1).sum(0) for b in self.rows), w.new_zeros(w.shape[:2]))
        if self.ridge is not None:
            total = total + torch.linalg.vecdot(w, times(self.ridge, w))
        cost = self.by_member(total)
        for block in self.interfaces:
            cost = cost + block.residual(w).square().sum(dim=(1, 2))[:, None]
        for joint in self.joint:
            cost = cost + joint.block.residual(joint.gather(w)).square().sum(dim=(0, 2, 3))[:, None]
        return 0.5 * cost

    def patch_costs(self, w: Tensor) -> Tensor:
        """Σ rows² of each patch, (batch, patch); rows between patches count for each of them in equal parts."""
        total = sum((b.residual(w).square().sum(-1).sum(0) for b in self.rows), w.new_zeros(w.shape[:2]))
        for block in self.interfaces:
            half = 0.5 * block.residual(w).square().sum(-1)
            total = block.scatter(total, half, half)
        for joint in self.joint:
            count = len(joint.patches[0])
            part = joint.block.residual(joint.gather(w)).square().sum(-1).sum(0) / count
            total = joint.scatter(total.unsqueeze(-1), part.unsqueeze(-1).expand(-1, -1, count)).squeeze(-1)
        return total

    def linearise(self, w: Tensor) -> Normal:
        """Cost, gradient and Gauss-Newton matrix at w."""
        diagonal = w.new_zeros((*self.shape, self.shape[2]))
        gradient, total, size = self.zeros(), w.new_zeros(w.shape[:2]), w.new_zeros(w.shape[:2])
        for block in self.rows:
            rows = block.linearise(w)
            size = size + rows.size
            for r, slopes in zip(rows.residual, rows.slopes, strict=True):
                block.add_products(r, slopes, diagonal, gradient)
                total = total + r.square().sum(-1)
        cost = self.by_member(total)
        coupling: dict[Edge, Tensor] = {}
        for interface in self.interfaces:
            (a, b), (aa, bb, cross) = interface.weighted, interface.products
            r = interface.residual(w)
            cost = cost + r.square().sum(dim=(1, 2))[:, None]
            interface.add(gradient, transposed_times(a, r), -transposed_times(b, r))
            interface.add(diagonal, aa, bb)
            for e, edge in enumerate(interface.edges):
                coupling[edge] = coupling.get(edge, 0.0) + cross[:, e]
        for joint in self.joint:
            rows = joint.block.linearise(joint.gather(w))
            size = joint.scatter(
                size.unsqueeze(-1), rows.size.unsqueeze(-1).expand(-1, -1, len(joint.patches[0]))
            ).squeeze(-1)
            n = joint.block.basis[0].shape[-1]
            own = w.new_zeros((*joint.block.offset[0].shape[:2], n, n))
            pull = own[..., 0].clone()
            for r, slopes in zip(rows.residual, rows.slopes, strict=True):
                joint.block.add_products(r, slopes, own, pull)
                cost = cost + r.square().sum(dim=(1, 2))[:, None]
            diagonal = joint.scatter_matrix(diagonal, coupling, own)
            gradient = joint.scatter(gradient, pull)
        columns = (diagonal.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt() * w.abs()).sum(-1)
        gram = BlockMatrix(diagonal, _stacked(coupling, diagonal), tuple(coupling))
        normal = Normal(0.5 * cost, gradient, gram, self.max_member(columns + size.sqrt()))
        return normal if self.ridge is None else self.regularised(normal, w, self.ridge)

    def regularised(self, normal: Normal, w: Tensor, ridge: Tensor) -> Normal:
        """A linearisation at w with the penalty 1/2 wᵀΓw added, Γ = ``ridge``."""
        pull = times(ridge, w)
        cost = normal.cost + 0.5 * self.by_member(torch.linalg.vecdot(w, pull))
        gram = replace(normal.gram, diagonal=normal.gram.diagonal + ridge)
        return Normal(cost, normal.gradient + pull, gram, normal.magnitude)

    def penalised(self, ridge: Tensor) -> LeastSquares:
        """The problem with ``ridge`` added to its own."""
        return replace(self, ridge=ridge if self.ridge is None else self.ridge + ridge)

    def hessian(self, w: Tensor, gram: BlockMatrix) -> BlockMatrix:
        """The full second derivative of the cost: the Gauss-Newton matrix plus Σ r ∂²r."""
        diagonal = gram.diagonal
        for block in self.rows:
            diagonal = diagonal + block.curvature(w)
        if not self.joint:
            return BlockMatrix(diagonal, gram.coupling, gram.edges)
        coupling = dict(zip(gram.edges, gram.coupling.unbind(1), strict=True))
        for joint in self.joint:
            diagonal = joint.scatter_matrix(diagonal, coupling, joint.block.curvature(joint.gather(w)))
        return BlockMatrix(diagonal, _stacked(coupling, diagonal), tuple(coupling))

    def pullback(
        self, w: Tensor, direction: Tensor, wanted: Sequence[bool] | None = None, good: Tensor | None = None
    ) -> list[Tensor | None]:
        """∂/∂tensors of (gradient of the cost) · direction, in the order of ``tensors()`` without the constraints'.

        Arguments:
            wanted: for each tensor; what is not wanted is left out as None where that saves work (default all).
            good: (batch, patch), members that count (default all); nothing of the others comes out, NaN neither.
        """
        queue = iter([True] * len(self.tensors()) if wanted is None else wanted)
        if good is not None:
            w, direction = (torch.where(good.unsqueeze(-1), t, 0.0) for t in (w, direction))
        sample = None if good is None else good[:, :1]
        found: list[Tensor | None] = []
        for block in self.rows:
            found += block.pullback(w, direction, _next(queue, len(block.tensors())), good)
        for interface in self.interfaces:
            found += interface.pullback(w, direction, _next(queue, len(interface.tensors())), sample)
        for joint in self.joint:
            ends = joint.gather(w), joint.gather(direction)
            found += joint.block.pullback(*ends, _next(queue, len(joint.tensors())), sample)
        return found


def select(accepted: Tensor, new: Normal, old: Normal) -> Normal:
    """``new`` for the members in ``accepted``, ``old`` for the others."""
    block = accepted[..., None, None]
    coupling = torch.where(block, new.gram.coupling, old.gram.coupling) if old.gram.edges else old.gram.coupling
    gram = replace(old.gram, diagonal=torch.where(block, new.gram.diagonal, old.gram.diagonal), coupling=coupling)
    return Normal(
        torch.where(accepted, new.cost, old.cost),
        torch.where(accepted.unsqueeze(-1), new.gradient, old.gradient),
        gram,
        torch.where(accepted, new.magnitude, old.magnitude),
    )


def constant_unless(good: Tensor, t: Tensor) -> Tensor:
    """t, whose derivative is zero where ``good`` is not, whatever stands there: zero times NaN would be NaN."""
    return torch.where(good.reshape(*good.shape, *(1,) * (t.ndim - 2)), t, t.detach())


def _next(queue: Iterator[_Item], count: int) -> list[_Item]:
    return list(islice(queue, count))


def _stacked(coupling: dict[Edge, Tensor], like: Tensor) -> Tensor:
    """(batch, edge, N, N)."""
    if not coupling:
        return like[:, :0]
    found = torch.stack(list(coupling.values()), 1)
    return found.expand(like.shape[0], *found.shape[1:])
