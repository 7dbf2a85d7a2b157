"""Networks of one shape, evaluated together, each on points of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from pdesolve.discretization.ansatz import in_dtype_of
from pdesolve.jet import Jet


@final
class NetworkStack(nn.Module):
    """N_e(ξ) for pieces of points, each with a network e of its own, in one pass of ``torch.vmap``.

    Parameters and buffers keep the names that they have in one network, with a leading axis over the networks.

    Arguments:
        networks: modules that differ in their parameters only; they are copied.

    Raises:
        ValueError: no networks, or networks whose parameters and buffers differ in name or shape.

    Notes:
        Networks must be functions of their input and parameters: no dropout, no batch normalisation while training.
        Taylor mode passes through ``torch.vmap``, as a jet is a tensor inside.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks:
            raise ValueError("a stack needs at least one network, got none")
        shapes = [{name: t.shape for name, t in module.state_dict().items()} for module in networks]
        if any(other != shapes[0] for other in shapes):
            raise ValueError("networks of a stack must have parameters and buffers of the same names and shapes")
        self.size = len(networks)
        self.network = copy.deepcopy(networks[0])
        _stack(self.network, networks)

    def forward(self, features: Any, chosen: Tensor) -> Any:
        """Outputs (batch, piece, point, n).

        Arguments:
            features: (batch, piece, point, n_features), a tensor or a jet.
            chosen: the network of each piece, (1, piece) int64, or (batch, piece) where cases have their own.
        """
        features = in_dtype_of(self.network, features)
        terms = features.terms if isinstance(features, Jet) else None
        data = features.data if isinstance(features, Jet) else features.unsqueeze(0)  # (term, batch, piece, point, n)
        if chosen.shape[0] == 1:
            out = torch.vmap(self._one(terms), in_dims=(0, 2), out_dims=2)(self._of(chosen[0]), data)
        else:
            batch, pieces = chosen.shape
            merged = data.expand(-1, batch, *data.shape[2:]).flatten(1, 2)
            out = torch.vmap(self._one(terms), in_dims=(0, 1), out_dims=1)(self._of(chosen.flatten()), merged)
            out = out.unflatten(1, (batch, pieces))
        return out[0] if terms is None else Jet(out, terms)

    def _of(self, chosen: Tensor) -> dict[str, Tensor]:
        own = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        return {name: t.index_select(0, chosen) for name, t in own.items()}

    def _one(self, terms: tuple[str, ...] | None) -> Any:
        def call(state: dict[str, Tensor], data: Tensor) -> Tensor:
            given = data[0] if terms is None else Jet(data, terms)
            out = torch.func.functional_call(self.network, state, (given,))
            found: Tensor = out.unsqueeze(0) if terms is None else out.data
            return found

        return call


def _stack(target: nn.Module, networks: Sequence[nn.Module]) -> None:
    """Put the tensors of all networks, stacked, in the place of those of one; tied parameters stay tied."""
    others = [dict(module.named_parameters(remove_duplicate=False)) for module in networks]
    buffers = [dict(module.named_buffers(remove_duplicate=False)) for module in networks]
    kept: dict[int, nn.Parameter] = {}
    for prefix, module in target.named_modules(remove_duplicate=False):
        for name, value in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(value) in kept.keys() | set(map(id, kept.values())):
                module.register_parameter(name, kept.get(id(value), value))
                continue
            path = f"{prefix}.{name}" if prefix else name
            stacked = torch.stack([own[path].detach() for own in others])
            kept[id(value)] = nn.Parameter(stacked, requires_grad=value.requires_grad)
            module.register_parameter(name, kept[id(value)])
        for name, _ in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            path = f"{prefix}.{name}" if prefix else name
            module.register_buffer(name, torch.stack([own[path] for own in buffers]))
