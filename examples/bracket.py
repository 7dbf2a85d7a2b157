"""Diffusion in a bracket of three dimensions for many coefficients, by a mixture over 16 patches.

The bracket is a base plate with a slot and an upright wall, bolted down at its foot, heated on top of the wall. Its
conductivity has ten random inclusions. The mixture is trained on other inclusions than those it is shown with.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from skfem import MeshTet
from torch import Tensor

import pdesolve as ps
from pdesolve.domains import graph_decomposition, surface


def bracket(fineness: int = 7) -> ps.SimplexMesh:
    """Tetrahedra with edges of 0.2 / fineness; boundaries "foot", "heater", "slot" and "air"."""

    def line(length: float) -> Tensor:
        return torch.linspace(0.0, length, round(length / 0.2) * fineness + 1, dtype=torch.float64)

    box = MeshTet.init_tensor(*(line(length).numpy() for length in (1.6, 1.2, 1.0)))

    def inside(x: Tensor) -> Tensor:
        base, wall = x[2] < 0.2, x[0] < 0.2
        slot = (x[0] > 0.8) & (x[0] < 1.2) & (x[1] > 0.4) & (x[1] < 0.8)
        return (base | wall) & ~slot

    kept = box.restrict(box.elements_satisfying(inside))
    near = 1e-6
    foot = kept.facets_satisfying(lambda x: x[2] < near, boundaries_only=True)
    heater = kept.facets_satisfying(lambda x: x[2] > 1.0 - near, boundaries_only=True)
    slot = kept.facets_satisfying(
        lambda x: (x[0] > 0.7) & (x[0] < 1.3) & (x[1] > 0.3) & (x[1] < 0.9) & (x[2] > near) & (x[2] < 0.2 - near),
        boundaries_only=True,
    )
    taken = {*foot.tolist(), *heater.tolist(), *slot.tolist()}
    air = [i for i in kept.boundary_facets().tolist() if i not in taken]
    named = kept.with_boundaries({"foot": foot, "heater": heater, "slot": slot, "air": torch.tensor(air).numpy()})
    return ps.SimplexMesh.from_skfem(named)


def draw(mesh: ps.SimplexMesh, owner: Tensor, u: Tensor, difference: Tensor, path: Path) -> None:
    """Patches, solution and error on the surface."""
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    skin, nodes = surface(mesh)
    outer = mesh.facets.cells[mesh.outer_facets(), 0]
    faces = skin.cells
    panels = (
        ("patches", owner[outer].double(), "tab20"),
        ("u", u[nodes][faces].mean(1), "viridis"),
        ("|error|", difference.abs()[nodes][faces].mean(1), "magma"),
    )
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    for place, (title, values, colours) in enumerate(panels, 1):
        axes = figure.add_subplot(1, 3, place, projection="3d")
        shown = Poly3DCollection(skin.points[faces].numpy(), cmap=colours, norm=Normalize())
        shown.set_array(values.numpy())
        shown.autoscale()
        axes.add_collection3d(shown)
        axes.set(xlim=(0, 1.6), ylim=(0, 1.2), zlim=(0, 1), title=title, box_aspect=(1.6, 1.2, 1.0))
        axes.view_init(25, -50)
        if title != "patches":
            figure.colorbar(shown, ax=axes, shrink=0.6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(fineness: int = 7, steps: int = 20, cases: int = 3, figure: Path | None = Path("runs/bracket.png")) -> float:
    """Largest relative difference to the finite-element solution on the same mesh, over held-out coefficients."""
    mesh = bracket(fineness)
    problem = ps.Problem(
        ps.Diffusion(axes="xyz"),
        ps.MeshDomain(mesh),
        [
            ps.Dirichlet(0.0, on="foot"),
            ps.Flux(1.0, on="heater"),
            ps.Flux(0.0, alpha=0.1, on="slot"),
            ps.Flux(0.0, on="air"),
        ],
    )
    fields = ps.RandomInclusions(mesh, 10, radii=(0.05, 0.1))
    patches = graph_decomposition(mesh, 16)
    features = ps.PatchFeatures(("a",))
    network = ps.CoordinateNetwork(features.count(3), 32, generator=torch.Generator().manual_seed(0))
    mixture = ps.MeshMixture(problem, network, patches, features=features, fields=ps.EquationFields(layers=2))
    if steps:
        ps.train(mixture, ps.MeshFamily(problem, {"a": fields}), ps.TrainingSettings(steps=steps, batch=1), seed=0)
    held_out = {"a": fields(cases, torch.Generator().manual_seed(1))}
    began = time.perf_counter()
    solution = mixture(held_out)
    middle = time.perf_counter()
    exact = ps.Classical(ps.FiniteElements(order=1)).on(problem)(held_out)
    ended = time.perf_counter()
    difference = solution.field.values - exact.field.values
    error = float((difference.flatten(1).norm(dim=1) / exact.field.values.flatten(1).norm(dim=1)).max())
    print(
        f"{mesh.n_nodes} nodes, 16 patches, imbalance {patches.imbalance:.3f}: within {error:.1e} of the "
        f"finite-element solution; {(middle - began) / cases:.1f} s for each case, "
        f"finite elements {(ended - middle) / cases:.1f} s"
    )
    if figure is not None:
        draw(mesh, patches.owner, exact.field.values[0, 0], difference[0, 0], figure)
    return error


if __name__ == "__main__":
    main()
