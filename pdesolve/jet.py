"""Truncated Taylor arithmetic: a value and its derivatives carried through ordinary torch code.

A ``Jet`` stacks a quantity and some of its derivatives, named by axis letters: "" is the value, "t" is
∂/∂t, "xx" is ∂²/∂x². Any function or ``nn.Module`` written with the operations below accepts jets in place
of tensors, and so yields all its derivatives in one forward pass: no graph through the coordinates, and one
matrix product per linear layer for all derivatives together.

Product and composition follow Leibniz and the chain rule (Griewank & Walther, *Evaluating Derivatives*,
2nd ed., ch. 13).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.jet_kernels import fused_linear, fused_tanh

AXES = "txyz"
Derivatives = Callable[[Tensor, int], list[Tensor]]


def canonical(term: str) -> str:
    """The term with its axis letters in the order t, x, y, z."""
    return "".join(sorted(term, key=AXES.index))


@lru_cache(maxsize=256)
def closure(terms: tuple[str, ...]) -> tuple[str, ...]:
    """The smallest set of terms that holds ``terms`` and every lower derivative of them, lowest first."""
    found = {""}
    for term in terms:
        counts = [(axis, term.count(axis)) for axis in AXES if axis in term]
        for powers in product(*(range(n + 1) for _, n in counts)):
            found.add("".join(axis * p for (axis, _), p in zip(counts, powers, strict=True)))
    return tuple(sorted(found, key=lambda s: (len(s), [AXES.index(a) for a in s])))


@lru_cache(maxsize=1024)
def leibniz(term: str) -> tuple[tuple[int, str, str], ...]:
    """All (binomial coefficient, β, α - β) with β <= α = ``term``."""
    counts = [(axis, term.count(axis)) for axis in AXES if axis in term]
    rows = []
    for powers in product(*(range(n + 1) for _, n in counts)):
        coefficient = math.prod(math.comb(n, p) for (_, n), p in zip(counts, powers, strict=True))
        low = "".join(axis * p for (axis, _), p in zip(counts, powers, strict=True))
        high = "".join(axis * (n - p) for (axis, n), p in zip(counts, powers, strict=True))
        rows.append((coefficient, low, high))
    return tuple(rows)


@final
class Jet:
    """A tensor together with named derivatives, behaving like the tensor in torch code.

    Shapes: ``data`` is (n_terms, *shape) and ``terms[i]`` names ``data[i]``; ``terms`` is closed downward
    (it holds every lower derivative of each of its members) and starts with "".

    Supported: + - * / ** neg; torch.exp, log, sqrt, sin, cos, tanh, sigmoid, erf, special.erfcx, softplus,
    silu, gelu, square; nn.functional.linear, matmul with a constant, sum, mean, cat, stack, indexing, reshape,
    unsqueeze, expand. Anything else raises ``TypeError`` that says so.

    Source: Griewank & Walther, *Evaluating Derivatives*, ch. 13.
    """

    __slots__ = ("data", "terms")

    def __init__(self, data: Tensor, terms: tuple[str, ...]) -> None:
        if data.shape[0] != len(terms):
            raise ValueError(f"a jet of {len(terms)} terms needs data of that length, got {data.shape[0]}")
        self.data = data
        self.terms = terms

    @staticmethod
    def variable(value: Tensor, axis: str, terms: tuple[str, ...]) -> Jet:
        """The coordinate ``axis`` itself: derivative one along that axis, zero else."""
        data = value.new_zeros((len(terms), *value.shape))
        data[0] = value
        if axis in terms:
            data[terms.index(axis)] = 1.0
        return Jet(data, terms)

    @staticmethod
    def constant(value: Tensor, terms: tuple[str, ...]) -> Jet:
        """A quantity that does not depend on the coordinates."""
        zeros = value.new_zeros((len(terms) - 1, *value.shape))
        return Jet(torch.cat([value.unsqueeze(0), zeros]), terms)

    def __getitem__(self, item: Any) -> Jet:
        index = item if isinstance(item, tuple) else (item,)
        return Jet(self.data[(slice(None), *index)], self.terms)

    def term(self, name: str) -> Tensor:
        """The derivative called ``name`` ("" is the value)."""
        return self.data[self.terms.index(name)]

    def by_term(self) -> dict[str, Tensor]:
        """All derivatives by name; cheaper than ``term`` for each, where gradients are recorded."""
        return dict(zip(self.terms, self.data.unbind(0), strict=True))

    @property
    def shape(self) -> torch.Size:
        return self.data.shape[1:]

    @property
    def ndim(self) -> int:
        return self.data.ndim - 1

    @property
    def dtype(self) -> torch.dtype:
        return self.data.dtype

    @property
    def device(self) -> torch.device:
        return self.data.device

    def dim(self) -> int:
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def to(self, *args: Any, **kwargs: Any) -> Jet:
        return Jet(self.data.to(*args, **kwargs), self.terms)

    def unsqueeze(self, dim: int) -> Jet:
        return Jet(self.data.unsqueeze(dim + 1 if dim >= 0 else dim), self.terms)

    def squeeze(self, dim: int) -> Jet:
        return Jet(self.data.squeeze(dim + 1 if dim >= 0 else dim), self.terms)

    def expand(self, *shape: int) -> Jet:
        data = self.data.reshape(len(self.terms), *(1,) * (len(shape) - self.ndim), *self.shape)
        return Jet(data.expand(len(self.terms), *shape), self.terms)

    def reshape(self, *shape: int) -> Jet:
        return Jet(self.data.reshape(len(self.terms), *shape), self.terms)

    def flatten(self, start: int = 0, end: int = -1) -> Jet:
        return Jet(self.data.flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end), self.terms)

    def sum(self, dim: int) -> Jet:
        return Jet(self.data.sum(dim + 1 if dim >= 0 else dim), self.terms)

    def mean(self, dim: int) -> Jet:
        return Jet(self.data.mean(dim + 1 if dim >= 0 else dim), self.terms)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise TypeError(_no_rule(name))

    def __matmul__(self, other: Any) -> Jet:
        return _matmul(self, other)

    def __rmatmul__(self, other: Any) -> Jet:
        return _matmul(other, self)

    def __neg__(self) -> Jet:
        return Jet(-self.data, self.terms)

    def __add__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            self._check(other)
            a, b = _align(self.data, other.data)
            return Jet(a + b, self.terms)
        return self._shifted(other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Jet:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Jet:
        negative = -self
        return negative.__add__(other)

    def __mul__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            return Jet(_scaled(self.data, other), self.terms)
        self._check(other)
        a, b = dict(zip(self.terms, self.data, strict=True)), dict(zip(other.terms, other.data, strict=True))
        rows = []
        for term in self.terms:
            total = None
            for coefficient, low, high in leibniz(term):
                piece = a[low] * b[high]
                piece = piece if coefficient == 1 else coefficient * piece
                total = piece if total is None else total + piece
            rows.append(total)
        return Jet(torch.stack(rows), self.terms)  # type: ignore[arg-type]

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return self * compose(_power(-1.0), other)
        return Jet(_scaled(self.data, 1.0 / other), self.terms)

    def __rtruediv__(self, other: Any) -> Jet:
        return compose(_power(-1.0), self).__mul__(other)

    def __pow__(self, power: Any) -> Jet:
        if isinstance(power, Jet):
            raise TypeError("a jet cannot be raised to a jet: write torch.exp(power * torch.log(base))")
        return compose(_power(power), self)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        rule, name = _RULES.get(function), getattr(function, "__name__", str(function))
        if rule is None:
            raise TypeError(_no_rule(name))
        try:
            inspect.signature(rule).bind(*args, **(kwargs or {}))
        except TypeError as error:
            raise TypeError(_no_rule(name, f" with these options ({error})")) from None
        return rule(*args, **(kwargs or {}))

    def _check(self, other: Jet) -> None:
        if self.terms != other.terms:
            raise ValueError(f"jets of different terms cannot be combined: {self.terms} and {other.terms}")

    def _shifted(self, constant: Any) -> Jet:
        if isinstance(constant, (int, float)) and constant == 0:
            return self
        data = self.data
        if isinstance(constant, Tensor):
            data, constant = _align(data, constant.unsqueeze(0))
        value = data[:1] + constant
        rest = data[1:].expand(len(self.terms) - 1, *value.shape[1:])
        return Jet(torch.cat([value, rest]), self.terms)


def _no_rule(name: str, options: str = "") -> str:
    return (
        f"torch function {name!r}{options} has no Taylor rule: use a supported operation (see pdesolve.jet.Jet), or "
        "Collocation(differentiation=ForwardMode()), which differentiates any module by torch.func"
    )


def _align(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Pad the shapes behind the term axis so that they broadcast."""
    while a.ndim < b.ndim:
        a = a.unsqueeze(1)
    while b.ndim < a.ndim:
        b = b.unsqueeze(1)
    return a, b


def _scaled(data: Tensor, factor: Any) -> Tensor:
    if isinstance(factor, Tensor):
        data, factor = _align(data, factor.unsqueeze(0))
    scaled: Tensor = data * factor
    return scaled


def compose(derivatives: Derivatives, jet: Jet) -> Jet:
    """φ(f) for a function φ given by its derivatives at f's value.

    (φ∘f)_(α + e) = Σ_{β <= α} C(α, β) (φ'∘f)_β f_(α - β + e), by recursion over φ, φ', φ'', ...

    Arguments:
        derivatives: called with (value, order), returns [φ, φ', ..., φ^(order)] at the value.
        jet: f.
    """
    order = max(len(term) for term in jet.terms)
    table = derivatives(jet.data[0], order)
    f = dict(zip(jet.terms, jet.data, strict=True))
    cache: dict[tuple[int, str], Tensor] = {}

    def coefficient(k: int, term: str) -> Tensor:
        if not term:
            return table[k]
        if (k, term) not in cache:
            lower, axis = term[:-1], term[-1]
            total: Tensor | None = None
            for binomial, low, high in leibniz(lower):
                piece = coefficient(k + 1, low) * f[canonical(high + axis)]
                piece = piece if binomial == 1 else binomial * piece
                total = piece if total is None else total + piece
            assert total is not None
            cache[k, term] = total
        return cache[k, term]

    return Jet(torch.stack([coefficient(0, term) for term in jet.terms]), jet.terms)


def _power(power: float) -> Derivatives:
    def derivatives(value: Tensor, order: int) -> list[Tensor]:
        rows, factor = [], 1.0
        for k in range(order + 1):
            rows.append(factor * value ** (power - k) if factor else torch.zeros_like(value))
            factor *= power - k
        return rows

    return derivatives


def _exp(value: Tensor, order: int) -> list[Tensor]:
    return [torch.exp(value)] * (order + 1)


def _log(value: Tensor, order: int) -> list[Tensor]:
    return [torch.log(value), *_power(-1.0)(value, order - 1)] if order else [torch.log(value)]


def _sin(value: Tensor, order: int) -> list[Tensor]:
    sine, cosine = torch.sin(value), torch.cos(value)
    return [(sine, cosine, -sine, -cosine)[k % 4] for k in range(order + 1)]


def _cos(value: Tensor, order: int) -> list[Tensor]:
    return _sin(value, order + 1)[1:]


def _polynomial_of(outer: Tensor, rule: Callable[[Sequence[float]], list[float]], order: int) -> list[Tensor]:
    """Derivatives of a function whose derivative is a polynomial in itself (tanh, sigmoid), by Horner's rule."""
    coefficients: list[float] = [0.0, 1.0]
    rows = []
    for _ in range(order + 1):
        value = torch.full_like(outer, coefficients[-1])
        for c in reversed(coefficients[:-1]):
            value = value * outer + c
        rows.append(value)
        coefficients = rule(coefficients)
    return rows


def _times(derivative: Sequence[float], factor: Sequence[float]) -> list[float]:
    """Coefficients of p'(y) * factor(y)."""
    slope = [k * c for k, c in enumerate(derivative)][1:]
    out = [0.0] * (len(slope) + len(factor) - 1)
    for i, a in enumerate(slope):
        for j, b in enumerate(factor):
            out[i + j] += a * b
    return out


def _tanh(value: Tensor, order: int) -> list[Tensor]:
    return _polynomial_of(torch.tanh(value), lambda c: _times(c, (1.0, 0.0, -1.0)), order)


def _sigmoid(value: Tensor, order: int) -> list[Tensor]:
    return _polynomial_of(torch.sigmoid(value), lambda c: _times(c, (0.0, 1.0, -1.0)), order)


def _gaussian(value: Tensor, order: int) -> list[Tensor]:
    """(2/√π) exp(-v²) and its derivatives by Hermite's recurrence."""
    rows = [2.0 / math.sqrt(math.pi) * torch.exp(-value * value)]
    for k in range(order):
        lower = rows[k - 1] if k else torch.zeros_like(value)
        rows.append(-2.0 * value * rows[k] - 2.0 * k * lower)
    return rows


def _erf(value: Tensor, order: int) -> list[Tensor]:
    return [torch.erf(value), *(_gaussian(value, order - 1) if order else [])]


def _erfcx(value: Tensor, order: int) -> list[Tensor]:
    """erfcx(v) = exp(v²) erfc(v); erfcx' = 2 v erfcx - 2/√π."""
    rows = [torch.special.erfcx(value)]
    for k in range(order):
        lower = rows[k - 1] if k else torch.zeros_like(value)
        shift = 2.0 / math.sqrt(math.pi) if k == 0 else 0.0
        rows.append(2.0 * value * rows[k] + 2.0 * k * lower - shift)
    return rows


def _softplus(value: Tensor, order: int) -> list[Tensor]:
    return [torch.nn.functional.softplus(value), *(_sigmoid(value, order - 1) if order else [])]


def _softplus_jet(x: Jet, beta: float = 1.0, threshold: float = 20.0) -> Jet:
    return compose(_softplus, x * beta) * (1.0 / beta)


def _gelu_jet(x: Jet, approximate: str = "none") -> Jet:
    if approximate == "none":
        return x * (compose(_erf, x * math.sqrt(0.5)) * 0.5 + 0.5)
    inner = (x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)
    return x * (compose(_tanh, inner) * 0.5 + 0.5)


def _linear(x: Any, weight: Tensor, bias: Tensor | None = None) -> Jet:
    return Jet(fused_linear(x.data, weight, bias), x.terms)


def _matmul(a: Any, b: Any) -> Jet:
    if isinstance(a, Jet) and isinstance(b, Jet):
        raise TypeError("matmul of two jets has no Taylor rule: multiply and sum instead")
    if isinstance(a, Jet):
        data = a.data.unsqueeze(-2) @ b if a.ndim == 1 else a.data @ b
        return Jet(data.squeeze(-2) if a.ndim == 1 else data, a.terms)
    data = a @ b.data.unsqueeze(-1) if b.ndim == 1 else a @ b.data
    return Jet(data.squeeze(-1) if b.ndim == 1 else data, b.terms)


def _joined(join: Callable[..., Tensor], shift: int) -> Callable[..., Jet]:
    def rule(items: Sequence[Any], dim: int = 0) -> Jet:
        terms = next(item.terms for item in items if isinstance(item, Jet))
        jets = [item if isinstance(item, Jet) else Jet.constant(item, terms) for item in items]
        return Jet(join([jet.data for jet in jets], dim + shift if dim >= 0 else dim), terms)

    return rule


def _tanh_jet(x: Jet) -> Jet:
    if max(len(term) for term in x.terms) <= 2:
        return Jet(fused_tanh(x.data, x.terms), x.terms)
    return compose(_tanh, x)


def _by(derivatives: Derivatives) -> Callable[..., Jet]:
    def rule(x: Jet) -> Jet:
        return compose(derivatives, x)

    return rule


def _operator(name: str) -> Callable[..., Any]:
    def rule(a: Any, b: Any) -> Any:
        return getattr(a, name)(b) if isinstance(a, Jet) else getattr(b, "__r" + name[2:])(a)

    return rule


_RULES: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.exp: _by(_exp),
    torch.log: _by(_log),
    torch.sqrt: _by(_power(0.5)),
    torch.square: _by(_power(2)),
    torch.sin: _by(_sin),
    torch.cos: _by(_cos),
    torch.tanh: _tanh_jet,
    torch.sigmoid: _by(_sigmoid),
    torch.erf: _by(_erf),
    torch.special.erfcx: _by(_erfcx),
    torch.nn.functional.softplus: _softplus_jet,
    torch.nn.functional.silu: lambda x, inplace=False: x * compose(_sigmoid, x),
    torch.nn.functional.gelu: _gelu_jet,
    torch.nn.functional.linear: _linear,
    torch.matmul: _matmul,
    torch.Tensor.matmul: _matmul,
    torch.Tensor.__matmul__: _matmul,
    torch.cat: _joined(torch.cat, 1),
    torch.stack: _joined(torch.stack, 1),
    torch.unsqueeze: lambda x, dim: x.unsqueeze(dim),
    torch.squeeze: lambda x, dim: x.squeeze(dim),
    torch.flatten: lambda x, start_dim=0, end_dim=-1: x.flatten(start_dim, end_dim),
    torch.sum: lambda x, dim: x.sum(dim),
    torch.mean: lambda x, dim: x.mean(dim),
    torch.neg: lambda x: -x,
    **{
        function: _operator(name)
        for name, functions in {
            "__add__": (torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__),
            "__sub__": (torch.sub, torch.Tensor.sub, torch.Tensor.__sub__),
            "__mul__": (torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__),
            "__truediv__": (torch.div, torch.Tensor.div, torch.Tensor.__truediv__),
        }.items()
        for function in functions
    },
}
