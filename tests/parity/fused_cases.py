"""The fused backend against float64, wherever it runs: in Triton's interpreter on the CPU, or on a GPU.

tests/parity/test_fused.py runs this file in a process with TRITON_INTERPRET=1, tests/gpu on a device.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar_lens import kernels
from laminar_lens.errors import BackendError, ShapeError
from laminar_lens.kernels import fused_launch
from tests.parity.test_kernels import NORMS, assert_close, vectors_at
from tests.tolerances import LENGTH

pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning"
)  # numpy's, of NaN and 1/0 in the interpreter

POISON = 7e7


@pytest.fixture
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No output starts as anything that could pass for a result."""

    def full(like: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.full(shape, POISON if dtype.is_floating_point else 7, dtype=dtype, device=like.device)

    monkeypatch.setattr(fused_launch, "_empty", full)


def check(name: str, resid: Tensor, **arguments: Any) -> Tensor:
    """`name` by the fused backend, after comparing it with the reference on the same numbers in float64."""
    function: Callable[..., Tensor] = getattr(kernels, name)
    measured = function(resid, **arguments, backend="fused").cpu()
    host = {key: value.cpu() if isinstance(value, Tensor) else value for key, value in arguments.items()}
    truth = function(resid.cpu().double(), **host, backend="reference")
    compare(name, measured, truth, resid.dtype)
    return measured


def compare(name: str, measured: Tensor, truth: Tensor, dtype: torch.dtype) -> None:
    if name in ("norm", "step", "step_lengths"):
        torch.testing.assert_close(measured.cpu().double(), truth, rtol=LENGTH, atol=0, equal_nan=True)
    else:
        assert_close(measured.cpu(), truth, "fused", dtype)


def check_profile(states: Tensor | list[Tensor], **arguments: Any) -> None:
    layers = [x.cpu().double() for x in states]
    mask = arguments.get("mask")
    host = arguments | {"mask": None if mask is None else mask.cpu()}
    found = kernels.angle_profile(states, **arguments, backend="fused")
    truth = kernels.angle_profile(layers, **host, backend="reference")
    assert list(found) == list(truth)
    for name, values in truth.items():
        compare(name, found[name], values, states[0].dtype)


def without_direction(resid: Tensor) -> Tensor:
    """The same with a zero, a NaN and an infinite vector, none in the first text."""
    resid[0, 1, 2] = 0
    resid[1, 1, 0] = torch.nan
    resid[2, 1, 1, -1], resid[2, 1, -1, 0] = torch.inf, -torch.inf
    return resid


@pytest.mark.parametrize("d_model", [1, 3, 63, 129, 500, 1600, 16384])
@pytest.mark.usefixtures("seed")
def test_angles_from_0_to_pi_at_any_norm(d_model: int, device: str) -> None:
    """One call for all norms, so that ordinary and extreme vectors share a tile."""
    norms = NORMS if d_model < 500 else NORMS[3:4]
    ends = [vectors_at(d_model, norm, massive, n=1) for norm in norms for massive in (False, True)]
    u, v = (torch.cat([pair[side].reshape(-1, d_model) for pair in ends]).to(device) for side in (0, 1))
    truth = kernels.angle(u.cpu().double(), v.cpu().double(), backend="reference")
    assert truth.isfinite().all()
    assert_close(kernels.angle(u, v, backend="fused").cpu(), truth, "fused", torch.float32)


@pytest.mark.parametrize(
    ("dtype", "n_pos", "d_model"),
    [
        (torch.float16, 5, 63),
        (torch.bfloat16, 9, 500),
        (torch.float32, 3, 1),
        (torch.float32, 17, 2),
        (torch.float32, 4, 1600),
    ],
    ids=str,
)
@pytest.mark.usefixtures("seed")
def test_every_function_in_every_dtype(dtype: torch.dtype, n_pos: int, d_model: int, device: str) -> None:
    resid = without_direction(torch.randn(3, 2, n_pos, d_model).to(dtype)).to(device)
    pairs = torch.randint(-1, n_pos, (2, 21, 2), device=device)
    for name, arguments in [
        ("sequential_angles", {"lag": 1}),
        ("sequential_angles", {"lag": n_pos - 1}),
        ("pair_angles", {"pairs": pairs}),
        ("pair_angles", {"pairs": pairs[0]}),
        ("rotation_angles", {}),
        ("step_lengths", {}),
        ("pairwise_angles", {}),
        ("turning_angles", {}),
    ]:
        assert check(name, resid, **arguments).isnan().any()
    check_profile(resid, lags=min(4, n_pos - 1))


@pytest.mark.parametrize("d_model", [1, 63, 500])
@pytest.mark.usefixtures("seed")
def test_tiled_pairs_are_as_exact(d_model: int, device: str) -> None:
    for norms in ((1.0, 1.0), (1e-30, 1e30), (1e-40, 1e-40)):
        u, v = vectors_at(d_model, norms, massive=True, n=1)
        resid = torch.cat([u, v], dim=1).to(device)
        measured = check("pairwise_angles", resid)
        assert torch.equal(measured, measured.mT)
        check("pair_angles", resid[None], pairs=torch.tensor([[0, 1], [1, 0], [1, 1]], device=device))


@pytest.mark.parametrize(("n_pos", "bins"), [(1, 7), (2, 1), (63, 7), (65, 64), (130, 16)])
@pytest.mark.usefixtures("seed")
def test_histogram_counts_every_pair_once(n_pos: int, bins: int, device: str) -> None:
    resid = torch.randn(2, n_pos, 3, device=device)
    resid[0, -1] = torch.nan
    counts = kernels.pairwise_histogram(resid, bins=bins, backend="fused").cpu()
    valid = n_pos - 1
    assert counts.sum(-1).tolist() == [valid * (valid - 1) // 2, n_pos * (n_pos - 1) // 2]
    truth = kernels.pairwise_histogram(resid.cpu().double(), bins=bins, backend="reference")
    edge = (counts - truth).cumsum(-1).abs().sum()  # an angle within rounding of an edge may change its bin
    assert edge <= 2


@pytest.mark.parametrize("bins", [2, 4, 8, 64])
def test_a_bin_holds_its_lower_edge(bins: int, device: str) -> None:
    counts = kernels.pairwise_histogram(torch.eye(3, device=device), bins=bins, backend="fused")
    assert counts.nonzero().tolist() == [[bins // 2]]


@pytest.mark.parametrize(("n_pos", "ragged"), [(1, False), (2, True), (17, True), (17, False), (33, True)])
@pytest.mark.usefixtures("seed")
def test_profile_under_a_mask(n_pos: int, ragged: bool, device: str) -> None:
    """Padding holds NaN, and nothing of it comes out; both paddings, and a hole."""
    layers = [torch.randn(3, n_pos, 63, device=device) for _ in range(3)]
    mask = torch.ones(3, n_pos, dtype=torch.bool, device=device)
    if ragged:
        mask[0, : n_pos // 3], mask[1, n_pos // 2 :], mask[2, n_pos // 2] = False, False, False
        for x in layers:
            x[~mask] = torch.nan
    lags = min(4, n_pos - 1)
    measures = ("sequential", "rotation", "norm", "step") if lags else ("rotation", "norm", "step")
    check_profile(layers, mask=mask, lags=max(1, lags), measures=measures)


@pytest.mark.parametrize("measure", ["sequential", "rotation", "norm", "step"])
@pytest.mark.usefixtures("seed")
def test_each_measure_alone(measure: str, device: str) -> None:
    check_profile(torch.randn(2, 1, 19, 40, device=device), measures=[measure])


@pytest.mark.parametrize("programs", [1, 132])
@pytest.mark.usefixtures("seed")
def test_layers_in_one_walk_or_in_runs(programs: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run begins with the last layer of the run before it."""
    if device == "cpu":
        monkeypatch.setattr(fused_launch, "_PROCESSORS", programs)
    resid = torch.randn(9, 2, 3, 8, device=device)
    check_profile(resid)
    check_profile(resid, measures="sequential")
    check_profile([x.clone() for x in resid])


@pytest.mark.usefixtures("seed")
def test_one_layer_has_no_rotation(device: str) -> None:
    check_profile(torch.randn(1, 2, 5, 8, device=device))


@pytest.mark.usefixtures("seed")
def test_strided_expanded_and_scattered_input(device: str) -> None:
    base = torch.randn(5, 63, 6, 3, 2, device=device)
    strided = base.permute(4, 3, 0, 2, 1)[..., 1:, ::2]  # no axis is contiguous
    odd = torch.randn(3, 2, 7, 67, device=device)[..., 1:64]  # rows that no wide load may touch
    expanded = torch.randn(1, 1, 7, 63, device=device).expand(4, 3, 7, 63)
    turned = torch.randn(3, 7, 2, 64, device=device).transpose(1, 2)
    for resid in (strided[0], strided, odd, expanded, turned):
        for name in ("sequential_angles", "rotation_angles", "turning_angles"):
            check(name, resid)
        check("pairwise_angles", resid[0])
        check("pair_angles", resid, pairs=torch.tensor([[0, 1], [2, -1]], device=device))
    check_profile(
        [turned[0], odd[0, ..., :32].repeat(1, 1, 2), torch.randn(2, 7, 128, device=device)[..., ::2]]
    )
    check_profile([turned[2], turned[0], turned[1]])


def test_offsets_beyond_32_bits(tmp_path: Path, device: str) -> None:
    """Layers, and then positions, 2³¹ elements apart; the file between them is a hole."""
    size, far = 2**31 + 64, 2**31
    if device == "cpu":
        memory = torch.from_file(str(tmp_path / "states"), shared=True, size=size, dtype=torch.float16)
    else:
        memory = torch.empty(size, dtype=torch.float16, device=device)
    values = torch.arange(32, dtype=torch.float16, device=device).cos()
    memory[:32], memory[far : far + 32] = values, values.flip(0)
    check_profile(memory.as_strided((2, 1, 2, 16), (far, 32, 16, 1)))
    apart = memory.as_strided((1, 2, 32), (32, far, 1))
    for name in ("sequential_angles", "pairwise_angles"):
        check(name, apart)
    check("pair_angles", apart, pairs=torch.tensor([[0, 1]], device=device))


def test_empty_input(device: str) -> None:
    assert kernels.angle_profile(torch.zeros(2, 0, 5, 8, device=device), backend="fused")["norm"].shape == (
        2,
        0,
        5,
    )
    with pytest.raises(ShapeError, match="pos is 0"):
        kernels.pairwise_angles(torch.zeros(0, 8, device=device), backend="fused")
    none = torch.zeros(0, 2, dtype=torch.long, device=device)
    assert kernels.pair_angles(torch.zeros(2, 3, 8, device=device), none, backend="fused").shape == (2, 0)


def test_refusals_say_why(device: str) -> None:
    for wrong, reason in [
        (torch.zeros(1, 2, 3, dtype=torch.float64, device=device), "float64"),
        (torch.zeros(1, 2, 16385, device=device), "16385"),
    ]:
        with pytest.raises(BackendError, match=reason):
            kernels.sequential_angles(wrong, backend="fused")


def test_massive_dimension_keeps_the_others(device: str) -> None:
    """1e4 in one dimension, where float32 sums of squares would lose the ones around it."""
    generator = torch.Generator().manual_seed(1)
    resid = torch.randn(2, 1, 4, 4096, generator=generator)
    resid[..., 7] = 1e4
    resid[..., 1, 7] *= -1
    check_profile(resid.to(device))
    assert math.isclose(
        float(kernels.angle_profile(resid.to(device), backend="fused")["norm"][0, 0, 0]), 1e4, rel_tol=1e-3
    )
