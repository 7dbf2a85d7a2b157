"""A saved expert gives the same numbers in a fresh process; damaged, foreign and newer files are refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import training_case
from safetensors.torch import load, save
from torch import nn
from training_case import PolynomialExpert, build

from pdesolve.domains.geometry import Interval
from pdesolve.domains.grid import StructuredGrid
from pdesolve.training import CheckpointError, load_expert, save_expert
from pdesolve.training.stored_tensors import digest_of

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file of an expert of width 4 with random parameters."""
    expert = PolynomialExpert(4)
    with torch.no_grad():
        for p in expert.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=p.dtype))
    path = tmp_path / "expert.safetensors"
    save_expert(expert, path, {"width": 4, "note": {"é": [1.5, None, True]}})
    return path


def rewritten(path: Path, **changes: Any) -> Path:
    """The file with entries of its record replaced and the record's own checksum put right."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    text = json.dumps({**json.loads(header["record"]), **changes})
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_bytes(save(load(data), {**header, "record": text, "sha256": digest}))
    return path


def test_same_output_in_a_fresh_process(saved: Path) -> None:
    configs: list[Any] = []

    def noting(config: Any) -> PolynomialExpert:
        configs.append(config)
        return build(config)

    expert = load_expert(saved, noting)
    assert configs == [{"width": 4, "note": {"é": [1.5, None, True]}}]
    case = {"k": torch.tensor([0.7, 1.9], dtype=torch.float64)}
    here = expert(case, StructuredGrid.uniform(Interval(0, 1), (11,))).field.values.detach().numpy().tobytes()
    script = [sys.executable, training_case.__file__, "evaluate", str(saved), "0"]
    there = subprocess.run(script, cwd=ROOT, env=training_case.environment(), capture_output=True, text=True)
    assert there.returncode == 0, there.stderr
    assert bytes.fromhex(there.stdout) == here


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_parameters_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    expert = PolynomialExpert(5, dtype=dtype)
    expert.register_buffer("mask", torch.tensor([[True, False]]).T)
    expert.register_buffer("scale", torch.tensor(3.0, dtype=torch.complex64))
    expert.tied = expert.linear
    path = tmp_path / "e.safetensors"
    save_expert(expert, path)

    def make(config: Any) -> PolynomialExpert:
        other = PolynomialExpert(5, dtype=dtype)
        other.register_buffer("mask", torch.zeros(2, 1, dtype=torch.bool))
        other.register_buffer("scale", torch.tensor(0.0, dtype=torch.complex64))
        other.tied = other.linear
        return other

    state = load_expert(path, make).state_dict()
    assert set(state) == set(expert.state_dict())
    assert all(torch.equal(state[name], value) for name, value in expert.state_dict().items())


def test_every_flipped_bit_is_noticed(saved: Path) -> None:
    data = saved.read_bytes()
    wanted = load_expert(saved, build).state_dict()
    for position in range(0, len(data), 3):
        saved.write_bytes(data[:position] + bytes([data[position] ^ 0x04]) + data[position + 1 :])
        try:
            state = load_expert(saved, build).state_dict()
        except CheckpointError:
            continue
        # Only JSON's own white space may change and nothing be lost by it.
        assert all(torch.equal(state[name], value) for name, value in wanted.items()), position


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_cut_off_file_is_refused(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(CheckpointError):
        load_expert(saved, build)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95",
        (2**63).to_bytes(8, "little") + b"{}",
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
        (2).to_bytes(8, "little") + b"[]",
        save({"a": torch.zeros(2)}),
        save({"a": torch.zeros(2)}, {"format": "pt"}),
    ],
)
def test_foreign_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_expert(path, build)


def test_newer_version_other_model_and_dtype_are_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'linear.weight' is float64 \[4, 1\] in the file, float64 \[3, 1\]"):
        load_expert(saved, lambda _: PolynomialExpert(3))
    with pytest.raises(CheckpointError, match=r"float64.*float32"):
        load_expert(saved, lambda _: PolynomialExpert(4, dtype=torch.float32))
    with pytest.raises(TypeError, match="build must return an AbstractExpert"):
        load_expert(saved, lambda _: nn.Linear(1, 1))  # type: ignore[arg-type,return-value]
    with pytest.raises(CheckpointError, match=r"newer pdesolve.*schema 2.*update"):
        load_expert(rewritten(saved, schema=2), build)


@pytest.mark.parametrize(
    "changes",
    [{"tensors": None}, {"tensors": {"linear.weight": 3}}, {"schema": "1"}, {"schema": None}, {"config": [1]}],
)
def test_record_of_the_wrong_form_is_refused(saved: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        load_expert(rewritten(saved, **changes), build)


def test_record_without_configuration_and_a_depth_bomb_are_refused(saved: Path) -> None:
    def stored(text: str) -> Path:
        digest = hashlib.sha256(text.encode()).hexdigest()
        about = {"format": "pdesolve-expert", "record": text, "sha256": digest}
        saved.write_bytes(save({"a": torch.zeros(2)}, about))
        return saved

    for text in ('{"schema": 1, "tensors": {}}', "[" * 10**5, "no JSON"):
        with pytest.raises(CheckpointError, match=r"expert\.safetensors"):
            load_expert(stored(text), build)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "e.safetensors")
    with pytest.raises(CheckpointError, match="regular file"):
        load_expert(tmp_path / "e.safetensors", build)


def test_mistakes_when_saving(tmp_path: Path) -> None:
    expert = PolynomialExpert()
    path = tmp_path / "e.safetensors"
    for config in ({"a": (1, 2)}, {"a": torch.zeros(1)}, {"a": float("nan")}, {1: 2}, {"a": {1: 2}}):
        with pytest.raises(TypeError, match="config"):
            save_expert(expert, path, config)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        save_expert(expert, tmp_path / "e.pt")
    assert list(tmp_path.iterdir()) == []
    save_expert(expert, path)
    with pytest.raises(FileExistsError):
        save_expert(expert, path)
    save_expert(expert, path, overwrite=True)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_expert(tmp_path / "f.safetensors", build)
    with pytest.raises(FileNotFoundError, match="create the folder"):
        save_expert(expert, tmp_path / "gone" / "e.safetensors")


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Odd(PolynomialExpert):
        def get_extra_state(self) -> Any:
            return {"a": 1}

    with pytest.raises(TypeError, match="only tensors can be stored"):
        save_expert(Odd(), tmp_path / "e.safetensors")


def test_digest_depends_on_content_only() -> None:
    t = torch.arange(6.0).reshape(2, 3)
    assert digest_of(t) == digest_of(t.T.contiguous().T)
    assert digest_of(t) != digest_of(t.flip(0))
    assert digest_of(torch.tensor(1.0)) == digest_of(torch.ones(1))
