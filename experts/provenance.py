"""Where a solution comes from, as text that fits into a results file."""

from __future__ import annotations

from typing import Any

import torch

from pdesolve.problem import Problem


def provenance(problem: Problem, method: object, **settings: object) -> dict[str, Any]:
    """Equation, domain, conditions, method and its settings, versions: JSON-compatible.

    Arguments:
        problem: what was solved.
        method: the expert; its class is recorded.
        settings: objects whose text says how, such as solver and coupling.
    """
    return {
        "equation": problem.pde.name,
        "derivatives": [f"{field}.{term}" if term else field for field, term in problem.trace.terms],
        "fields": list(problem.field_names),
        "parameters": dict(problem.parameters),
        "domain": {axis: list(problem.domain.bounds(axis)) for axis in problem.domain.axes},
        "conditions": [_text(condition) for condition in problem.conditions],
        "method": type(method).__name__,
        "settings": {name: _text(value) for name, value in settings.items()},
        "torch": torch.__version__,
    }


def _text(value: object) -> str:
    """repr without addresses, which differ from process to process."""
    words = repr(value).split(" at 0x")
    return words[0] + "".join(">" + word.partition(">")[2] for word in words[1:])
