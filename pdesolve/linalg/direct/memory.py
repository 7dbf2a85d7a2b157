"""How much memory factors will take, and whether it is there."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from pdesolve.linalg.direct.ordering import separator_growth
from pdesolve.linalg.operators.sparse import SparseOperator

REMEDY = (
    "use CG with multigrid or algebraic multigrid (FGMRES where the matrix is not symmetric), "
    "a coarser mesh, or a machine with more memory"
)
_SMALL = 20_000  # unknowns below which no estimate is worth its time
_BYTES = 24.0  # for each number of the factors at the peak: value, index, and growth of the arrays by copying


def available_memory(device: torch.device) -> float:
    """Bytes that can be had on ``device``; infinite where the system does not say."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return float(free)
    return min(_meminfo(), _control_group())


def require_memory(needed: float, what: str, device: torch.device) -> None:
    """Raise MemoryError when ``needed`` bytes are more than can be had.

    Arguments:
        needed: bytes.
        what: will take them.
        device: where.
    """
    available = available_memory(device)
    if needed > available:
        sizes = f"{needed / 2**30:.1f} GiB on {device}, {available / 2**30:.1f} GiB are free"
        raise MemoryError(f"{what} would take about {sizes}: {REMEDY}")


def factor_bytes(matrix: SparseOperator) -> float:
    """Peak memory of a sparse factorisation, within about a factor of two for meshes.

    The graph's typical separator s is read off the bandwidth after a reverse Cuthill-McKee ordering (the mean width of
    its level sets). Recursive dissection of n nodes with separators that scale as s ~ n^γ stores

        c s² Σ_k 2^((1 - 2γ) k) ,   k = 0 ... log₂ n ,

    numbers: n log n in two dimensions, n^(4/3) in three; c is fitted to grids.

    Source: George, *Nested dissection of a regular finite element mesh* (1973); Lipton, Rose & Tarjan (1979).
    """
    n = matrix.shape[0]
    if n <= _SMALL:
        return _BYTES * min(float(n) ** 2, float(_SMALL) ** 2 / 8)
    width, growth = matrix.pattern.level_width, separator_growth(matrix.pattern)
    levels = math.fsum(2.0 ** ((1 - 2 * growth) * k) for k in range(int(math.log2(n)) + 1))
    constant = 4.0 + 8.0 * max(0.0, growth - 0.5)
    dissected = constant * (width**2 * levels + matrix.pattern.count)
    banded = 2.0 * n * width + matrix.pattern.count
    return _BYTES * min(dissected, banded, float(n) ** 2)


def _meminfo() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return math.inf
    found = [int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else math.inf


_CONTROL = ("memory.max", "memory.current")


def _control_group() -> float:
    """What the limit of a container leaves."""
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text(encoding="ascii") for name in _CONTROL)
    except OSError:
        return math.inf
    return math.inf if limit.strip() == "max" else max(0.0, float(limit) - float(used))
