"""The basis of a coordinate network inside a frame: u = g + m Σ_i w_i N_i(ξ)."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from pdesolve.frames.abstract import AbstractCoordinateMap, AbstractLifting, full_like, points_at
from pdesolve.jet import Jet


class AbstractAnsatz(nn.Module, abc.ABC):
    """u_c = g_c + m_c Σ_i w_i b_ci(x; p), the basis fields b being those of a network or of several.

    Arguments:
        coordinates: the map ξ, whose values are the network's features.
        lifting: g and m.
        fields: names of the unknowns, in the order of the components.
    """

    patchwise: bool = False
    """Whether patches have basis fields of their own, so that pieces of points must say whose they want."""

    def __init__(self, coordinates: AbstractCoordinateMap, lifting: AbstractLifting, fields: Sequence[str]) -> None:
        super().__init__()
        self.coordinates, self.lifting = coordinates, lifting
        self.fields = tuple(fields)

    @abc.abstractmethod
    def outputs(self, features: Any, parameters: Mapping[str, Tensor], patches: Tensor | None) -> Any:
        """What the network gives, (batch, piece, point, n_fields * n_basis).

        Arguments:
            features: (batch, piece, point, n_features), a tensor or a jet.
            parameters: by name, (batch, 1, 1) or (1, 1, 1).
            patches: the patch of each piece, (piece,) int64; not read where patches share their basis.
        """

    def forward(
        self, coordinates: Mapping[str, Any], parameters: Mapping[str, Tensor], patches: Tensor | None = None
    ) -> tuple[Any, Any]:
        """(offset, basis) at points, as tensors or, for jets in the coordinates, as jets.

        Arguments:
            coordinates: by axis, (1, piece, point).
            parameters: by name, (batch, 1, 1) or (1, 1, 1).
            patches: the patch of each piece, (piece,) int64; needed where ``patchwise``.

        Returns:
            offset (batch, piece, point, component), basis (batch, piece, point, component, n_basis).
        """
        at = points_at(coordinates, parameters)
        like = at[next(iter(coordinates))]
        features = [full_like(f, like) for f in self.coordinates(at)]
        raw = self.outputs(torch.stack(_broadcast(features), dim=-1), parameters, patches)
        if raw.shape[-1] % len(self.fields):
            raise ValueError(
                f"the network gives {raw.shape[-1]} outputs for {len(self.fields)} fields {self.fields}: make them a "
                "multiple of the number of fields"
            )
        raw = raw.to(like.dtype)
        shape = (*raw.shape[:-1], len(self.fields), raw.shape[-1] // len(self.fields))
        lift, multiplier = self.lifting.lift(at), self.lifting.multiplier(at)
        offset = torch.stack(_broadcast([full_like(lift[f], like) for f in self.fields]), dim=-1)
        factor = torch.stack(_broadcast([full_like(multiplier[f], like) for f in self.fields]), dim=-1)
        return offset, raw.reshape(*shape) * factor.unsqueeze(-1)

    def shares_basis(self, coordinates: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> bool:
        """Whether all cases have the same basis, which is then given once, seen at one of the points.

        Arguments:
            coordinates: by axis, any shape, at least one point.
            parameters: by name, (batch, ...).
        """
        with torch.no_grad():
            point = {axis: value.reshape(-1)[:1].reshape(1, 1, 1) for axis, value in coordinates.items()}
            shaped = {name: value.reshape(-1, 1, 1) for name, value in parameters.items()}
            first = torch.zeros(1, dtype=torch.int64, device=next(iter(point.values())).device)
            return int(self(point, shaped, first)[1].shape[0]) == 1


@final
class Ansatz(AbstractAnsatz):
    """u_c = g_c + m_c Σ_i w_i N_ci(ξ(x; p)) for every field c.

    Arguments:
        network: maps features (..., n_features) to (..., n_fields * n_basis); any ``nn.Module``.
        coordinates: the map ξ.
        lifting: g and m.
        fields: names of the unknowns, in the order of the components.

    Notes:
        The network's output is multiplied by m, a constant basis field is not added: give the network a bias.
    """

    def __init__(
        self,
        network: nn.Module,
        coordinates: AbstractCoordinateMap,
        lifting: AbstractLifting,
        fields: Sequence[str] = ("u",),
    ) -> None:
        super().__init__(coordinates, lifting, fields)
        self.network = network

    def outputs(self, features: Any, parameters: Mapping[str, Tensor], patches: Tensor | None) -> Any:
        return self.network(in_dtype_of(self.network, features))


def in_dtype_of(network: nn.Module, features: Any) -> Any:
    """Features in the dtype of a network's parameters, as they are if it has none."""
    parameter = next(network.parameters(), None)
    return features if parameter is None else features.to(parameter.dtype)


def _broadcast(items: list[Any]) -> list[Any]:
    """Expand tensors or jets to their common shape."""
    shape = torch.broadcast_shapes(*(item.shape for item in items))
    return [item.expand(*shape) if isinstance(item, Jet) else item.expand(shape) for item in items]
