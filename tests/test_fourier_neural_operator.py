"""The Fourier neural operator: shapes, symmetries, independence of the grid, gradients, and bad inputs."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor

from pdesolve.experts.fourier_neural_operator import FourierNeuralOperator

AXES = pytest.mark.parametrize("n_axes", [1, 2, 3, 4])


def operator(n_axes: int = 2, n_channels: int = 2, **options: Any) -> FourierNeuralOperator:
    small = {"n_layers": 2, "modes": 2, "width": 4, "projection": 5, "dtype": torch.float64, "generator": seeded()}
    return FourierNeuralOperator(n_channels, 3, n_axes, **(small | options))


def waves(n_axes: int, nodes: tuple[int, ...]) -> Tensor:
    """Two periodic functions of wave numbers -1 to 1 on i/n, (2, 2, *grid)."""
    grid = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) / n for n in nodes), indexing="ij")
    fields = uniform(2, 2, 3**n_axes, seed=3)
    modes = [
        sum(2 * math.pi * k * x for k, x in zip(ks, grid, strict=True)) for ks in product((-1, 0, 1), repeat=n_axes)
    ]
    return torch.einsum("bcm,m...->bc...", fields, torch.stack([torch.cos(m + 0.3) for m in modes]))


@AXES
@pytest.mark.parametrize("n_fields", [1, 3])
def test_fields_have_the_shape_that_the_layer_takes(n_axes, n_fields):
    grid = (5, 6, 7, 8)[-n_axes:]
    out = operator(n_axes, n_fields=n_fields)(uniform(2, 2, *grid))
    assert out.shape == (2, 3, *((3,) if n_fields > 1 else ()), *grid)
    assert bool(torch.isfinite(out).all())
    assert float(out.detach().std()) > 1e-3


@AXES
def test_a_shifted_input_gives_the_shifted_fields(n_axes):
    network, grid = operator(n_axes, n_layers=3), (5, 6, 7, 9)[-n_axes:]
    a = uniform(2, 2, *grid)
    shifts, axes = tuple(range(1, n_axes + 1)), tuple(range(2, n_axes + 2))
    torch.testing.assert_close(network(a.roll(shifts, axes)), network(a).roll(shifts, axes), rtol=0, atol=1e-13)


@AXES
def test_the_same_weights_are_the_same_function_on_another_grid(n_axes):
    """One layer keeps a band-limited input so; the fields agree at common nodes to round-off."""
    network = operator(n_axes, n_layers=1)
    coarse, fine = (5, 6, 7, 6)[-n_axes:], tuple(2 * n for n in (5, 6, 7, 6)[-n_axes:])
    every_second = (..., *(slice(None, None, 2) for _ in range(n_axes)))
    a, b = network(waves(n_axes, coarse)), network(waves(n_axes, fine))[every_second]
    torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_deep_networks_agree_between_fine_grids():
    """σ puts energy beyond the kept modes, which fine grids hold."""
    network = operator(2, n_layers=5, modes=3, width=8).requires_grad_(False)
    error = {
        n: float((network(waves(2, (n, n))) - network(waves(2, (3 * n, 3 * n)))[..., ::3, ::3]).abs().max())
        for n in (8, 24)
    }
    assert error[24] < 1e-9
    assert error[24] < 0.1 * error[8]


def test_the_transform_is_that_of_rfftn():
    """Against the plain formula: all of the spectrum, kept modes by name, irfftn."""
    (network,) = operator(2, n_layers=1).spectral.requires_grad_(False)
    v = uniform(2, 4, 7, 9)
    full, weight = torch.fft.rfftn(v, dim=(2, 3)), torch.view_as_complex(network.weight)
    out = torch.zeros_like(full)
    for row, k in enumerate((0, 1, -2, -1)):
        for m in range(2):
            out[:, :, k, m] = full[:, :, k, m] @ weight[:, :, row, m]
    rows = torch.fft.ifft(out, dim=2)
    rows[..., 0] = rows[..., 0].real.to(rows.dtype)
    torch.testing.assert_close(network(v), torch.fft.irfft(rows, n=9, dim=3), rtol=0, atol=1e-14)


def test_padding_breaks_the_period_and_keeps_the_shape():
    a = uniform(1, 2, 8, 10)
    plain, padded = operator(padding=0.0), operator(padding=(0.0, 0.2))
    assert padded(a).shape == plain(a).shape
    assert not torch.allclose(padded(a), plain(a))
    along_t = padded(a.roll(2, 2))  # not padded there: still periodic
    torch.testing.assert_close(along_t, padded(a).roll(2, 2), rtol=0, atol=1e-13)
    assert not torch.allclose(padded(a.roll(2, 3)), padded(a).roll(2, 3))


def test_modes_may_differ_between_axes():
    network = operator(2, modes=(1, 4))
    assert network.spectral[0].weight.shape == (4, 4, 2, 4, 2)
    assert network(uniform(1, 2, 3, 9)).shape == (1, 3, 3, 9)


@pytest.mark.parametrize("n_axes", [1, 2])
def test_gradcheck(n_axes):
    network = operator(n_axes, width=2, projection=2, modes=1, padding=0.4)
    a = uniform(1, 2, *(3, 5)[-n_axes:]).requires_grad_()
    assert torch.autograd.gradcheck(network, a)
    names, values = zip(*network.named_parameters(), strict=True)

    def of_weights(*values: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), a.detach())

    assert torch.autograd.gradcheck(of_weights, values, fast_mode=True)


def test_function_transforms_go_through():
    network, a = operator(), uniform(3, 2, 6, 7)
    torch.testing.assert_close(torch.func.vmap(lambda x: network(x[None])[0])(a), network(a), rtol=0, atol=1e-13)
    _, tangent = torch.func.jvp(network, (a,), (a.flip(0),))
    h = 1e-5
    expected = (network(a + h * a.flip(0)) - network(a - h * a.flip(0))) / (2 * h)
    torch.testing.assert_close(tangent, expected, rtol=0, atol=1e-8)


def test_a_generator_decides_the_weights_and_global_state_does_not():
    state = torch.random.get_rng_state()
    first, same, other = operator(), operator(), operator(generator=seeded(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    a = uniform(1, 2, 6, 7)
    assert torch.equal(first(a), same(a))
    assert not torch.allclose(first(a), other(a))


def test_weights_start_as_published():
    """Spectral: uniform on [0, 1/width²); pointwise: uniform within 1/sqrt(fan in)."""
    network = operator(2, width=16, modes=4).requires_grad_(False)
    weight = network.spectral[0].weight
    assert 0 <= float(weight.min()) < 0.01 * 16**-2
    assert 0.99 * 16**-2 < float(weight.max()) < 16**-2
    assert float(weight.mean()) == pytest.approx(0.5 * 16**-2, rel=0.02)
    assert 0.2 < float(network.local[0].weight.abs().max()) <= 0.25


def test_the_published_set_up():
    """5 layers, 8 modes, width 64 over (t, x): 64² · 16 · 8 · 2 numbers in each R."""
    network = FourierNeuralOperator(3, 16, 2, generator=seeded())
    assert len(network.spectral) == 5
    spectral, pointwise = 64 * 64 * 16 * 8 * 2, 64 * 65
    expected = 5 * (spectral + pointwise) + 64 * 4 + 128 * 65 + 16 * 129
    assert sum(p.numel() for p in network.parameters()) == expected
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network(torch.rand(1, 3, 17, 17, generator=seeded())).dtype == torch.float32


def test_parameters_survive_a_round_trip_and_a_change_of_dtype(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    network, other = operator(dtype=torch.float32), operator(dtype=torch.float32, generator=seeded(5))
    a = uniform(1, 2, 6, 7).float()
    safetensors.save_file(network.state_dict(), tmp_path / "network.safetensors")
    other.load_state_dict(safetensors.load_file(tmp_path / "network.safetensors"))
    assert torch.equal(other(a), network(a))
    single = network(a)
    torch.testing.assert_close(network.double()(a.double()).float(), single, rtol=1e-4, atol=1e-6)


def test_autocast_leaves_the_transforms_in_their_precision():
    network, a = operator(dtype=torch.float32), uniform(1, 2, 6, 7).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(a)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, network(a), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("shape", "dtype", "error", "message"),
    [
        ((1, 2, 6), torch.float64, ValueError, r"shape \(1, 2, 6\).*2 grid axes"),
        ((1, 3, 6, 7), torch.float64, ValueError, r"\(batch, 2, \*grid\)"),
        ((0, 2, 6, 7), torch.float64, ValueError, "at least one case"),
        ((1, 2, 4, 7), torch.float64, ValueError, "axis 0 has 4 nodes, too few for 2 modes.*5 nodes.*1 modes"),
        ((1, 2, 6, 3), torch.float64, ValueError, "axis 1 has 3 nodes"),
        ((1, 2, 6, 7), torch.float32, TypeError, "float32.*parameters torch.float64"),
        ((1, 2, 6, 7), torch.float16, TypeError, "float16"),
        ((1, 2, 6, 7), torch.complex128, TypeError, "complex128"),
        ((1, 2, 6, 7), torch.int64, TypeError, "int64"),
    ],
)
def test_wrong_inputs_are_refused(shape, dtype, error, message):
    with pytest.raises(error, match=message):
        operator()(torch.ones(shape, dtype=dtype))
    with pytest.raises(TypeError, match="ndarray"):
        operator()(torch.ones(1, 2, 6, 7).numpy())


def test_another_device_is_refused():
    with pytest.raises(TypeError, match=r"on meta, the parameters.*on cpu"):
        operator()(torch.ones(1, 2, 6, 7, dtype=torch.float64, device="meta"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_axes": 0}, ValueError, "n_axes must be an integer from 1 to 4, got 0"),
        ({"n_axes": 5}, ValueError, "from 1 to 4"),
        ({"n_axes": True}, ValueError, "from 1 to 4"),
        ({"width": 0}, ValueError, "width 0"),
        ({"modes": 0}, ValueError, "modes 0"),
        ({"modes": 2.5}, ValueError, "modes 2.5"),
        ({"modes": (2, 2, 2)}, ValueError, "one for each of 2 axes"),
        ({"n_channels": 0}, ValueError, "channels 0"),
        ({"padding": -0.1}, ValueError, "padding must be finite and >= 0"),
        ({"padding": math.nan}, ValueError, "padding must be finite"),
        ({"dtype": torch.float16}, TypeError, "float32 or float64, got torch.float16"),
        ({"dtype": torch.complex64}, TypeError, "float32 or float64"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        operator(**options)


def test_non_contiguous_functions_are_fine():
    a = uniform(2, 2, 7, 6).transpose(2, 3)
    torch.testing.assert_close(operator()(a), operator()(a.contiguous()), rtol=0, atol=1e-14)


@pytest.mark.gpu
def test_cuda_gives_the_same_fields():
    network, a = operator(), uniform(2, 2, 6, 7)
    torch.testing.assert_close(network.cuda()(a.cuda()).cpu(), operator()(a), rtol=0, atol=1e-12)
