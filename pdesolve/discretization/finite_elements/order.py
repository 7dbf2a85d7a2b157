"""Which orders of elements there are."""

from __future__ import annotations

ORDERS = (1, 2)


def check_order(order: object) -> None:
    """Raise unless there are elements of this order."""
    if isinstance(order, bool) or not isinstance(order, int):
        raise TypeError(f"the order of finite elements must be an integer, got {order!r}")
    if order not in ORDERS:
        raise ValueError(f"finite elements of order 1 and 2 are carried, not {order}: use order=2 and a finer mesh")
