"""The parity and gradient cases of the fused backend on a real GPU, and what no interpreter can show."""

import pytest
import torch

from laminar_lens import kernels

pytest.importorskip("triton")

from tests.parity.fused_cases import *  # noqa: F403
from tests.parity.fused_cases import check_profile, poisoned  # noqa: F401
from tests.parity.fused_gradient_cases import *  # noqa: F403

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("n_layer", "n_pos", "d_model"), [(13, 1024, 768), (9, 1024, 1600), (5, 512, 8192)])
@pytest.mark.usefixtures("seed")
def test_shapes_of_models(dtype: torch.dtype, n_layer: int, n_pos: int, d_model: int) -> None:
    check_profile(torch.randn(n_layer, 2, n_pos, d_model, device="cuda").to(dtype), lags=4)


def test_auto_is_fused() -> None:
    assert kernels.resolve_backend("auto", torch.zeros(1, 2, 3, device="cuda")) == "fused"
    assert (
        kernels.resolve_backend("auto", torch.zeros(1, 2, 3, device="cuda", dtype=torch.float64)) == "eager"
    )


def test_extra_memory_is_the_outputs() -> None:
    states = torch.randn(9, 2, 2048, 1600, device="cuda")
    kernels.angle_profile(states, backend="fused")  # compiled once
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = kernels.angle_profile(states, backend="fused")
    torch.cuda.synchronize()
    written = sum(values.numel() * 4 for values in found.values())
    assert torch.cuda.max_memory_allocated() - before <= written + 512 * 8  # torch rounds up to 512 bytes


def test_many_positions() -> None:
    """A million positions, and a histogram whose matrix would take 4 GB."""
    states = torch.randn(2, 1, 1_000_000, 16, device="cuda")
    check_profile(states)
    counts = kernels.pairwise_histogram(states[0, 0, :32_768], backend="fused")
    assert int(counts.sum()) == 32_768 * 32_767 // 2


def test_bandwidth_is_shown() -> None:
    """No time is asserted: the numbers are benchmarks/run.py's. This prints one, for a first look with -s."""
    states = torch.randn(16, 4, 1024, 4096, device="cuda")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    kernels.angle_profile(states, backend="fused")
    start.record()
    found = kernels.angle_profile(states, backend="fused")
    end.record()
    torch.cuda.synchronize()
    print(f"profile: {states.numel() * 4 / start.elapsed_time(end) / 1e6:.0f} GB/s")
    assert found["sequential"].isfinite().all()
