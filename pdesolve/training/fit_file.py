"""The file that a fit is kept in, so that another process can go on with it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from pdesolve.atomic import check_target
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.training.errors import CheckpointError
from pdesolve.training.expert_file import expert_path, load_expert, save_expert

_LEFT_OUT = ("torch", "equation", "conditions")


@final
class FitFile:
    """State of an expert with the record of what it is fitted to.

    Arguments:
        path: a name that ends in ``.safetensors``.
        record: what has to agree for a state to be gone on with, in JSON's types. Left out are the version of torch,
            and texts of functions, which say where they are written and not what they do: "rows" tell that.

    Raises:
        ValueError: another ending.
        OSError: it cannot be written; nothing is, yet.
    """

    def __init__(self, path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
        self.path = expert_path(path)
        check_target(self.path, overwrite=True)
        self._record = {name: value for name, value in record.items() if name not in _LEFT_OUT}

    def load(
        self, expert: AbstractExpert, make_room: Callable[[Mapping[str, Sequence[int]]], None] | None = None
    ) -> bool:
        """Give an expert the state that is stored; false, and nothing done, where there is no file.

        Arguments:
            expert: takes the state.
            make_room: called with the shapes of the stored tensors by name, where the expert's own may be others.

        Raises:
            CheckpointError: the file is of another problem or other settings, damaged, or of a newer version.
        """
        if not self.path.exists():
            return False

        begun = False

        def known(stored: Mapping[str, Any]) -> AbstractExpert:
            nonlocal begun
            for name, here in self._record.items():
                self._require_same(name, stored.get(name), here)
            if make_room is not None:
                shapes = self._shapes(stored)
                begun = True
                try:
                    make_room(shapes)
                except ValueError as error:
                    raise CheckpointError(f"{self.path}: {error}") from error
            return expert

        try:
            load_expert(self.path, known)
        except CheckpointError:
            if begun and make_room is not None:
                make_room({})
            raise
        return True

    def store(self, expert: AbstractExpert) -> None:
        """Write the state; a reader finds the old one or the new one, whatever ends the writer."""
        shapes = {name: list(tensor.shape) for name, tensor in expert.state_dict().items()}
        save_expert(expert, self.path, {**self._record, "shapes": shapes}, overwrite=True)

    def _require_same(self, name: str, stored: Any, here: Any) -> None:
        if stored == here:
            return
        missing = object()
        if isinstance(stored, dict) and isinstance(here, dict):  # the first entry that differs says more than all
            name, stored, here = next(
                (f"{name}.{key}", stored.get(key), here.get(key))
                for key in (*here, *stored)
                if stored.get(key, missing) != here.get(key, missing)
            )
        raise CheckpointError(
            f"{self.path}: its {name} is {stored!r}, here it is {here!r}: give the same problem and settings, or "
            "another file"
        )

    def _shapes(self, stored: Mapping[str, Any]) -> dict[str, Sequence[int]]:
        """Those in the record, no larger than what the file can hold."""
        shapes, room = stored.get("shapes"), self.path.stat().st_size
        if not isinstance(shapes, dict):
            raise CheckpointError(f"{self.path}: the shapes of its tensors are missing")
        for name, shape in shapes.items():
            sound = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
            if not sound or max(math.prod(shape), *shape, 0) > room:
                raise CheckpointError(
                    f"{self.path}: the shape of {name!r} is {shape!r}, which no file of its size holds"
                )
        return shapes
