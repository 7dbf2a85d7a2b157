"""Problems on meshes with known solutions: the source is what the strong residual leaves of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pdesolve.domains import SimplexMesh
from pdesolve.jet import canonical
from pdesolve.namespace import Namespace
from pdesolve.pde.divergence_form import AbstractDivergenceForm, second_terms
from pdesolve.pde.variable import FieldVariable

Exact = Callable[[Mapping[str, Tensor]], Tensor]


class Manufactured(AbstractDivergenceForm):
    """A form whose source is changed so that given fields solve it."""

    def __init__(self, form: AbstractDivergenceForm, exact: Sequence[Exact]) -> None:
        self.form, self.exact, self.axes = form, exact, form.axes
        self._kept: dict[Any, tuple[Tensor, ...]] = {}

    @property
    def field_names(self) -> tuple[str, ...]:
        return self.form.field_names

    @property
    def parameters(self) -> Mapping[str, float]:
        return self.form.parameters

    def flux(self, fields: Any, coordinates: Any, parameters: Any) -> Any:
        return self.form.flux(fields, coordinates, parameters)

    def source(self, fields: Any, coordinates: Any, parameters: Any) -> Any:
        parts = self._left(fields[self.field_names[0]].value.shape, coordinates, parameters)
        own = self.form.source(fields, coordinates, parameters)
        return tuple(torch.as_tensor(getattr(s, "value", s)) - p for s, p in zip(own, parts, strict=True))

    def _left(self, shape: torch.Size, coordinates: Any, parameters: Any) -> tuple[Tensor, ...]:
        """What the exact fields leave of the equation; kept, since it does not change with u."""
        key = tuple((a, float(x.sum()), tuple(x.shape)) for a, x in coordinates.items())
        if key not in self._kept:
            at = {a: x.detach().expand(shape).contiguous() for a, x in coordinates.items()}
            known = {
                name: FieldVariable(name, derivatives(function, at, self.axes))
                for name, function in zip(self.field_names, self.exact, strict=True)
            }
            left = self.form.residual(Namespace(known, "field"), Namespace(at, "coordinate"), parameters)
            self._kept[key] = left if isinstance(left, tuple) else (left,)
        return self._kept[key]


def derivatives(function: Exact, at: Mapping[str, Tensor], axes: str, order: int = 2) -> dict[str, Tensor]:
    """Value and derivatives in space, u_t where there is time."""
    found = {"": function(at)}
    for axis in (*axes, *(("t",) if "t" in at else ())):
        found[axis] = _slope(function, axis)(at)
    for term in second_terms(axes) if order == 2 else ():
        found[canonical(term)] = _slope(_slope(function, term[0]), term[1])(at)
    return found


def _slope(function: Exact, axis: str) -> Exact:
    """∂/∂axis of a function that acts point by point."""

    def slope(at: Mapping[str, Tensor]) -> Tensor:
        def along(x: Tensor) -> Tensor:
            return function({**at, axis: x})

        return torch.func.jvp(along, (at[axis],), (torch.ones_like(at[axis]),))[1]

    return slope


def square(n: int, *, crooked: bool = True) -> SimplexMesh:
    """The unit square, (n + 1)² nodes, those inside moved a little; boundaries left, right, bottom, top."""
    from skfem import MeshTri

    line = torch.linspace(0, 1, n + 1, dtype=torch.float64).numpy()
    mesh = MeshTri.init_tensor(line, line)
    return _named(mesh, n, crooked)


def cube(n: int, *, crooked: bool = True) -> SimplexMesh:
    """The unit cube, (n + 1)³ nodes; boundaries left, right, bottom, top, back, front."""
    from skfem import MeshTet

    line = torch.linspace(0, 1, n + 1, dtype=torch.float64).numpy()
    return _named(MeshTet.init_tensor(line, line, line), n, crooked)


def _named(mesh: Any, n: int, crooked: bool) -> SimplexMesh:
    ends = {
        name: (lambda x, axis=axis, end=end: abs(x[axis] - end) < 1e-12)
        for axis, names in enumerate((("left", "right"), ("bottom", "top"), ("back", "front"))[: mesh.p.shape[0]])
        for end, name in enumerate(names)
    }
    found = SimplexMesh.from_skfem(mesh.with_boundaries(ends))
    if not crooked:
        return found
    x = found.points
    bump = 0.15 * torch.prod(torch.sin(math.pi * x), 1, keepdim=True) * torch.cos(3 * x.flip(1))
    return SimplexMesh(x + 0.5 * bump, found.cells, found.boundaries, found.subdomains)
