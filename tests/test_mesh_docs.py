"""docs/finite_elements.md: its code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

PAGE = Path(__file__).resolve().parents[1] / "docs" / "finite_elements.md"


def test_every_block_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert bool(names["a"].grad.abs().sum() > 0)
    assert names["solution"].status.shape == (2, 16)
    assert bool(torch.isfinite(names["solution"].field.values).all())
