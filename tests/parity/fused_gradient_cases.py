"""Gradients of the fused backend against float64, by every way torch has to ask for them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar_lens import kernels
from laminar_lens.errors import BackendError
from laminar_lens.kernels import fused

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),  # Dynamo does it
]

# float32 gradients of angles well inside (0, π): the backward is float64, rounded once to the input's dtype.
CLOSE = {"rtol": 3e-6, "atol": 1e-6}


@pytest.fixture
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def profile(states: Tensor, backend: str, mask: Tensor | None = None) -> Tensor:
    found = kernels.angle_profile(states, lags=2, mask=mask, backend=backend)
    return torch.cat([values.flatten() for values in found.values()])


def functions(device: str) -> dict[str, Callable[[Tensor, str], Tensor]]:
    """Each of [layer batch pos d_model], as a function of the states and the backend."""
    pairs = torch.tensor([[0, 2], [1, -1], [3, 3], [2, 0]], device=device)
    return {
        "angle": lambda x, b: kernels.angle(x[0], x[1], backend=b),
        "sequential": lambda x, b: kernels.sequential_angles(x, lag=2, backend=b),
        "pairs": lambda x, b: kernels.pair_angles(x, pairs, backend=b),
        "rotation": lambda x, b: kernels.rotation_angles(x, backend=b),
        "pairwise": lambda x, b: kernels.pairwise_angles(x, backend=b),
        "turning": lambda x, b: kernels.turning_angles(x, backend=b),
        "step": lambda x, b: kernels.step_lengths(x, backend=b),
        "profile": lambda x, b: profile(x, b),
    }


NAMES = list(functions("cpu"))


@pytest.fixture
def resid(seed: int, device: str) -> Tensor:
    return torch.randn(3, 2, 4, 6).to(device)


def weighted(values: Tensor) -> Tensor:
    """A sum in which every entry counts differently and NaN does not count."""
    return (values * torch.linspace(0.5, 1.5, values.numel(), device=values.device).view_as(values)).nansum()


def gradient(function: Callable[[Tensor, str], Tensor], x: Tensor, backend: str) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(weighted(function(x, backend)), x)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_float64(name: str, resid: Tensor, device: str) -> None:
    function = functions(device)[name]
    truth = gradient(function, resid.double(), "eager")
    torch.testing.assert_close(gradient(function, resid, "fused").double(), truth, **CLOSE)
    half = resid.bfloat16()
    found = gradient(function, half, "fused")
    assert found.dtype == torch.bfloat16
    truth = gradient(function, half.double(), "eager")
    torch.testing.assert_close(found.double(), truth, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_vectors_without_a_direction_get_zeros(name: str, resid: Tensor, device: str) -> None:
    resid[0, 0, 1], resid[1, 1, 3, 2], resid[2, 0, 0, 0] = 0, torch.nan, torch.inf
    function = functions(device)[name]
    found, truth = gradient(function, resid, "fused"), gradient(function, resid.double(), "eager")
    assert found.isfinite().all()
    assert torch.equal(found[1, 1, 3], torch.zeros(6, device=device))
    torch.testing.assert_close(found.double(), truth, **CLOSE)


def test_masked_positions_get_zeros(resid: Tensor, device: str) -> None:
    mask = torch.tensor([[False, True, True, True], [True, True, False, True]], device=device)
    found = gradient(lambda x, b: profile(x, b, mask), resid, "fused")
    truth = gradient(lambda x, b: profile(x, b, mask), resid.double(), "eager")
    assert torch.equal(found[:, ~mask], torch.zeros_like(found[:, ~mask]))
    torch.testing.assert_close(found.double(), truth, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_torch_func(name: str, resid: Tensor, device: str) -> None:
    """grad, vmap of grad, jacrev and vmap agree with autograd and with loops."""
    function = functions(device)[name]

    def value(x: Tensor) -> Tensor:
        return function(x, "fused")

    def total(x: Tensor) -> Tensor:
        return weighted(value(x))

    once = gradient(function, resid, "fused")
    torch.testing.assert_close(torch.func.grad(total)(resid), once, equal_nan=True)
    several = torch.stack([resid, resid.flip(-1), 2 * resid + 1], 1)
    mapped = torch.func.vmap(value, in_dims=1)(several)
    torch.testing.assert_close(mapped, torch.stack([value(x) for x in several.unbind(1)]), equal_nan=True)
    mapped = torch.func.vmap(torch.func.grad(total), in_dims=1)(several)
    alone = torch.stack([gradient(function, x, "fused") for x in several.unbind(1)])
    torch.testing.assert_close(mapped, alone)
    jacobian = torch.func.jacrev(value)(resid)
    shape = value(resid).shape
    weights = torch.linspace(0.5, 1.5, shape.numel(), device=device).view(shape)
    flat = jacobian.reshape(shape.numel(), -1).nan_to_num()
    torch.testing.assert_close((weights.flatten() @ flat).view_as(resid), once)


@pytest.mark.parametrize("name", NAMES)
def test_forward_differentiation_is_refused(name: str, resid: Tensor, device: str) -> None:
    function = functions(device)[name]
    with pytest.raises(BackendError, match="forward-mode"):
        torch.func.jvp(lambda x: function(x, "fused"), (resid,), (torch.ones_like(resid),))


COMPILED: dict[str, Callable[[Tensor], Tensor]] = {
    "angle": lambda x: fused.angle(x[0], x[1]),
    "sequential": lambda x: fused.sequential_angles(x, 2),
    "pairs": lambda x: fused.pair_angles(x, torch.tensor([[[0, 2], [1, -1]]] * 2, device=x.device)),
    "rotation": fused.rotation_angles,
    "pairwise": fused.pairwise_angles,
    "turning": fused.turning_angles,
    "step": fused.step_lengths,
    "profile": lambda x: fused.profile(x.unbind(0), ("sequential", "norm"), 2, None)["sequential_2"],
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_in_one_graph(name: str, resid: Tensor) -> None:
    """The backend's functions; before them the choice of a backend imports modules, which breaks a graph."""

    def total(x: Tensor) -> Tensor:
        return weighted(COMPILED[name](2 * x))

    torch.compiler.reset()
    compiled: Any = torch.compile(total, backend="aot_eager", fullgraph=True)
    x = resid.clone().requires_grad_()
    y = resid.clone().requires_grad_()
    compiled(x).backward()
    total(y).backward()
    torch.testing.assert_close(compiled(resid), total(resid))
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), total(x))
    torch.testing.assert_close(x.grad, y.grad)


def test_compiled_with_the_choice_of_a_backend(resid: Tensor, device: str) -> None:
    torch.compiler.reset()
    function = functions(device)["sequential"]
    compiled: Any = torch.compile(lambda x: function(x + 1, "fused") * 2, backend="aot_eager")
    torch.testing.assert_close(compiled(resid), function(resid + 1, "fused") * 2)


def test_second_derivatives(resid: Tensor, device: str) -> None:
    function = functions(device)["sequential"]

    def second(backend: str, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(weighted(function(x, backend)), x, create_graph=True)
        (found,) = torch.autograd.grad((first**2).sum(), x)
        return found

    torch.testing.assert_close(
        second("fused", resid).double(), second("eager", resid.double()), rtol=1e-4, atol=1e-5
    )


def test_histogram_under_vmap(resid: Tensor) -> None:
    mapped = torch.func.vmap(lambda x: kernels.pairwise_histogram(x, bins=5, backend="fused"), in_dims=2)(
        resid
    )
    alone = [kernels.pairwise_histogram(x, bins=5, backend="fused") for x in resid.unbind(2)]
    assert torch.equal(mapped, torch.stack(alone))
