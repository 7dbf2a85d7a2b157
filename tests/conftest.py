"""Settings and fixtures that every test shares."""

from __future__ import annotations

import os

import pytest
import torch

# DeepXDE asks for a back end at import and writes it to the home folder; matplotlib looks for a screen.
os.environ.setdefault("DDE_BACKEND", "pytorch")
os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked gpu where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of random numbers; the global one is left alone."""
    return torch.Generator().manual_seed(0)
