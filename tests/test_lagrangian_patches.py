"""A mixture of branches in patches of labels: weights that add up, exact derivatives, every axis and every end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import pdesolve as ps
from pdesolve.experts.lagrangian.branch import LabelFrame
from pdesolve.experts.lagrangian.windows import axis_windows
from pdesolve.jet import Jet, closure
from pdesolve.reference.pseudo_spectral import PseudoSpectral
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt

TURN = 2 * math.pi
RING = ps.Interval(0, TURN) * ps.TimeInterval(0, 1)
PLANE = ps.Interval(0, TURN) * ps.Interval(-1, 2, axis="y") * ps.TimeInterval(0, 1)
SOLVER = ProbedLevenbergMarquardt(factorisation=Gram(), max_steps=30, ftol=1e-2)
# torch 2.13 itself calls torch.jit.script at the first use of forward differentiation.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

FRAMES = {
    "ring": LabelFrame(RING, ("x",)),
    "held": LabelFrame(RING, ()),
    "ring and held": LabelFrame(PLANE, ("x",)),
    "torus": LabelFrame(PLANE, ("x", "y")),
}
BRANCHES = {"tanh": ps.TanhBranch((5, 4)), "spectral": ps.SpectralBranch(4, 3), "zero": ps.ZeroBranch()}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def patches_of(frame: LabelFrame) -> dict[str, int]:
    return {"x": 3, "y": 2} if len(frame.axes) == 2 else {"x": 3}


def points(frame: LabelFrame, n: int = 40) -> dict[str, torch.Tensor]:
    unit = torch.rand(3, n, generator=seeded(), dtype=torch.float64)
    ends = [frame.box.bounds(axis) for axis in frame.box.axes]
    return {a: low + (high - low) * u for a, (low, high), u in zip(frame.box.axes, ends, unit, strict=False)}


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("cuts", [(1.0,), (0.5, 1.7), (-0.8, -0.5, 0.0, 2.9)])
@pytest.mark.parametrize("overlap", [0.5, 0.2])
def test_weights_add_up_with_their_derivatives(wraps: bool, cuts: tuple[float, ...], overlap: float) -> None:
    windows = axis_windows("x", (-1.0, *cuts, 3.0), overlap, wraps)
    x = torch.linspace(-1.0, 3.0, 4001, dtype=torch.float64)
    label, near = windows.near(Jet.variable(x, "x", closure(("xx",))))
    weights = [windows.weight(label, near[:, side]) for side in range(2)]
    total = (weights[0] + weights[1]).data
    assert torch.allclose(total[0], torch.ones_like(x), atol=1e-14)
    assert float(total[1:].abs().max()) < 1e-10
    assert float(weights[0].data[0].min()) >= 0
    assert bool((windows.owner(near[:, 0]) != windows.owner(near[:, 1])).all())


@pytest.mark.parametrize("frame", FRAMES.values(), ids=list(FRAMES))
@pytest.mark.parametrize("branch", BRANCHES.values(), ids=list(BRANCHES))
def test_derivatives_are_those_of_autograd(frame: LabelFrame, branch: Any) -> None:
    uneven = {"x": (1.0, 1.5, 4.0)} if len(frame.axes) == 1 else {"x": (2.0,), "y": (-0.5, 0.0)}
    mixture = ps.PatchedBranch(branch, uneven, 0.4)
    theta = torch.randn(mixture.n_parameters(frame, 2), generator=seeded(), dtype=torch.float64)
    terms = closure(("t", *(a + b for i, a in enumerate(frame.axes) for b in frame.axes[i:])))
    at = points(frame)
    jets = {axis: Jet.variable(value, axis, terms) for axis, value in at.items()}
    found = mixture.prepare(frame, jets, 2).values(theta)
    leaves = {axis: value.clone().requires_grad_() for axis, value in at.items()}
    value = mixture.prepare(frame, leaves, 2).values(theta)
    for out in range(2):
        first = torch.autograd.grad(
            value[:, out].sum(), list(leaves.values()), create_graph=True, materialize_grads=True, allow_unused=True
        )
        for axis, slope in zip(leaves, first, strict=True):
            torch.testing.assert_close(found.term(axis)[:, out], slope.detach(), rtol=1e-10, atol=1e-10)
            if axis == "t" or not slope.requires_grad:
                continue
            second = torch.autograd.grad(slope.sum(), list(leaves.values()), retain_graph=True, materialize_grads=True)
            for other, curvature in zip(leaves, second, strict=True):
                if other != "t" and axis <= other:
                    torch.testing.assert_close(found.term(axis + other)[:, out], curvature, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=list(FRAMES))
def test_the_field_is_smooth_over_every_edge_and_seam(frame: LabelFrame) -> None:
    """Values and both derivatives agree on the two sides of each place where a patch or the period ends."""
    mixture = ps.PatchedBranch(ps.TanhBranch((5,)), patches_of(frame), 0.3)
    theta = torch.randn(mixture.n_parameters(frame, 1), generator=seeded(), dtype=torch.float64)
    low, high = frame.box.bounds("x")
    width = (high - low) / 3
    places = [low + k * width + s * 0.3 * width for k in (1, 2) for s in (-1, 0, 1)] + [low + 1.5 * width]
    both = [(place - 1e-12, place + 1e-12) for place in places]
    if "x" in frame.periodic:
        both += [
            (low - 1e-12, low + 1e-12),
            (low, high),
            (low - 0.1, high - 0.1),
            (low + 5 * (high - low) + 0.2, low + 0.2),
        ]
    for pair in both:
        at = {axis: torch.full((2,), 0.3, dtype=torch.float64) for axis in frame.box.axes}
        at["x"] = torch.tensor(pair, dtype=torch.float64)
        jets = {axis: Jet.variable(value, axis, closure(("t", "xx"))) for axis, value in at.items()}
        data = mixture.prepare(frame, jets, 1).values(theta).data[..., 0]
        torch.testing.assert_close(data[:, 0], data[:, 1], rtol=1e-8, atol=1e-8)


def test_experts_that_agree_make_the_one_they_are() -> None:
    """A polynomial in every patch, each in its own coordinates, is that polynomial."""
    frame = FRAMES["held"]
    mixture, at = ps.PatchedBranch(ps.SpectralBranch(3, 2), {"x": 4}), points(frame, 200)
    prepared = mixture.prepare(frame, {axis: Jet.variable(v, axis, ("", "x")) for axis, v in at.items()}, 1)
    _, rows = prepared.linearised(torch.zeros(mixture.n_parameters(frame, 1), dtype=torch.float64))
    ones = torch.zeros(2, 200, 1, dtype=torch.float64)
    ones[0] = 1.0
    matrix, wanted = rows(ones), at["x"] ** 3 * at["t"] - at["x"]
    theta = torch.linalg.lstsq(matrix, wanted.unsqueeze(1), driver="gelsd").solution[:, 0]
    found = prepared.values(theta)
    assert float((found.term("")[:, 0] - wanted).abs().max()) < 1e-9
    assert float((found.term("x")[:, 0] - (3 * at["x"] ** 2 * at["t"] - 1)).abs().max()) < 1e-8


def test_points_that_crowd_in_one_patch_give_the_same_values() -> None:
    frame = FRAMES["ring and held"]
    mixture = ps.PatchedBranch(ps.TanhBranch((5,)), {"x": 4, "y": 3})
    theta = torch.randn(mixture.n_parameters(frame, 1), generator=seeded(), dtype=torch.float64)
    at = points(frame, 300)
    at["x"] = torch.cat([at["x"][:10], 0.3 + 1e-3 * at["x"][10:]])
    whole = mixture.prepare(frame, at, 1).values(theta)
    single = [mixture.prepare(frame, {a: v[i : i + 1] for a, v in at.items()}, 1).values(theta) for i in range(15)]
    torch.testing.assert_close(whole[:15], torch.cat(single), rtol=1e-12, atol=1e-12)
    none = mixture.prepare(frame, {axis: v[:0] for axis, v in at.items()}, 1).values(theta)
    assert none.shape == (0, 1)


@pytest.mark.parametrize("case", ["ring", "held", "ring and held"])
@pytest.mark.parametrize("branch", [ps.TanhBranch((4, 3)), ps.SpectralBranch(3, 3)], ids=["tanh", "spectral"])
def test_jacobian_of_the_rows(case: str, branch: Any) -> None:
    made = {"ring": ring(branch), "held": held(branch), "ring and held": channel(branch)}[case]
    rows = made._slab(0).rows(made._nodes(0, made.counts, 0.0))
    theta = made.theta[0].detach() + 1e-2 * torch.randn(len(made.theta[0]), generator=seeded(), dtype=torch.float64)
    direction = torch.randn(len(theta), generator=seeded(), dtype=torch.float64)
    residual, jacobian = rows.linearise(theta)
    step = 1e-5 / direction.norm() * direction
    slope = (rows.residual(theta + step) - rows.residual(theta - step)) / 2.0
    assert torch.allclose(residual, rows.residual(theta))
    assert float((jacobian @ step - slope).norm() / slope.norm()) < 1e-6


def ring(branch: Any) -> ps.LagrangianPINN:
    conditions = [ps.InitialCondition(lambda x: 10.0 + torch.sin(x)), ps.Periodic("x")]
    mixture = ps.PatchedBranch(branch, {"x": 3})
    problem = ps.Problem(ps.Burgers(0.1), RING, conditions)
    return ps.LagrangianPINN(problem, mixture, mixture, generator=seeded(), counts={"x": 60, "t": 12})


def held(branch: Any) -> ps.LagrangianPINN:
    domain = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
    conditions = [ps.InitialCondition(lambda x: torch.sin(math.pi * x) ** 3), ps.Dirichlet(0.0)]
    mixture = ps.PatchedBranch(branch, {"x": 3})
    problem = ps.Problem(ps.LinearAdvection(0.3, 0.05), domain, conditions)
    return ps.LagrangianPINN(
        problem, mixture, mixture, generator=seeded(), counts={"x": 72, "t": 12}, flow=ps.Follow(0.4)
    )


def channel(branch: Any) -> ps.LagrangianPINN:
    """Periodic along x, walls across y: u = sin(x - y t) needs no state."""
    domain = ps.Interval(0, TURN) * ps.Interval(0, 1, axis="y") * ps.TimeInterval(0, 1)
    pde = ps.LinearAdvection(lambda c, p: (c.y * (1.0 - c.y), 0.0 * c.x), axes="xy")
    conditions = [ps.InitialCondition(lambda x, y: torch.sin(x)), ps.Periodic("x")]
    mixture = ps.PatchedBranch(branch, {"x": 2, "y": 2})
    return ps.LagrangianPINN(
        ps.Problem(pde, domain, conditions), mixture, ps.ZeroBranch(), generator=seeded(),
        counts={"x": 10, "y": 10, "t": 5},
    )  # fmt: skip


@pytest.mark.parametrize("make", ["ring", "channel"])
def test_gradients_of_u_by_place_and_time(make: str) -> None:
    """The implicit function theorem through weights and experts, on an interval to second order."""
    made = {"ring": ring, "channel": channel}[make](ps.TanhBranch((3,)))
    at = scattered(made, 2 if make == "ring" else 1)
    with torch.no_grad():
        made.theta[0].add_(0.02 * torch.randn(len(made.theta[0]), generator=seeded(), dtype=torch.float64))

    def value(*columns: torch.Tensor) -> torch.Tensor:
        return made.at(dict(zip(at, columns, strict=True)))

    leaves = tuple(column.requires_grad_() for column in at.values())
    assert torch.autograd.gradcheck(value, leaves, atol=1e-5)
    if make == "ring":  # each value costs a table of labels
        assert torch.autograd.gradgradcheck(value, leaves, atol=1e-3, rtol=1e-3)


def scattered(made: ps.LagrangianPINN, n: int) -> dict[str, torch.Tensor]:
    box = made.problem.box
    unit = torch.rand(len(box.axes), n, generator=seeded(), dtype=torch.float64)
    return {a: box.bounds(a)[0] + box.extent(a) * u for a, u in zip(box.axes, unit, strict=True)}


def test_a_travelling_front_by_patches() -> None:
    made = ring(ps.SpectralBranch(8, 8))
    made.fit(SOLVER)
    grid = ps.StructuredGrid.periodic(RING, (5, 64))
    exact = PseudoSpectral(128, 1e-10).solve(made.problem, {axis: grid.axis_nodes(axis) for axis in grid.axes})
    assert float((made({}, grid).field.values - exact).norm() / (exact - 10).norm()) < 1e-4
    assert (
        made.at({"x": torch.tensor([0.0, TURN], dtype=torch.float64), "t": torch.ones(2)}).diff(dim=0).abs().max()
        < 1e-11
    )


def test_patches_cut_around_a_narrow_pulse_beat_one_branch_of_as_many_parameters() -> None:
    """What a mixture is for: here most of the period is at rest, and one branch spends its waves everywhere."""

    def pulse(x: Any) -> Any:
        return torch.exp(100.0 * (torch.cos(x - 3.0) - 1.0))

    problem = ps.Problem(ps.LinearAdvection(10.0, 0.01), RING, [ps.InitialCondition(pulse), ps.Periodic("x")])
    grid = ps.StructuredGrid.periodic(RING, (5, 128))
    exact = PseudoSpectral(256, 1e-10).solve(problem, {axis: grid.axis_nodes(axis) for axis in grid.axes})
    one, many = ps.SpectralBranch(16, 8), ps.PatchedBranch(ps.SpectralBranch(7, 8), {"x": (2.5, 3.0, 3.5)})
    errors, sizes = [], []
    for branch in (one, many):
        made = ps.LagrangianPINN(problem, ps.ZeroBranch(), branch, generator=seeded(), counts={"x": 128, "t": 12})
        made.fit(SOLVER)
        errors.append(float(made({}, grid, throw=False).relative_error(exact)))
        sizes.append(len(made.theta[0]))
    assert sizes[1] <= sizes[0]
    assert errors[1] < errors[0] / 4
    assert errors[1] < 0.02


def test_held_ends_by_patches() -> None:
    made = held(ps.SpectralBranch(10, 8))
    made.fit(SOLVER)
    grid = ps.StructuredGrid.uniform(made.problem.domain, (5, 21))
    at = {axis: grid.axis_nodes(axis) for axis in grid.axes}
    exact = ps.MethodOfLines(order=6).solve(made.problem, {}, at)
    solution = made({}, grid)
    assert float(solution.relative_error(exact)) < 1e-4
    assert float(solution.field.values[..., [0, -1]].abs().max()) < 1e-12


def test_a_sheared_channel_by_patches_in_two_dimensions() -> None:
    made = channel(ps.SpectralBranch(3, 2))
    made.fit(SOLVER)
    unit = torch.rand(3, 200, generator=seeded(), dtype=torch.float64)
    at = {"x": TURN * unit[0], "y": unit[1], "t": unit[2]}
    exact = torch.sin(at["x"] - at["y"] * (1 - at["y"]) * at["t"])
    assert float((made.at(at)[:, 0] - exact).detach().abs().max()) < 1e-8


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((ps.TanhBranch(), {}), ValueError, "names no axis"),
        ((ps.TanhBranch(), {"t": 2}), ValueError, "no time: cut that with slabs"),
        ((ps.TanhBranch(), {"x": 1}), ValueError, "at least 2"),
        ((ps.TanhBranch(), {"x": 2.5}), TypeError, "patches along 'x'"),
        ((ps.TanhBranch(), {"x": 2}, 0.7), ValueError, "overlap must lie in"),
        ((ps.TanhBranch(), {"x": ()}), ValueError, "at least one of them"),
        ((ps.TanhBranch(), {"x": (2.0, 1.0)}), ValueError, r"cuts along 'x' must rise.*\(2.0, 1.0\)"),
        ((ps.TanhBranch(), {"x": (math.nan,)}), ValueError, "a cut along 'x'"),
        ((ps.TanhBranch(), {"x": "2"}), TypeError, "patches along 'x'"),
        (("tanh", {"x": 2}), TypeError, "branch must be one such as TanhBranch"),
        ((ps.PatchedBranch(ps.TanhBranch(), {"x": 2}), {"x": 2}), TypeError, "patched itself"),
        ((ps.TanhBranch(), [2]), TypeError, "patches must be by axis, .* got list"),
    ],
)
def test_bad_patches(arguments: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        ps.PatchedBranch(*arguments)


def test_counts_may_be_those_of_numpy() -> None:
    frame = FRAMES["ring"]
    one, other = (ps.PatchedBranch(ps.TanhBranch((4,)), {"x": n}) for n in (3, np.int64(3)))
    assert one.n_parameters(frame, 1) == other.n_parameters(frame, 1)


def test_an_axis_that_labels_lack() -> None:
    problem = ps.Problem(ps.LinearAdvection(1.0), RING, [ps.InitialCondition(lambda x: torch.sin(x)), ps.Periodic("x")])
    with pytest.raises(ValueError, match="axis 'y', labels have x"):
        ps.LagrangianPINN(problem, ps.PatchedBranch(ps.TanhBranch(), {"y": 2}), ps.ZeroBranch(), generator=seeded())
    with pytest.raises(ValueError, match=r"cuts along 'x' must lie inside the labels' \[0, 6\.28319\], got \(7.0,\)"):
        ps.LagrangianPINN(
            problem, ps.PatchedBranch(ps.TanhBranch(), {"x": (7.0,)}), ps.ZeroBranch(), generator=seeded()
        )
