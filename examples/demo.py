"""The main job: a family of diffusion-sorption problems solved by a mixture of hard-constraint experts.

One backbone is trained for four patches tied by interface rows, without any solution data, and a soft-constraint
network for the same time. Both are evaluated on held-out initial values against a converged reference, beside the
classical solver; the couplings are swapped on the trained backbone, and the controls are shown.

    python examples/demo.py [--out runs/demo] [--steps 600] [--cases 100]
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.plotting import plot_comparison, plot_field, plot_history, plot_interfaces, plot_methods
from pdesolve.reference import (
    classical_error_table,
    diffusion_sorption_family,
    diffusion_sorption_frame,
    reference_solution,
    time_at_error,
)
from pdesolve.reference.classical import benchmark_coordinates
from pdesolve.training import CosineDecay, TrainingSettings, load_expert, save_expert, train

SEED, TEST_SEED = 0, 777
Cases = Mapping[str, Tensor]
Table = dict[str, dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> float:
    """Run everything; returns the mean relative L2 error of the mixture with interface rows."""
    options = _options(arguments)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    family = diffusion_sorption_family()
    cases = family.sample(options.cases, torch.Generator().manual_seed(TEST_SEED))
    nodes = benchmark_coordinates()
    grid = ps.StructuredGrid(("t", "x"), (nodes["t"], nodes["x"]), family.problem.domain)
    print(f"reference solutions of {options.cases} held-out cases ...", flush=True)
    exact = reference_solution(family.problem, cases, nodes)

    config = {"n_basis": 16, "patches": 4, "seed": 0}
    mixture = build(config)
    table = {"untrained basis, interface rows": measure(mixture, cases, grid, exact)}
    mixture.float()
    print(f"training the backbone of {config['patches']} patches, {options.steps} steps ...", flush=True)
    report = train(mixture, family, settings(options.steps), seed=SEED)
    soft = soft_rival(family)
    print(f"training the soft-constraint network for the same {report.seconds:.0f} s ...", flush=True)
    soft_report = train(soft, family, same_time(report.seconds, family), seed=SEED)
    save_expert(mixture.double(), out / "expert.safetensors", config, overwrite=True)

    print("evaluating ...", flush=True)
    mixture = load_expert(out / "expert.safetensors", build)  # what another process would do tomorrow
    competitors = {
        "lifting alone": silenced(soft_rival(family)).double(),
        f"soft constraint, trained {soft_report.seconds:.0f} s": soft.double(),
        "one expert": mixture.expert,
        "mixture, independent": ps.MixtureOfExperts(mixture.decomposition, mixture.expert, ps.Independent()),
        "mixture, interface rows": mixture,
    }
    table |= {name: measure(method, cases, grid, exact) for name, method in competitors.items()}
    errors = torch.tensor(table["mixture, interface rows"]["errors"])
    few = {name: value[:20] for name, value in cases.items()}
    rivals = classical_error_table(parameters=few, cells=(32, 64, 128), repeats=1)
    rms = float(errors.square().mean().sqrt())
    classical = time_at_error(rivals, rms), time_at_error(rivals, rms, batched=True)
    save(out, mixture, cases, grid, exact, table, report.history)
    show(table, classical, report.seconds, options.cases)
    print(f"\nresults and figures are in {out.resolve()}:")
    for path in sorted(p for p in out.iterdir() if p.is_file()):
        print(f"  {path.name}")
    return float(errors.mean())


def build(config: Mapping[str, Any]) -> ps.MixtureOfExperts:
    """The untrained mixture of a configuration, in float64: also what ``load_expert`` is given."""
    family = diffusion_sorption_family()
    expert = ps.parametric_expert(
        family,
        n_basis=config["n_basis"],
        frame=diffusion_sorption_frame(family),
        seed=config["seed"],
        dtype=torch.float64,
    )
    patches = ps.cartesian_decomposition(family.problem.domain, {"x": config["patches"]})
    return ps.MixtureOfExperts(patches, expert, ps.InterfaceRows())


def soft_rival(family: ps.ProblemFamily) -> ps.SoftConstraintExpert:
    """An untrained network with the same frame, in float32."""
    return ps.soft_expert(family, frame=diffusion_sorption_frame(family), seed=SEED)


def measure(method: ps.AbstractExpert, cases: Cases, grid: ps.StructuredGrid, exact: Tensor) -> dict[str, Any]:
    """Error of every case, converged solves, seconds for a case with its field, jumps at interfaces."""
    began = time.perf_counter()
    solution = method(cases, grid, throw=False)
    entry: dict[str, Any] = {
        "errors": solution.relative_error(exact).tolist(),
        "seconds": (time.perf_counter() - began) / solution.field.batch,
    }
    if not isinstance(method, ps.SoftConstraintExpert):  # that one solves nothing
        entry["converged"] = int(solution.converged.sum())
    if isinstance(method, ps.MixtureOfExperts):
        jumps = method.jumps(cases)
        entry["jump of u"] = float(jumps[""].difference.max())
        entry["jump of u_x, relative"] = float((jumps["x"].difference / jumps["x"].size).max())
    return entry


def silenced(soft: ps.SoftConstraintExpert) -> ps.SoftConstraintExpert:
    """The network replaced by zero: what the lifting gives by itself."""
    with torch.no_grad():
        for parameter in soft.parameters():
            parameter.zero_()
    return soft


def settings(steps: int) -> TrainingSettings:
    """The same for both competitors."""
    return TrainingSettings(steps, batch=8, learning_rate=3e-3, schedule=CosineDecay(0.03, 0.01), gradient_clip=1.0)


def same_time(seconds: float, family: ps.ProblemFamily) -> TrainingSettings:
    """Settings for as many steps of the soft network as fit into ``seconds``."""
    probe = train(soft_rival(family), family, TrainingSettings(60), seed=SEED, progress=False)
    return settings(max(20, int(seconds / statistics.median(probe.history["seconds"]))))


def save(
    out: Path,
    mixture: ps.MixtureOfExperts,
    cases: Cases,
    grid: ps.StructuredGrid,
    exact: Tensor,
    table: Table,
    history: Mapping[str, Sequence[float]],
) -> None:
    """Solutions of the first cases, the table, and the figures."""
    solution = mixture({name: value[:6] for name, value in cases.items()}, grid, throw=False)
    solution.save(str(out / "solution.vtkhdf"), overwrite=True)
    (out / "table.json").write_text(json.dumps(table, indent=1) + "\n")
    u, truth = solution.field.values[0, 0], exact[0, 0]
    plot_field(solution, out / "field.png")
    plot_comparison(
        u, truth, grid, ["mixture, interface rows", "converged reference", "difference"], out / "comparison.png",
        interfaces=solution.interfaces,
    )  # fmt: skip
    plot_interfaces(u, grid, solution.interfaces, out / "interfaces.png")
    plot_history({k: history[k] for k in ("equation", "conditions", "interfaces")}, out / "history.png")
    rows = [{"method": name, "error": error} for name, entry in table.items() for error in entry["errors"]]
    plot_methods(rows, out / "methods.png", title="held-out cases, relative L² error")


def show(table: Table, classical: tuple[float, float], seconds: float, cases: int) -> None:
    """Print the comparison."""
    print(f"\n{cases} held-out initial values, 1024 x 101 nodes, trained {seconds:.0f} s without solution data")
    print(f"{'':34}{'mean error':>12}{'worst':>10}{'converged':>11}{'s / case':>10}{'jump u':>10}{'jump u_x':>10}")
    for name, row in table.items():
        values = torch.tensor(row["errors"])
        jumps = "".join(f"{row[k]:10.1e}" if k in row else f"{'':>10}" for k in ("jump of u", "jump of u_x, relative"))
        counts = f"{row['converged']}/{cases}" if "converged" in row else "no solve"
        figures = f"{100 * values.mean():10.4f} %{100 * values.max():8.3f} %{counts:>11}{row['seconds']:10.3f}"
        print(f"{name:34}{figures}{jumps}")
    alone, batched = classical
    print(f"{'classical solver, same error':34}{'':33}{alone:10.3f}  ({batched:.4f} s / case in one batch)")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for results and figures")
    parser.add_argument("--steps", type=int, default=600, help="training steps (default 600)")
    parser.add_argument("--cases", type=int, default=100, help="held-out cases (default 100)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
