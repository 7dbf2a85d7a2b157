"""Conjugate gradients on a least-squares problem, its matrix known by products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractJacobianOperator

_WINDOW = 10  # iterations between two looks, which wait for the device


@dataclass(frozen=True, eq=False)
class Iterated:
    """Where iterations ended.

    Arguments:
        solution: z, (k,).
        lowered: by how much 1/2 |b - A z|² is below 1/2 |b|².
        iterations: how many there were.
    """

    solution: Tensor
    lowered: float
    iterations: int


def conjugate_gradients(
    matrix: AbstractJacobianOperator, right: Tensor, tolerance: float, max_iterations: int
) -> Iterated:
    """argmin_z |b - A z|² by CGLS, A = J P.

    Arguments:
        matrix: A, (m, k).
        right: b, (m,).
        tolerance: ends where the last ten iterations lower |b - A z|² by at most this share of it.
        max_iterations: ends there at the latest.

    Source: Hestenes & Stiefel, J. Res. Nat. Bur. Standards 49 (1952); Björck, Numerical Methods for Least Squares
        Problems (1996), section 7.4, for the form that keeps b - A z.
    """
    z, left = right.new_zeros(matrix.size), right
    direction = gradient = matrix.rmv(left)
    power = gradient @ gradient
    zero = torch.zeros_like(power)
    lowered, recent, iteration = zero, zero, 0
    while iteration < max_iterations:
        iteration += 1
        image = matrix.mv(direction)
        size = image @ image
        length = torch.where(size > 0.0, power / size, zero)
        z, left = z + length * direction, left - length * image
        recent = recent + length * power  # each iteration takes this off |b - A z|²
        gradient = matrix.rmv(left)
        before, power = power, gradient @ gradient
        direction = gradient + torch.where(before > 0.0, power / before, zero) * direction
        if iteration % _WINDOW == 0 or iteration == max_iterations:
            lowered = lowered + recent
            if not bool(recent > tolerance * (left @ left)):
                break
            recent = zero
    return Iterated(z, 0.5 * float(lowered), iteration)
