"""The layer under torch.func: the right value, the right derivative, or an error that says what to do instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import ADJOINTS, EXACT_CASES, grid_layer, uniform
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from pdesolve.experts.coupling import Independent, InterfaceRows
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.rows import RowCounts
from pdesolve.frames.transfinite import TransfiniteLifting
from pdesolve.implicit import DetachedAdjoint, ImplicitAdjoint
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.status import SolveError, SolveStatus
from pdesolve.unrolled import UnrolledAdjoint

BURGERS = replace(next(case for case in EXACT_CASES if case.name == "Burgers"), shape=(6, 8))
TIGHT = LevenbergMarquardt(gtol=1e-12, max_steps=300)
PATCHES: dict[str, tuple[dict[str, int], Any]] = {
    "one patch": ({}, Independent()),
    "independent": ({"x": 2}, Independent()),
    "coupled": ({"x": 2}, InterfaceRows()),
    "in order": ({"t": 2}, InterfaceRows()),  # one solve after the other
}
FACTORS = 1.0 + uniform(1, 6, 8, seed=7)
TIED = pytest.mark.parametrize("patches", PATCHES)
EXACT = {"implicit": ImplicitAdjoint(polish=0.0), "unrolled": UnrolledAdjoint(10)}
SOLVES = pytest.mark.parametrize(
    ("patches", "adjoint"), [*((patches, "implicit") for patches in PATCHES), ("coupled", "unrolled")]
)


def layer(patches: str = "coupled", adjoint: Any = None, **options: Any) -> HardConstraintLayer:
    cuts, coupling = PATCHES[patches]
    given = {"rows": RowCounts(12, 6, 4), "solver": TIGHT, "coupling": coupling}
    return grid_layer(BURGERS, cuts, adjoint=adjoint or ImplicitAdjoint(polish=0.0), **(given | options))


def bases(batch: int = 2, seed: int = 1) -> Tensor:
    return uniform(batch, 3, 6, 8, seed=seed)


def scalar(u: Tensor) -> Tensor:
    """A curved function of u with a cotangent of its own at every node."""
    return (torch.tanh(u) * FACTORS).square().sum()


def loss_of(solver: HardConstraintLayer) -> Callable[[Tensor], Tensor]:
    return lambda basis: scalar(solver(basis)[0])


def differences(function: Callable[[float], Any], h: float = 1e-4) -> Any:
    """f'(0) by the fourth-order formula."""
    return (function(-2 * h) - 8 * function(-h) + 8 * function(h) - function(2 * h)) / (12 * h)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.detach().abs().max()))


# vmap.


@TIED
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_a_mapped_call_is_the_batched_call(patches, adjoint):
    solver, basis = layer(patches, ADJOINTS[adjoint]), bases(3)
    whole, report = solver(basis)
    u, mapped = vmap(lambda b: solver(b[None]))(basis)
    close(u[:, 0], whole)
    assert torch.equal(mapped.status[:, 0], report.status)
    assert torch.equal(mapped.stats["iterations"][:, 0], report.stats["iterations"])
    close(mapped.weights[:, 0], report.weights)
    close(
        vmap(lambda b: solver(b)[0], in_dims=2)(torch.stack([basis, basis.flip(0)], 2)),
        torch.stack([whole, whole.flip(0)]),
    )


def test_everything_that_a_call_takes_can_be_mapped():
    solver, basis = layer(), bases(3)
    initial, nu = uniform(3, 8, seed=2), torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64)
    whole, report = solver(basis, initial, {"nu": nu})
    near = report.weights + 1e-3

    def one(b: Tensor, initial: Tensor, nu: Tensor, start: Tensor) -> Tensor:
        return solver(b[None], initial[None], {"nu": nu}, start=start[None])[0][0]

    close(vmap(one)(basis, initial, nu, near), whole, 1e-9)
    close(vmap(one, in_dims=(2, 1, 0, 2))(basis.movedim(0, 2), initial.T, nu, near.movedim(0, 2)), whole, 1e-9)
    for mapped in range(4):
        given = [basis, initial, nu, near]
        fixed = [t if i == mapped else t[0] for i, t in enumerate(given)]
        expected = [one(*(t[j] if i == mapped else t for i, t in enumerate(fixed))) for j in range(3)]
        dims = tuple(0 if i == mapped else None for i in range(4))
        close(vmap(one, in_dims=dims)(*fixed), torch.stack(expected), 1e-9)


def test_maps_nest_and_keep_a_batch_inside():
    solver = layer()
    basis = torch.stack([bases(4, seed=s) for s in range(3)])  # (3, 4, ...)
    expected = torch.stack([solver(b)[0] for b in basis])
    close(vmap(lambda b: solver(b)[0])(basis), expected)
    close(vmap(vmap(lambda b: solver(b[None])[0][0]))(basis), expected)
    turned = basis.movedim(2, 0)  # (n_basis, 3, 4, ...)
    close(vmap(vmap(lambda b: solver(b[None])[0][0], in_dims=1), in_dims=1)(turned), expected)


def test_a_lifting_is_checked_below_the_map():
    basis, nu = bases(2), torch.tensor([0.1, 0.3], dtype=torch.float64)
    lifted = layer(lifting=TransfiniteLifting(BURGERS.problem))
    mapped = vmap(lambda b, nu: lifted(b[None], parameters={"nu": nu})[0][0])(basis, nu)
    close(mapped, lifted(basis, parameters={"nu": nu})[0])


def test_the_map_s_randomness_does_not_matter():
    """Points belong to the layer and its seed, not to the members."""
    solver, basis = layer(), bases()
    for mode in ("error", "same", "different"):
        close(vmap(lambda b: solver(b[None])[0][0], randomness=mode)(basis), solver(basis)[0])


def test_a_failed_member_of_a_map_raises_or_stands_in_its_report():
    basis = bases(3)
    spoilt = basis.clone()
    spoilt[1, 0] = math.nan
    with pytest.raises(SolveError, match=r"NON_FINITE.*first failed member") as raised:
        vmap(lambda b: layer()(b[None])[0])(spoilt)
    assert raised.value.status.shape == (3, 2)
    quiet = layer(throw=False)
    u, report = vmap(lambda b: quiet(b[None]))(spoilt)
    assert (report.status[:, 0, 0] == SolveStatus.CONVERGED).tolist() == [True, False, True]
    assert torch.equal(u[[0, 2], 0], quiet(spoilt)[0][[0, 2]])


# First derivatives.


@SOLVES
def test_reverse_mode_is_that_of_autograd_and_of_differences(patches, adjoint):
    f, basis, along = loss_of(layer(patches, EXACT[adjoint])), bases(), bases(seed=2)
    leaf = basis.clone().requires_grad_()
    (expected,) = torch.autograd.grad(f(leaf), leaf)
    gradient = grad(f)(basis)
    close(gradient, expected)
    close(vjp(f, basis)[1](torch.ones((), dtype=torch.float64))[0], expected)
    close(jacrev(f)(basis), expected)
    close((gradient * along).sum(), differences(lambda h: f(basis + h * along)), 1e-6)


@SOLVES
def test_forward_mode_is_that_of_differences(patches, adjoint):
    f, basis, along = loss_of(layer(patches, EXACT[adjoint])), bases(), bases(seed=2)
    expected = differences(lambda h: f(basis + h * along))
    close(jvp(f, (basis,), (along,))[1], expected, 1e-6)
    with forward_ad.dual_level():
        dual = f(forward_ad.make_dual(basis, along))
        close(forward_ad.unpack_dual(dual).tangent, expected, 1e-6)
    with torch.no_grad():
        close(jvp(f, (basis,), (along,))[1], expected, 1e-6)


@SOLVES
def test_jacobians_agree_in_both_modes(patches, adjoint):
    solver, basis, along = layer(patches, EXACT[adjoint]), bases(), bases(seed=2)

    def nodes(s: Tensor) -> Tensor:
        return solver(basis + s * along)[0][:, 0, 2, 1:7]

    at = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    close(jacrev(nodes)(at), jacfwd(nodes)(at), 1e-9)


def test_initial_values_and_parameters_have_both_modes():
    solver, basis, initial = layer(), bases(1), uniform(1, 8, seed=2)
    nu = torch.tensor([0.4], dtype=torch.float64)

    def f(initial: Tensor, nu: Tensor) -> Tensor:
        return scalar(solver(basis, initial, {"nu": nu})[0])

    for which, given in enumerate((initial, nu)):
        along = 1.0 + uniform(*given.shape, seed=4)

        def moved(h: float, which: int = which, along: Tensor = along) -> Tensor:
            return f(*(t + h * along if i == which else t for i, t in enumerate((initial, nu))))

        expected = differences(moved)
        tangents = tuple(along if i == which else torch.zeros_like(t) for i, t in enumerate((initial, nu)))
        close(jvp(f, (initial, nu), tangents)[1], expected, 1e-6)
        close((grad(f, argnums=which)(initial, nu) * along).sum(), expected, 1e-6)


@TIED
def test_maps_and_derivatives_compose(patches):
    f, basis, along = loss_of(layer(patches)), torch.stack([bases(seed=s) for s in (1, 2, 3)]), bases(seed=5)
    gradients = torch.stack([grad(f)(b) for b in basis])
    close(vmap(grad(f))(basis), gradients)
    close(grad(lambda b: vmap(f)(b).sum())(basis), gradients)
    leaf = basis.clone().requires_grad_()
    close(torch.autograd.grad(vmap(f)(leaf).sum(), leaf)[0], gradients)
    tangents = torch.stack([jvp(f, (b,), (along,))[1] for b in basis])
    close(vmap(lambda b: jvp(f, (b,), (along,))[1])(basis), tangents)
    close(vmap(lambda a: jvp(f, (basis[0],), (a,))[1])(basis), vmap(lambda a: (a * gradients[0]).sum())(basis), 1e-9)


def test_a_detached_solve_is_a_constant_in_every_mode():
    """The derivative is that of Σ w b with w fixed."""
    solver, basis, along = layer(adjoint=DetachedAdjoint()), bases(), bases(seed=2)
    weights, cuts = solver(basis)[1].weights, solver.decomposition

    def fixed(h: float) -> Tensor:
        parts = cuts.restrict((basis + h * along).unsqueeze(2))
        u = [torch.einsum("bn,bn...->b...", weights[:, i], part) for i, part in enumerate(parts)]
        return scalar(cuts.assemble(u))

    f, expected = loss_of(solver), differences(fixed)
    close(jvp(f, (basis,), (along,))[1], expected, 1e-8)
    close((grad(f)(basis) * along).sum(), expected, 1e-8)
    inner = grad(lambda b: grad(lambda c: solver(c)[1].weights.sum() + 0.0 * c.sum())(b).sum())
    assert float(inner(basis).abs().max()) == 0.0


# Higher derivatives.


def along_a_line(adjoint: Any, patches: str, **options: Any) -> Callable[[Tensor], Tensor]:
    f, basis, direction = loss_of(layer(patches, adjoint, **options)), bases(), bases(seed=2)
    return lambda s: f(basis + s * direction)


def double_backward(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def second(s: Tensor) -> Tensor:
        leaf = s.clone().requires_grad_()
        (first,) = torch.autograd.grad(f(leaf), leaf, create_graph=True)
        return torch.autograd.grad(first, leaf)[0]

    return second


SECOND: dict[str, Callable[..., Any]] = {
    "forward over reverse": hessian,
    "reverse over reverse": lambda f: jacrev(jacrev(f)),
    "reverse over forward": lambda f: jacrev(jacfwd(f)),
    "double backward": double_backward,
}


@TIED
@pytest.mark.parametrize("way", SECOND)
def test_second_derivatives_are_those_of_differences(patches, way):
    f = along_a_line(ImplicitAdjoint(polish=0.0), patches)
    zero = torch.zeros((), dtype=torch.float64)
    close(SECOND[way](f)(zero), differences(lambda h: grad(f)(zero + h)), 1e-6)


def test_third_derivatives_are_those_of_differences():
    f, zero = along_a_line(ImplicitAdjoint(polish=0.0), "in order"), torch.zeros((), dtype=torch.float64)
    expected = differences(lambda h: hessian(f)(zero + h))
    close(jacrev(jacrev(jacrev(f)))(zero), expected, 1e-5)
    close(jacfwd(jacrev(jacrev(f)))(zero), expected, 1e-5)


def test_gradgradcheck_of_all_that_gradients_reach():
    solver = layer()
    given = (bases(1), uniform(1, 8, seed=2), torch.tensor([0.4], dtype=torch.float64))
    assert torch.autograd.gradgradcheck(
        lambda basis, initial, nu: solver(basis, initial, {"nu": nu})[0],
        tuple(t.requires_grad_() for t in given), fast_mode=True, atol=1e-6,
    )  # fmt: skip


def test_second_derivatives_of_a_whitened_basis():
    solver, basis, along = layer("one patch"), bases(1), bases(1, seed=2)
    basis[:, 2] = basis[:, 1] + 1e-7 * basis[:, 2]
    along[:, 2] = along[:, 1]
    assert int(solver(basis)[1].stats["rank"]) == 3

    def f(s: Tensor) -> Tensor:
        return loss_of(solver)(basis + s * along)

    zero = torch.zeros((), dtype=torch.float64)
    expected = differences(lambda h: grad(f)(zero + h), 1e-3)
    close(hessian(f)(zero), expected, 1e-3)


def test_a_mapped_hessian_is_the_loop():
    f = loss_of(layer())
    basis, along = torch.stack([bases(1, seed=s) for s in (1, 2)]), bases(1, seed=5)
    zero = torch.zeros((), dtype=torch.float64)
    second = [hessian(lambda s, b=b: f(b + s * along))(zero) for b in basis]
    close(vmap(lambda b: hessian(lambda s: f(b + s * along))(zero))(basis), torch.stack(second))


# What is not supported says so.


def test_forward_mode_over_forward_mode_is_refused_where_torch_would_be_wrong():
    """Within a Function's jvp torch switches forward mode off; the unrolled solve has none."""
    zero = torch.zeros((), dtype=torch.float64)
    with pytest.raises(NotImplementedError, match=r"forward mode over forward mode.*hessian"):
        jacfwd(jacfwd(along_a_line(ImplicitAdjoint(), "coupled")))(zero)
    f = along_a_line(UnrolledAdjoint(10), "coupled")
    close(jacfwd(jacfwd(f))(zero), hessian(f)(zero), 1e-8)


def test_batched_gradients_of_the_older_vmap_are_refused():
    solver, basis = layer(), bases(1)
    with pytest.raises(NotImplementedError, match=r"is_grads_batched.*jacrev"):
        torch.autograd.functional.jacobian(lambda b: solver(b)[0], basis, vectorize=True)


def test_linearize_is_refused():
    with pytest.raises(RuntimeError, match="data-dependent"):
        torch.func.linearize(loss_of(layer()), bases(1))


def test_a_basis_changed_in_place_before_the_backward_pass_is_noticed():
    basis = bases().requires_grad_()
    changed = 1.0 * basis
    u, _ = layer()(changed)
    with torch.no_grad():
        changed.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        u.sum().backward()


# Members that fail, and what is kept.


@SOLVES
def test_a_failed_member_spoils_no_derivative_of_a_shared_tensor(patches, adjoint):
    """First and second derivatives in both modes with respect to a factor that all members share."""
    solver, basis = layer(patches, EXACT[adjoint], throw=False), bases(3)
    spoilt = basis.clone()
    spoilt[1, 0] = math.nan
    found = []
    for given in (basis, spoilt):

        def f(s: Tensor, given: Tensor = given) -> Tensor:
            u, _ = solver(given * 1.0, parameters={"nu": s})
            return scalar(u[[0, 2]])

        s = torch.tensor(0.4, dtype=torch.float64)
        found.append(torch.stack([grad(f)(s), jvp(f, (s,), (s,))[1], hessian(f)(s), jacrev(jacrev(f))(s)]))
    assert bool(torch.isfinite(found[1]).all())
    close(found[1], found[0], 1e-10)


@pytest.mark.parametrize("first", [grad, jacfwd, hessian], ids=lambda t: t.__name__)
def test_nothing_kept_from_a_call_under_a_transform_spoils_a_later_one(first):
    """Stencils and node orders are made at the first call, and must not belong to its levels."""
    solver, basis, fresh = layer(), bases(1), layer()
    s = torch.ones((), dtype=torch.float64)
    first(lambda s: loss_of(solver)(basis * s))(s)
    assert torch.equal(solver(basis)[0], fresh(basis)[0])
    assert torch.equal(grad(loss_of(solver))(basis), grad(loss_of(fresh))(basis))
    seconds = [
        vmap(hessian(lambda s, used=used: loss_of(used)(basis * s)))(torch.stack([s, s])) for used in (solver, fresh)
    ]
    close(seconds[0], seconds[1])
