"""The slabs that a fit has solved, as tensors that can be stored and gone on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

HISTORY = ("time", "residual", "overlap", "steps", "gaussians")
"""What a report tells of each slab."""

_COLUMNS = ("start", "end", "following", "size", "status", "shared", *HISTORY)
_TENSORS = ("weights", "states", "centres", "shapes")


@dataclass(frozen=True, eq=False)
class Mark:
    """Tensors with their versions: what was made of them holds as long as they are the same, and unchanged.

    It keeps them, so that no other can take their place in memory and pass for them.
    """

    tensors: tuple[tuple[Tensor, int], ...]

    def same(self, other: Mark) -> bool:
        """Whether both are of the same slabs."""
        pairs = zip(self.tensors, other.tensors, strict=True)
        return all(a is b and seen == now for (a, seen), (b, now) in pairs)


@dataclass(frozen=True, eq=False)
class KeptSlab:
    """One solved slab.

    Arguments:
        numbers: by name: "start", "end" and "following" (the next one's end) as shares of the time, "size", the largest
            |u| so far, "status", "shared", whether an earlier slab's factors served, and what a history tells.
        weights: c, (fields, N).
        states: a of all fields and orders, what it sets out from, (rows, N in space).
        centres, shapes: μ, (N, d), and the covariances' numbers, (N, k), of Gaussians that were moved; empty where they
            stand as laid out.
    """

    numbers: Mapping[str, float]
    weights: Tensor
    states: Tensor
    centres: Tensor
    shapes: Tensor


@final
class KeptSlabs(nn.Module):
    """Solved slabs in the order of time, all of one size; ``attempt`` counts the fits that were given up before.

    Raises:
        TypeError: a cast to another type than float64: weights of overlapping Gaussians are large and cancel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attempt: Tensor
        self.numbers: Tensor
        self.register_buffer("attempt", torch.zeros((), dtype=torch.int64))
        self.register_buffer("numbers", torch.zeros(0, len(_COLUMNS), dtype=torch.float64))
        for name in _TENSORS:
            self.register_buffer(name, torch.zeros(0, 0, 0, dtype=torch.float64))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> KeptSlab:
        row = range(len(self))[index]  # an interrupt may leave tensors of one slab more
        numbers = dict(zip(_COLUMNS, self.numbers[row].tolist(), strict=True))
        return KeptSlab(numbers, *(self.get_buffer(name)[row] for name in _TENSORS))

    def clear(self, attempt: int) -> None:
        """Keep nothing, and count."""
        self.cut(0)
        self.attempt.fill_(attempt)

    def cut(self, count: int) -> None:
        """Keep the first ``count`` slabs."""
        for name in ("numbers", *_TENSORS):
            setattr(self, name, self.get_buffer(name)[:count].clone())

    def append(self, slab: KeptSlab) -> None:
        """Keep one more; an interrupt leaves it out."""
        count = len(self)
        for name in _TENSORS:
            added = getattr(slab, name).unsqueeze(0)
            setattr(self, name, torch.cat([self.get_buffer(name)[:count], added]) if count else added.clone())
        row = self.numbers.new_tensor([[slab.numbers[name] for name in _COLUMNS]])
        self.numbers = torch.cat([self.numbers, row])

    def mark(self) -> Mark:
        """What changes whenever the slabs do, or where they are."""
        return Mark(tuple((t, t._version) for t in (self.numbers, self.get_buffer("weights"))))

    def history(self) -> dict[str, list[float]]:
        """What a report tells, one number for each slab."""
        return {name: self.numbers[:, _COLUMNS.index(name)].tolist() for name in HISTORY}

    def make_room(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Buffers of zeros as large as those that are to be loaded, empty where none is.

        Arguments:
            shapes: by name; names that are none of these buffers are left out.

        Raises:
            ValueError: shapes that do not go together.
        """
        self.clear(0)
        counts = {tuple(shapes[name])[:1] for name in ("numbers", *_TENSORS) if name in shapes}
        sound = len(counts) <= 1 and all(len(shapes[name]) == 3 for name in _TENSORS if name in shapes)
        if not sound or tuple(shapes.get("numbers", ()))[1:] not in ((), (len(_COLUMNS),)):
            raise ValueError(f"no fit of Gaussians has tensors of shapes {dict(shapes)}")
        for name, buffer in self.named_buffers():
            if name in shapes:
                setattr(self, name, buffer.new_zeros(tuple(shapes[name])))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        if fn(self.numbers[:0]).dtype != torch.float64:
            raise TypeError(
                "the weights of overlapping Gaussians are large and cancel: they stay in float64; move the expert to a "
                "device only"
            )
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
