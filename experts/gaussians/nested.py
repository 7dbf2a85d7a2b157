"""A lifting inside another one."""

from __future__ import annotations

from typing import Any, final

from pdesolve.frames.abstract import AbstractLifting, NoLifting, Points


@final
class Nested(AbstractLifting):
    """u = G + M (g + m v).

    Arguments:
        outer: G and M.
        inner: g and m.
    """

    def __init__(self, outer: AbstractLifting, inner: AbstractLifting) -> None:
        self.outer, self.inner = outer, inner

    def lift(self, at: Points) -> dict[str, Any]:
        g, factor, inner = self.outer.lift(at), self.outer.multiplier(at), self.inner.lift(at)
        return {name: g[name] + factor[name] * inner[name] for name in g}

    def multiplier(self, at: Points) -> dict[str, Any]:
        factor, inner = self.outer.multiplier(at), self.inner.multiplier(at)
        return {name: factor[name] * inner[name] for name in factor}

    def imposes(self, field: str, boundary: str) -> bool:
        return self.outer.imposes(field, boundary) or self.inner.imposes(field, boundary)


def nested(outer: AbstractLifting, inner: AbstractLifting) -> AbstractLifting:
    """One inside the other; either alone where the other does nothing."""
    if isinstance(outer, NoLifting):
        return inner
    return outer if isinstance(inner, NoLifting) else Nested(outer, inner)
