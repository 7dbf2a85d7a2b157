"""Diffusion in a part of three dimensions for many coefficients, by a mixture over 16 patches.

An angle bracket is held at one temperature in the hole of its base and heated through that of its flange; the rest
loses a little to the air. Its conductivity has ten random inclusions. The mixture is trained on other inclusions than
those that it is shown with, and without any solution.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

import pdesolve as ps
from pdesolve.domains import graph_decomposition
from pdesolve.plotting import plot_comparison, plot_patches
from pdesolve.reference import bracket


def main(n: int = 10, steps: int = 10, cases: int = 3, folder: Path | None = Path("runs/bracket")) -> float:
    """Largest relative difference to the finite-element solution on the same mesh, over held-out coefficients."""
    mesh = bracket(n)
    problem = ps.Problem(
        ps.Diffusion(axes="xyz"),
        ps.MeshDomain(mesh),
        [
            ps.Dirichlet(0.0, on="base_hole"),
            ps.Flux(1.0, on="flange_hole"),
            ps.Flux(0.0, alpha=0.01, on=("bottom", "outside")),
        ],
    )
    fields = ps.RandomInclusions(mesh, 10, radii=(0.1, 0.2))
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
    error = float(solution.relative_error(exact.field.values).max())
    print(
        f"{mesh.n_nodes} nodes, 16 patches, imbalance {patches.imbalance:.3f}: within {error:.1e} of the "
        f"finite-element solution; {(middle - began) / cases:.1f} s for each case, "
        f"finite elements {(ended - middle) / cases:.1f} s"
    )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        plot_patches(patches, folder / "patches.png")
        titles = ("mixture of 16 experts", "finite elements", "difference")
        shown = (field.values[0, 0] for field in (solution.field, exact.field))
        plot_comparison(*shown, mesh, titles, folder / "comparison.png")
    return error


if __name__ == "__main__":
    main()
