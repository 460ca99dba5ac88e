"""What a fused launch moves, counted and not timed: launches, bytes read and written, temporaries."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from laminar_lens import kernels
from laminar_lens.kernels import fused_kernels, fused_launch
from laminar_lens.kernels.fused_plan import SIZES, ProfilePlan

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


class Allocations(TorchDispatchMode):
    """Bytes of every new storage that an operator of torch returns."""

    def __init__(self, *inputs: Tensor) -> None:
        super().__init__()
        self.known = {x.untyped_storage().data_ptr() for x in inputs}
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else (result,):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in self.known:
                self.known.add(x.untyped_storage().data_ptr())
                self.bytes += x.untyped_storage().nbytes()
        return result


class Recorder:
    """Stands in for a kernel, and notes each launch."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.launches = kernel, []

    def __getitem__(self, grid: Any) -> Any:
        def launch(*args: Any, **options: Any) -> None:
            self.launches.append((grid, options))
            self.kernel[grid](*args, **options)

        return launch


class Counting:
    """A device function that notes its calls."""

    def __init__(self, function: Any, calls: list[int]) -> None:
        self.function, self.calls = function, calls

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls.append(1)
        return self.function(*args, **options)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.usefixtures("seed")
def test_one_launch_and_no_copy(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All measures of all layers: the outputs are allocated, and 24 bytes a layer for scattered ones."""
    recorder = Recorder(fused_launch.profile_kernel)
    monkeypatch.setattr(fused_launch, "profile_kernel", recorder)
    states = torch.randn(4, 2, 20, 700)
    layers = [states[index] for index in ((2, 0, 3, 1) if listed else range(4))]
    with Allocations(states) as allocations:
        found = kernels.angle_profile(layers, lags=2, backend="fused")
    plan = fused_launch.plan_profile(layers, 1, 2, True, True, True, listed)
    ((grid, options),) = recorder.launches
    assert (len(recorder.launches), grid) == (plan.launches, plan.grid)
    assert (options["R"], options["num_warps"]) == (plan.sizes.rows, plan.sizes.warps)
    assert plan.bytes_written == 4 * sum(values.numel() for values in found.values())
    assert plan.temporary_bytes == (96 if listed else 0)
    assert plan.bytes_written <= allocations.bytes <= plan.bytes_written + plan.temporary_bytes
    assert allocations.bytes < 0.05 * states.numel() * 4


@pytest.mark.parametrize("d_model", [1600, 4096, 8192])
@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("lags", [0, 1, 4])
def test_each_vector_is_read_once_and_its_neighbours_by_the_block(
    d_model: int, itemsize: int, lags: int
) -> None:
    """At the shapes of the benchmarks: (R + lags) / R reads of a vector at most, all measures, one launch."""
    plan = ProfilePlan(49, 4, 4096, d_model, itemsize, 1, lags, True, True, True, False, 132)
    data = 49 * 4 * 4096 * d_model * itemsize
    rows = plan.sizes.rows
    assert plan.per_program == 49
    assert data <= plan.bytes_read <= data * (rows + lags) / rows
    assert plan.bytes_written <= data * (3 + lags) * 4 / (d_model * itemsize)


def test_short_texts_are_spread_over_the_layers() -> None:
    """A program for every few layers where positions are too few for the device; each run reads one more."""
    plan = ProfilePlan(81, 1, 128, 8192, 4, 1, 1, True, True, True, False, 132)
    assert plan.grid == (64, 9)
    assert plan.bytes_read <= 81 * 128 * 8192 * 4 * (1.5 + 1 / 9)


@pytest.mark.parametrize("n_pos", [1, 2, 127, 128, 131_072, 1_000_000])
@pytest.mark.parametrize("d_model", [1, 768, 16_384])
def test_grids_stay_within_cuda(n_pos: int, d_model: int) -> None:
    plan = ProfilePlan(200, 8, n_pos, d_model, 2, 1, 1, True, True, True, True, 132)
    assert plan.grid[0] < 2**31
    assert plan.grid[1] <= 65_535
    assert plan.grid[0] * plan.sizes.rows >= 8 * n_pos
    assert plan.grid[1] * plan.per_program >= 200


def test_the_table_holds_every_width() -> None:
    assert max(SIZES) == 16_384
    assert all(set(entries) == {2, 4} for entries in SIZES.values())


@pytest.mark.usefixtures("seed")
def test_pairs_and_histogram_copy_nothing() -> None:
    resid = torch.randn(3, 2, 40, 64)
    pairs = torch.randint(0, 40, (2, 9, 2))
    with Allocations(resid, pairs) as allocations:
        kernels.pair_angles(resid, pairs, backend="fused")
    assert allocations.bytes <= 3 * 2 * 9 * 4 + 4 * 9 * 16  # angles, and what the checks of `pairs` need
    with Allocations(resid) as allocations:
        kernels.pairwise_histogram(resid, bins=16, backend="fused")
    assert allocations.bytes == 6 * 16 * 8


@pytest.mark.parametrize(
    "measures", [("rotation",), ("step",), ("rotation", "step"), ("norm",), kernels.PROFILE], ids=str
)
@pytest.mark.usefixtures("seed")
def test_no_second_look_at_ordinary_vectors(
    measures: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The float64 loop, which reads both vectors again, is for the few that float32 cannot hold."""
    if torch.cuda.is_available():
        pytest.skip("a compiled kernel cannot be counted in")
    looks = []
    monkeypatch.setattr(fused_kernels, "products", Counting(fused_kernels.products, looks))
    states = torch.randn(2, 40, 64) + 0.1 * torch.randn(5, 2, 40, 64)  # no layer turns a vector far
    kernels.angle_profile(states, measures=measures, backend="fused")
    assert not looks
    states[2, 1, 7] *= 1e30
    kernels.angle_profile(states, measures=measures, backend="fused")
    assert looks
