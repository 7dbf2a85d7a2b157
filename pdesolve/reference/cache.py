"""Reference solutions on disk: small HDF5 files that say what they are and are checked when read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.atomic import replacing
from pdesolve.condition import Value, value_at
from pdesolve.pde.trace import evaluate
from pdesolve.problem import Problem

FORMAT = "pdesolve reference solution 1"
_SAMPLES = 257
_LARGEST = 2**31  # values in one file: 16 GiB


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference solution as read.

    Arguments:
        values: (batch, component, n_t, n_x) float64.
        coordinates: axis -> nodes.
        parameters: name -> (batch,) or ().
        provenance: name -> text.
    """

    values: Tensor
    coordinates: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor]
    provenance: Mapping[str, str]


def data_folder() -> Path:
    """Where generated data goes: $PDESOLVE_DATA, else data/generated below the folder in which Python was started.

    In a checkout that is the folder that git ignores, as long as commands are started at its top; with an installed
    wheel set the variable to keep one cache for all folders. ``save_reference`` makes the folder when it first writes.
    """
    given = os.environ.get("PDESOLVE_DATA")
    return Path(given).expanduser() if given else Path("data") / "generated"


def reference_path(
    folder: Path,
    problem: Problem,
    parameters: Mapping[str, float | Tensor],
    coordinates: Mapping[str, Tensor],
    method: str,
) -> tuple[Path, str]:
    """The file of a reference solution and its key: a hash of problem, cases, points and method."""
    digest = hashlib.sha256(FORMAT.encode())
    for part in (method, *_described(problem)):
        digest.update(part.encode() + b"\0")
    for group in (parameters, coordinates):
        for name in sorted(group):
            array = torch.as_tensor(group[name], dtype=torch.float64).detach().cpu().numpy()
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    key = digest.hexdigest()
    return folder / f"reference-{key[:20]}.h5", key


def _described(problem: Problem) -> Iterator[str]:
    """What a problem does, as text: its residual and its conditions sampled at pseudo-random points."""
    generator = torch.Generator().manual_seed(0)

    def draw(lower: float = 0.5, upper: float = 1.5) -> Tensor:
        return lower + (upper - lower) * torch.rand(_SAMPLES, generator=generator, dtype=torch.float64)

    yield f"{type(problem.pde).__qualname__} {problem.field_names} {problem.domain}"
    parameters = {name: torch.full((1,), float(v), dtype=torch.float64) for name, v in problem.parameters.items()}
    coordinates = {axis: draw(*problem.domain.bounds(axis)) for axis in problem.domain.axes}
    terms = {term: draw() for term in problem.trace.terms}
    yield f"{problem.trace.terms} {sorted(problem.parameters.items())}"
    for equation in evaluate(problem.pde, terms, coordinates, parameters):
        yield _text(equation)
    # conditions may read parameters: seen at the given values and at moved ones
    moved = {name: 1.1 * value + 0.01 for name, value in parameters.items()}
    conditions = problem.resolved
    for known in ({**coordinates, **parameters}, {**coordinates, **moved}):
        for where, value in conditions.initial.items():
            yield f"initial {where} {_sampled(value, known)}"
        for face in conditions.faces:
            parts = (_sampled(value, known) for value in (face.alpha, face.beta, face.value))
            yield f"face {face.field} {face.boundary} {' '.join(parts)}"
    yield f"periodic {sorted(conditions.periodic.items())}"


def _sampled(value: Value, known: Mapping[str, Any]) -> str:
    return _text(torch.as_tensor(value_at(value, known), dtype=torch.float64).expand(_SAMPLES))


def _text(values: Tensor) -> str:
    return " ".join(f"{value:.11e}" for value in values.tolist())  # beyond the last bits, where machines differ


def save_reference(
    path: str | Path,
    values: Tensor,
    coordinates: Mapping[str, Tensor],
    parameters: Mapping[str, float | Tensor],
    provenance: Mapping[str, str],
) -> None:
    """Write a reference solution; the file appears complete or not at all.

    Arguments:
        path: where; missing folders are made, an older file is replaced.
        values: (batch, component, n_t, n_x).
        coordinates: axis -> nodes.
        parameters: name -> number or (batch,).
        provenance: name -> text, such as method and key.

    Raises:
        OSError: a place that cannot be written.
    """
    import h5py

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.ascontiguousarray(values.detach().cpu().numpy(), dtype="<f8")
    with replacing(path, overwrite=True) as target, h5py.File(target, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["sha256"] = hashlib.sha256(array.tobytes()).hexdigest()
        for name, text in provenance.items():
            file.attrs[f"provenance {name}"] = text
        chunks = (1, *array.shape[1:]) if array.size else None
        packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        file.create_dataset("values", data=array, chunks=chunks, **(packed if array.size else {}))
        for group, entries in (("coordinates", coordinates), ("parameters", parameters)):
            made = file.create_group(group)
            for name, entry in entries.items():
                made[name] = torch.as_tensor(entry, dtype=torch.float64).detach().cpu().numpy()


def load_reference(path: str | Path, *, key: str | None = None) -> Reference:
    """Read a reference solution and check that it is whole.

    Arguments:
        path: a file of ``save_reference``.
        key: if given, the provenance entry "key" that the file must have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, not such a file, or one of another key; it says so and names the file.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no reference solution at {path}")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, key)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no sound reference solution ({error}): delete it and make it anew") from error


def _read(file: Any, key: str | None) -> Reference:
    if file.attrs.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT!r}")
    provenance = {
        name.removeprefix("provenance "): str(text)
        for name, text in file.attrs.items()
        if name.startswith("provenance ")
    }
    if key is not None and provenance.get("key") != key:
        raise ValueError("its key is that of another problem")
    coordinates, parameters = (
        {name: _array(file[group], name) for name in file[group]} for group in ("coordinates", "parameters")
    )
    values = _array(file, "values")
    if values.ndim != 2 + len(coordinates) or values.shape[2:] != tuple(len(c) for c in coordinates.values()):
        raise ValueError(f"its values of shape {values.shape} do not fit its coordinates")
    if hashlib.sha256(values.tobytes()).hexdigest() != file.attrs["sha256"]:
        raise ValueError("its checksum does not fit its values")
    if not np.isfinite(values).all():
        raise ValueError("its values are not finite")
    return Reference(
        torch.from_numpy(values),
        {name: torch.from_numpy(array) for name, array in coordinates.items()},
        {name: torch.from_numpy(array) for name, array in parameters.items()},
        provenance,
    )


def _array(group: Any, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A plain float64 dataset that lies in this very file."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} points elsewhere")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name!r} is no plain dataset")
    if dataset.dtype != np.dtype("<f8") or dataset.size is None or dataset.size > _LARGEST:
        raise ValueError(f"{name!r} has type {dataset.dtype} and shape {dataset.shape}")
    return np.array(dataset[()], dtype=np.float64)
