"""Linear operators: transpose identity, agreement with dense matrices, derivatives, construction, bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from helpers import uniform
from linear_cases import COLUMNS, OPERATORS, PATTERN, ROWS, OperatorCase, block, cubic, dense, sparse
from torch.autograd import gradcheck, gradgradcheck

from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.assemble import dense_matrix, sparse_matrix
from pdesolve.linalg.operators.block import BlockOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.diagonal import DiagonalOperator
from pdesolve.linalg.operators.jacobian import JacobianOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.operators.sparsity_pattern import SparsityPattern, Triplets


@pytest.fixture(params=OPERATORS, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> OperatorCase:
    return request.param


def vectors(operator: AbstractLinearOperator, *lead: int):
    rows, columns = operator.shape
    return uniform(*lead, columns, seed=3), uniform(*lead, rows, seed=4)


def test_transpose_identity(case):
    """y · A x = x · A^T y, for A and for its ``T``."""
    operator = case.make(*case.tensors)
    x, y = vectors(operator, 2)
    forward = (y * operator.mv(x)).sum(-1)
    torch.testing.assert_close(forward, (x * operator.rmv(y)).sum(-1))
    torch.testing.assert_close(forward, (y * operator.T.rmv(x)).sum(-1))
    assert operator.T.shape == operator.shape[::-1]
    assert operator.T.T.shape == operator.shape


def test_entries_agree_with_products(case):
    operator = case.make(*case.tensors)
    matrix = dense_matrix(operator).matrix
    x, _ = vectors(operator, 2)
    torch.testing.assert_close(operator.mv(x), (matrix @ x.unsqueeze(-1)).squeeze(-1))
    if case.name not in ("jacobian", "dense batch"):
        torch.testing.assert_close(dense(sparse_matrix(operator)), matrix)


def test_batches_are_vectors_one_by_one(case):
    operator = case.make(*case.tensors)
    x, y = vectors(operator, 3, 2)
    single = torch.stack([torch.stack([operator.mv(v) for v in row]) for row in x])
    together = operator.mv(x)
    if case.name == "dense batch":
        single = torch.stack([single[:, i, i] for i in range(2)], 1)
    torch.testing.assert_close(together, single)
    assert operator.rmv(y).shape == x.shape


def test_derivatives_to_second_order(case):
    """Reverse, forward and forward over reverse, in the vector and in the tensors."""
    operator = case.make(*case.tensors)
    x, y = vectors(operator, 2)
    tensors = [t.clone().requires_grad_() for t in case.tensors]

    def mv(x, *tensors):
        return case.make(*tensors).mv(x)

    def rmv(y, *tensors):
        return case.make(*tensors).rmv(y)

    for function, vector in ((mv, x.requires_grad_()), (rmv, y.requires_grad_())):
        assert gradcheck(function, (vector, *tensors), check_forward_ad=True)
        assert gradgradcheck(function, (vector, *tensors), check_fwd_over_rev=True)


def test_maps_over_vectors_and_over_tensors(case):
    x, _ = vectors(case.make(*case.tensors), 3, 2)
    first, *rest = case.tensors
    many = torch.stack([first, 2 * first, -first])
    mapped = torch.func.vmap(lambda t, v: case.make(t, *rest).mv(v))(many, x)
    torch.testing.assert_close(mapped, torch.stack([case.make(t, *rest).mv(v) for t, v in zip(many, x, strict=True)]))


def test_with_tensors_gives_the_same_operator(case):
    operator = case.make(*case.tensors)
    other = operator.with_tensors([2 * t for t in operator.tensors()])
    assert type(other) is type(operator)
    assert other.shape == operator.shape
    again = other.with_tensors(operator.tensors())
    x, _ = vectors(operator, 2)
    assert torch.equal(again.mv(x), operator.mv(x))


def test_declarations_travel():
    one = DiagonalOperator(torch.ones(3, dtype=torch.float64), positive_definite=True)
    assert one.symmetric
    assert one.T.positive_definite
    assert (one + one).positive_definite
    assert (2 * one).positive_definite
    assert (-one).symmetric
    assert not (-one).positive_definite
    assert not (one @ one).symmetric


# Sparse matrices: duplicates, formats, patterns.


def test_duplicates_are_summed_and_share_the_gradient():
    values = uniform(7).requires_grad_()
    expected = torch.zeros(3, 4, dtype=torch.float64).index_put((ROWS, COLUMNS), values, accumulate=True)
    operator = SparseOperator.from_triplets(ROWS, COLUMNS, values, (3, 4))
    torch.testing.assert_close(dense(operator), expected)
    (grad,) = torch.autograd.grad(operator.mv(torch.arange(4.0, dtype=torch.float64)).sum(), values)
    assert torch.equal(grad, COLUMNS.double())


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_torch_tensors_are_accepted_and_differentiated(layout):
    values = uniform(7).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Sparse CSR tensor support is in beta state"
        coo = torch.sparse_coo_tensor(torch.stack([ROWS, COLUMNS]), values, (3, 4), check_invariants=True)
        tensor = coo if layout == torch.sparse_coo else coo.coalesce().to_sparse_csr()
        operator = SparseOperator.from_torch(tensor)
        torch.testing.assert_close(dense(operator), dense(sparse(values)))
        (grad,) = torch.autograd.grad(operator.mv(torch.ones(4, dtype=torch.float64)).sum(), values)
    assert torch.equal(grad, torch.ones(7, dtype=torch.float64))


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "dia", "lil", "bsr", "dok"])
def test_scipy_matrices_are_accepted(form):
    import scipy.sparse as sp

    matrix = sp.random_array((6, 5), density=0.4, rng=np.random.default_rng(0)).asformat(form)
    operator = SparseOperator.from_scipy(matrix)
    torch.testing.assert_close(dense(operator), torch.from_numpy(matrix.toarray()))


def test_pattern_is_built_once_and_knows_its_transpose():
    pattern = PATTERN.pattern
    assert pattern.T.T is pattern
    assert pattern.T is pattern.T
    assert not pattern.symmetric
    assert pattern.count == 5
    assert pattern.diagonal.tolist() == [-1, -1, 3]
    values = torch.arange(5.0)
    assert torch.equal(values[pattern.transposition][pattern.T.transposition], values)
    assert torch.equal(sparse(torch.arange(7.0)).diagonal(), torch.tensor([0.0, 0.0, 7.0]))


def test_a_pattern_made_inside_a_transform_outlives_it():
    kept: list[SparsityPattern] = []

    def energy(values):
        operator = SparseOperator.from_triplets(ROWS, COLUMNS, values, (3, 4))
        kept.append(operator.pattern)
        return operator.rmv(torch.ones(3, dtype=torch.float64)).square().sum()

    torch.func.hessian(energy)(uniform(7))
    assert torch.equal(kept[0].transposition, PATTERN.pattern.transposition)
    assert kept[0].columns.numpy().shape == (5,)


def test_gradient_stays_on_the_pattern():
    """A thousand by a thousand with three entries: the gradient is three numbers, not a million."""
    values = torch.ones(3, dtype=torch.float64, requires_grad=True)
    operator = SparseOperator.from_triplets([0, 5, 999], [3, 5, 0], values, (1000, 1000))
    x = torch.arange(1000.0, dtype=torch.float64)
    (grad,) = torch.autograd.grad(operator.mv(x).sum(), values)
    assert grad.tolist() == [3.0, 5.0, 0.0]


# Bad input.

ONES = torch.ones(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DenseOperator(torch.ones(3, 3, dtype=torch.int64)), TypeError, "float32 or float64, not torch.int64"),
        (lambda: DenseOperator(torch.ones(3, 3, dtype=torch.complex128)), TypeError, "real and imaginary"),
        (lambda: DenseOperator(torch.ones(3, 3, dtype=torch.float16)), TypeError, "float16"),
        (lambda: DenseOperator(np.ones((3, 3))), TypeError, "must be a tensor, not ndarray"),
        (lambda: DenseOperator(ONES), ValueError, r"\(\*batch, m, n\), not \(3,\)"),
        (lambda: DiagonalOperator(torch.ones(2, 2)), ValueError, r"\(n,\), not \(2, 2\)"),
        (lambda: SparseOperator(PATTERN.pattern, ONES), ValueError, r"shape \(5,\), not \(3,\)"),
        (lambda: SparseOperator(PATTERN.pattern, torch.ones(5, dtype=torch.int32)), TypeError, "int32"),
        (lambda: SparseOperator(PATTERN.pattern, torch.ones(5, device="meta")), ValueError, "values lie on meta"),
        (lambda: Triplets.of([0, 3], [0, 1], (3, 4)), ValueError, r"rows\[1\] = 3 is outside 0 ... 2"),
        (lambda: Triplets.of([0, 1], [-1, 1], (3, 4)), ValueError, r"columns\[0\] = -1"),
        (lambda: Triplets.of([0.0, 1.0], [0, 1], (3, 4)), TypeError, "rows must be integers"),
        (lambda: Triplets.of([0], [0, 1], (3, 4)), ValueError, "equally many, not 1 and 2"),
        (lambda: Triplets.of([[0]], [[0]], (3, 4)), ValueError, r"\(n_triplets,\), not \(1, 1\)"),
        (lambda: Triplets.of([], [], (0, 0)), ValueError, "no rows"),
        (lambda: PATTERN.sum(ONES), ValueError, r"\(7,\), not \(3,\)"),
        (lambda: SparseOperator.from_torch(torch.ones(3, 3)), TypeError, "layout torch.strided"),
        (lambda: SparseOperator.from_scipy(np.ones((3, 3))), TypeError, "SciPy sparse matrix, not ndarray"),
        (lambda: sparse(uniform(7)) @ sparse(uniform(7)), ValueError, r"\(3, 4\) and \(3, 4\)"),
        (lambda: sparse(uniform(7)) + DiagonalOperator(ONES), ValueError, "equal shapes"),
        (lambda: DiagonalOperator(ONES) + DiagonalOperator(ONES.float()), TypeError, "do not combine"),
        (lambda: DiagonalOperator(ONES) + DiagonalOperator(ONES.to("meta")), ValueError, "cpu and meta"),
        (lambda: BlockOperator(()), ValueError, "grid"),
        (lambda: BlockOperator(((DiagonalOperator(ONES),), ())), ValueError, "grid"),
        (lambda: BlockOperator(((None, None), (None, DiagonalOperator(ONES)))), ValueError, "row 0 of blocks holds no"),
        (lambda: block(uniform(2, 5), uniform(7), uniform(3)), ValueError, r"column 0 of blocks has .*\[4, 5\]"),
        (lambda: block(uniform(2, 4).float(), uniform(7), uniform(3)), TypeError, "convert them to one"),
        (lambda: JacobianOperator(cubic, uniform(2, 3), (uniform(2),)), ValueError, r"\(n,\), not \(2, 3\)"),
        (lambda: JacobianOperator(lambda u: u.sum(), uniform(3)), ValueError, r"\(m,\), not \(\)"),
        (lambda: JacobianOperator(cubic, torch.ones(3, dtype=torch.int64)), TypeError, "point must be float32"),
        (lambda: sparse_matrix(JacobianOperator(torch.sin, ONES)), TypeError, "use a Krylov solver"),
        (lambda: sparse_matrix(DenseOperator(uniform(2, 3, 3))), TypeError, "use DenseLU"),
    ],
)
def test_bad_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_integer_scipy_matrix_is_refused():
    import scipy.sparse as sp

    with pytest.raises(TypeError, match=r"float32 or float64, not torch\.int64"):
        SparseOperator.from_scipy(sp.eye_array(3, dtype=np.int64))
