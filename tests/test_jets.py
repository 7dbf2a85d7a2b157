"""Taylor arithmetic: every rule against autograd, both modes of differentiation against each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor, nn
from torch.nn import functional

from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import ForwardMode, TaylorMode
from pdesolve.domains import Interval, TimeInterval
from pdesolve.experts.coordinate_network import CoordinateNetwork
from pdesolve.frames.abstract import FunctionCoordinates, FunctionLifting
from pdesolve.jet import Jet, closure
from pdesolve.jet_kernels import fused_linear, fused_tanh

# torch 2.13 itself calls torch.jit.script at the first use of forward differentiation.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

FOURTH = closure(("tttt", "tttx", "ttxx", "txxx", "xxxx"))
SECOND = closure(("tt", "tx", "xx", "xy", "yy"))
CONSTANT = uniform(4, 5, seed=3)
WEIGHT, BIAS = uniform(3, 5, seed=4), uniform(3, seed=5)

UNARY: dict[str, Callable[[Any], Any]] = {
    "exp": torch.exp,
    "log": lambda f: torch.log(f * f + 1.0),
    "sqrt": lambda f: torch.sqrt(f * f + 0.5),
    "square": torch.square,
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "erfcx": torch.special.erfcx,
    "softplus": functional.softplus,
    "softplus, beta": lambda f: functional.softplus(f, beta=2.0),
    "Softplus module": nn.Softplus(beta=0.5),
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu, tanh": nn.GELU(approximate="tanh"),
    "Tanh module": nn.Tanh(),
    "SiLU module": nn.SiLU(),
    "Sigmoid module": nn.Sigmoid(),
    "neg": lambda f: -f,
    "torch.neg": torch.neg,
    "plus number": lambda f: 2.0 + f + 1,
    "minus number": lambda f: 2.0 - (f - 0.5),
    "times number": lambda f: 3 * f * -0.5,
    "over number": lambda f: f / 3,
    "number over": lambda f: 2.0 / (f * f + 1.0),
    "cube": lambda f: f**3,
    "fifth power": lambda f: f**5,
    "power 0": lambda f: f**0 + f,
    "power -2": lambda f: (f * f + 1.0) ** -2,
    "power 1.5": lambda f: (f * f + 1.0) ** 1.5,
    "product": lambda f: f * torch.sin(f),
    "quotient": lambda f: torch.sin(f) / (f * f + 2.0),
    "plus tensor": lambda f: f + CONSTANT,
    "tensor plus": lambda f: CONSTANT + f,
    "minus tensor": lambda f: f - CONSTANT,
    "tensor minus": lambda f: CONSTANT - f,
    "times tensor": lambda f: f * CONSTANT,
    "tensor times": lambda f: CONSTANT * f,
    "over tensor": lambda f: f / (CONSTANT + 2.0),
    "tensor over": lambda f: CONSTANT / (f * f + 2.0),
    "plus a tensor of more dimensions": lambda f: (f + uniform(2, 4, 5, seed=6)).sum(0),
    "times a tensor of more dimensions": lambda f: (f * uniform(2, 4, 5, seed=6)).sum(0),
    "minus a jet of fewer dimensions": lambda f: f - f[0],
    "times a jet of fewer dimensions": lambda f: f[1] * f,
    "torch.add": lambda f: torch.add(f, f * f),
    "torch.sub": lambda f: torch.sub(CONSTANT, f),
    "torch.mul": lambda f: torch.mul(f, f),
    "torch.div": lambda f: torch.div(f, f * f + 1.0),
    "linear": lambda f: functional.linear(torch.sin(f), WEIGHT, BIAS),
    "linear, no bias": lambda f: functional.linear(torch.sin(f), WEIGHT),
    "jet @ matrix": lambda f: torch.sin(f) @ WEIGHT.T,
    "matrix @ jet": lambda f: CONSTANT[:, :4] @ torch.sin(f),
    "matrix @ vector": lambda f: WEIGHT @ torch.sin(f[0]),
    "torch.matmul": lambda f: torch.matmul(torch.sin(f), WEIGHT.T),
    "cat": lambda f: torch.cat([f, torch.sin(f)], dim=-1),
    "cat with a tensor": lambda f: torch.cat([f, CONSTANT], dim=0),
    "stack": lambda f: torch.stack([f, torch.sin(f)], dim=-1),
    "stack in front": lambda f: torch.stack((f, CONSTANT)),
    "sum": lambda f: torch.sin(f).sum(-1),
    "torch.sum": lambda f: torch.sum(torch.sin(f), dim=0),
    "mean": lambda f: torch.mean(torch.sin(f), dim=-1),
    "mean method": lambda f: torch.sin(f).mean(-1),
    "index": lambda f: f[1:, 2],
    "index with ellipsis": lambda f: f[..., :2],
    "index with None": lambda f: f[:, None],
    "reshape": lambda f: f.reshape(2, 10),
    "unsqueeze": lambda f: torch.unsqueeze(f, -1),
    "unsqueeze method": lambda f: f.unsqueeze(0).unsqueeze(-2),
    "squeeze": lambda f: f.unsqueeze(1).squeeze(1),
    "flatten": lambda f: torch.flatten(f),
    "expand": lambda f: f[:, :1].expand(4, 7),
    "expand to more dimensions": lambda f: f.expand(3, 4, 5),
    "composition": lambda f: torch.exp(-torch.tanh(f * f) / (1.5 + torch.sin(f))),
}


def points() -> tuple[Tensor, Tensor]:
    return 0.2 + uniform(4, 5, seed=1), 0.8 * uniform(4, 5, seed=2)


def inner(t: Any, x: Any) -> Any:
    """Has mixed derivatives of every order."""
    return 0.3 + t * x + 0.4 * x * x * x - 0.7 * t * t + 0.2 * t * t * x * x


def by_autograd(function: Callable[[Any], Any], term: str) -> Tensor:
    """The derivative of every output by forward differentiation, nested."""

    def value(t: Tensor, x: Tensor) -> Tensor:
        return function(inner(t, x))

    for axis in term:

        def next_value(t: Tensor, x: Tensor, lower: Any = value, along: str = axis) -> Tensor:
            one, zero = torch.ones_like(t), torch.zeros_like(t)
            return torch.func.jvp(lower, (t, x), (one, zero) if along == "t" else (zero, one))[1]

        value = next_value
    return value(*points())


def as_jet(terms: tuple[str, ...]) -> Jet:
    t, x = points()
    return inner(Jet.variable(t, "t", terms), Jet.variable(x, "x", terms))


@pytest.mark.parametrize("name", UNARY)
def test_rule_equals_autograd_to_second_order(name):
    terms = closure(("tt", "tx", "xx"))
    found = UNARY[name](as_jet(terms))
    for term in terms:
        torch.testing.assert_close(found.term(term), by_autograd(UNARY[name], term), rtol=1e-10, atol=1e-12)


CURVED = [
    "exp", "log", "sqrt", "square", "sin", "cos", "tanh", "sigmoid", "erf", "erfcx", "softplus", "silu", "gelu",
    "product", "quotient", "power -2", "fifth power", "composition",
]  # fmt: skip


@pytest.mark.parametrize("name", CURVED)
def test_rule_equals_autograd_to_fourth_order_with_mixed_terms(name):
    found = UNARY[name](as_jet(FOURTH))
    for term in ("ttt", "ttx", "txx", "xxxx", "ttxx", "txxx", "tttx"):
        torch.testing.assert_close(found.term(term), by_autograd(UNARY[name], term), rtol=1e-9, atol=1e-9)


def test_powers_of_a_jet_that_vanishes_are_exact():
    """x² at x = 0 has the second derivative 2: no 0/0 on the way."""
    x = Jet.variable(torch.zeros(1, dtype=torch.float64), "x", closure(("xxx",)))
    assert (x**2).data.flatten().tolist() == [0.0, 0.0, 2.0, 0.0]
    assert (x**3).data.flatten().tolist() == [0.0, 0.0, 0.0, 6.0]


def test_erfcx_keeps_its_derivatives_where_it_is_small():
    """erfcx(v) ~ 1/(v √π): what 2 v e - 2/√π loses stays below 1e-12, beside a ramp of size one."""
    v = torch.tensor([30.0, 300.0, 3000.0], dtype=torch.float64)
    jet = torch.special.erfcx(Jet.variable(v, "x", closure(("xx",))))
    series = (-1 / v**2 + 3 / (2 * v**4), 2 / v**3 - 6 / v**5)
    for term, expected in zip(("x", "xx"), series, strict=True):
        torch.testing.assert_close(jet.term(term), expected / math.sqrt(math.pi), rtol=1e-3, atol=1e-12)


def test_the_sum_of_two_unrelated_term_sets_is_refused():
    a = Jet.variable(torch.ones(2), "x", closure(("xx",)))
    b = Jet.variable(torch.ones(2), "x", closure(("x",)))
    for operation in (lambda: a + b, lambda: a * b):
        with pytest.raises(ValueError, match="different terms"):
            operation()


def test_closure_holds_every_lower_derivative_once_and_lowest_first():
    assert closure(("txx",)) == ("", "t", "x", "tx", "xx", "txx")
    assert closure(()) == ("",)


def test_data_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="needs data of that length"):
        Jet(torch.zeros(2, 3), ("", "x", "xx"))


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("abs", torch.abs),
        ("relu", torch.relu),
        ("pow", lambda f: torch.pow(f, 2)),
        ("einsum", lambda f: torch.einsum("ij->j", f)),
        ("where", lambda f: torch.where(CONSTANT > 0, f, CONSTANT)),
        ("softmax", lambda f: torch.softmax(f, -1)),
        ("matmul", lambda f: torch.matmul(f, f)),
        ("jet", lambda f: f**f),
        ("sum", lambda f: torch.sum(f, -1, keepdim=True)),
        ("add", lambda f: torch.add(f, f, alpha=2)),
        ("pow", lambda f: 2.0**f),
        ("sin", lambda f: f.sin()),
        ("transpose", lambda f: f.transpose(0, 1)),
        ("layer_norm", nn.LayerNorm(5, dtype=torch.float64)),
    ],
)
def test_unsupported_operation_is_a_type_error_that_names_it(name, operation):
    with pytest.raises(TypeError, match=rf"(?i)\b{name}\b"):
        operation(as_jet(SECOND))


def test_nothing_that_a_rule_ignores_changes_the_result():
    """An option is honoured or refused, never dropped."""
    jet = as_jet(closure(("x",)))
    for operation in (
        lambda f: functional.softplus(f, beta=3.0),
        lambda f: functional.gelu(f, approximate="tanh"),
        lambda f: torch.cat([f, f], dim=1),
        lambda f: torch.div(f, 2.0, rounding_mode="floor"),
        lambda f: torch.sub(f, f, alpha=3),
    ):
        try:
            found = operation(jet).term("")
        except TypeError:
            continue
        torch.testing.assert_close(found, operation(jet.term("")))


@pytest.mark.parametrize("terms", [("",), closure(("x",)), closure(("t", "xx")), SECOND])
def test_fused_tanh_gradcheck(terms):
    data = uniform(len(terms), 2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: fused_tanh(d, terms), (data,))


@pytest.mark.parametrize("terms", [("",), SECOND])
@pytest.mark.parametrize("biased", [True, False])
def test_fused_linear_gradcheck(terms, biased):
    data = uniform(len(terms), 2, 4, 3, seed=1).requires_grad_()
    weight, bias = uniform(5, 3, seed=2).requires_grad_(), uniform(5, seed=3).requires_grad_()
    operands = (data, weight, bias) if biased else (data, weight)
    assert torch.autograd.gradcheck(lambda d, w, b=None: fused_linear(d, w, b), operands)


def test_fused_tanh_takes_expanded_and_transposed_data():
    terms = closure(("xx",))
    wide = uniform(3, 1, 4).expand(3, 5, 4)
    torch.testing.assert_close(fused_tanh(wide, terms), fused_tanh(wide.contiguous(), terms))
    turned = uniform(3, 4, 5).transpose(1, 2)
    torch.testing.assert_close(fused_tanh(turned, terms), fused_tanh(turned.contiguous(), terms))


def test_gradients_reach_the_operands_of_a_jet():
    """The parameters of a layer, not only the coordinates."""
    x = uniform(3, 2).requires_grad_()
    weight, bias = uniform(4, 2, seed=1).requires_grad_(), uniform(4, seed=2).requires_grad_()

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        terms = closure(("xx",))
        jet = torch.stack([Jet.variable(x[:, 0], "x", terms), Jet.constant(x[:, 1], terms)], dim=-1)
        return torch.sin(functional.linear(jet, weight, bias)).data

    assert torch.autograd.gradcheck(run, (x, weight, bias))


class Residual(nn.Module):
    """Someone else's network: SiLU, a residual connection and a skip to the output."""

    def __init__(self, n_features: int, n_out: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Linear(n_features, 8, dtype=torch.float64)
            self.second = nn.Linear(8, 8, dtype=torch.float64)
            self.last = nn.Linear(8 + n_features, n_out, dtype=torch.float64)

    def forward(self, features: Any) -> Any:
        hidden = functional.silu(self.first(features))
        hidden = hidden + functional.silu(self.second(hidden))
        return self.last(torch.cat([hidden, features], dim=-1))


class Foreign(nn.Module):
    """Uses what Taylor arithmetic lacks: the arc tangent."""

    def __init__(self, n_features: int, n_out: int) -> None:
        super().__init__()
        self.inside = Residual(n_features, n_out)

    def forward(self, features: Any) -> Any:
        return self.inside(torch.atan(2.0 * features))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "CoordinateNetwork": lambda: CoordinateNetwork(2, 6, widths=(8, 8), generator=seeded()),
    "residual SiLU": lambda: Residual(2, 6),
    "Sequential": lambda: nn.Sequential(nn.Linear(2, 6, dtype=torch.float64), nn.Sigmoid()),
}
DERIVATIVES = ("", "t", "x", "xx", "tx", "tt", "txx")


def an_ansatz(network: nn.Module) -> Ansatz:
    return Ansatz(
        network,
        FunctionCoordinates(lambda x, nu: x * nu, lambda t: torch.sqrt(t + 0.1)),
        FunctionLifting(lambda x, t: torch.sin(x) * t, lambda x, t: t * (1.0 - x * x), ("initial", "left", "right")),
    )


def where() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    box = Interval(-1, 1) * TimeInterval(0, 1)
    numbers = (uniform(2, 1, 3, 7) + 1) / 2
    at = {axis: box.bounds(axis)[0] + box.extent(axis) * n for axis, n in zip(box.axes, numbers, strict=True)}
    return at, {"nu": torch.tensor([0.5, 1.5], dtype=torch.float64).reshape(2, 1, 1)}


@pytest.mark.parametrize("name", NETWORKS)
def test_both_modes_agree_in_values_and_in_gradients(name):
    ansatz = an_ansatz(NETWORKS[name]())
    results = []
    for mode in (TaylorMode(), ForwardMode()):
        at, parameters = where()
        parameters["nu"].requires_grad_()
        offset, basis = mode.derivatives(ansatz, at, parameters, DERIVATIVES)
        assert basis["txx"].shape == (2, 3, 7, 1, 6)
        loss = sum((basis[t].square().mean() + offset[t].square().mean()) for t in DERIVATIVES)
        grads = torch.autograd.grad(loss, [*ansatz.parameters(), parameters["nu"]])
        results.append([*basis.values(), *offset.values(), *grads])
    for taylor, forward in zip(*results, strict=True):
        torch.testing.assert_close(taylor, forward.expand(taylor.shape), rtol=1e-9, atol=1e-10)


def test_a_module_that_taylor_arithmetic_lacks_works_in_forward_mode():
    ansatz = an_ansatz(Foreign(2, 6))
    at, parameters = where()
    with pytest.raises(TypeError, match="atan"):
        TaylorMode().derivatives(ansatz, at, parameters, DERIVATIVES)
    _, basis = ForwardMode().derivatives(ansatz, at, parameters, ("", "x", "xx"))
    step = 1e-4
    value = {shift: ansatz({**at, "x": at["x"] + shift * step}, parameters)[1].detach() for shift in (-1, 0, 1)}
    torch.testing.assert_close(basis["x"], (value[1] - value[-1]) / (2 * step), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(basis["xx"], (value[1] - 2 * value[0] + value[-1]) / step**2, rtol=1e-4, atol=1e-4)


def test_a_float32_network_inside_a_float64_frame():
    network = CoordinateNetwork(2, 6, widths=(8,), generator=seeded(), dtype=torch.float32)
    at, parameters = where()
    _, basis = TaylorMode().derivatives(an_ansatz(network), at, parameters, ("", "xx"))
    _, other = ForwardMode().derivatives(an_ansatz(network), at, parameters, ("", "xx"))
    assert basis["xx"].dtype == torch.float64
    torch.testing.assert_close(basis["xx"], other["xx"], rtol=1e-3, atol=1e-4)
