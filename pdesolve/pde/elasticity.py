"""Linear elasticity in divergence form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdesolve.pde.abstract import Fields, Values, check_positive
from pdesolve.pde.divergence_form import AbstractDivergenceForm, Fluxes
from pdesolve.pde.laplacian import check_space_axes


@dataclass(frozen=True)
class LinearElasticity(AbstractDivergenceForm):
    """-∇·σ = f, σ = λ (∇·u) I + μ (∇u + ∇uᵀ), the unknowns being the displacements "ux", "uy", "uz".

    Arguments:
        lame: λ > 0, first Lamé constant, in units of stress (default 1); E ν / ((1 + ν)(1 - 2ν)), in plane stress
            E ν / (1 - ν²).
        shear: μ > 0, shear modulus E / (2 (1 + ν)) (default 1).
        force: f, force for each volume, one number for each axis (default none); the parameters "fx", "fy", "fz".
        axes: "xy" (plane strain, default) or "xyz".

    Raises:
        ValueError: wrong axes, constants that are not positive, or a force of another length than the axes.
        TypeError: something that is no number.

    Notes:
        Nearly incompressible materials (λ ≫ μ) lock on linear elements: take order 2. Forces on the surface are
        ``Flux(value, on=..., field="ux")``.
    """

    lame: float = 1.0
    shear: float = 1.0
    force: tuple[float, ...] = ()
    axes: str = "xy"

    def __post_init__(self) -> None:
        check_space_axes(self.axes)
        check_positive(lame=self.lame, shear=self.shear)
        if self.force and len(self.force) != len(self.axes):
            raise ValueError(f"force needs one number for each of {self.axes!r}, got {self.force}")

    @property
    def field_names(self) -> tuple[str, ...]:
        return tuple(f"u{axis}" for axis in self.axes)

    @property
    def parameters(self) -> Mapping[str, float]:
        forces = {f"f{axis}": v for axis, v in zip(self.axes, self.force, strict=False)}
        return {"lame": self.lame, "shear": self.shear, **forces}

    def flux(self, fields: Fields, coordinates: Values, parameters: Values) -> Fluxes:
        grad = [[getattr(fields[f"u{i}"], j) for j in self.axes] for i in self.axes]
        pressure = parameters.lame * sum(grad[i][i] for i in range(len(self.axes)))
        return tuple(
            tuple(
                parameters.shear * (grad[i][j] + grad[j][i]) + (pressure if i == j else 0.0)
                for j in range(len(self.axes))
            )
            for i in range(len(self.axes))
        )

    def source(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Any, ...]:
        return tuple(-parameters[f"f{axis}"] if self.force else 0.0 for axis in self.axes)
