"""docs/layer_in_your_model.md: its code runs as it stands, with fewer training steps, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import pdesolve as ps

PAGE = Path(__file__).resolve().parents[1] / "docs" / "layer_in_your_model.md"


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch hides it from others than pytest
def test_every_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 6
    torch.compiler.reset()
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block.replace("range(100)", "range(10)"), str(PAGE), "exec"), names)
        if "again" in block:
            cold, warm = names["first"].stats["iterations"], names["second"].stats["iterations"]
            assert int(warm.max()) < int(cold.max())
            torch.testing.assert_close(names["again"], names["u"], rtol=0, atol=1e-5)
    assert len(names["losses"]) == 10  # every step had a converged member
    assert sum(names["losses"][-3:]) < sum(names["losses"][:3])
    assert names["report"].status.shape == (3, 1, 1)
    assert bool((names["report"].status == ps.SolveStatus.CONVERGED).all())
    assert names["curvature"].shape == (3, 3)
    assert bool(torch.isfinite(names["curvature"]).all())
