"""How a pure function of tensors is run: as it is, or as a compiled graph kept for the next call."""

from __future__ import annotations

import abc
import dataclasses
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast, final

import torch
from torch import Tensor

_Result = TypeVar("_Result")


class AbstractExecution(abc.ABC):
    """Runs the passes of a solve."""

    @abc.abstractmethod
    def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """``function(*arguments)``.

        Arguments:
            function: a function of a module, which branches on no tensor's values and changes no argument.
            arguments: tensors; tuples, dictionaries and records of them (dataclasses without equality); and values that
                can be hashed.
        """

    @abc.abstractmethod
    def size(self, count: int) -> int:
        """Of how many members a batch of at least ``count`` should be, for those that go on when others are done."""


@final
@dataclass(frozen=True)
class Eager(AbstractExecution):
    """Operation by operation: no set-up, any shape."""

    def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        return function(*arguments)

    def size(self, count: int) -> int:
        return count


@final
@dataclass(frozen=True, eq=False)
class Compiled(AbstractExecution):
    """Each pass is recorded once for its shapes, compiled by torch.compile, and replayed.

    For many solves of one size, such as a layer in a training loop or at inference: a pass of a small solve is some
    hundred operations of a few microseconds each, compiled it is a few kernels.

    Arguments:
        backend: of torch.compile (default "inductor", which needs a C++ compiler, and Triton on a GPU).
        mode: of torch.compile (default None; "reduce-overhead" records CUDA graphs).
        largest: passes over more numbers than this run as with ``Eager`` (default 2²⁰: above, arithmetic dominates and
            little is gained).

    Raises:
        RuntimeError: the back end cannot compile; ``Eager()`` runs everywhere.
        TypeError: an equation that cannot be hashed.

    Notes:
        Every new combination of shapes, strides and equation is compiled anew: some ten seconds for each of the three
        to five passes of a solve and its gradient. The equation must not branch on values. Results differ from
        ``Eager`` by round-off. What it has compiled is neither copied nor stored with a model. Tensors that an equation
        reads without being given them, such as a network's weights, are read anew in every call, provided that they
        are changed in place.

    Good values: the defaults.
    """

    backend: str | Callable[..., Any] = "inductor"
    mode: str | None = None
    largest: int = 1 << 20
    _graphs: dict[Hashable, _Graph] = field(default_factory=dict, init=False, repr=False)
    _lock: Any = field(default_factory=threading.RLock, init=False, repr=False)

    def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        leaves: list[Tensor] = []
        structure = _taken_apart(arguments, leaves)
        if sum(t.numel() for t in leaves) > self.largest:
            return function(*arguments)
        key = (function, structure, torch.is_inference_mode_enabled(), tuple(_layout(t) for t in leaves))
        try:
            graph = self._graphs.get(key)
        except TypeError as error:
            raise TypeError(
                f"Compiled() tells solves apart by their equation, which cannot be hashed ({error}): make it a frozen "
                "dataclass, or leave execution at Eager()"
            ) from error
        if graph is None:
            with self._lock:
                graph = self._graphs[key] = self._graphs.get(key) or self._graph(function, structure, leaves)
        with torch.no_grad():
            return cast(_Result, _put_together(graph.result, iter(graph.call(*leaves))))

    def size(self, count: int) -> int:
        """A power of two: few shapes to compile."""
        return 1 << (count - 1).bit_length()

    def _graph(self, function: Callable[..., Any], structure: Hashable, leaves: Sequence[Tensor]) -> _Graph:
        from torch.fx.experimental.proxy_tensor import make_fx

        result: list[Hashable] = []

        def flat(*tensors: Tensor) -> list[Tensor]:
            found: list[Tensor] = []
            result[:] = [_taken_apart(function(*_put_together(structure, iter(tensors))), found)]
            return found

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own compiler, about itself
            recorded = make_fx(flat)(*leaves)
            recorded.graph.eliminate_dead_code()
            recorded.recompile()
            call = torch.compile(recorded.forward, backend=self.backend, mode=self.mode, dynamic=False)
            try:
                call(*leaves)
            except Exception as error:
                raise RuntimeError(
                    f"torch.compile with backend {self.backend!r} failed ({type(error).__name__}: {error}): install a "
                    "C++ compiler, or leave execution at Eager()"
                ) from error
        return _Graph(call, result[0])

    def __deepcopy__(self, memo: Any) -> Compiled:
        return self

    def __reduce__(self) -> tuple[type[Compiled], tuple[Any, ...]]:
        return Compiled, (self.backend, self.mode, self.largest)


@dataclass(frozen=True, eq=False)
class _Graph:
    """A compiled pass, from leaves to leaves, and the structure of what it returns."""

    call: Callable[..., Sequence[Tensor]]
    result: Hashable


_LEAF = object()
"""Stands for a tensor in a structure; a container is (_NODE, kind, names, parts), anything else is itself."""
_NODE = object()


def _layout(t: Tensor) -> Hashable:
    return t.shape, t.stride(), t.dtype, t.device


@lru_cache(maxsize=256)
def _fields(kind: Hashable) -> tuple[str, ...] | None:
    """Names of the fields of a record; None for a type of values."""
    if kind is Compiled or not dataclasses.is_dataclass(kind) or "__eq__" in vars(kind):
        return None
    return tuple(f.name for f in dataclasses.fields(kind))


def _taken_apart(tree: Any, leaves: list[Tensor]) -> Hashable:
    """The structure of ``tree``; its tensors are added to ``leaves``."""
    if isinstance(tree, Tensor):
        leaves.append(tree)
        return _LEAF
    kind: Any = type(tree)
    if kind is tuple or kind is list:
        return _NODE, tuple, (), tuple([_taken_apart(part, leaves) for part in tree])
    if kind is dict:
        return _NODE, dict, tuple(tree), tuple([_taken_apart(part, leaves) for part in tree.values()])
    names = _fields(kind)
    if names is None:
        return cast(Hashable, tree)
    return _NODE, kind, names, tuple([_taken_apart(getattr(tree, name), leaves) for name in names])


def _put_together(structure: Any, leaves: Iterator[Tensor]) -> Any:
    """The reverse of ``_taken_apart``."""
    if structure is _LEAF:
        return next(leaves)
    if type(structure) is not tuple or not structure or structure[0] is not _NODE:
        return structure
    _, kind, names, held = structure
    parts = [_put_together(part, leaves) for part in held]
    if kind is tuple:
        return tuple(parts)
    return dict(zip(names, parts, strict=True)) if kind is dict else kind(*parts)
