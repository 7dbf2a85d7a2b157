"""The layer inside models of other people: foreign modules, mixed precision, compilation, copies, and bad inputs."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import EXACT_CASES, grid_layer, seeded, uniform
from torch import Tensor, nn

from pdesolve.experts.coupling import InterfaceRows
from pdesolve.experts.fourier_neural_operator import FourierNeuralOperator
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.rows import RowCounts
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.status import SolveStatus

GRID = (7, 8)
BURGERS = replace(next(case for case in EXACT_CASES if case.name == "Burgers"), shape=GRID)
TARGET = BURGERS.on(BURGERS.grid)


def layer(**options: Any) -> HardConstraintLayer:
    given = {"rows": RowCounts(20, 8, 5), "coupling": InterfaceRows(), "solver": LevenbergMarquardt(max_steps=200)}
    return grid_layer(BURGERS, {"x": 2}, **(given | options))


class Tokens(nn.Module):
    """A transformer over time levels, whose tokens are rows of the grid."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.network = nn.Sequential(nn.Linear(2 * 8, 16), nn.TransformerEncoder(block, 1), nn.Linear(16, 3 * 8))

    def forward(self, a: Tensor) -> Tensor:
        tokens = self.network(a.movedim(1, 2).flatten(2))  # (batch, t, n_basis * x)
        return tokens.unflatten(2, (3, 8)).movedim(2, 1)


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.LayerNorm(GRID), nn.GELU(), nn.Conv2d(6, 3, 3, padding=1)
    )  # fmt: skip


def fourier() -> nn.Module:
    return FourierNeuralOperator(2, 3, 2, n_layers=2, modes=2, width=6, generator=seeded())


BACKBONES = {"convolutions": convolutions, "transformer": Tokens, "Fourier neural operator": fourier}
BACKBONE = pytest.mark.parametrize("name", BACKBONES)


class Model(nn.Module):
    """Functions on the grid in, u out."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.backbone = BACKBONES[name]()
        self.layer = layer(**options)

    def forward(self, a: Tensor) -> Tensor:
        return self.layer(self.backbone(a).to(a.dtype))[0]  # under autocast a backbone may give half precision


def inputs(batch: int = 3) -> Tensor:
    return uniform(batch, 2, *GRID, seed=3).float()


# Training.


@BACKBONE
def test_the_gradient_is_that_of_differences_through_the_whole_model(name):
    model = Model(name, solver=LevenbergMarquardt(gtol=1e-12, max_steps=300)).double()
    a = inputs(2).double()

    def loss() -> Tensor:
        return (model(a) - TARGET).square().mean()

    loss().backward()
    parameters = list(model.parameters())
    along = [uniform(*p.shape, seed=i) for i, p in enumerate(parameters)]
    expected = 0.0
    h = 1e-5
    with torch.no_grad():
        for factor, step in ((-8.0, -1), (8.0, 1), (1.0, -2), (-1.0, 2)):
            for p, d in zip(parameters, along, strict=True):
                p += step * h * d
            expected += factor * float(loss()) / (12 * h)
            for p, d in zip(parameters, along, strict=True):
                p -= step * h * d
    found = sum(float((p.grad * d).sum()) for p, d in zip(parameters, along, strict=True))
    assert found == pytest.approx(expected, rel=1e-5)


@BACKBONE
def test_a_float32_optimiser_lowers_the_loss(name):
    model, a = Model(name), inputs()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = (model(a) - TARGET.float()).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_accumulated_gradients_are_those_of_the_whole_batch():
    model, a = Model("convolutions").double(), inputs(4).double()
    (model(a) - TARGET).square().sum().backward()
    whole = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for part in a.split(1):
        (model(part) - TARGET).square().sum().backward()
    for p, expected in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=1e-9, atol=1e-9)


def test_a_checkpointed_model_has_the_same_gradient():
    model, a = Model("convolutions").double(), inputs().double().requires_grad_()
    (plain,) = torch.autograd.grad(model(a).square().sum(), a)
    u = torch.utils.checkpoint.checkpoint(model, a, use_reentrant=False)
    (again,) = torch.autograd.grad(u.square().sum(), a)
    assert torch.equal(again, plain)


def test_a_loss_over_converged_members_trains_past_a_failed_one():
    """The recipe of the docs: a NaN input fails alone, and the step is the one without it."""
    quiet = layer(throw=False)
    basis = uniform(3, 3, *GRID, seed=4)
    grads = []
    for bad in (False, True):
        leaf = basis.clone().requires_grad_()
        spoilt = torch.where(torch.arange(3).reshape(3, 1, 1, 1) == 1, torch.nan, leaf) if bad else leaf
        u, report = quiet(spoilt)
        good = (report.status == SolveStatus.CONVERGED).all(1)
        assert good.tolist() == [True, not bad, True]
        good = good & (torch.arange(3) != 1)
        grads.append(torch.autograd.grad((u[good] - TARGET).square().sum(), leaf)[0])
    assert torch.equal(grads[0][[0, 2]], grads[1][[0, 2]])
    assert float(grads[1][1].abs().max()) == 0.0


# Modes.


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
@BACKBONE
def test_evaluation_gives_the_same_numbers(name, mode):
    """Inference mode forbids autograd, with which the solve finds its slopes."""
    model, a = Model(name).double(), inputs().double()
    expected = model(a).detach()
    with mode():
        u = model(a.clone())
    assert not u.requires_grad
    assert torch.equal(u, expected)


def test_tensors_made_in_inference_mode_are_fine_outside():
    basis, nu = uniform(2, 3, *GRID), torch.tensor([0.2, 0.4], dtype=torch.float64)
    with torch.inference_mode():
        made, given = basis.clone(), nu.clone()
    expected = layer()(basis, parameters={"nu": nu})[0]
    assert torch.equal(layer()(made, parameters={"nu": given})[0], expected)
    with torch.inference_mode():
        assert torch.equal(layer()(made, parameters={"nu": given})[0], expected)


def test_autocast_does_not_reach_the_solve():
    basis = uniform(2, 3, *GRID).float()
    plain, report = layer()(basis)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u, mixed = layer()(basis)
    assert u.dtype == torch.float32
    assert mixed.weights.dtype == torch.float64
    assert torch.equal(u, plain)
    assert torch.equal(mixed.weights, report.weights)


@pytest.mark.gpu
def test_autocast_does_not_reach_the_solve_on_cuda():
    basis = uniform(2, 3, *GRID).float().cuda()
    plain, _ = layer()(basis)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cuda", dtype=dtype):
            assert torch.equal(layer()(basis)[0], plain)


@BACKBONE
def test_a_model_trains_under_autocast(name):
    model, a = Model(name), inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = (model(a) - TARGET.float()).square().mean()
    loss.backward()
    for p in model.parameters():
        assert p.grad.dtype == torch.float32
        assert bool(torch.isfinite(p.grad).all())


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch hides it from others than pytest
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_is_the_model(backend):
    """Compiled before and after the layer, which runs as it is between."""
    model, a = Model("convolutions").double(), inputs().double().requires_grad_()
    torch.compiler.reset()
    compiled = torch.compile(model, backend=backend)
    (expected,) = torch.autograd.grad(model(a).square().sum(), a)
    u = compiled(a)
    torch.testing.assert_close(u, model(a))
    torch.testing.assert_close(torch.autograd.grad(u.square().sum(), a)[0], expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(a), model(a))
    basis = uniform(2, 3, *GRID)
    alone, report = torch.compile(layer(), backend=backend)(basis)
    assert torch.equal(alone, layer()(basis)[0])
    assert report.status.shape == (2, 2)


def test_one_graph_cannot_hold_the_layer():
    torch.compiler.reset()
    whole = torch.compile(layer(), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match="disable"):
        whole(uniform(1, 3, *GRID))


# As a module.


def test_the_layer_has_no_state_and_can_be_moved_and_copied():
    solver, basis = layer(), uniform(2, 3, *GRID)
    assert solver.state_dict() == {}
    assert not list(solver.parameters())
    assert solver.load_state_dict({}, strict=True).missing_keys == []
    expected = solver(basis)[0]
    for other in (copy.deepcopy(solver), copy.deepcopy(layer()), layer().double(), layer().to("cpu"), layer().float()):
        assert torch.equal(other(basis)[0], expected)


def test_a_model_s_state_is_that_of_its_backbone():
    model, other = Model("Fourier neural operator"), Model("Fourier neural operator")
    assert all(name.startswith("backbone.") for name in model.state_dict())
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other(inputs()), model(inputs()))


def test_a_copied_model_is_trained_by_itself():
    model = Model("convolutions")
    twin = copy.deepcopy(model)
    twin(inputs()).square().mean().backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in twin.parameters())


# Inputs.


def test_half_precision_says_what_to_do():
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(TypeError, match=r"float32 or float64.*basis\.float\(\)"):
            layer()(uniform(1, 3, *GRID).to(dtype))


def test_devices_that_hold_no_values_or_differ_are_refused():
    basis = uniform(1, 3, *GRID)
    with pytest.raises(TypeError, match="meta device, which holds no values"):
        layer()(basis.to("meta"))
    with pytest.raises(TypeError, match="start is on meta, the basis on cpu"):
        layer()(basis, start=torch.zeros(1, 2, 3, device="meta"))
    with pytest.raises(TypeError, match="initial_condition must be a floating tensor on cpu"):
        layer()(basis, torch.zeros(1, 8, device="meta"))


def test_an_empty_batch_is_refused_by_backbone_and_layer_alike():
    """A mean over nothing is NaN: better to hear of it where the batch was made."""
    with pytest.raises(ValueError, match="at least one case"):
        layer()(uniform(0, 3, *GRID))
    with pytest.raises(ValueError, match="at least one case"):
        fourier()(inputs(0))


@pytest.mark.parametrize("turn", ["transposed", "strided", "expanded"])
def test_views_are_solved_and_differentiated_like_copies(turn):
    views = {
        "transposed": uniform(2, 3, 8, 7).transpose(2, 3),
        "strided": uniform(2, 3, 14, 8)[:, :, ::2],
        "expanded": uniform(1, 3, *GRID).expand(2, -1, -1, -1),
    }
    results = []
    for basis in (views[turn], views[turn].contiguous()):
        leaf = basis.detach().requires_grad_()
        u, _ = layer()(leaf)
        results.append((u.detach(), torch.autograd.grad(u.square().sum(), leaf)[0]))
    assert not views[turn].is_contiguous()
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_member_that_is_not_finite_leaves_the_others_bit_for_bit():
    quiet, basis = layer(throw=False), uniform(3, 3, *GRID)
    results = []
    for value in (0.5, math.nan, math.inf):
        given = basis.clone()
        given[1, 0, 3, 4] = value
        leaf = given.requires_grad_()
        u, _ = quiet(leaf)
        kept = u[[0, 2]]
        results.append((kept.detach(), torch.autograd.grad(kept.square().sum(), leaf)[0][[0, 2]]))
    for other in results[1:]:
        assert torch.equal(other[0], results[0][0])
        assert torch.equal(other[1], results[0][1])
