"""Training of experts: the loop, its settings and report, checkpoints, and files of trained experts.

``train`` and ``resume`` know only ``AbstractExpert.residual``: a single network, a hard-constraint expert and a
mixture are trained alike.
"""

from pdesolve.training.checkpoint_folder import load_checkpoint
from pdesolve.training.early_stop import AbstractMonitor, EarlyStop, HeldOutResidual, SmoothedLoss
from pdesolve.training.errors import CheckpointError, TrainingError
from pdesolve.training.expert_file import load_expert, save_expert
from pdesolve.training.objective import AbstractObjective, LogResidual, MeanSquare
from pdesolve.training.report import StopReason, TrainingReport
from pdesolve.training.schedule import AbstractSchedule, Constant, CosineDecay, StepHalving
from pdesolve.training.settings import TrainingSettings
from pdesolve.training.solve import solve
from pdesolve.training.train import resume, train

__all__ = [
    "AbstractMonitor",
    "AbstractObjective",
    "AbstractSchedule",
    "CheckpointError",
    "Constant",
    "CosineDecay",
    "EarlyStop",
    "HeldOutResidual",
    "LogResidual",
    "MeanSquare",
    "SmoothedLoss",
    "StepHalving",
    "StopReason",
    "TrainingError",
    "TrainingReport",
    "TrainingSettings",
    "load_checkpoint",
    "load_expert",
    "resume",
    "save_expert",
    "solve",
    "train",
]
