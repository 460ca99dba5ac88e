"""Known angles, NaN, errors, gradients, and how much memory a call takes."""

import inspect
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from laminar_lens import kernels
from laminar_lens.errors import BackendError, InputError, ShapeError
from laminar_lens.kernels import _dispatch

PAIRS = torch.tensor([[0, 1], [2, 4], [3, -1]])
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "angle": lambda x: kernels.angle(x, x.flip(-1)),
    "sequential": kernels.sequential_angles,
    "lag": lambda x: kernels.sequential_angles(x, lag=3),
    "pair": lambda x: kernels.pair_angles(x, PAIRS),
    "rotation": kernels.rotation_angles,
    "pairwise": kernels.pairwise_angles,
    "turning": kernels.turning_angles,
    "step": kernels.step_lengths,
    "profile": lambda x: torch.cat(
        [values.flatten() for values in kernels.angle_profile(list(x), lags=2).values()]
    ),
}
functions = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


@pytest.fixture
def resid(seed: int) -> Tensor:
    return torch.randn(3, 2, 5, 4, dtype=torch.float64)


@pytest.mark.parametrize("backend", ["reference", "eager", "cpu"])
@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf, -math.inf])
def test_no_direction_is_nan(backend: str, bad: float) -> None:
    for wrong in (torch.full((4,), bad), torch.tensor([1.0, bad, 1.0, 1.0]) * (bad != 0)):
        for other in (wrong, torch.ones(4)):
            assert kernels.angle(wrong, other, backend=backend).isnan()
            assert kernels.angle(other, wrong, backend=backend).isnan()


def test_one_bad_vector_touches_only_its_own_angles(resid: Tensor) -> None:
    whole = kernels.sequential_angles(resid)
    resid[1, 0, 2, 3] = math.nan
    angles = kernels.sequential_angles(resid)
    assert angles.isnan().nonzero().tolist() == [[1, 0, 1], [1, 0, 2]]
    assert torch.equal(angles[~angles.isnan()], whole[~angles.isnan()])


@functions
def test_empty_batch(function: Callable[[Tensor], Tensor]) -> None:
    assert function(torch.zeros(2, 0, 5, 3)).numel() == 0


@functions
def test_inference_mode_and_no_grad_give_the_same(
    function: Callable[[Tensor], Tensor], resid: Tensor
) -> None:
    angles = function(resid)
    with torch.inference_mode():
        assert torch.equal(function(resid).nan_to_num(9), angles.nan_to_num(9))
    tracked = function(resid.requires_grad_())
    assert tracked.requires_grad
    torch.testing.assert_close(tracked.detach(), angles, rtol=0, atol=1e-14, equal_nan=True)


@functions
def test_gradients(function: Callable[[Tensor], Tensor], resid: Tensor) -> None:
    def total(x: Tensor) -> Tensor:
        return function(x).nansum()

    resid.requires_grad_()
    assert torch.autograd.gradcheck(total, (resid,), fast_mode=True)
    (slope,) = torch.autograd.grad(total(resid), resid)
    plain = resid.detach()
    torch.testing.assert_close(grad(total)(plain), slope)
    torch.testing.assert_close(vmap(grad(total))(plain[None])[0], slope)
    torch.testing.assert_close(grad(lambda x: vmap(function)(x[None]).nansum())(plain), slope)
    torch.testing.assert_close(vmap(function)(plain[None])[0], function(plain), equal_nan=True)


@functions
def test_forward_derivative(function: Callable[[Tensor], Tensor], resid: Tensor) -> None:
    if function is kernels.pairwise_angles:
        pytest.skip("torch.cdist has no forward derivative; the docstring says so")
    along = torch.randn_like(resid)
    _, slope = jvp(lambda x: function(x).nansum(), (resid,), (along,))
    expected = (grad(lambda x: function(x).nansum())(resid) * along).sum()
    torch.testing.assert_close(slope, expected)


@functions
def test_bad_vectors_do_not_poison_gradients(function: Callable[[Tensor], Tensor], resid: Tensor) -> None:
    resid[1, 0, 2, 1], resid[0, 1, 3, 0], resid[2, 1, 0] = math.nan, math.inf, 0
    bad = resid.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(bad).nansum(), bad)
    assert slope.isfinite().all()
    assert slope.count_nonzero() > 0
    assert grad(lambda x: vmap(function)(x[None]).nansum())(resid).isfinite().all()


def test_gradient_is_finite_at_equal_and_opposite_vectors() -> None:
    for sign in (1, -1):
        u = torch.randn(4, 9, requires_grad=True)
        assert torch.autograd.grad(kernels.angle(u, sign * u.detach()).sum(), u)[0].isfinite().all()


def test_step_length_beyond_the_dtype_is_inf() -> None:
    resid = torch.tensor([[[3e38]], [[-3e38]]])
    assert kernels.step_lengths(resid).item() == math.inf
    assert kernels.step_lengths(torch.ones(2, 1, 3)).item() == 0


@pytest.mark.parametrize("backend", ["reference", "eager", "cpu"])
@pytest.mark.parametrize("scale", [1e300, 1e-160, 1e-300, 5e-324])
def test_lengths_whose_squares_float64_cannot_hold(backend: str, scale: float) -> None:
    resid = torch.tensor([[[[3.0, 4.0]]], [[[-9.0, -12.0]]]], dtype=torch.float64) * scale
    found = kernels.angle_profile(resid, measures=("norm", "step"), backend=backend)
    expected = {"norm": torch.tensor([5.0, 15.0]), "step": torch.tensor([20.0])}
    for name, units in expected.items():
        torch.testing.assert_close(found[name].flatten(), units.double() * scale, rtol=1e-14, atol=0)
    far = torch.tensor([[[1.7e308]], [[-1.7e308]]], dtype=torch.float64)
    assert kernels.step_lengths(far, backend=backend).item() == math.inf


@pytest.mark.parametrize("backend", ["reference", "eager", "cpu"])
def test_no_positions_are_refused(backend: str) -> None:
    """Where every pair is −1, there was nothing to compute, and what was in memory came back."""
    for shape in ((2, 0, 5), (3, 2, 0, 5)):
        none = torch.ones(shape)
        for function, argument in [
            (kernels.pair_angles, {"pairs": torch.full((3, 2), -1)}),
            (kernels.pairwise_angles, {}),
            (kernels.pairwise_histogram, {}),
        ]:
            with pytest.raises(ShapeError) as caught:
                function(none, **argument, backend=backend)
            one_line(caught, "pos is 0", "at least 1")


def one_line(caught: Any, *parts: str) -> None:
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_errors_say_what_was_expected() -> None:
    x = torch.ones(2, 3, 4, 5)
    with pytest.raises(ShapeError) as caught:
        kernels.sequential_angles(x, lag=4)
    one_line(caught, "lag of 4", "at least 5", "[2, 3, 4, 5]")
    with pytest.raises(ShapeError) as caught:
        kernels.sequential_angles(x, lag=0)
    one_line(caught, "lag is 0")
    with pytest.raises(ShapeError) as caught:
        kernels.angle(x, x[:1])
    one_line(caught, "[2, 3, 4, 5]", "[1, 3, 4, 5]")
    with pytest.raises(InputError) as caught:
        kernels.rotation_angles(x.long())
    one_line(caught, "int64", "resid.float()")
    with pytest.raises(BackendError) as caught:
        kernels.pairwise_angles(x, backend="fast")
    one_line(caught, "'fast'", "auto, reference, eager, cpu, fused")
    for function, short in [
        (kernels.rotation_angles, x[:1]),
        (kernels.step_lengths, x[:1]),
        (kernels.turning_angles, x[..., :2, :]),
        (kernels.pairwise_angles, x[..., :0]),
    ]:
        with pytest.raises(ShapeError):
            function(short)


@pytest.mark.parametrize(
    ("pairs", "error", "part"),
    [
        (torch.tensor([[0, 4]]), ShapeError, "position 4"),
        (torch.tensor([[-2, 1]]), ShapeError, "position -2"),
        (torch.zeros(2, 1, 2, dtype=torch.int64), ShapeError, "2 prompts of pairs for 3"),
        (torch.zeros(4, 3, dtype=torch.int64), ShapeError, "[4, 3]"),
        (torch.zeros(4, 2), InputError, "float32"),
    ],
)
def test_wrong_pairs(pairs: Tensor, error: type[Exception], part: str) -> None:
    with pytest.raises(error) as caught:
        kernels.pair_angles(torch.ones(2, 3, 4, 5), pairs)
    one_line(caught, part)


def test_missing_axes_without_the_type_checker() -> None:
    """The suite checks shapes by annotation, which would come first."""
    for function in (kernels.sequential_angles, kernels.turning_angles, kernels.pairwise_angles):
        with pytest.raises(ShapeError, match="expected at least"):
            inspect.unwrap(function)(torch.ones(3))


def test_pairs_may_be_numpy_and_any_integer() -> None:
    resid = torch.eye(3)[None]
    assert kernels.pair_angles(resid, PAIRS[:1].numpy()).shape == (1, 1)
    assert kernels.pair_angles(resid, PAIRS[:1].to(torch.int8)).shape == (1, 1)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, for as long as a tensor holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[int, int]] = {}
        self.peak = 0
        self.known: set[int] = set()

    def release(self, pointer: int) -> None:
        size, holders = self.live.pop(pointer)
        if holders > 1:
            self.live[pointer] = (size, holders - 1)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in self.known:
            storage = result.untyped_storage()
            _, holders = self.live.get(storage.data_ptr(), (0, 0))
            self.live[storage.data_ptr()] = (storage.nbytes(), holders + 1)
            weakref.finalize(result, self.release, storage.data_ptr())
            self.peak = max(self.peak, sum(size for size, _ in self.live.values()))
        return result


@pytest.mark.parametrize("backend", ["eager", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", [*FUNCTIONS, "histogram"])
def test_temporaries_are_a_few_blocks(
    name: str, dtype: torch.dtype, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers repeat by stride 0: 105 MB of float32 in a copy; a call holds a few blocks, 5% of it in all.

    Beyond torch, the loops of `cpu` hold two numbers a row of their block, which the code shows.
    """
    monkeypatch.setattr(_dispatch, "_fastest", lambda tensors: backend)
    base = torch.randn(1, 2, 1024, 1600).to(dtype)
    resid = base.expand(8, 2, 1024, 1600)
    function = FUNCTIONS.get(name, kernels.pairwise_histogram)
    if name == "angle":
        function = lambda x: kernels.angle(x, x)  # noqa: E731
    if name in ("pairwise", "histogram"):
        resid = resid[:1, :1, :400]
    with torch.no_grad(), LiveBytes() as counted:
        counted.known.add(base.untyped_storage().data_ptr())
        output = function(resid)
    extra = counted.peak - 2 * output.nbytes
    if name in ("pairwise", "histogram"):  # tiles of the matrix, not of the input
        assert extra < 10 * 2**20, f"{extra / 2**20:.1f} MiB"
    else:
        assert extra < 0.05 * resid.numel() * resid.element_size(), f"{extra / 2**20:.1f} MiB"
