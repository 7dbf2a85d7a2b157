"""The differentiable solution of a nonlinear system by any root finder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdesolve.linalg.operators.dense import require_floating
from pdesolve.root_finding.function import Root, root
from pdesolve.root_finding.jacobian import AbstractJacobian
from pdesolve.root_finding.newton import Newton
from pdesolve.root_finding.problem import Residual, RootProblem
from pdesolve.root_finding.root_finder import AbstractRootFinder
from pdesolve.status import SolveStatus


@dataclass(frozen=True, eq=False)
class RootReport:
    """How ``find_root`` went.

    Arguments:
        status: ``SolveStatus`` codes, (*batch,).
        stats: of the root finder: iterations, correction, residual, each (*batch,), and "detail".
    """

    status: Tensor
    stats: dict[str, Any]

    @property
    def converged(self) -> Tensor:
        """(*batch,), where u is a root."""
        return self.status == SolveStatus.CONVERGED


def find_root(
    function: Residual,
    start: Tensor,
    parameters: Sequence[Tensor] = (),
    *,
    jacobian: AbstractJacobian,
    method: AbstractRootFinder | None = None,
    throw: bool = True,
) -> tuple[Tensor, RootReport]:
    """u with F(u, θ) = 0; u carries gradients to θ by the implicit function theorem.

    With J = ∂F/∂u at the root: u̇ = -J⁻¹ ∂F/∂θ θ̇, and a cotangent ū pulls back to θ̄ = -∂/∂θ (λ·F), Jᵀλ = ū. Both are
    linear solves by ``linear_solve``, with the factors of the last Newton step. To every order, in both modes.

    Arguments:
        function: F, called as ``function(u, *parameters)``: (*batch, n) -> (*batch, n), written in torch.
        start: u to begin from, (n,), or (*batch, n) where the Jacobian takes batches; float32 or float64.
        parameters: θ, tensors of any shape that F reads and gradients may be asked for; integers and booleans are
            constants.
        jacobian: ``ColoredJacobian(pattern)``, ``GivenJacobian(assemble)``, ``MatrixFree()`` or ``DenseJacobian()``.
        method: default ``Newton()``; ``newton_krylov(...)``, ``Continuation(...)``.
        throw: raise when a member fails (default true). Otherwise look at the report: failed members hold their last
            good iterate and are constants to autograd.

    Returns:
        u (*batch, n) and a ``RootReport``.

    Raises:
        TypeError: integers, complex or half precision numbers; a class or a linear solver as Jacobian or method.
        ValueError: shapes that do not fit, start with NaN or Inf, a Jacobian that is not the derivative of F.
        SolveError: a member failed and ``throw`` is set; in the backward pass too.

    Notes:
        Tensors that F closes over are constants, even where they require gradients; those that a ``torch.func``
        transform maps or differentiates are refused by torch: name them in ``parameters``. The gradient does not know
        of ``start``. Which of several roots is found depends on the start. Parameters that give NaN in F at one member
        of a batch get NaN as gradient, from the chain rule inside F; other members' do not.

    Source: Griewank & Walther, *Evaluating Derivatives* (2008), section 15.1.
    """
    values = tuple(parameters)
    require_floating("start", start)
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            raise TypeError(f"parameters[{i}] must be a tensor, not {type(value).__name__}: use torch.as_tensor")
    _require_instance("jacobian", jacobian, AbstractJacobian, "DenseJacobian()")
    method = Newton() if method is None else method
    _require_instance("method", method, AbstractRootFinder, "Newton()")
    _require_shape(start, jacobian)
    shared = Root(RootProblem(function, jacobian, values), method, throw)
    u, status = root(shared, start, values)
    return u, RootReport(status, shared.stats)


def _require_instance(name: str, given: object, kind: type, example: str) -> None:
    if not isinstance(given, kind):
        raise TypeError(f"{name} must be an {kind.__name__} such as {example}, not {given!r}")


def _require_shape(start: Tensor, jacobian: AbstractJacobian) -> None:
    if start.ndim == 0 or start.numel() == 0:
        raise ValueError(f"start must have shape (*batch, n) with n >= 1, not {tuple(start.shape)}")
    if start.ndim > 1 and not jacobian.batched:
        name = type(jacobian).__name__
        raise ValueError(
            f"{name} takes one system, start of shape (n,), not {tuple(start.shape)}: use DenseJacobian() for a batch "
            "of small systems, or torch.func.vmap"
        )
