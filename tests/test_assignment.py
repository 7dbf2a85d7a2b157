"""Which network a patch has: copies that part in training, a gate that learns, files and bad inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import COUPLINGS, seeded, uniform
from torch import Tensor, nn

import pdesolve as ps
from pdesolve.experts.gate import GatedAnsatz, patch_features
from pdesolve.experts.network_stack import NetworkStack
from pdesolve.jet import Jet, closure

DOMAIN = ps.Interval(-1, 1) * ps.TimeInterval(0, 1)
PROBLEM = ps.Problem(
    ps.Burgers(nu=0.1), DOMAIN, [ps.InitialCondition(lambda x: -torch.sin(math.pi * x)), ps.Dirichlet(0.0)]
)
FAMILY = ps.ProblemFamily(PROBLEM, {"nu": ps.LogUniform(0.1, 0.5)})
PATCHES = ps.cartesian_decomposition(DOMAIN, {"x": 3})
GRID = ps.StructuredGrid.uniform(DOMAIN, (5, 13))
CASES = {"nu": torch.tensor([0.1, 0.3], dtype=torch.float64)}
SETTINGS = ps.TrainingSettings(steps=6, batch=2, learning_rate=1e-2, checkpoint_every=3)

ASSIGNMENTS: dict[str, ps.AbstractAssignment] = {
    "shared": ps.Shared(),
    "one per patch": ps.OnePerPatch(),
    "gate": ps.TopOneGate(2),
    "gate on cases": ps.TopOneGate(2, FAMILY.distributions),
}


def mixture(assignment: ps.AbstractAssignment | None = None, coupling: Any = None, **options: Any) -> Any:
    options = {"n_basis": 6, "widths": (8,), "dtype": torch.float64, **options}
    rows = {"rows": ps.RowCounts(60, 8, 8), "training_rows": ps.RowCounts(30, 8, 8)}
    expert = ps.parametric_expert(FAMILY, **options, **rows)
    return ps.MixtureOfExperts(PATCHES, expert, coupling, assignment=assignment)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in module.state_dict().items()}


# Stacks of networks.


@pytest.mark.parametrize(
    "network", [nn.Tanh(), nn.SiLU(), nn.Sequential(nn.Linear(4, 4, dtype=torch.float64), nn.GELU())]
)
@pytest.mark.parametrize("per_case", [False, True])
def test_a_stack_is_its_networks_one_by_one(network, per_case):
    """Values, all derivatives and gradients, in Taylor mode."""
    linear = [nn.Linear(2, 4, dtype=torch.float64) for _ in range(3)]
    networks = [nn.Sequential(first, network, nn.Linear(4, 3, bias=False, dtype=torch.float64)) for first in linear]
    with torch.no_grad():
        for i, module in enumerate(networks):
            for p in module.parameters():
                p.copy_(uniform(*p.shape, seed=i + p.numel()))
    stack = NetworkStack(networks)
    terms = closure(("xx", "tx"))
    data = uniform(len(terms), 2, 4, 5, 2).requires_grad_()
    chosen = torch.tensor([[2, 0, 1, 2], [0, 0, 2, 1]])[: 2 if per_case else 1]
    out = stack(Jet(data, terms), chosen)
    rows = [
        torch.stack([networks[int(e)](Jet(data[:, b, k], terms)).data for k, e in enumerate(row)], dim=1)
        for b, row in enumerate(chosen.expand(2, -1))
    ]
    expected = torch.stack(rows, dim=1)
    torch.testing.assert_close(out.data, expected)
    values = stack(data[0], chosen)
    torch.testing.assert_close(values, expected[0])
    cotangent = uniform(*out.data.shape, seed=9)
    (given, own) = (torch.autograd.grad((x * cotangent).sum(), data)[0] for x in (out.data, expected))
    torch.testing.assert_close(given, own)


def test_tied_parameters_and_buffers_are_stacked_as_they_were():
    class Tied(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3, bias=False, dtype=torch.float64)
            self.second = nn.Linear(3, 3, bias=False, dtype=torch.float64)
            self.second.weight = self.first.weight
            self.register_buffer("scale", torch.tensor(1.0 + seed, dtype=torch.float64))
            with torch.no_grad():
                self.first.weight.copy_(uniform(3, 3, seed=seed))

        def forward(self, x: Any) -> Any:
            return self.second(torch.tanh(self.first(x))) * self.scale

    networks = [Tied(0), Tied(1)]
    stack = NetworkStack(networks)
    assert len(list(stack.parameters())) == 1
    x = uniform(1, 2, 5, 3)
    expected = torch.stack([net(x[0, k]) for k, net in enumerate(networks)])
    torch.testing.assert_close(stack(x, torch.tensor([[0, 1]]))[0], expected)


def test_networks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same names and shapes"):
        NetworkStack([nn.Linear(2, 3), nn.Linear(2, 4)])
    with pytest.raises(ValueError, match="at least one"):
        NetworkStack([])


# Mixtures.


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_untrained_copies_give_what_a_shared_network_gives(coupling):
    shared, apart = (mixture(a, COUPLINGS[coupling]) for a in (None, ps.OnePerPatch()))
    one, other = (m(CASES, GRID, throw=False) for m in (shared, apart))
    torch.testing.assert_close(other.field.values, one.field.values, rtol=1e-9, atol=1e-9)
    assert torch.equal(one.status, other.status)
    for name, jump in shared.jumps(CASES).items():
        torch.testing.assert_close(apart.jumps(CASES)[name].difference, jump.difference, rtol=1e-6, atol=1e-9)


def test_the_default_is_the_experts_own_backbone():
    expert = ps.parametric_expert(FAMILY, n_basis=6, widths=(8,))
    default = ps.MixtureOfExperts(PATCHES, expert)
    assert default.expert is expert
    assert all(name.startswith("expert.backbone.network.layers.") for name in default.state_dict())


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_each_patch_is_evaluated_with_its_own_network(coupling):
    """Networks differ; on a grid of any order the field is the combination of each patch's own basis."""
    made = mixture(ps.OnePerPatch(), COUPLINGS[coupling])
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * uniform(*p.shape, seed=p.numel()))
    solution = made(CASES, GRID, throw=False)
    layer, backbone = made.expert.layer, made.expert.backbone
    values = PROBLEM.batch_parameters(CASES)
    found = layer.solve(backbone, values, decomposition=PATCHES, coupling=made.coupling, throw=False)
    blend = made.coupling.layout(PATCHES, PROBLEM).field.blend(GRID.coordinates())
    at = {axis: x.reshape(1, 1, -1).expand(1, 3, -1) for axis, x in GRID.coordinates().items()}
    with torch.no_grad():
        shaped = {k: v.reshape(-1, 1, 1) for k, v in values.items()}
        offset, basis = backbone(at, shaped, torch.arange(3))
        each = offset[..., 0] + (basis[..., 0, :] * found.weights[:, :, None]).sum(-1)  # (case, patch, point)
        expected = sum(
            share.flatten() * each.gather(1, index.flatten().expand(2, 1, -1))[:, 0]
            for index, share in zip(blend.index, blend.weight, strict=True)
        )
    torch.testing.assert_close(solution.field.values.flatten(1), expected.expand(2, -1), rtol=1e-8, atol=1e-8)


def test_independent_patches_train_their_own_network_only():
    made = mixture(ps.OnePerPatch(), ps.Independent())
    layer = made.expert.training_layer
    found = made.expert.training_solve(
        made.expert.backbone, PROBLEM.batch_parameters(CASES), seeded(), PATCHES, made.coupling
    )
    assert layer is made.expert.training_layer
    found.rows.patch_costs(found.weights)[:, 1].sum().backward()
    for p in made.parameters():
        assert not bool(p.grad[[0, 2]].any())
        assert bool(p.grad[1].any())


@pytest.mark.parametrize("name", ASSIGNMENTS)
@pytest.mark.parametrize("coupling", ["interface rows", "partition of unity"])
def test_all_assignments_train(name, coupling):
    made = mixture(ASSIGNMENTS[name], COUPLINGS[coupling])
    before = state(made)
    report = ps.train(made, FAMILY, SETTINGS, seed=0)
    assert all(math.isfinite(x) for x in report.history["loss"])
    moved = [key for key, value in made.state_dict().items() if not torch.equal(value, before[key])]
    assert any("gate" in key for key in moved) == name.startswith("gate")
    assert any("gate" not in key for key in moved)
    assert bool(torch.isfinite(made(CASES, GRID, throw=False).field.values).all())


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_files_and_checkpoints_hold_all_of_an_assignment(name, tmp_path: Path):
    """A resumed run has the numbers of one that was never stopped; a file gives back the field."""
    whole = mixture(ASSIGNMENTS[name])
    ps.train(whole, FAMILY, SETTINGS, seed=0)
    stopped = mixture(ASSIGNMENTS[name])
    ps.train(
        stopped, FAMILY, ps.TrainingSettings(steps=3, batch=2, learning_rate=1e-2), seed=0, checkpoints=tmp_path / "c"
    )
    resumed = mixture(ASSIGNMENTS[name])
    ps.resume(resumed, FAMILY, SETTINGS, tmp_path / "c")
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    ps.save_expert(whole, tmp_path / "e.safetensors", {"name": name})

    def build(config: Mapping[str, Any]) -> Any:
        return mixture(ASSIGNMENTS[config["name"]])

    loaded = ps.load_expert(tmp_path / "e.safetensors", build)
    assert torch.equal(loaded(CASES, GRID, throw=False).field.values, whole(CASES, GRID, throw=False).field.values)
    if name == "one per patch":
        with pytest.raises(ps.CheckpointError, match="another model"):
            ps.load_expert(tmp_path / "e.safetensors", lambda config: mixture())


# The gate.


def test_the_gate_reads_place_size_and_boundaries():
    features = patch_features(ps.cartesian_decomposition(ps.Interval(0, 4), {"x": 4}))
    assert features.tolist() == [[-0.75, 0.25, 1, 0], [-0.25, 0.25, 0, 0], [0.25, 0.25, 0, 0], [0.75, 0.25, 0, 1]]


def test_evaluation_draws_nothing_and_training_does():
    made = mixture(ps.TopOneGate(2))
    assert made.training
    first, second = (made(CASES, GRID, throw=False).field.values for _ in range(2))
    assert torch.equal(first, second)
    made.eval()
    assert torch.equal(made(CASES, GRID, throw=False).field.values, first)
    loose, other = (made.residual(CASES, seeded(3))[0]["equation"] for _ in range(2))
    assert torch.equal(loose, other)
    made.train()
    drawn = [made.residual(CASES, seeded(seed))[0]["equation"] for seed in (3, 3, 4)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], loose)


def test_the_gate_s_gradient_is_that_of_the_expected_log_cost():
    """The rows keep their values; the gate's gradient is ∇ mean over cases of Σ_k Σ_e p log c, the costs held."""
    made = mixture(ps.TopOneGate(2, balance=0.0))
    values, weight = PROBLEM.batch_parameters(CASES), made.expert.backbone.gate.network.layers[-1].weight
    rows, _ = made.residual(CASES, seeded(1))
    loss = torch.stack([r.square().sum(1) for r in rows.values()]).sum(0).log().mean()
    (found,) = torch.autograd.grad(loss, weight)
    generator = seeded(1)
    route = made.assignment.route(made.expert.backbone, values, generator)  # draws what ``residual`` drew
    solves = [
        made.expert.training_solve(other, values, generator.clone_state(), PATCHES, made.coupling)
        for other in route.alternatives
    ]
    logs = torch.stack([s.rows.patch_costs(s.weights).detach().log() for s in solves], dim=-1)
    p = made.expert.backbone.gate({})[0].exp()
    (expected,) = torch.autograd.grad((p * logs).sum((1, 2)).mean(), weight)
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_case_on_which_the_gate_is_not_finite_fails_alone(bad):
    made = mixture(ps.TopOneGate(2, FAMILY.distributions))
    nu = torch.tensor([0.1, bad, 0.3], dtype=torch.float64)
    solution = made({"nu": nu}, GRID, throw=False)
    assert solution.converged.tolist() == [True, False, True]
    assert {ps.SolveStatus(code).name for code in solution.status[1].tolist()} == {"NON_FINITE"}
    alone = made({"nu": nu[[0, 2]]}, GRID, throw=False)
    torch.testing.assert_close(solution.field.values[[0, 2]], alone.field.values, rtol=0, atol=1e-9)
    rows, status = made.residual({"nu": nu}, seeded())
    good = (status == 0).all(1)
    assert good.tolist()[1] is False
    loss = sum(r[good].square().sum() for r in rows.values())
    grads = torch.autograd.grad(loss, list(made.expert.backbone.gate.parameters()))
    assert all(bool(torch.isfinite(g).all()) for g in grads)


def test_a_gate_of_nan_weights_selects_nothing_and_says_so():
    made = mixture(ps.TopOneGate(2))
    with torch.no_grad():
        next(made.expert.backbone.gate.parameters()).fill_(math.nan)
    with pytest.raises(ps.SolveError, match="NON_FINITE"):
        made(CASES, GRID)
    with pytest.raises(ps.TrainingError, match="NON_FINITE"):
        ps.train(made, FAMILY, SETTINGS, seed=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        *((lambda e=e: ps.TopOneGate(e), ValueError, "at least 1") for e in (0, -2)),
        *((lambda e=e: ps.TopOneGate(e), TypeError, "integer") for e in (1.5, True, None, "2")),
        *((lambda b=b: ps.TopOneGate(2, balance=b), ValueError, "balance") for b in (-1.0, math.nan, math.inf)),
        (lambda: ps.TopOneGate(2, spread=-0.1), ValueError, "spread"),
        (lambda: ps.TopOneGate(2, {"nu": 3.0}), TypeError, "AbstractDistribution"),
        (lambda: mixture(ps.TopOneGate(4)), ValueError, "4 experts for 3 patches"),
        (
            lambda: mixture(ps.TopOneGate(2, {"kappa": ps.Uniform(0, 1)}))(CASES, GRID),
            ValueError,
            "'kappa', which is no parameter",
        ),
    ],
)
def test_bad_gates_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_more_experts_than_patches_are_fine_where_cases_choose_too():
    made = mixture(ps.TopOneGate(4, FAMILY.distributions))
    assert isinstance(made.expert.backbone, GatedAnsatz)
    assert made.expert.backbone.choice(CASES).shape == (2, 3)


def test_one_expert_behind_a_gate_is_the_shared_one():
    one, other = (mixture(a)(CASES, GRID, throw=False).field.values for a in (None, ps.TopOneGate(1)))
    torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9)


def test_patches_of_a_stack_must_be_named():
    backbone = mixture(ps.OnePerPatch()).expert.backbone
    with pytest.raises(ValueError, match="which patch"):
        backbone({"t": torch.zeros(1, 1, 2).double(), "x": torch.zeros(1, 1, 2).double()}, {"nu": torch.ones(1, 1, 1)})


# Two regimes.


class OneFrequency(nn.Module):
    """sin ωx, cos ωx, x, 1: a network that can follow one frequency at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.tensor([[6.0]], dtype=torch.float64))

    def forward(self, features: Any) -> Any:
        phase = nn.functional.linear(features[..., :1], self.frequency)
        x = features[..., :1]
        return torch.cat([torch.sin(phase), torch.cos(phase), x, x * 0.0 + 1.0], dim=-1)


def two_regimes() -> tuple[ps.ProblemFamily, Any]:
    """u'' = a ω² sin ωx with ω = 4 on the left and 10 on the right: u = -a sin ωx + 6 a max(x, 0)."""

    def exact(x: Tensor, a: Tensor) -> Tensor:
        return a * torch.where(x < 0, -torch.sin(4 * x), -torch.sin(10 * x) + 6 * x)

    problem = ps.Problem(
        lambda f, c, p: f.u.xx - p.a * torch.where(c.x < 0, 16 * torch.sin(4 * c.x), 100 * torch.sin(10 * c.x)),
        ps.Interval(-1, 1),
        [ps.Dirichlet(lambda x, a: exact(x, a))],
        {"a": 1.0},
    )
    return ps.ProblemFamily(problem, {"a": ps.Uniform(0.5, 2.0)}), exact


@pytest.mark.slow
def test_a_gate_learns_to_use_two_networks_where_one_is_too_small():
    """Held-out cases. The shared network is half as large; one per patch, twice as large, would follow both too."""
    family, exact = two_regimes()
    problem, errors = family.problem, {}
    grid = ps.StructuredGrid.uniform(problem.domain, (101,))
    a = torch.tensor([0.7, 1.9], dtype=torch.float64)
    for name, assignment in (("shared", ps.Shared()), ("gate", ps.TopOneGate(2, spread=0.3))):
        ansatz = ps.Ansatz(OneFrequency(), ps.ScaledCoordinates(problem), ps.NoLifting(("u",)))
        layer = ps.HardConstraintLayer(problem, ps.Collocation(), ps.RowCounts(60, 4, 4))
        training = ps.HardConstraintLayer(
            problem, ps.Collocation(), ps.RowCounts(30, 4, 4), adjoint=ps.DetachedAdjoint()
        )
        patches = ps.cartesian_decomposition(problem.domain, {"x": 4})
        made = ps.MixtureOfExperts(patches, ps.HardConstraintExpert(ansatz, layer, training), assignment=assignment)
        ps.train(made, family, ps.TrainingSettings(steps=100, batch=4, learning_rate=0.05), seed=0)
        values = made({"a": a}, grid).field.values[:, 0]
        error = torch.linalg.vector_norm(values - exact(grid.axis_nodes("x"), a[:, None]), dim=1)
        errors[name] = float((error / torch.linalg.vector_norm(exact(grid.axis_nodes("x"), a[:, None]), dim=1)).max())
    left, right = made.expert.backbone.choice({}).tolist()[0][:2], made.expert.backbone.choice({}).tolist()[0][2:]
    assert len(set(left)) == len(set(right)) == 1
    assert left != right
    assert errors["gate"] < 0.2 * errors["shared"]
