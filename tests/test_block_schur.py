"""Differentiable solves of coupled blocks: against dense matrices, members of a batch by themselves, bad input."""

from __future__ import annotations

import pytest
import torch
from helpers import uniform
from torch.autograd import gradcheck

from pdesolve.linalg.choice import default_solver
from pdesolve.linalg.direct.block_schur import BlockSchur
from pdesolve.linalg.direct.dense_lu import DenseLU
from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.krylov.cg import CG
from pdesolve.linalg.operators.assemble import dense_matrix
from pdesolve.linalg.operators.block_sparse import BlockSparseOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.solve import linear_solve
from pdesolve.status import SolveError, SolveStatus

PLANE = ((0, 1), (0, 2), (1, 3), (2, 3), (2, 4), (3, 5), (4, 5))  # 3 x 2 patches
CHAIN = tuple((i, i + 1) for i in range(7))


def coupled(*batch: int, edges=PLANE, n: int = 3, seed: int = 0, definite: bool = True) -> BlockSparseOperator:
    """Positive definite blocks on a graph of patches."""
    p = 1 + max(b for _, b in edges)
    raw = uniform(*batch, p, n, n, seed=seed)
    diagonal = raw @ raw.mT + 6.0 * torch.eye(n, dtype=torch.float64)
    return BlockSparseOperator(
        diagonal, uniform(*batch, len(edges), n, n, seed=seed + 1), edges, positive_definite=definite
    )


def coupled_with(operator: BlockSparseOperator, **changes) -> BlockSparseOperator:
    parts = {"diagonal": operator.diagonal.clone(), "coupling": operator.coupling.clone(), "edges": operator.edges}
    return BlockSparseOperator(**{**parts, **changes}, positive_definite=True)


@pytest.mark.parametrize("edges", [PLANE, CHAIN, ((0, 1),)], ids=["plane", "chain", "pair"])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)], ids=str)
def test_as_a_dense_matrix(edges, batch):
    operator = coupled(*batch, edges=edges)
    b = uniform(*batch, operator.shape[0], seed=5)
    x, report = linear_solve(operator, b, BlockSchur())
    full = dense_matrix(operator)
    expected, _ = linear_solve(DenseOperator(full.matrix), b, DenseLU())
    torch.testing.assert_close(x, expected, rtol=1e-12, atol=1e-13)
    assert report.status.shape == batch
    assert (report.stats["backward_error"] < 1e-15).all()
    assert report.stats["condition"].shape == batch


def test_many_right_hand_sides_share_one_matrix():
    operator = coupled()
    b = uniform(5, 4, operator.shape[0], seed=6)
    together, _ = linear_solve(operator, b, BlockSchur())
    torch.testing.assert_close(operator.mv(together), b)


def test_gradients_reach_every_member_of_a_batch():
    operator = coupled(2, edges=((0, 1), (1, 2)), n=2)
    b = uniform(2, 6, seed=7).requires_grad_()

    def solved(raw, coupling, b):
        diagonal = raw + raw.mT
        return linear_solve(
            BlockSparseOperator(diagonal, coupling, operator.edges, positive_definite=True), b, BlockSchur()
        )[0]

    inputs = ((operator.diagonal / 2).requires_grad_(), operator.coupling.clone().requires_grad_(), b)
    assert gradcheck(solved, inputs, check_forward_ad=True)


FAULTS = {
    "NaN": (SolveStatus.NON_FINITE, lambda d, c: c[1, 0, 0, 0].fill_(torch.nan)),
    "infinite": (SolveStatus.NON_FINITE, lambda d, c: d[1, 2, 0, 1].fill_(torch.inf)),
    "unsymmetric": (SolveStatus.UNSYMMETRIC, lambda d, c: d[1, 3, 0, 1].add_(1e-3)),
    "negative diagonal": (SolveStatus.INDEFINITE, lambda d, c: d[1, 0, 0, 0].fill_(-1.0)),
    "indefinite": (SolveStatus.INDEFINITE, lambda d, c: c[1].mul_(100.0)),
    "nearly singular": (SolveStatus.INDEFINITE, lambda d, c: d[1, 4].fill_(1.0)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_member_leaves_the_others_alone(name):
    status, spoil = FAULTS[name]
    operator = coupled(3)
    b = uniform(3, operator.shape[0], seed=8)
    expected, _ = linear_solve(operator, b, BlockSchur())
    spoilt = coupled_with(operator)
    spoil(spoilt.diagonal, spoilt.coupling)
    x, report = linear_solve(spoilt, b, BlockSchur(), throw=False)
    assert report.status.tolist() == [0, int(status), 0]
    assert torch.equal(x[[0, 2]], expected[[0, 2]])
    assert x.isfinite().all()
    with pytest.raises(SolveError, match=status.name):
        linear_solve(spoilt, b, BlockSchur())


def test_a_member_that_is_nearly_singular_says_so():
    """Two equal patches tied so that their difference costs 1e-14."""
    unit = torch.eye(2, dtype=torch.float64)
    diagonal, coupling = torch.stack([unit, unit]), -(1.0 - 1e-14) * unit.unsqueeze(0)
    operator = BlockSparseOperator(diagonal, coupling, ((0, 1),), positive_definite=True)
    _, report = linear_solve(operator, uniform(4), BlockSchur(), throw=False)
    assert report.status.item() == SolveStatus.ILL_CONDITIONED


@pytest.mark.parametrize("exponent", [-12, 12])
def test_units_of_patches_do_not_matter(exponent):
    """Unknowns of one patch measured in other units: D A D y = D b has y = D⁻¹ x."""
    operator, scale = coupled(), torch.ones(6, 3, dtype=torch.float64)
    scale[2] = 10.0**exponent
    rows, columns = scale.unsqueeze(-1), scale.unsqueeze(-2)
    a, b = ([edge[side] for edge in PLANE] for side in (0, 1))
    other = coupled_with(
        operator, diagonal=rows * operator.diagonal * columns, coupling=rows[a] * operator.coupling * columns[b]
    )
    rhs = uniform(operator.shape[0], seed=9)
    x, _ = linear_solve(operator, rhs, BlockSchur())
    y, _ = linear_solve(other, scale.flatten() * rhs, BlockSchur())
    torch.testing.assert_close(scale.flatten() * y, x, rtol=1e-9, atol=1e-12)


def test_blocks_without_edges():
    operator = BlockSparseOperator(
        2.0 * torch.eye(2).double().expand(3, 2, 2), torch.zeros(0, 2, 2).double(), positive_definite=True
    )
    x, _ = linear_solve(operator, torch.ones(6).double(), BlockSchur())
    assert torch.allclose(x, torch.full((6,), 0.5).double(), rtol=1e-15)


@pytest.mark.parametrize(("batch", "lead"), [((1,), (4,)), ((3,), ()), ((2, 1), (2, 5))], ids=str)
def test_batches_broadcast_with_their_gradients(batch, lead):
    """One matrix for many right-hand sides, one right-hand side for many matrices."""
    operator = coupled(*batch, edges=((0, 1), (1, 2)), n=2)
    b = uniform(*lead, 6, seed=11).requires_grad_()

    def solved(raw, coupling, b):
        blocks = BlockSparseOperator(raw + raw.mT, coupling, operator.edges, positive_definite=True)
        return linear_solve(blocks, b, BlockSchur())[0]

    inputs = ((operator.diagonal / 2).requires_grad_(), operator.coupling.clone().requires_grad_(), b)
    x = solved(*inputs)
    torch.testing.assert_close(operator.mv(x), b.expand_as(x))
    assert gradcheck(solved, inputs, check_forward_ad=True, fast_mode=True)


def test_one_unknown_on_one_patch():
    four, none = torch.full((1, 1, 1), 4.0).double().requires_grad_(), torch.zeros(0, 1, 1).double()
    operator = BlockSparseOperator(four, none, positive_definite=True)
    x, _ = linear_solve(operator, torch.ones(1).double(), BlockSchur())
    assert x.item() == 0.25
    assert torch.autograd.grad(x.sum(), four)[0].item() == -1 / 16


def test_an_empty_batch_is_solved():
    operator = coupled_with(coupled(2))
    empty = operator.with_tensors([t[:0] for t in operator.tensors()])
    x, report = linear_solve(empty, torch.zeros(0, 18).double(), BlockSchur())
    assert x.shape == (0, 18)
    assert report.status.shape == (0,)


def test_failed_members_have_no_gradient():
    operator = coupled(3)
    for fault in (torch.nan, -1.0):
        diagonal = operator.diagonal.clone()
        diagonal[1] *= fault
        leaves = (
            diagonal.requires_grad_(),
            operator.coupling.clone().requires_grad_(),
            uniform(3, 18).requires_grad_(),
        )
        blocks = coupled_with(operator, diagonal=leaves[0], coupling=leaves[1])
        x, report = linear_solve(blocks, leaves[2], BlockSchur(), throw=False)
        assert report.converged.tolist() == [True, False, True]
        for grad in torch.autograd.grad(x.sum(), leaves):
            assert grad.isfinite().all()
            assert torch.equal(grad[1], torch.zeros_like(grad[1]))
            assert bool((grad[[0, 2]] != 0).any())


def test_single_precision():
    operator = coupled(2)
    single = operator.with_tensors([t.float() for t in operator.tensors()])
    b = uniform(2, 18).float().requires_grad_()
    x, _ = linear_solve(single, b, BlockSchur())
    expected, _ = linear_solve(operator, b.detach().double(), BlockSchur())
    torch.testing.assert_close(x.double(), expected, rtol=1e-6, atol=1e-6)
    assert torch.autograd.grad(x.sum(), b)[0].dtype == torch.float32


def test_large_units_do_not_hide_an_unsymmetric_block():
    operator = coupled(edges=((0, 1),))
    diagonal = operator.diagonal.clone()
    diagonal[0] *= 1e14
    diagonal[1, 0, 1] += 0.5
    _, report = linear_solve(coupled_with(operator, diagonal=diagonal), uniform(6), BlockSchur(), throw=False)
    assert report.status.item() == SolveStatus.UNSYMMETRIC


def test_krylov_solvers_take_batches_of_blocks():
    operator = coupled(3)
    b = uniform(3, 18)
    x, _ = linear_solve(operator, b, CG(rtol=1e-12))
    torch.testing.assert_close(operator.mv(x), b)
    diagonal = operator.diagonal.clone()
    diagonal[1, 0, 0, 1] += 3.0
    _, report = linear_solve(coupled_with(operator, diagonal=diagonal), b, CG(), throw=False)
    assert report.status.tolist() == [0, int(SolveStatus.UNSYMMETRIC), 0]


def test_the_default_solver_takes_blocks():
    definite, other, one = coupled(2), coupled(2, definite=False), coupled(definite=False)
    assert isinstance(default_solver(definite), BlockSchur)
    assert isinstance(default_solver(definite.T), BlockSchur)
    assert isinstance(default_solver(other), DenseLU)
    assert isinstance(default_solver(one), SuperLU)
    b = uniform(2, 18)
    for operator in (definite, definite.T, other, other.T):
        x, _ = linear_solve(operator, b)
        torch.testing.assert_close(operator.mv(x), b)


def test_edges_may_be_lists():
    operator = BlockSparseOperator(coupled().diagonal, coupled().coupling, [list(edge) for edge in PLANE])
    assert operator.edges == PLANE


def test_what_block_schur_does_not_take():
    with pytest.raises(TypeError, match="BlockSparseOperator"):
        BlockSchur().init(DenseOperator(torch.eye(3)))
    with pytest.raises(ValueError, match="positive_definite=True"):
        BlockSchur().init(coupled(definite=False))


D, C = uniform(3, 2, 2), uniform(1, 2, 2)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "shape", (D[0], C, ((0, 1),))),
        (ValueError, "one block for each edge", (D, C, ())),
        (ValueError, "one block for each edge", (D, uniform(1, 3, 3), ((0, 1),))),
        (ValueError, "edge", (D, C, ((1, 0),))),
        (ValueError, "edge", (D, C, ((0, 3),))),
        (ValueError, "edge", (D, uniform(2, 2, 2), ((0, 1), (0, 1)))),
        (TypeError, "float32", (D.float(), C, ((0, 1),))),
        (TypeError, "float32 or float64", (D.int(), C, ((0, 1),))),
        (TypeError, "float32 or float64", (D, C.half(), ((0, 1),))),
        (ValueError, "meta", (D, C.to("meta"), ((0, 1),))),
    ],
)
def test_bad_blocks(error, message, arguments):
    with pytest.raises(error, match=message):
        BlockSparseOperator(*arguments)
