"""The unknown as the residual sees it: a value that also knows its derivatives by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

from torch import Tensor

from pdesolve.jet import AXES, canonical


class MissingDerivative(LookupError):
    """A residual asked for a derivative that it was not given; ``term`` is its name."""

    def __init__(self, field: str, term: str) -> None:
        super().__init__(f"derivative {field}.{term} is not available here")
        self.field = field
        self.term = term


def _value(item: Any) -> Any:
    return item.value if isinstance(item, FieldVariable) else item


@final
class FieldVariable:
    """u with u.t, u.x, u.xx, ...; in arithmetic and torch functions it stands for its value.

    Arguments:
        name: the field's name.
        terms: tensors by derivative name; "" is the value. All shapes equal.
    """

    __slots__ = ("_name", "_terms")

    def __init__(self, name: str, terms: Mapping[str, Tensor]) -> None:
        self._name = name
        self._terms = terms

    @property
    def value(self) -> Tensor:
        """The field itself."""
        return self._term("")

    def _term(self, term: str) -> Tensor:
        try:
            return self._terms[term]
        except KeyError:
            raise MissingDerivative(self._name, term) from None

    def __getattr__(self, term: str) -> Tensor:
        if not term or any(letter not in AXES for letter in term):
            raise AttributeError(
                f"{self._name}.{term} is not a derivative: derivatives are named by axis letters, "
                f"for example {self._name}.t or {self._name}.xx; the value is {self._name} itself"
            )
        return self._term(canonical(term))

    def __add__(self, other: Any) -> Any:
        return self.value + _value(other)

    def __radd__(self, other: Any) -> Any:
        return _value(other) + self.value

    def __sub__(self, other: Any) -> Any:
        return self.value - _value(other)

    def __rsub__(self, other: Any) -> Any:
        return _value(other) - self.value

    def __mul__(self, other: Any) -> Any:
        return self.value * _value(other)

    def __rmul__(self, other: Any) -> Any:
        return _value(other) * self.value

    def __truediv__(self, other: Any) -> Any:
        return self.value / _value(other)

    def __rtruediv__(self, other: Any) -> Any:
        return _value(other) / self.value

    def __pow__(self, other: Any) -> Any:
        return self.value ** _value(other)

    def __rpow__(self, other: Any) -> Any:
        return _value(other) ** self.value

    def __neg__(self) -> Tensor:
        return -self.value

    def __abs__(self) -> Tensor:
        return self.value.abs()

    def __lt__(self, other: Any) -> Any:
        return self.value < _value(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= _value(other)

    def __gt__(self, other: Any) -> Any:
        return self.value > _value(other)

    def __ge__(self, other: Any) -> Any:
        return self.value >= _value(other)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        plain = [[_value(i) for i in a] if isinstance(a, (list, tuple)) else _value(a) for a in args]
        return function(*plain, **{k: _value(v) for k, v in (kwargs or {}).items()})
