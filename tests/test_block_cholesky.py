"""Block Cholesky factorisation: against dense algebra on random graphs, with members that cannot be factorised."""

from __future__ import annotations

import pytest
import torch
from helpers import seeded, uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pdesolve.linalg.block_cholesky import BlockCholesky, BlockMatrix
from pdesolve.linalg.elimination import Edge, plan

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def positive(
    edges: tuple[Edge, ...], blocks: int, size: int, batch: tuple[int, ...] = (2,), seed: int = 0
) -> BlockMatrix:
    """JᵀJ of random rows on blocks and between neighbours: positive definite with exactly this pattern."""
    generator = seeded(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    own = draw(*batch, blocks, size + 2, size)
    diagonal = own.mT @ own
    coupling = []
    for a, b in edges:
        left, right = draw(*batch, size + 1, size), draw(*batch, size + 1, size)
        diagonal[..., a, :, :] += left.mT @ left
        diagonal[..., b, :, :] += right.mT @ right
        coupling.append(-left.mT @ right)
    empty = diagonal[..., :0, :, :]
    return BlockMatrix(diagonal, torch.stack(coupling, -3) if coupling else empty, edges)


def dense_solve(matrix: BlockMatrix, rhs: Tensor) -> Tensor:
    flat = torch.linalg.solve(matrix.dense(), rhs.flatten(-2).unsqueeze(-1)).squeeze(-1)
    return flat.reshape(rhs.shape)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, tuple[Edge, ...]]:
    n = draw(st.integers(1, 9))
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return n, tuple(chosen)


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), size=st.integers(1, 5), batch=st.sampled_from([(), (1,), (3,), (2, 2)]))
def test_solve_equals_the_dense_one_on_any_graph(graph, size, batch):
    blocks, edges = graph
    matrix = positive(edges, blocks, size, batch)
    factor = BlockCholesky.factorise(matrix)
    rhs = uniform(*batch, blocks, size)
    assert not bool(factor.failed.any())
    assert factor.failed.shape == (*batch, blocks)
    x = factor.solve(rhs)
    scale = float(torch.linalg.cond(matrix.dense()).max())
    torch.testing.assert_close(x, dense_solve(matrix, rhs), rtol=1e-13 * scale + 1e-12, atol=1e-14 * scale)
    torch.testing.assert_close(matrix.matvec(x), rhs, rtol=0, atol=1e-14 * scale + 1e-12)


@settings(max_examples=40, deadline=None)
@given(graph=graphs(), size=st.integers(1, 4))
def test_product_equals_the_dense_one_and_is_symmetric(graph, size):
    blocks, edges = graph
    matrix = positive(edges, blocks, size)
    x, y = uniform(2, blocks, size), uniform(2, blocks, size, seed=1)
    dense = matrix.dense()
    torch.testing.assert_close(dense, dense.mT)
    expected = (dense @ x.flatten(-2).unsqueeze(-1)).squeeze(-1).reshape(x.shape)
    torch.testing.assert_close(matrix.matvec(x), expected)
    torch.testing.assert_close((y * matrix.matvec(x)).sum(), (x * matrix.matvec(y)).sum())


@settings(max_examples=40, deadline=None)
@given(graph=graphs())
def test_the_inverse_is_its_own_transpose(graph):
    """yᵀ A⁻¹ x = xᵀ A⁻¹ y: a backward solve may reuse the factor as it is."""
    blocks, edges = graph
    factor = BlockCholesky.factorise(positive(edges, blocks, 3))
    x, y = uniform(2, blocks, 3), uniform(2, blocks, 3, seed=1)
    torch.testing.assert_close((y * factor.solve(x)).sum(), (x * factor.solve(y)).sum())


@settings(max_examples=60, deadline=None)
@given(graph=graphs())
def test_every_block_is_eliminated_once_and_no_round_holds_neighbours(graph):
    blocks, edges = graph
    elimination = plan(blocks, edges)
    assert sorted(n for level in elimination.levels for n in level.nodes) == list(range(blocks))
    for level in elimination.levels:
        assert not any(a in level.nodes and b in level.nodes for a, b in edges)


@pytest.mark.parametrize("n", [1, 2, 8, 33, 64])
def test_a_chain_takes_logarithmically_many_rounds(n):
    chain = tuple((i, i + 1) for i in range(n - 1))
    assert len(plan(n, chain).levels) <= n.bit_length() + 1
    assert len(plan(n, ()).levels) == 1


@pytest.mark.parametrize("seed", range(4))
def test_renumbering_the_blocks_does_not_change_the_solution(seed):
    chain = tuple((i, i + 1) for i in range(6))
    matrix = positive(chain, 7, 3, seed=seed)
    order = torch.randperm(7, generator=seeded(seed))
    place = order.argsort().tolist()
    edges, coupling = [], []
    for e, (a, b) in enumerate(chain):
        flipped = place[a] > place[b]
        edges.append((place[b], place[a]) if flipped else (place[a], place[b]))
        block = matrix.coupling[..., e, :, :]
        coupling.append(block.mT if flipped else block)
    renumbered = BlockMatrix(matrix.diagonal[..., order, :, :], torch.stack(coupling, -3), tuple(edges))
    rhs = uniform(2, 7, 3)
    x = BlockCholesky.factorise(matrix).solve(rhs)
    y = BlockCholesky.factorise(renumbered).solve(rhs[..., order, :])
    torch.testing.assert_close(y, x[..., order, :])


@pytest.mark.parametrize("edges", [(), ((0, 1), (1, 2)), ((0, 1), (0, 2), (1, 2))], ids=["none", "chain", "ring"])
@pytest.mark.parametrize("spoil", ["indefinite", "nan", "inf", "singular"])
def test_a_failed_member_is_marked_and_leaves_the_others_bit_equal(edges, spoil):
    matrix = positive(edges, 3, 4, (3,))
    rhs = uniform(3, 3, 4)
    clean = BlockCholesky.factorise(matrix).solve(rhs)
    diagonal = matrix.diagonal.clone()
    if spoil == "singular":
        diagonal[1, 1, 0] = diagonal[1, 1, :, 0] = 0.0
    else:
        diagonal[1, 1, 0, 0] = {"indefinite": -1e3, "nan": torch.nan, "inf": torch.inf}[spoil]
    factor = BlockCholesky.factorise(BlockMatrix(diagonal, matrix.coupling, edges))
    assert factor.failed.any(-1).tolist() == [False, True, False]
    if not edges:
        assert factor.failed[1].tolist() == [False, True, False]
    found = factor.solve(rhs)
    assert torch.equal(found[[0, 2]], clean[[0, 2]])


def test_factorisation_leaves_its_matrix_alone():
    matrix = positive(((0, 1), (1, 2)), 3, 3)
    before = matrix.diagonal.clone(), matrix.coupling.clone()
    factor = BlockCholesky.factorise(matrix)
    rhs = uniform(2, 3, 3)
    kept = rhs.clone()
    factor.solve(rhs)
    assert torch.equal(matrix.diagonal, before[0])
    assert torch.equal(matrix.coupling, before[1])
    assert torch.equal(rhs, kept)


def test_pivots_warn_of_a_singular_block():
    matrix = positive((), 2, 4)
    almost = matrix.diagonal.clone()
    vector = uniform(4)
    almost[0, 0] = torch.outer(vector, vector) + 1e-12 * torch.eye(4, dtype=torch.float64)
    factor = BlockCholesky.factorise(BlockMatrix(almost, matrix.coupling))
    assert float(factor.pivots[0, 0]) < 1e-10
    assert float(factor.pivots[1, 1]) > 1e-6


@pytest.mark.parametrize("scale", [1e-12, 1e12, 1e-140])
def test_scales_do_not_matter(scale):
    matrix = positive(((0, 1), (1, 2)), 3, 4)
    scaled = BlockMatrix(scale * matrix.diagonal, scale * matrix.coupling, matrix.edges)
    rhs = uniform(2, 3, 4)
    factor = BlockCholesky.factorise(scaled)
    assert not bool(factor.failed.any())
    torch.testing.assert_close(factor.solve(scale * rhs), dense_solve(matrix, rhs), rtol=1e-9, atol=1e-11)


def test_a_shift_is_added_to_the_diagonal():
    matrix = positive(((0, 1),), 2, 3)
    shift = uniform(2, 2, 3).abs()
    expected = matrix.dense() + torch.diag_embed(shift.flatten(-2))
    torch.testing.assert_close(matrix.shifted(shift).dense(), expected)


@pytest.mark.parametrize(
    ("n", "edges", "message"),
    [
        (2, ((1, 0),), "not of the form"),
        (2, ((0, 0),), "not of the form"),
        (2, ((0, 2),), "not of the form"),
        (2, ((-1, 1),), "not of the form"),
        (3, ((0, 1), (0, 1)), "occurs twice"),
    ],
)
def test_wrong_edges_are_refused(n, edges, message):
    with pytest.raises(ValueError, match=message):
        plan(n, edges)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_devices_and_dtypes_are_kept(device, dtype):
    matrix = positive(((0, 1), (0, 2), (1, 3), (2, 3)), 4, 3)
    moved = BlockMatrix(matrix.diagonal.to(device, dtype), matrix.coupling.to(device, dtype), matrix.edges)
    rhs = uniform(2, 4, 3)
    found = BlockCholesky.factorise(moved).solve(rhs.to(device, dtype))
    assert (found.device.type, found.dtype) == (device, dtype)
    tolerance = 1e-2 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(found.cpu().double(), dense_solve(matrix, rhs), rtol=tolerance, atol=tolerance)
