"""The classical reference: finite differences in space, Radau IIA in time, in one space dimension."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.pde.trace import Term, evaluate
from pdesolve.problem import Problem
from pdesolve.reference.lines import Lines
from pdesolve.reference.radau import IntegrationError, integrate
from pdesolve.reference.stencils import Array, Grading
from pdesolve.status import SolveError, SolveStatus

logger = logging.getLogger(__name__)

_HIGHEST = 4
_CHUNK = 8192  # unknowns that are integrated together: more no longer pays, and memory is bounded
_NEWTON = 1e-2


@final
@dataclass(frozen=True)
class MethodOfLines:
    """Finite differences in space and Radau IIA(5) in time for F(u_t, u, u_x, u_xx, ..., x, t) = 0.

    F is any ``Problem``'s residual in one space dimension and time, affine in u_t. Boundary conditions are
    algebraic equations at the boundary nodes, with one-sided stencils, and hold to rounding at every step;
    periodic axes have stencils that wrap around. The Jacobian is banded: ∂F/∂u_x.. point by point (autograd)
    times stencils. A batch of cases is one longer banded system, with common time steps.

    Arguments:
        nodes: number of nodes n in space, both ends included (default 513).
        order: formal order p of the stencils, 2, 4 or 6 (default 4).
        grading: where nodes crowd; None for equal spacing (default ``Grading()``). Periodic axes are always
            equally spaced.
        rtol, atol: tolerance of a time step's error, atol + rtol max|u|, in the mean square over space.
        max_steps: cap on time steps, rejected ones included (default 5 000; references take 200 to 1 500).

    Raises:
        ValueError: an order or a number out of range, or fewer nodes than the stencils need.

    Notes:
        Breaks down on fronts thinner than the spacing (oscillations: raise ``nodes``), and on shocks: the
        stencils are central. Order 6 is unstable for waves and pure advection between boundaries: it needs
        diffusion, or a periodic axis. Initial values that contradict boundary values are fine.

    Good values: 65 nodes and rtol 1e-4 for plots; order 6, 513 nodes and rtol 1e-7 for references. The error
        in the solution is usually far below rtol.

    Source: Schiesser, *The Numerical Method of Lines* (1991); Hairer & Wanner, *Solving Ordinary Differential
    Equations II*, IV.8.
    """

    nodes: int = 513
    order: int = 4
    grading: Grading | None = field(default_factory=Grading)
    rtol: float = 1e-7
    atol: float = 1e-12
    max_steps: int = 5_000

    def __post_init__(self) -> None:
        positive_int(self.nodes, "nodes")
        positive_int(self.max_steps, "max_steps")
        if self.order not in (2, 4, 6):
            raise ValueError(f"order must be 2, 4 or 6, got {self.order!r}")
        if self.nodes < 2 * self.order + _HIGHEST:
            raise ValueError(f"order {self.order} needs at least {2 * self.order + _HIGHEST} nodes, got {self.nodes}")
        for name in ("rtol", "atol"):
            value = finite_float(getattr(self, name), name)
            if not 0.0 < value < 1.0:
                raise ValueError(f"{name} must lie in (0, 1), got {value!r}")
        if self.rtol < 1e-13:
            raise ValueError(f"rtol must be at least 1e-13, rounding allows no less, got {self.rtol!r}")

    def solve(
        self,
        problem: Problem,
        parameters: Mapping[str, float | Tensor],
        coordinates: Mapping[str, Tensor],
    ) -> Tensor:
        """The solution at all pairs of given times and positions.

        Arguments:
            problem: one space dimension and time, first order in time.
            parameters: by name, numbers or (batch,); the problem's own values stand for those not given.
            coordinates: "t" (n_t,) and the space axis (n_x,), inside the domain, in any order.

        Returns:
            (batch, component, n_t, n_x) float64 on the CPU; at the initial time the initial condition itself.

        Raises:
            ValueError: a problem that this solver does not cover, unknown or missing names, points outside
                the domain.
            SolveError: a case that cannot be integrated; ``status`` (batch,) says which and how.
        """
        check_supported(problem)
        axis = problem.domain.space_axes[0]
        times, points = (_checked_points(problem, coordinates, name) for name in ("t", axis))
        given = problem.batch_parameters(parameters)
        batch = max((len(value) for value in given.values()), default=1)
        values = {name: value.detach().to("cpu", torch.float64).expand(batch) for name, value in given.items()}
        out = torch.empty(batch, len(problem.field_names), len(times), len(points), dtype=torch.float64)
        if not out.numel():
            return out
        nodes = self._nodes(problem)
        chunk = max(1, _CHUNK // (len(nodes) * len(problem.field_names)))
        failures: dict[int, ArithmeticError] = {}
        for first in range(0, batch, chunk):
            cases = range(first, min(first + chunk, batch))
            failures |= self._fill(out, problem, nodes, values, cases, times, points)
        if failures:
            raise _error(failures, batch)
        return out

    def _nodes(self, problem: Problem) -> Array:
        lower, upper = problem.domain.bounds(problem.domain.space_axes[0])
        if self.grading is None or problem.resolved.periodic:
            return np.linspace(lower, upper, self.nodes)
        return self.grading.nodes(lower, upper, self.nodes)

    def _fill(
        self,
        out: Tensor,
        problem: Problem,
        nodes: Array,
        values: Mapping[str, Tensor],
        cases: range,
        times: Tensor,
        points: Tensor,
    ) -> dict[int, ArithmeticError]:
        """Solve some cases together, or one by one if that fails; returns the cases that failed even so."""
        chosen = {name: value[cases.start : cases.stop] for name, value in values.items()}
        lines = Lines(problem, chosen, nodes, self.order, self.rtol, self.atol)
        try:
            out[cases.start : cases.stop] = self._solved(lines, times, points)
        except (IntegrationError, FloatingPointError) as error:
            if len(cases) == 1:
                return {cases.start: error}
            failures: dict[int, ArithmeticError] = {}
            for case in cases:
                failures |= self._fill(out, problem, nodes, values, range(case, case + 1), times, points)
            return failures
        return {}

    def _solved(self, lines: Lines, times: Tensor, points: Tensor) -> Tensor:
        start, _ = lines.problem.domain.bounds("t")
        out = lines.initial_at(points)[:, :, None].repeat(1, 1, len(times), 1)  # (batch, field, t, x)
        initial = lines.initial()
        if not (np.isfinite(initial).all() and bool(out.isfinite().all())):
            raise FloatingPointError("the initial or boundary values are not finite")
        later = times > start
        if bool(later.any()):
            newton = max(10.0 * float(np.finfo(float).eps) / self.rtol, _NEWTON)
            end = float(times.max())
            trajectory = integrate(lines, initial, start, end, newton=newton, max_steps=self.max_steps)
            logger.debug("method of lines: %d nodes, %d steps", lines.n, len(trajectory.times) - 1)
            states = trajectory.at(times[later].numpy())
            out[:, :, later] = torch.from_numpy(lines.interpolated(states, points))
        return out


def _error(failures: Mapping[int, ArithmeticError], batch: int) -> SolveError:
    """One exception for all failed cases, with the status of each and the remedy for the first."""
    status = torch.zeros(batch, dtype=torch.int64)
    for case, failure in failures.items():
        status[case] = int(_status_of(failure))
    case, failure = next(iter(failures.items()))
    return SolveError(
        f"{len(failures)} of {batch} cases could not be integrated; the first is case {case}: {failure}. "
        f"{_REMEDY[_status_of(failure)]}. The others can be solved without it: see the status",
        status,
    )


def _status_of(failure: ArithmeticError) -> SolveStatus:
    if isinstance(failure, IntegrationError) and failure.finite:
        return SolveStatus.STEP_CAP if failure.capped else SolveStatus.DIVERGED
    return SolveStatus.NON_FINITE


_POSED = "Check that the problem is well posed (diffusion positive, no Robin condition with α β < 0)"
_REMEDY = {
    SolveStatus.NON_FINITE: "Check its parameters and conditions for values where the equation is undefined",
    SolveStatus.STEP_CAP: f"{_POSED}; if so, raise max_steps, or loosen rtol and atol",
    SolveStatus.DIVERGED: f"{_POSED} and that its solution exists so long, raise nodes, or loosen rtol",
}


def check_supported(problem: Problem) -> None:
    """Raise ``ValueError`` unless there is one space axis and the equations are affine in u_t."""
    space = problem.domain.space_axes
    if len(space) != 1 or not problem.domain.has_time:
        raise ValueError(
            f"the method of lines covers one space axis and time, the domain has the axes "
            f"{', '.join(problem.domain.axes)}: use another solver"
        )
    trace, names = problem.trace, problem.field_names
    if trace.n_equations != len(names):
        raise ValueError(f"{trace.n_equations} equations for {len(names)} fields: as many are needed")
    for name, term in trace.terms:
        if "t" in term and term != "t":
            raise ValueError(f"the residual reads {name}.{term}: of the time derivatives only {name}.t is covered")
        if term.count(space[0]) > _HIGHEST:
            raise ValueError(f"the residual reads {name}.{term}: derivatives in space up to order {_HIGHEST} are")
    still = [name for name in names if (name, "t") not in trace.terms]
    if still:
        raise ValueError(f"the residual reads no {still[0]}.t: every field needs a time derivative")
    if not _affine_in_rate(problem):
        raise ValueError("the residual is not affine in u_t: write it so that u_t stands alone, as in u.t - f(u)")
    periodic = [name for name in names if space[0] in problem.resolved.periodic.get(name, ())]
    if periodic and len(periodic) < len(names):
        raise ValueError(f"only {', '.join(periodic)} is periodic along {space[0]}: all fields must be, or none")


def _affine_in_rate(problem: Problem) -> bool:
    """Whether r(a) + r(b) = 2 r((a + b)/2) and r(a) != r(b) for random u_t = a, b and anything else fixed."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.rand(7, generator=generator, dtype=torch.float64) + 0.5

    fixed = {term: draw() for term in problem.trace.terms}
    coordinates = {axis: draw() for axis in problem.domain.axes}
    parameters = {k: torch.full((1,), float(v), dtype=torch.float64) for k, v in problem.parameters.items()}

    def at(rates: Mapping[Term, Tensor]) -> Tensor:
        return torch.stack(evaluate(problem.pde, {**fixed, **rates}, coordinates, parameters))

    rates = [term for term in problem.trace.terms if term[1] == "t"]
    a, b = {r: draw() for r in rates}, {r: -3.0 * draw() for r in rates}
    at_a, at_b, middle = at(a), at(b), at({r: 0.5 * (a[r] + b[r]) for r in rates})
    scale = float(torch.stack([at_a, at_b]).abs().max())
    return float((at_a + at_b - 2.0 * middle).abs().max()) <= 1e-10 * scale and not torch.equal(at_a, at_b)


def _checked_points(problem: Problem, coordinates: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in coordinates:
        raise ValueError(f"coordinates of axis {name!r} are missing: given are {', '.join(coordinates) or 'none'}")
    points = torch.as_tensor(coordinates[name]).detach().to("cpu", torch.float64)
    lower, upper = problem.domain.bounds(name)
    if points.ndim != 1:
        raise ValueError(f"coordinates of axis {name!r} must be 1-D, got shape {tuple(points.shape)}")
    if not bool(((points >= lower) & (points <= upper)).all()):
        raise ValueError(f"coordinates of axis {name!r} must lie in [{lower}, {upper}]")
    return points
