"""Pictures of fields, errors, interfaces and training, written as PNG without any global matplotlib state."""

from pdesolve.plotting.comparison import plot_comparison
from pdesolve.plotting.field import plot_field
from pdesolve.plotting.history import plot_history
from pdesolve.plotting.interfaces import plot_interfaces
from pdesolve.plotting.meshes import plot_patches
from pdesolve.plotting.methods import plot_methods
from pdesolve.plotting.residual import plot_residual

__all__ = [
    "plot_comparison",
    "plot_field",
    "plot_history",
    "plot_interfaces",
    "plot_methods",
    "plot_patches",
    "plot_residual",
]
