"""Every backend against the float64 reference, on the same input."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar_lens import kernels
from laminar_lens.kernels import _blocks, _pairwise, cpu, eager
from tests.tolerances import LENGTH, TOLERANCES

ANGLES = (0.0, 1e-6, 1e-5, 1e-3, 0.1, 0.7, 1.2, math.pi / 2, 2.2, 3.0)
ANGLES += tuple(math.pi - a for a in (1e-3, 1e-5, 1e-6, 0.0))
NORMS = ((1.0, 1.0), (1e-30, 1e-30), (1e30, 1e30), (1e-30, 1e30), (37.0, 0.3), (1e-40, 1e-40))
SIZES = (1, 2, 3, 63, 128, 129, 500, 768, 1600, 8191, 8192, 16384)
FASTER = ["eager", "cpu"]  # fused: test_fused.py, in a process of its own
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def vectors_at(
    d_model: int, norms: tuple[float, float], massive: bool, dtype: torch.dtype = torch.float32, n: int = 2
) -> tuple[Tensor, Tensor]:
    """`n` pairs at every angle of ANGLES, built in float64, then rounded: the truth is the rounded pair's."""
    shape = (len(ANGLES), n, d_model)
    u = torch.randn(shape, dtype=torch.float64)
    if massive:
        u[..., d_model // 2] = 1e4
    u = u / u.norm(dim=-1, keepdim=True)
    across = torch.randn(shape, dtype=torch.float64)
    if massive:
        across[..., d_model // 3] += 30 * d_model**0.5
    across = across - (across * u).sum(-1, keepdim=True) * u
    theta = torch.tensor(ANGLES, dtype=torch.float64)[:, None, None]
    if d_model == 1:
        v = torch.where(theta < math.pi / 2, u, -u)
    else:
        v = theta.cos() * u + theta.sin() * across / across.norm(dim=-1, keepdim=True)
    return (u * norms[0]).to(dtype), (v * norms[1]).to(dtype)


def assert_close(measured: Tensor, truth: Tensor, backend: str, dtype: torch.dtype) -> None:
    """NaN in the same places, and within the table elsewhere."""
    assert truth.dtype == torch.float64
    assert measured.shape == truth.shape
    assert measured.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(measured.isnan(), truth.isnan())
    tolerance = TOLERANCES[backend, str(dtype).removeprefix("torch.")].of(truth)
    excess = ((measured.double() - truth).abs() - tolerance).nan_to_num(nan=-1.0)
    assert excess.max() <= 0, (
        f"{excess.max():.2e} rad over the tolerance at {truth.flatten()[excess.argmax()]}"
    )


@pytest.mark.parametrize("backend", ["reference", *FASTER])
@pytest.mark.parametrize("d_model", SIZES)
@pytest.mark.usefixtures("seed")
def test_angles_from_0_to_pi_at_any_norm(backend: str, d_model: int) -> None:
    for norms in NORMS:
        for massive in (False, True):
            u, v = vectors_at(d_model, norms, massive)
            truth = kernels.angle(u.double(), v.double(), backend="reference")
            assert truth.isfinite().all()
            assert_close(kernels.angle(u, v, backend=backend), truth, backend, torch.float32)


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.parametrize("d_model", [1, 3, 63, 500, 1600])
@pytest.mark.usefixtures("seed")
def test_tiled_pairs_are_as_exact(backend: str, d_model: int) -> None:
    for norms in ((1.0, 1.0), (1e-30, 1e30)):
        u, v = vectors_at(d_model, norms, massive=True, n=1)
        resid = torch.cat([u, v], dim=1)
        truth = kernels.pairwise_angles(resid.double(), backend="reference")
        assert_close(kernels.pairwise_angles(resid, backend=backend), truth, backend, torch.float32)


@pytest.mark.parametrize("d_model", [2, 7, 1600])
@pytest.mark.usefixtures("seed")
def test_reference_gives_the_angle_that_was_constructed(d_model: int) -> None:
    """An oracle that shares nothing with Kahan's form: v is u turned by θ in the plane of two coordinates."""
    theta = torch.tensor(ANGLES, dtype=torch.float64)
    u, v = torch.zeros(2, len(ANGLES), d_model, dtype=torch.float64)
    u[:, 0], v[:, 0], v[:, 1] = 3.0, theta.cos(), theta.sin()
    assert_close(kernels.angle(u, v, backend="reference"), theta, "reference", torch.float64)


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n_pos", "d_model"), [(5, 63), (9, 500), (3, 1), (40, 2)])
@pytest.mark.usefixtures("seed")
def test_every_function_in_every_dtype(
    backend: str, dtype: torch.dtype, n_pos: int, d_model: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small blocks, so that they end in the middle of every axis; some vectors have no direction."""
    monkeypatch.setitem(_blocks.BLOCK_BYTES, "cpu", 7 * d_model * 4)
    resid = torch.randn(3, 4, n_pos, d_model).to(dtype)
    resid[0, 1, 2], resid[1, 0, 0], resid[2, 3, 1, -1], resid[2, 2, 1, 0] = (
        0,
        torch.nan,
        torch.inf,
        -torch.inf,
    )
    pairs = torch.randint(-1, n_pos, (4, 11, 2))
    wide = resid.double()
    for name, arguments in [
        ("sequential_angles", {"lag": 1}),
        ("sequential_angles", {"lag": n_pos - 1}),
        ("pair_angles", {"pairs": pairs}),
        ("pair_angles", {"pairs": pairs[0]}),
        ("rotation_angles", {}),
        ("pairwise_angles", {}),
    ]:
        function = getattr(kernels, name)
        truth = function(wide, **arguments, backend="reference")
        assert truth.isnan().any()
        assert_close(function(resid, **arguments, backend=backend), truth, backend, dtype)
    truth = kernels.step_lengths(wide, backend="reference")
    steps = kernels.step_lengths(resid, backend=backend)
    torch.testing.assert_close(steps.double(), truth, rtol=LENGTH, atol=0, equal_nan=True)


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.parametrize("d_model", [2, 129, 345, 1600, 8191, 130_003])
@pytest.mark.parametrize("spread", [0.0, 2.5])
@pytest.mark.usefixtures("seed")
def test_neighbours_at_every_angle_and_scale(backend: str, d_model: int, spread: float) -> None:
    """Where eager.py changes from arccos to Kahan's form, rows of both kinds in one block; dimensions that
    differ by orders of magnitude, where a cosine in float32 is at its worst."""
    n = max(2, min(64, 2**19 // d_model))
    cosine = torch.tensor([-0.999, -0.69, -0.5001, -0.4999, -0.3, 0.0, 0.3, 0.4999, 0.5001, 0.69, 0.999])
    cosine = cosine.double().repeat(n)[:, None]
    scale = torch.exp(spread * torch.randn(d_model, dtype=torch.float64))
    u, across = torch.randn(2, len(cosine), d_model, dtype=torch.float64) * scale
    u /= u.norm(dim=-1, keepdim=True)
    across -= (across * u).sum(-1, keepdim=True) * u
    v = cosine * u + (1 - cosine**2).sqrt() * across / across.norm(dim=-1, keepdim=True)
    resid = torch.stack([u, v], 1).flatten(0, 1)[None].float()
    truth = kernels.sequential_angles(resid.double(), backend="reference")
    sequential = kernels.sequential_angles(resid, backend=backend)
    assert_close(sequential, truth, backend, torch.float32)
    ends = torch.stack([torch.arange(len(resid[0]) - 1), torch.arange(1, len(resid[0]))], -1)
    for found in (
        kernels.pair_angles(resid, ends, backend=backend),
        kernels.angle_profile([resid], measures="sequential", backend=backend)["sequential"][0],
    ):
        assert_close(found, truth, backend, torch.float32)


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("seed")
def test_turning_angles(backend: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The differences of float32 vectors are rounded before the angle is taken: their own u is added."""
    monkeypatch.setitem(_blocks.BLOCK_BYTES, "cpu", 7 * 63 * 4)
    resid = torch.randn(3, 4, 9, 63).to(dtype)
    resid[0, 1, 2], resid[1, 1, 2:4] = torch.nan, 1
    truth = kernels.turning_angles(resid.double(), backend="reference")
    assert truth.isnan().any()
    assert_close(kernels.turning_angles(resid, backend=backend), truth, backend, dtype)


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n_pos", "d_model"), [(5, 63), (37, 500), (6, 1), (70, 3)])
@pytest.mark.usefixtures("seed")
def test_profile(
    backend: str, dtype: torch.dtype, n_pos: int, d_model: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Choices of measures, from a tensor and from layers with strides of their own, under a ragged mask."""
    monkeypatch.setitem(_blocks.BLOCK_BYTES, "cpu", 22 * d_model * 4)
    monkeypatch.setattr(cpu, "_LEAST_ROWS", 3)
    resid = torch.randn(4, 3, n_pos, d_model).to(dtype)
    resid[0, 1, 2], resid[1, 0, 0], resid[2, 2, 1, -1], resid[3, 0, n_pos - 1, 0] = (
        0,
        torch.nan,
        torch.inf,
        -torch.inf,
    )
    layers = [resid[0], resid[1].mT.contiguous().mT, resid[2].transpose(0, 1).contiguous().transpose(0, 1)]
    layers.append(torch.stack([resid[3], resid[3]], -1)[..., 0])
    mask = torch.arange(n_pos) < torch.tensor([[n_pos], [n_pos - 1], [n_pos - 3]])
    for lags, real in ((1, None), (2, mask), (4, None), (4, mask)):
        whole = kernels.angle_profile(resid.double(), lags=lags, mask=real, backend="reference")
        for measures in (kernels.PROFILE, ("sequential",), ("rotation",), ("norm",), ("step", "sequential")):
            for states in (resid, layers):
                found = kernels.angle_profile(
                    states, measures=measures, lags=lags, mask=real, backend=backend
                )
                assert {name.partition("_")[0] for name in found} == set(measures)
                assert ("sequential_4" in found) == (lags == 4 and "sequential" in measures)
                for name, values in found.items():
                    if name in ("norm", "step"):
                        torch.testing.assert_close(
                            values.double(), whole[name], rtol=LENGTH, atol=0, equal_nan=True
                        )
                    else:
                        assert_close(values, whole[name], backend, dtype)


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.usefixtures("seed")
def test_small_steps_are_not_lost_in_long_vectors(backend: str) -> None:
    resid = torch.randn(1, 2, 5, 500)
    resid = torch.cat([resid, resid * (1 + 2**-20), resid + 2**-10])
    for scale in (1e-30, 1.0, 1e30):
        truth = kernels.step_lengths((resid * scale).double(), backend="reference")
        steps = kernels.step_lengths(resid * scale, backend=backend)
        torch.testing.assert_close(steps.double(), truth, rtol=LENGTH, atol=0)
        layers = list(resid * scale)
        layers[1] = torch.nn.functional.pad(layers[1], (0, 200))[..., :500]  # its rows lie farther apart
        steps = kernels.angle_profile(layers, measures="step", backend=backend)["step"]
        torch.testing.assert_close(steps.double(), truth, rtol=LENGTH, atol=0)


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.parametrize("kind", DTYPES, ids=str)
@pytest.mark.usefixtures("seed")
def test_vectors_of_two_dtypes_are_compared_in_the_wider(backend: str, kind: torch.dtype) -> None:
    for other in DTYPES:
        u, v = torch.randn(7, 63).to(kind), torch.randn(7, 63).to(other)
        wider = torch.promote_types(kind, other)
        truth = kernels.angle(u.double(), v.double(), backend="reference")
        assert_close(kernels.angle(u, v, backend=backend), truth, backend, wider)


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.usefixtures("seed")
def test_pairwise_histogram(backend: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """All angles by reference; a pair that is nearer to an edge than the tolerance may be in either bin."""
    monkeypatch.setattr(_pairwise, "_MOST_TILE_ROWS", 16)
    monkeypatch.setattr(eager, "_TILE_ROWS", 16)
    resid = torch.randn(2, 3, 37, 63).to(dtype) + torch.randn(2, 3, 37, 1).to(dtype)
    resid[0, 1, 2], resid[1, 0, 0] = 0, torch.nan
    for bins in (1, 7, 64):
        angles = kernels.pairwise_angles(resid.double(), backend="reference")
        i, j = torch.triu_indices(37, 37, 1)
        place = angles[..., i, j] * (bins / math.pi)
        unsure = ((place - place.round()).abs() < 1e-6 * bins).sum(-1)
        counts = kernels.pairwise_histogram(resid, bins=bins, backend=backend)
        truth = kernels.pairwise_histogram(resid.double(), bins=bins, backend="reference")
        assert counts.dtype == torch.int64
        assert torch.equal(counts.sum(-1), angles[..., i, j].isfinite().sum(-1))
        assert ((counts - truth).abs().sum(-1) <= 2 * unsure).all()
        assert truth.sum() == counts.sum()


@pytest.mark.parametrize("backend", FASTER)
@pytest.mark.usefixtures("seed")
def test_strided_and_expanded_input(backend: str) -> None:
    base = torch.randn(5, 63, 6, 3, 2)
    strided = base.permute(4, 3, 0, 2, 1)[..., 1:, ::2]  # no axis is contiguous
    expanded = torch.randn(1, 1, 7, 63).expand(4, 3, 7, 63)
    single = torch.randn(2, 3, 7, 1).expand(2, 3, 7, 63)  # one number is the whole vector
    negated = torch.randn(2, 3, 7, 63, dtype=torch.complex64).conj().imag  # its sign is a bit of the view
    for resid in (strided, expanded, single, negated):
        for name in (
            "sequential_angles",
            "rotation_angles",
            "pairwise_angles",
            "turning_angles",
            "pair_angles",
        ):
            function = getattr(kernels, name)
            arguments = {"pairs": torch.tensor([[0, 3], [4, 1]])} if name == "pair_angles" else {}
            truth = function(resid.double().contiguous(), **arguments, backend="reference")
            if name == "turning_angles" and resid is single:
                continue  # a straight line turns by 0 or π, by the last bit
            assert_close(function(resid, **arguments, backend=backend), truth, backend, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("seed")
def test_every_output_is_written_and_nothing_else(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs lie in the middle of poison: all that is around stays, none of it is in the result."""
    poison = -12345.0
    made: list[Tensor] = []

    def poisoned(like: Tensor, shape: Any) -> Tensor:
        out = torch.float64 if like.dtype == torch.float64 else torch.float32
        made.append(torch.full((math.prod(shape) + 64,), poison, dtype=out))
        return made[-1][32:-32].view(tuple(shape))

    monkeypatch.setattr(cpu, "empty_output", poisoned)
    monkeypatch.setattr(_pairwise, "empty_output", poisoned)
    monkeypatch.setattr(cpu, "_LEAST_ROWS", 3)
    resid = torch.randn(3, 2, 37, 63).to(dtype)
    pairs = torch.randint(-1, 37, (2, 45, 2))
    results = [
        *kernels.angle_profile(resid, lags=4, backend="cpu").values(),
        kernels.sequential_angles(resid, lag=3, backend="cpu"),
        kernels.sequential_angles(resid, lag=9, backend="cpu"),
        kernels.pair_angles(resid, pairs, backend="cpu"),
        kernels.pairwise_angles(resid, backend="cpu"),
        kernels.turning_angles(resid, backend="cpu"),
        kernels.angle(resid[0, 0, 0], resid[0, 0, 1], backend="cpu"),
    ]
    assert len(made) >= len(results)
    for result in results:
        assert (result != poison).all()
    for whole in made:
        assert (whole[:32] == poison).all()
        assert (whole[-32:] == poison).all()


@pytest.mark.usefixtures("seed")
def test_scratch_memory_holds_nothing_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer starts as NaN, and is NaN again before each block; the angles do not notice."""
    monkeypatch.setitem(_blocks.BLOCK_BYTES, "cpu", 7 * 63 * 4)
    untouched = _blocks.Scratch.buffer

    def poisoned(self: _blocks.Scratch, name: str, shape: tuple[int, ...], *dtype: Any) -> Tensor | None:
        buffer = untouched(self, name, shape, *dtype)
        if buffer is not None:
            self._buffers[name].fill_(torch.nan)
        return buffer

    resid = torch.randn(3, 2, 17, 63)
    pairs = torch.randint(0, 17, (2, 30, 2))
    monkeypatch.setattr(_blocks.Scratch, "buffer", poisoned)
    for name, arguments in [
        ("sequential_angles", {}),
        ("sequential_angles", {"lag": 5}),
        ("pair_angles", {"pairs": pairs}),
        ("rotation_angles", {}),
        ("pairwise_angles", {}),
        ("turning_angles", {}),
    ]:
        function = getattr(kernels, name)
        truth = function(resid.double(), **arguments, backend="reference")
        assert_close(function(resid, **arguments), truth, "eager", torch.float32)
    assert kernels.step_lengths(resid).isfinite().all()
