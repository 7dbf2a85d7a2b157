"""One block least-squares problem: rows on patches, rows between patches, a ridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.linalg.block_cholesky import BlockMatrix
from pdesolve.linalg.elimination import Edge
from pdesolve.nonlinear.rows import InterfaceBlock, RowBlock, times, transposed_times


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
        interfaces: blocks between patches; none makes every patch independent.
        ridge: Γ, (batch, patch, N, N), symmetric positive semidefinite, a constant in every derivative.
    """

    rows: tuple[RowBlock, ...]
    interfaces: tuple[InterfaceBlock, ...] = ()
    ridge: Tensor | None = None

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
        return counts

    def healthy(self, good: Tensor) -> LeastSquares:
        """The problem with everything that belongs to other members than ``good`` replaced by a good member's.

        Arguments:
            good: (batch, patch), at least one true.
        """
        b, p = (int(i) for i in good.nonzero()[0])
        samples, cases = good.any(1), good.all(1)

        def patched(t: Tensor) -> Tensor:
            if t.shape[0] == 1 < good.shape[0]:  # shared: a patch on which no member is good
                return torch.where(good.any(0).reshape(1, -1, *(1,) * (t.ndim - 2)), t, t[0, p])
            return torch.where(good.reshape(*good.shape, *(1,) * (t.ndim - 2)), t, t[b, p])

        def sampled(t: Tensor, keep: Tensor) -> Tensor:
            return t if t.shape[0] == 1 else torch.where(keep.reshape(-1, *(1,) * (t.ndim - 1)), t, t[b : b + 1])

        tensors: list[Tensor] = []
        for block in self.rows:
            tensors += [patched(t) for t in (*block.basis, *block.offset)]
            tensors += [patched(t) if t.shape[:2] == good.shape else sampled(t, samples) for t in block.inputs]
        for interface in self.interfaces:
            tensors += [sampled(t, cases) for t in interface.tensors()]
        return self.with_tensors(tensors)

    @property
    def edges(self) -> tuple[Edge, ...]:
        found: dict[Edge, None] = {}
        for block in self.interfaces:
            found.update(dict.fromkeys(block.edges))
        return tuple(found)

    def zeros(self) -> Tensor:
        """The starting point w = 0: the lifting."""
        return self.like.new_zeros(self.shape)

    def by_member(self, per_patch: Tensor) -> Tensor:
        """Sum (batch, patch) over what is solved as one."""
        return per_patch.sum(1, keepdim=True) if self.interfaces else per_patch

    def any_member(self, per_patch: Tensor) -> Tensor:
        """Logical or over what is solved as one."""
        return per_patch.any(1, keepdim=True) if self.interfaces else per_patch

    def max_member(self, per_patch: Tensor) -> Tensor:
        return per_patch.amax(1, keepdim=True) if self.interfaces else per_patch

    def tensors(self) -> list[Tensor]:
        """All tensors that a gradient may be asked for, block after block."""
        rows = [t for block in self.rows for t in block.tensors()]
        return rows + [t for interface in self.interfaces for t in interface.tensors()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> LeastSquares:
        """The same problem on other tensors, in the order of ``tensors()``."""
        queue = list(tensors)

        def take(count: int) -> list[Tensor]:
            head = queue[:count]
            del queue[:count]
            return head

        rows = tuple(b.with_tensors(take(len(b.tensors()))) for b in self.rows)
        interfaces = tuple(b.with_tensors(take(len(b.tensors()))) for b in self.interfaces)
        return replace(self, rows=rows, interfaces=interfaces)

    def detached(self) -> LeastSquares:
        return self.with_tensors([t.detach() for t in self.tensors()])

    def transformed(self, transform: Tensor) -> LeastSquares:
        """The problem in unknowns c with w = transform c, (batch, patch, N, N)."""
        ridge = None if self.ridge is None else transform.mT @ self.ridge @ transform
        return LeastSquares(
            tuple(b.transformed(transform) for b in self.rows),
            tuple(b.transformed(transform) for b in self.interfaces),
            ridge,
        )

    def cost(self, w: Tensor) -> Tensor:
        """1/2 |r|² + 1/2 wᵀΓw, by member."""
        total = sum((b.residual(w).square().sum(-1).sum(0) for b in self.rows), w.new_zeros(w.shape[:2]))
        if self.ridge is not None:
            total = total + torch.linalg.vecdot(w, times(self.ridge, w))
        cost = self.by_member(total)
        for block in self.interfaces:
            cost = cost + block.residual(w).square().sum(dim=(1, 2))[:, None]
        return 0.5 * cost

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
        return BlockMatrix(diagonal, gram.coupling, gram.edges)

    def pullback(self, w: Tensor, direction: Tensor, wanted: Sequence[bool] | None = None) -> list[Tensor | None]:
        """∂/∂tensors of (gradient of the cost) · direction, in the order of ``tensors()``.

        Arguments:
            wanted: for each tensor; what is not wanted is left out as None where that saves work (default all).
        """
        queue = [True] * len(self.tensors()) if wanted is None else list(wanted)
        found: list[Tensor | None] = []
        blocks: tuple[RowBlock | InterfaceBlock, ...] = (*self.rows, *self.interfaces)
        for block in blocks:
            start = len(found)
            found += block.pullback(w, direction, queue[start : start + len(block.tensors())])
        return found


def select(accepted: Tensor, new: Normal, old: Normal) -> Normal:
    """``new`` for the members in ``accepted``, ``old`` for the others."""
    diagonal = torch.where(accepted[..., None, None], new.gram.diagonal, old.gram.diagonal)
    gram = replace(old.gram, diagonal=diagonal)  # rows between patches are linear: their blocks are the same at every w
    return Normal(
        torch.where(accepted, new.cost, old.cost),
        torch.where(accepted.unsqueeze(-1), new.gradient, old.gradient),
        gram,
        torch.where(accepted, new.magnitude, old.magnitude),
    )


def _stacked(coupling: dict[Edge, Tensor], like: Tensor) -> Tensor:
    """(batch, edge, N, N)."""
    if not coupling:
        return like[:, :0]
    found = torch.stack(list(coupling.values()), 1)
    return found.expand(like.shape[0], *found.shape[1:])
