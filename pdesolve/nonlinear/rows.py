"""Blocks of residual rows: pointwise equations on patches, and linear conditions between two patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from pdesolve.linalg.elimination import Edge

PointFunction = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, ...]]
"""Called with (terms, inputs): terms[k] is S_k w + g_k at the points, inputs are a block's inputs and then its
constants; returns one tensor for each equation."""


_CACHED = 1 << 19
_RESIDENT = 1 << 27


def times(matrix: Tensor, w: Tensor) -> Tensor:
    """matrix @ w, as a row vector: several times faster than a batched product with one column.

    Arguments:
        matrix: (batch, patch, row, unknown), or of batch one for all members: then one matrix product for each patch.
        w: (batch, patch, unknown).
    """
    return transposed_times(matrix.mT, w)


def transposed_times(matrix: Tensor, r: Tensor) -> Tensor:
    """matrixᵀ @ r, as a row vector; shapes as for ``times``."""
    if matrix.shape[0] == 1 and r.shape[0] > 1:
        return torch.matmul(r.transpose(0, 1), matrix[0]).transpose(0, 1)
    return torch.matmul(r.unsqueeze(-2), matrix).squeeze(-2)


def _affine(matrix: Tensor, w: Tensor, offset: Tensor) -> Tensor:
    """matrix @ w + offset, (batch, patch, row), shapes as for ``times``."""
    if matrix.shape[0] != w.shape[0]:
        return times(matrix, w) + offset
    rows = torch.baddbmm(offset.flatten(0, 1).unsqueeze(1), w.flatten(0, 1).unsqueeze(1), matrix.flatten(0, 1).mT)
    return rows.reshape(offset.shape)


def _outer(left: Sequence[Tensor], right: Sequence[Tensor], like: Tensor) -> Tensor:
    """left_0 ⊗ right_0 + left_1 ⊗ right_1 over the last axes; summed over the batch where ``like`` has none."""
    (a, b), (v, w) = left, right
    if like.shape[0] == 1 and a.shape[0] > 1:
        return _summed_outer(a, v).add_(_summed_outer(b, w)).unsqueeze(0)
    return (a.unsqueeze(-1) * v.unsqueeze(-2)).addcmul_(b.unsqueeze(-1), w.unsqueeze(-2))


def _summed_outer(a: Tensor, v: Tensor) -> Tensor:
    """Σ_b a_b ⊗ v_b, (patch, row, unknown)."""
    return torch.matmul(a.permute(1, 2, 0), v.transpose(0, 1))


def _expanded(tensors: Sequence[Tensor], batch: int) -> tuple[Tensor, ...]:
    return tuple(t.expand(batch, *t.shape[1:]) for t in tensors)


def _at_points(t: Tensor) -> Tensor:
    """With all three dimensions of (batch, patch, point), some of length one."""
    return t.reshape((1,) * (3 - t.ndim) + t.shape)


def _part(t: Tensor, piece: slice) -> Tensor:
    """Some members of a tensor, which may be of batch one for all."""
    return t if t.shape[0] == 1 else t[piece]


def _combined(matrices: Sequence[Tensor], factors: Sequence[Tensor | None], out: Tensor) -> Tensor:
    """Σ_k diag(factor_k) matrix_k over the factors that are there, written to ``out``."""
    there = [(m.detach(), f.detach().unsqueeze(-1)) for m, f in zip(matrices, factors, strict=True) if f is not None]
    if not there:
        return out.zero_()
    torch.mul(*there[0], out=out)
    for matrix, column in there[1:]:
        out.addcmul_(matrix, column)
    return out


@dataclass(frozen=True, eq=False)
class Linearisation:
    """Rows at one w.

    Arguments:
        residual: weighted, (equation, batch, patch, point).
        slopes: for each equation ω ∂F/∂u_k by term, (batch, patch, point), None where F does not read it.
        size: Σ_rows (ω Σ_k |∂F/∂u_k u_k|)², (batch, patch): what cancels in the residual, hence its round-off.
    """

    residual: Tensor
    slopes: list[list[Tensor | None]]
    size: Tensor


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Rows ω F(S_0 w + g_0, S_1 w + g_1, ...; inputs) on every patch, F acting point by point.

    The Jacobian is Σ_k diag(ω ∂F/∂u_k) S_k: one reverse pass gives all ∂F/∂u_k, whatever the number of unknowns.

    A basis of batch one is shared by all members: products with it are done once, or as one matrix product for the
    whole batch. Jacobians, which differ by member, are made for a few members at a time and never kept.

    Arguments:
        function: F.
        basis: S_k, each (batch, patch, point, unknown), or all of batch one.
        offset: g_k, each (batch, patch, point).
        inputs: further tensors that F reads and gradients should reach (parameters), broadcastable to the points.
        weight: ω >= 0, broadcastable to (batch, patch, point); zero marks padding.
        n_equations: how many tensors F returns (default 1).
        constants: what else F reads, after ``inputs``, without a gradient (coordinates); broadcastable likewise.
    """

    function: PointFunction
    basis: tuple[Tensor, ...]
    offset: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    weight: Tensor
    n_equations: int = 1
    constants: tuple[Tensor, ...] = ()

    def count(self) -> Tensor:
        """Rows that are not padding, (patch,)."""
        shape = self.basis[0].shape[1:3]
        return self.n_equations * (self.weight[0].expand(shape) > 0).sum(-1)

    def tensors(self) -> tuple[Tensor, ...]:
        """Everything a gradient may be asked for: basis, offset, inputs."""
        return (*self.basis, *self.offset, *self.inputs)

    def with_tensors(self, tensors: Sequence[Tensor]) -> RowBlock:
        """The same rows on other tensors, in the order of ``tensors()``."""
        k = len(self.basis)
        return replace(
            self,
            basis=tuple(tensors[:k]),
            offset=tuple(tensors[k : 2 * k]),
            inputs=tuple(tensors[2 * k :]),
        )

    def parts(self) -> tuple[Tensor, ...]:
        """All tensors: ``tensors()``, and the weight and the constants, which carry no gradient."""
        return (*self.tensors(), self.weight, *self.constants)

    def with_parts(self, parts: Sequence[Tensor]) -> RowBlock:
        """The same rows on other tensors, in the order of ``parts()``."""
        n = len(self.tensors())
        kept = self.with_tensors(parts[:n])
        return replace(kept, weight=parts[n], constants=tuple(parts[n + 1 :]))

    def memberwise(self) -> RowBlock:
        """Inputs expanded over batch and patches: no tensor but a shared basis serves two members."""
        batch, patches = self.offset[0].shape[:2]
        inputs = tuple(_at_points(t).expand(batch, patches, -1) for t in self.inputs)
        constants = tuple(_at_points(t) for t in self.constants)
        return replace(self, inputs=inputs, weight=_at_points(self.weight), constants=constants)

    @property
    def batch(self) -> int:
        """The largest batch among all that the rows are made of."""
        return max(t.shape[0] for t in (*self.tensors(), self.weight))

    def batched(self, batch: int) -> RowBlock:
        """The offset expanded to a batch; a basis of batch one stays as it is, shared."""
        return replace(self, offset=_expanded(self.offset, batch))

    def on(self, patches: Tensor) -> RowBlock:
        """The rows of some patches, by index."""
        n = self.basis[0].shape[1]

        def chosen(t: Tensor) -> Tensor:
            return t.index_select(1, patches) if t.ndim > 1 and t.shape[1] == n else t

        kept = self.with_tensors([chosen(t) for t in self.tensors()])
        return replace(kept, weight=chosen(self.weight), constants=tuple(chosen(t) for t in self.constants))

    def transformed(self, transform: Tensor) -> RowBlock:
        """The rows in unknowns c with w = transform c, (batch, patch, N, N)."""
        return replace(self, basis=tuple(s @ transform for s in self.basis))

    def values(self, w: Tensor) -> list[Tensor]:
        """u_k = S_k w + g_k."""
        return [_affine(s, w, g) for s, g in zip(self.basis, self.offset, strict=True)]

    def residual(self, w: Tensor) -> Tensor:
        """ω F, (equation, batch, patch, point)."""
        return self._stack(self.function(self.values(w), self._read)) * self.weight

    def linearise(self, w: Tensor) -> Linearisation:
        """Residual, slopes and size of the terms at w."""
        with _recording():
            terms = [u.requires_grad_() for u in self.values(w)]
            equations = self.function(terms, self._read)
            slopes = [_gradients(e.sum(), terms, retain=True) for e in equations]  # they may share a graph
        size = self._stack([_cancelling(row, terms) for row in slopes]) * self.weight
        return Linearisation(
            self._stack(equations).detach() * self.weight,
            [[None if s is None else s.detach() * self.weight for s in row] for row in slopes],
            size.square().sum(-1).sum(0),
        )

    def jacobian(self, slopes: Sequence[Tensor | None]) -> Tensor:
        """Σ_k diag(slopes_k) S_k, (batch, patch, point, unknown), of one equation's slopes, from ``linearise``."""
        batch, *rest = self.offset[0].shape
        out = self.basis[0].new_empty((batch, *rest, self.basis[0].shape[-1]))
        return _combined(self.basis, slopes, out)

    def add_products(self, residual: Tensor, slopes: Sequence[Tensor | None], gram: Tensor, gradient: Tensor) -> None:
        """Add JᵀJ, (batch, patch, N, N), and Jᵀr, (batch, patch, N), of one equation to ``gram`` and ``gradient``.

        Arguments:
            residual: r, (batch, patch, point), of one equation, from ``linearise``.
            slopes: of that equation.
        """
        for piece in self.pieces:
            j = self._jacobian(0, slopes, piece).flatten(0, 1)
            gram[piece].flatten(0, 1).baddbmm_(j.mT, j)
            gradient[piece].flatten(0, 1).unsqueeze(1).baddbmm_(residual[piece].flatten(0, 1).unsqueeze(1), j)

    @cached_property
    def pieces(self) -> list[slice]:
        """The members in groups whose Jacobian fits a processor's cache, or a small part of a GPU's memory."""
        batch, patches, points = self.offset[0].shape
        largest = _CACHED if self.offset[0].device.type == "cpu" else _RESIDENT
        size = max(1, largest // (patches * points * self.basis[0].shape[-1]))
        return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]

    @cached_property
    def scratch(self) -> Tensor:
        """Memory for the Jacobian of a group, kept: asking the system for it anew costs as much as filling it."""
        members = self.pieces[0].stop - self.pieces[0].start
        with torch.inference_mode(False):  # written to in either mode
            return self.basis[0].new_empty((members, *self.basis[0].shape[1:]))

    def _jacobian(self, first: int, factors: Sequence[Tensor | None], piece: slice) -> Tensor:
        """Σ_{k >= first} diag(factor_k) S_k of a group of members, in ``scratch``."""
        matrices = [_part(s, piece) for s in self.basis[first:]]
        columns = [None if f is None else f[piece] for f in factors[first:]]
        return _combined(matrices, columns, self.scratch[: piece.stop - piece.start])

    def curvature(self, w: Tensor) -> Tensor:
        """Σ_rows r ∂²r/∂w², (batch, patch, N, N): what Gauss-Newton leaves out of the Hessian.

        Σ_kl S_kᵀ c_kl S_l = Σ_k (S_kᵀ Z_k + Z_kᵀ S_k) with Z_k = c_kk S_k / 2 + Σ_{l>k} c_kl S_l: one product for each
        term in which F is nonlinear.
        """
        n = self.basis[0].shape[-1]
        with _recording():
            total = self.basis[0].new_zeros((*self.offset[0].shape[:2], n, n))
            terms = [u.requires_grad_() for u in self.values(w)]
            for equation in self.function(terms, self._read):
                first = _gradients(equation.sum(), terms, create_graph=True)
                factor = equation.detach() * self.weight**2
                for k, slope in enumerate(first):
                    if slope is None or not slope.requires_grad:
                        continue
                    second = _gradients(slope.sum(), terms, retain=True)
                    halved = [
                        None if g is None else factor * g * (0.5 if j == k else 1.0) for j, g in enumerate(second)
                    ]
                    if any(factor is not None for factor in halved[k:]):
                        for piece in self.pieces:
                            z = self._jacobian(k, halved, piece)
                            total[piece] += _part(self.basis[k], piece).detach().mT @ z
        return total + total.mT

    def pullback(
        self, w: Tensor, direction: Tensor, wanted: Sequence[bool], good: Tensor | None = None
    ) -> list[Tensor | None]:
        """∂/∂tensors of Σ_rows r · (∂r/∂w · direction), in the order of ``tensors()``; None for some not wanted.

        Where ``good`` (batch, patch) is given the inputs have the batch and patches of the rows, as in ``memberwise``.

        With u = S w + g and δ = S λ the sum is Φ = Σ ω² F(u) Σ_k F_k(u) δ_k, a function of vectors only, so
        ∂Φ/∂S_k = ∂Φ/∂u_k ⊗ w + ∂Φ/∂δ_k ⊗ λ and ∂Φ/∂g_k = ∂Φ/∂u_k.
        """
        with _recording():
            terms = [u.requires_grad_() for u in self.values(w)]
            deltas = [times(s, direction).requires_grad_() for s in self.basis]
            inputs = [i.detach().requires_grad_() for i in self._read[: len(self.inputs)]]
            phi = terms[0].new_zeros(())
            for equation in self.function(terms, [*inputs, *self.constants]):
                slopes = _gradients(equation.sum(), terms, create_graph=True)
                change = sum(s * d for s, d in zip(slopes, deltas, strict=True) if s is not None)
                phi = phi + (self.weight**2 * equation * change).sum()
            grads = _gradients(phi, [*terms, *deltas, *inputs])
        zero = torch.zeros_like(terms[0])
        du = [zero if g is None else g for g in grads[: len(terms)]]
        dd = [zero if g is None else g for g in grads[len(terms) : 2 * len(terms)]]
        di = [torch.zeros_like(i) if g is None else g for g, i in zip(grads[2 * len(terms) :], inputs, strict=True)]
        if good is not None:  # 0 * NaN is NaN: nothing of what failed may come out, nor into a basis that others share
            du, dd, di = ([torch.where(good.unsqueeze(-1), g, 0.0) for g in part] for part in (du, dd, di))
        basis = [
            _outer((b, a), (direction, w), s) if want else None
            for a, b, s, want in zip(du, dd, self.basis, wanted, strict=False)
        ]
        return [*basis, *du, *di]

    @property
    def _read(self) -> tuple[Tensor, ...]:
        """Inputs and constants; autograd cannot keep a tensor made in inference mode, but its copy."""
        return tuple(t.clone() if t.is_inference() else t for t in (*self.inputs, *self.constants))

    def _stack(self, equations: Sequence[Tensor]) -> Tensor:
        shape = self.offset[0].shape
        return torch.stack([e.expand(shape) for e in equations])


@contextmanager
def _recording() -> Iterator[None]:
    """Slopes are found by autograd, whatever mode the caller is in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _cancelling(slopes: Sequence[Tensor | None], terms: Sequence[Tensor]) -> Tensor:
    """Σ_k |∂F/∂u_k u_k|, shaped like the points."""
    pairs = zip(slopes, terms, strict=True)
    return sum(((s * u).detach().abs() for s, u in pairs if s is not None), torch.zeros_like(terms[0]))


def _gradients(
    scalar: Tensor, tensors: Sequence[Tensor], create_graph: bool = False, retain: bool = False
) -> list[Tensor | None]:
    if not scalar.requires_grad:
        return [None] * len(tensors)
    keep = retain or create_graph
    return list(
        torch.autograd.grad(scalar, list(tensors), create_graph=create_graph, retain_graph=keep, allow_unused=True)
    )


@dataclass(frozen=True, eq=False)
class InterfaceBlock:
    """Rows ω (A w_a - B w_b + c) between neighbouring patches a and b, linear in the unknowns.

    Arguments:
        edges: pairs (a, b) with a < b.
        left, right: A and B, (batch, edge, row, unknown), or of batch one for all members.
        offset: c, (batch, edge, row).
        weight: ω, broadcastable to (batch, edge, row).
        flow: for each edge +1 where the rows determine b from a, -1 where a from b; empty where each side feels the
            other. ``solve_in_order`` follows it; taken as one least-squares problem the rows are symmetric.
    """

    edges: tuple[Edge, ...]
    left: Tensor
    right: Tensor
    offset: Tensor
    weight: Tensor
    flow: tuple[int, ...] = ()

    def tensors(self) -> tuple[Tensor, ...]:
        return self.left, self.right, self.offset

    def with_tensors(self, tensors: Sequence[Tensor]) -> InterfaceBlock:
        left, right, offset = tensors
        return replace(self, left=left, right=right, offset=offset)

    def parts(self) -> tuple[Tensor, ...]:
        """As ``RowBlock.parts``."""
        return (*self.tensors(), self.weight)

    def with_parts(self, parts: Sequence[Tensor]) -> InterfaceBlock:
        return replace(self.with_tensors(parts[:3]), weight=parts[3])

    def memberwise(self) -> InterfaceBlock:
        """As ``RowBlock.memberwise``: the tensors belong to one sample each already."""
        return replace(self, weight=_at_points(self.weight))

    @property
    def batch(self) -> int:
        return max(t.shape[0] for t in self.tensors())

    def count(self) -> tuple[Tensor, Tensor]:
        """Rows that are not padding and determine a, and b, each (edge,)."""
        rows = (self.weight[0].expand(self.left.shape[1:3]) > 0).sum(-1)
        flow = torch.tensor(self.flow or [0] * len(self.edges), device=rows.device)
        return rows * (flow <= 0), rows * (flow >= 0)

    def batched(self, batch: int) -> InterfaceBlock:
        """The offset expanded to a batch; sides of batch one stay as they are, shared."""
        return replace(self, offset=_expanded((self.offset,), batch)[0])

    @cached_property
    def _ends(self) -> tuple[Tensor, Tensor]:
        a, b = (torch.tensor(ends, device=self.left.device) for ends in zip(*self.edges, strict=True))
        return a, b

    @cached_property
    def weighted(self) -> tuple[Tensor, Tensor]:
        """ω A and ω B, (batch, edge, row, unknown)."""
        weight = self.weight.unsqueeze(-1)
        return self.left * weight, self.right * weight

    @cached_property
    def products(self) -> tuple[Tensor, Tensor, Tensor]:
        """ω² AᵀA, ω² BᵀB and -ω² AᵀB, (batch, edge, N, N): the same at every w."""
        a, b = self.weighted
        return a.mT @ a, b.mT @ b, -(a.mT @ b)

    def transformed(self, transform: Tensor) -> InterfaceBlock:
        a, b = self._ends
        return replace(self, left=self.left @ transform[:, a], right=self.right @ transform[:, b])

    def jump(self, w: Tensor) -> Tensor:
        """A w_a - B w_b + c without the weight, (batch, edge, row)."""
        a, b = self._ends
        return times(self.left, w[:, a]) - times(self.right, w[:, b]) + self.offset

    def residual(self, w: Tensor) -> Tensor:
        """Weighted rows, (batch, edge, row)."""
        return self.jump(w) * self.weight

    def scatter(self, onto: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """``onto``, (batch, patch, ...), with one tensor for each edge added to both its patches."""
        return self.add(onto.clone(), left, right)

    def add(self, onto: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """As ``scatter``, in place."""
        for end, part in zip(self._ends, (left, right), strict=True):
            onto.index_add_(1, end, part.expand(onto.shape[0], *part.shape[1:]))
        return onto

    def pullback(
        self, w: Tensor, direction: Tensor, wanted: Sequence[bool], good: Tensor | None = None
    ) -> list[Tensor | None]:
        """As ``RowBlock.pullback``, ``good`` by sample, (batch, 1)."""
        if not any(wanted):
            return [None] * len(wanted)
        a, b = self._ends
        square = self.weight**2
        r = square * self.jump(w)
        rho = square * (times(self.left, direction[:, a]) - times(self.right, direction[:, b]))
        if good is not None:
            r, rho = (torch.where(good.unsqueeze(-1), t, 0.0) for t in (r, rho))
        left = _outer((r, rho), (direction[:, a], w[:, a]), self.left)
        right = -_outer((r, rho), (direction[:, b], w[:, b]), self.right)
        return [left, right, rho]
