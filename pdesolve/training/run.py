"""The state of one training and its single step."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.evaluation import device_of
from pdesolve.memory import is_out_of_memory
from pdesolve.problem import Family
from pdesolve.status import describe
from pdesolve.training.cases import check_family, moved
from pdesolve.training.checkpoint import Checkpoint
from pdesolve.training.early_stop import Patience
from pdesolve.training.errors import CheckpointError, StepFailure
from pdesolve.training.evaluation import Evaluation, evaluate
from pdesolve.training.report import BOOKKEEPING
from pdesolve.training.settings import TrainingSettings
from pdesolve.training.stored_tensors import load_into, state_of

logger = logging.getLogger(__name__)
RESERVED = BOOKKEEPING | {"loss", "total", "monitor"}


class TrainingRun:
    """Expert, optimizer, random numbers and history: all that a checkpoint holds.

    Arguments:
        expert: trained in place.
        family: what it is trained on.
        settings: how.
        seed: of cases and points.
    """

    def __init__(self, expert: AbstractExpert, family: Family, settings: TrainingSettings, seed: int) -> None:
        check_family(expert, family)
        self.expert, self.family, self.settings = expert, family, settings
        self.generator = torch.Generator().manual_seed(seed)
        self.trainable = [p for p in expert.parameters() if p.requires_grad]
        if not self.trainable:
            raise ValueError(f"this {type(expert).__name__} has no trainable parameters; there is nothing to train")
        self.optimizer = settings.optimizer(self.trainable, lr=settings.learning_rate)
        self._rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.history: dict[str, list[float]] = {}
        self.step = 0
        self._warned = False
        self._set_patience()

    def take_step(self) -> dict[str, float]:
        """Draw cases, lower the loss once, and give the row of the history.

        Raises:
            StepFailure: nothing could be learned from this step; the parameters are as before.
        """
        started = time.perf_counter()
        factor = self.settings.schedule.factor(self.step, self.settings.steps)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        try:
            evaluation, norm = self._gradient()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            first = str(error).splitlines()[0] if str(error) else "no memory left"
            hint = f"use a smaller batch (now {self.settings.batch}) or fewer points"
            raise StepFailure(f"out of memory ({first}); {hint}") from error
        skipped = not bool(torch.isfinite(norm))
        if not skipped:
            if self.settings.gradient_clip is not None:
                torch.nn.utils.clip_grads_with_norm_(self.trainable, self.settings.gradient_clip, norm)
            self.optimizer.step()
        row = self._row(evaluation, float(norm), skipped)
        self._check_skipped(skipped)
        self.step += 1
        rule = self.settings.early_stop
        if rule is not None and self.patience is not None:
            previous = self.history.get("monitor", [float("nan")])[-1]
            row["monitor"] = rule.monitor.value(self.step, row["loss"], previous, self.expert, self.family)
            self.patience.take(row["monitor"])
        row["seconds"] = time.perf_counter() - started
        self._record(row)
        return row

    def checkpoint(self) -> Checkpoint:
        """The state as it is now.

        Raises:
            StepFailure: a parameter is NaN or infinite, so it must not take the place of a good one.
        """
        for name, value in self.expert.named_parameters():
            if not bool(torch.isfinite(value).all()):
                raise StepFailure(f"parameter {name!r} is no longer finite; lower the learning rate")
        state = self.generator.get_state()
        history = {name: list(values) for name, values in self.history.items()}
        return Checkpoint(self.step, state_of(self.expert), self.optimizer.state_dict(), state, history, self._about())

    def restore(self, checkpoint: Checkpoint, source: Any) -> None:
        """Continue from a checkpoint; learning rate and schedule stay those of the settings.

        Raises:
            CheckpointError: it was written with another optimizer, or other trainable parameters.
        """
        about, own = checkpoint.about, self._about()
        if about.get("optimizer_class") != own["optimizer_class"]:
            raise CheckpointError(
                f"{source} was written with {about.get('optimizer_class')}, the settings say "
                f"{own['optimizer_class']}; use the same optimizer"
            )
        groups, present = checkpoint.optimizer["param_groups"], self.optimizer.state_dict()["param_groups"]
        if [g.get("params") for g in groups] != [g["params"] for g in present]:
            raise CheckpointError(f"{source} was written with other trainable parameters; freeze the same ones")
        for name, text in own["settings"].items():
            if about.get("settings", {}).get(name) != text:
                logger.warning("resumed with %s = %s, not %s", name, text, about.get("settings", {}).get(name))
        load_into(self.expert, checkpoint.model, source)
        # JSON has no tuples, but optimizers do: betas.
        restored = [
            {k: tuple(v) if isinstance(p.get(k), tuple) else v for k, v in g.items()}
            for g, p in zip(groups, present, strict=True)
        ]
        self.optimizer.load_state_dict({"state": checkpoint.optimizer["state"], "param_groups": restored})
        self.generator.set_state(checkpoint.generator)
        self.history = {name: list(values) for name, values in checkpoint.history.items()}
        self.step = checkpoint.step
        self._set_patience()

    def _gradient(self) -> tuple[Evaluation, Tensor]:
        """Fill the gradients; a second try without the failed cases when these have spoilt them."""
        cases = moved(self.family.sample(self.settings.batch, self.generator), device_of(self.expert))
        first, norm = self._backward(cases)
        if not first.failed:
            return first, norm
        if not self._warned:
            codes = first.status.flatten().tolist()
            logger.warning("step %d: %s; such cases are left out and counted", self.step + 1, describe(codes))
            self._warned = True
        if bool(torch.isfinite(norm)):
            return first, norm
        # 0 * NaN is NaN: leaving a case out of the loss does not keep its NaN out of the gradient.
        good = {name: value[first.converged.to(value.device)] for name, value in cases.items()}
        second, norm = self._backward(good)
        return replace(second, failed=first.failed + second.failed), norm

    def _backward(self, cases: Mapping[str, Tensor]) -> tuple[Evaluation, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        evaluation = evaluate(self.expert, cases, self.settings.objective, self.generator)
        evaluation.loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.trainable if p.grad is not None])
        return evaluation, norm

    def _row(self, evaluation: Evaluation, norm: float, skipped: bool) -> dict[str, float]:
        clash = RESERVED.intersection(evaluation.squares)
        if clash:
            raise ValueError(f"the expert labels rows {min(clash)!r}, a name that the history needs; rename the label")
        return {
            "loss": float(evaluation.loss.detach()),
            **evaluation.squares,
            "total": sum(evaluation.squares.values()),
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "gradient_norm": norm,
            "failed": float(evaluation.failed),
            "skipped": float(skipped),
        }

    def _check_skipped(self, skipped: bool) -> None:
        limit = self.settings.skip_limit
        recent = [*self.history.get("skipped", []), float(skipped)][-limit:]
        if skipped:
            logger.warning("step %d: the gradient is not finite; no step is taken", self.step + 1)
        if len(recent) == limit and all(recent):
            raise StepFailure(
                f"the gradient was not finite in {limit} consecutive steps; lower the learning rate, clip the "
                "gradient, or check the derivative of the residual"
            )

    def _record(self, row: Mapping[str, float]) -> None:
        """Append a row; a series that is new or missing in this step is filled up with NaN."""
        for name in {**self.history, **row}:
            series = self.history.setdefault(name, [])
            series.extend([math.nan] * (self.step - 1 - len(series)))
            series.append(row.get(name, math.nan))

    def _set_patience(self) -> None:
        rule = self.settings.early_stop
        self.patience = None if rule is None else Patience(rule, self.history.get("monitor", []))

    def _about(self) -> dict[str, Any]:
        kind = type(self.optimizer)
        return {
            "expert": type(self.expert).__qualname__,
            "optimizer_class": f"{kind.__module__}.{kind.__qualname__}",
            "settings": self.settings.describe(),
        }
