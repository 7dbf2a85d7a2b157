"""Benchmark problems and their reference solutions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition, Robin
from pdesolve.domains.geometry import Interval, TimeInterval
from pdesolve.frames.generic import Frame, generic_frame
from pdesolve.frames.similarity import SimilarityLifting
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.problem import Family, Problem, ProblemFamily, Uniform
from pdesolve.reference.cache import load_reference, reference_path, save_reference
from pdesolve.reference.method_of_lines import MethodOfLines

REFERENCE_METHOD = MethodOfLines(nodes=513, order=6, rtol=1e-7)
"""What makes references: relative L2 error about 1e-8 on the diffusion-sorption benchmark."""


def diffusion_sorption_problem(u0: float = 0.1, **pde_parameters: float) -> Problem:
    """Diffusion with Freundlich sorption on x in [0, 1], t in [0, 500], as in PDEBench.

    R(u) u_t = D u_xx; u(x, 0) = u0; u(0, t) = 1; u + D u_x = 0 at x = 1 (outflow through a film).

    Arguments:
        u0: constant initial value (default 0.1; 0 to 0.2 in the benchmark).
        pde_parameters: replace those of ``DiffusionSorption``.

    Raises:
        TypeError, ValueError: an unknown parameter of the equation, a value that is not finite.

    Notes:
        Initial and boundary values disagree at both ends: layers grow from nothing like sqrt(D t / R), and
        the film at x = 1 has the thickness D. With the opposite sign, u - D u_x = 0, as some papers print it,
        the problem is ill-posed.

    Source: Takamoto et al., *PDEBench*, NeurIPS 2022, appendix D.4; Chalapathi et al., ICLR 2024.
    """
    return Problem(
        DiffusionSorption(**pde_parameters),
        Interval(0.0, 1.0) * TimeInterval(0.0, 500.0),
        [
            InitialCondition(lambda u0: u0),
            Dirichlet(1.0, on="left"),
            Robin(0.0, alpha=1.0, beta=lambda D: D, on="right"),
        ],
        parameters={"u0": u0},
    )


def diffusion_sorption_family(**pde_parameters: float) -> ProblemFamily:
    """The diffusion-sorption benchmark's family: u0 uniform in [0, 0.2).

    Arguments:
        pde_parameters: replace those of ``DiffusionSorption``.

    Raises:
        TypeError, ValueError: as ``diffusion_sorption_problem``.

    Source: as for ``diffusion_sorption_problem``.
    """
    return ProblemFamily(diffusion_sorption_problem(**pde_parameters), {"u0": Uniform(0.0, 0.2)})


def diffusion_sorption_frame(family: Family) -> Frame:
    """The frame chosen for the diffusion-sorption benchmark: similarity coordinates, and m without its interior part.

    The initial value is a constant and so a steady state: between the layers nothing happens before they arrive.

    Arguments:
        family: ``diffusion_sorption_family()``, whose varying parameters become features, or the problem.

    Raises:
        ValueError: a problem that is not parabolic, or has several fields.

    Notes:
        docs/benchmarks.md compares it with ``generic_frame``.
    """
    lifting = SimilarityLifting(family.problem, family.problem.domain.space_axes[0], interior=0.0)
    return Frame(generic_frame(family).coordinates, lifting)


def reference_solution(
    problem: Problem,
    parameters: Mapping[str, float | Tensor],
    coordinates: Mapping[str, Tensor],
    *,
    method: MethodOfLines = REFERENCE_METHOD,
    cache: str | Path | None = None,
) -> Tensor:
    """Converged solutions of a batch of cases, from the cache if they are there.

    Arguments:
        problem: one space dimension and time, see ``MethodOfLines``.
        parameters: by name, numbers or (batch,); the problem's own values stand for those not given.
        coordinates: "t" (n_t,) and the space axis (n_x,).
        method: the solver and its accuracy.
        cache: folder to keep results in, such as ``data_folder()``; None keeps nothing.

    Returns:
        (batch, component, n_t, n_x) float64 on the CPU.

    Raises:
        ValueError: a problem that the method does not cover; a cached file that is damaged or belongs to
            something else (delete it).
        SolveError: a case that cannot be integrated.

    Notes:
        A file is found by what the problem does, sampled at a few hundred points, not by its name. Problems
        that differ between the samples only (by a spike) share a file: keep them in different folders.
    """
    if cache is None:
        return method.solve(problem, parameters, coordinates)
    path, key = reference_path(Path(cache), problem, parameters, coordinates, repr(method))
    if path.exists():
        return load_reference(path, key=key).values
    values = method.solve(problem, parameters, coordinates)
    save_reference(path, values, coordinates, parameters, {"key": key, "method": repr(method)})
    return values
