"""The benchmark scripts compute what they claim, and a run of some sections leaves the others' rows alone."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import pdesolve as ps

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PDESOLVE_DATA", str(tmp_path / "data"))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def sections(values: dict[str, list[float]]) -> dict[str, Any]:
    """One section for each key, with a claim <= 2 for each value."""

    def section(name: str) -> Any:
        def measure(report: Any) -> None:
            for i, value in enumerate(values[name]):
                report.add(f"{name} {i}", value, 2.0)

        return measure

    return {name: section(name) for name in values}


def run(path: Path, values: dict[str, list[float]], *options: str) -> int:
    return int(script("report").start("x", ["--json", str(path), *options], sections(values)).run())


def rows_in(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text()))


def test_a_row_holds_only_if_its_value_does(tmp_path: Path) -> None:
    report = script("report").start("x", ["--json", str(tmp_path / "x.json")])
    report.add("holds", 1.0, 2.0)
    report.add("fails", 3.0, 2.0)
    report.add("not a number fails", float("nan"), 2.0)
    report.add("not run", None, 2.0)
    assert [row["holds"] for row in rows_in(tmp_path / "x.json")] == [True, False, False, None]
    assert report.finish() == 1


def test_a_run_of_one_section_replaces_its_rows_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert run(path, {"a": [1.0, 1.1], "b": [3.0, 1.0], "c": [1.2]}) == 1
    old = [{**row, "date": "2020-01-01", "hardware": "another machine", "seconds": 7.0} for row in rows_in(path)]
    path.write_text(json.dumps(old))
    assert run(path, {"a": [0.0], "b": [0.5], "c": [0.0]}, "--only", "b") == 0
    new = rows_in(path)
    assert [(row["section"], row["value"]) for row in new] == [("a", 1.0), ("a", 1.1), ("b", 0.5), ("c", 1.2)]
    assert [row for row in new if row["section"] != "b"] == [row for row in old if row["section"] != "b"]
    assert new[2]["date"] != "2020-01-01"
    assert new[2]["hardware"] != "another machine"
    run(path, {"a": [0.1], "b": [0.0], "c": [0.3]}, "--only", "c", "a")
    assert [(row["section"], row["value"]) for row in rows_in(path)] == [("a", 0.1), ("b", 0.5), ("c", 0.3)]


def test_a_full_run_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    run(path, {"a": [1.0], "b": [1.0]})
    run(path, {"a": [0.5], "b": []})
    assert [row["value"] for row in rows_in(path)] == [0.5]


def test_a_run_that_breaks_off_leaves_what_it_did_not_reach(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    run(path, {"a": [1.0], "b": [1.0], "c": [1.0]})

    def broken(report: Any) -> None:
        report.add("b 0", 0.5)
        raise RuntimeError("stopped")

    parts = {**sections({"a": [0.0], "c": [0.0]}), "b": broken}
    order = {name: parts[name] for name in ("a", "b", "c")}
    with pytest.raises(RuntimeError, match="stopped"):
        script("report").start("x", ["--json", str(path), "--only", "b", "c"], order).run()
    assert [(row["section"], row["value"]) for row in rows_in(path)] == [("a", 1.0), ("b", 0.5), ("c", 1.0)]


@pytest.mark.parametrize("change", [{"section": ""}, {"section": "gone"}, {"quick": True}])
def test_rows_that_do_not_belong_together_are_not_merged(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    run(path, {"a": [1.0], "b": [1.0]})
    path.write_text(json.dumps([{**row, **change} for row in rows_in(path)]))
    with pytest.raises(SystemExit):
        run(path, {"a": [1.0], "b": [1.0]}, "--only", "a")
    assert "leave out --only" in capsys.readouterr().err


def test_only_names_sections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path / "x.json", {"a": [1.0]}, "--only", "b")
    assert "invalid choice: 'b'" in capsys.readouterr().err


def test_a_section_reads_what_another_measured(tmp_path: Path) -> None:
    path, found = tmp_path / "x.json", []

    def first(report: Any) -> None:
        report.add("error", 0.5)
        report.add("seconds", 12.5)

    def second(report: Any) -> None:
        found.append(report.value("first", "seconds"))

    parts = {"first": first, "second": second}
    start = script("report").start
    start("x", ["--json", str(path)], parts).run()
    start("x", ["--json", str(path), "--only", "second"], parts).run()
    assert found == [12.5, 12.5]
    for options in (["--only", "second"], ["--json", str(tmp_path / "none.json"), "--only", "second"]):
        with pytest.raises(SystemExit, match=r"second needs 'seconds' of section first: add first to --only"):
            start("x", options, parts).run()


def test_the_page_has_a_table_for_each_section_and_every_date(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    run(path, {"row_weights": [1.0], "b": [3.0]})
    changes = ({"date": "2020-01-01", "seconds": 10.0}, {"date": "2021-02-03", "seconds": 5.5, "hardware": "a GPU"})
    path.write_text(json.dumps([{**row, **change} for row, change in zip(rows_in(path), changes, strict=True)]))
    page = "\n".join(script("write_docs").variant(path))
    assert "2020-01-01, 2021-02-03" in page
    assert "; a GPU" in page
    assert "Wall-clock: 16 s (row weights 10 s, b 6 s)" in page
    tables = page.split("#### ")[1:]
    assert [table.splitlines()[0] for table in tables] == ["row weights", "b"]
    assert "| row_weights 0 | 1 | ≤ 2 | yes |" in tables[0]
    assert "| b 0 | 3 | ≤ 2 | **no** |" in tables[1]


def test_extrapolated_slopes_are_right_where_one_step_is_not() -> None:
    """Steps from too long to too short for the function; the estimate is of the error's size."""
    layer = script("hard_constraint_layer")

    def function(h: Tensor) -> Tensor:
        return torch.sin(3e4 * h) / 3e4 + 0.25 * torch.exp(h)

    steps = layer.STEPS[:6]
    slope, estimate = layer.extrapolated_slope(function, steps)
    single = (function(steps) - function(-steps)) / (2 * steps)
    assert float((single - 1.25).abs().min()) > 1e-4
    assert abs(slope - 1.25) < 1e-9
    assert abs(slope - 1.25) <= estimate < 1e-5


def test_causal_weights_follow_the_formula() -> None:
    weights = script("sorption_weights")
    table = weights.causal_table(torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64), 2.0)
    assert table == pytest.approx((1.0, math.exp(-1.0), math.exp(-1.5)))
    domain = ps.diffusion_sorption_family().problem.domain
    t = torch.tensor([[0.0, 499.0, 250.0, 500.0]], dtype=torch.float64)
    omega = weights.ByBin(ps.TimePower(1.0), (1.0, 0.5))({"t": t}, domain)
    assert omega[0].tolist() == pytest.approx([0.0, 249.5, 125.0, 250.0], abs=1e-9)


def test_the_residual_by_bin_is_that_of_the_equation_without_weights() -> None:
    """Whatever the rows were weighted by, at the same w the bins are the same, and average to the mean of all."""
    weights, methods = script("sorption_weights"), script("sorption_methods")
    plan = methods.Plan(steps=1, seeds=(0,), cases=2, timed_cases=1, x_stride=64)
    found = weights.UntrainedBasis(plan).solve(ps.TimePower(1.0))
    domain = ps.diffusion_sorption_family().problem.domain
    bins = weights.residual_by_bin(found, ps.Unweighted(), domain)
    block = found.rows.rows[0]
    t = block.constants[0].expand(1, 4, -1)
    plain = block.residual(found.weights).detach()[0] / block.weight  # (case, patch, point)
    early = (t < 500.0 / weights.N_BINS).expand_as(plain)
    assert float(bins[0]) == pytest.approx(float(plain[early].square().mean()), rel=1e-9)
    counts = torch.bincount(weights.time_bin(t, domain, weights.N_BINS).flatten(), minlength=weights.N_BINS)
    assert float((bins * counts).sum() / counts.sum()) == pytest.approx(float(plain.square().mean()), rel=1e-9)


def early_methods() -> Sequence[Any]:
    methods = script("sorption_methods")
    return (methods.EARLY_MIXTURE, *methods.EARLY_RIVALS)


def test_early_methods_draw_no_rows_after_400() -> None:
    """In training, and at inference where the label says so."""
    spans = script("sorption_methods").SPANS
    for sampler, last in ((spans["true extrapolation"], 0.8), (spans["rows over the whole span"], 1.0)):
        points = sampler.unit_points(("t", "x"), 2, 256, torch.Generator().manual_seed(0))
        assert last - 0.02 < float(points[..., 0].max()) <= last
    assert all(method.sampler == spans["true extrapolation"] for method in early_methods())


def test_an_early_method_is_trained_once_and_solved_in_each_of_its_ways() -> None:
    methods = script("sorption_methods")
    plan = methods.Plan(steps=2, seeds=(0,), cases=1, timed_cases=1, x_stride=64)
    found = methods.trained((methods.Job(methods.EARLY_MIXTURE), 0, plan))
    assert list(found) == ["rows over the whole span", "true extrapolation"]
    whole, beyond = found.values()
    untrained = methods.MIXTURE.build(ps.diffusion_sorption_family(), 0, methods.WHOLE).double()
    assert float(whole.late_errors) != float(methods.measure(untrained, plan).late_errors)
    assert whole.training_seconds == beyond.training_seconds
    assert float(whole.late_errors) != float(beyond.late_errors)
    assert max(float(whole.errors), float(beyond.errors)) < 0.1


def test_every_early_method_takes_its_trained_network() -> None:
    methods, family = script("sorption_methods"), ps.diffusion_sorption_family()
    for method in early_methods():
        trained = method.build(family, 0, method.sampler)
        for sampler in method.inference.values():
            same = method.build(family, 1, sampler)
            same.load_state_dict(trained.state_dict())
            pairs = zip(trained.parameters(), same.parameters(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs), method.name
    assert {method.name for method in early_methods()} == {m.name for m in (*methods.RIVALS, methods.MIXTURE)}
