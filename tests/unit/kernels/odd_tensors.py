"""Calls every kernel with tensors that are not dense memory; one JSON line a call. Run by test_tensors.py."""

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))
warnings.simplefilter("ignore")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402

from laminar_lens import kernels  # noqa: E402

SHAPE = (3, 2, 20, 2400)  # above 1 MiB: `auto` would be `cpu`
STATES = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
PAIRS = torch.tensor([[0, 1], [2, 4], [3, -1]])
MASK = torch.ones(2, 20, dtype=torch.bool)
FUNCTIONS: dict[str, Callable[[Any, str], Any]] = {
    "angle": lambda x, backend: kernels.angle(x, x, backend=backend),
    "sequential": lambda x, backend: kernels.sequential_angles(x, backend=backend),
    "lag": lambda x, backend: kernels.sequential_angles(x, lag=9, backend=backend),
    "pair": lambda x, backend: kernels.pair_angles(x, PAIRS, backend=backend),
    "rotation": lambda x, backend: kernels.rotation_angles(x, backend=backend),
    "pairwise": lambda x, backend: kernels.pairwise_angles(x, backend=backend),
    "histogram": lambda x, backend: kernels.pairwise_histogram(x, backend=backend),
    "turning": lambda x, backend: kernels.turning_angles(x, backend=backend),
    "step": lambda x, backend: kernels.step_lengths(x, backend=backend),
    "profile": lambda x, backend: kernels.angle_profile(x, backend=backend),
    "masked": lambda x, backend: kernels.angle_profile(x, lags=4, mask=MASK, backend=backend),
    "layers": lambda x, backend: kernels.angle_profile([x], backend=backend),
}


class Wrapper(Tensor):
    """A tensor with a shape and no memory; its numbers are those of `inner`."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Wrapper":
        return Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, strides=inner.stride())

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = pytree.tree_map_only(Wrapper, lambda x: x.inner, (args, kwargs or {}))
        return pytree.tree_map_only(Tensor, Wrapper, func(*plain[0], **plain[1]))


class Named(Tensor):
    """A subclass that changes nothing."""


def resized(share: int) -> Tensor:
    x = STATES.clone()
    x.untyped_storage().resize_(x.untyped_storage().nbytes() * share // 2)
    return x


def distributed() -> Tensor:
    import torch.distributed as dist
    from torch.distributed.tensor import DeviceMesh, Shard, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return distribute_tensor(STATES, DeviceMesh("cpu", [0]), [Shard(0)])


def kinds() -> dict[str, Callable[[], Any]]:
    rows = [torch.randn(5, 2400), torch.randn(90, 2400)]
    return {
        "numpy": STATES.numpy,
        "list": lambda: STATES[:, :, :3, :3].tolist(),
        "none": lambda: None,
        "masked": lambda: torch.masked.masked_tensor(STATES, STATES > 0),
        "distributed": distributed,
        "nested": lambda: torch.nested.nested_tensor(rows),
        "jagged": lambda: torch.nested.nested_tensor(rows, layout=torch.jagged),
        "sparse": STATES.to_sparse,
        "compressed": STATES[0].to_sparse_csr,
        "mkldnn": STATES.to_mkldnn,
        "quantised": lambda: torch.quantize_per_tensor(STATES, 0.1, 0, torch.qint8),
        "complex": lambda: torch.complex(STATES, STATES).conj(),
        "freed": lambda: resized(0),
        "short": lambda: resized(1),
        "functional": lambda: torch._to_functional_tensor(STATES),
        "wrapper": lambda: Wrapper(STATES),
        "zeros": lambda: torch._efficientzerotensor(SHAPE),
        "negated": lambda: torch.complex(STATES, -STATES).conj().imag,
        "copied late": lambda: torch._lazy_clone(STATES),
        "subclass": lambda: STATES.as_subclass(Named),
    }


def numbers(found: Any) -> Tensor:
    """All results in one row, whatever holds them."""
    parts = list(found.values()) if isinstance(found, dict) else [found]
    parts = [part.inner if isinstance(part, Wrapper) else part for part in parts]
    parts = [torch._from_functional_tensor(p) if torch._is_functional_tensor(p) else p for p in parts]
    return torch.cat([part.double().flatten() for part in parts])


def difference(found: Any, function: str, states: Tensor) -> float:
    expected = numbers(FUNCTIONS[function](states, "reference"))
    found = numbers(found)
    assert torch.equal(found.isnan(), expected.isnan())
    return float(((found - expected).abs() / expected.abs().clamp(min=1)).nan_to_num(0).max())


def say(kind: str, backend: str, function: str, call: Callable[[], Any], states: Tensor | None) -> None:
    try:
        found = call()
    except Exception as error:
        outcome = [type(error).__name__, str(error)]
    else:
        outcome = ["", "0.0" if states is None else str(difference(found, function, states))]
    print(json.dumps([kind, backend, function, *outcome]), flush=True)


@contextlib.contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device("cpu")


def main() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.func import vmap

    for kind, make in kinds().items():
        x = make()
        states = torch.zeros(SHAPE) if kind == "zeros" else STATES
        plain = isinstance(x, Tensor) and not x.is_nested and x.layout == torch.strided and x.ndim == 4
        for backend in ("cpu", "auto", "eager", "reference"):
            for name, function in FUNCTIONS.items():
                given = x[0] if name == "layers" and plain and kind not in REFUSED_WHOLE else x
                wanted = states[0] if name == "layers" else states
                say(kind, backend, name, lambda f=function, g=given, b=backend: f(g, b), wanted)
    for backend in ("cpu", "auto"):
        for name, function in FUNCTIONS.items():
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                given = mode.from_tensor(STATES[0] if name == "layers" else STATES)
                say("fake", backend, name, lambda f=function, g=given, b=backend: f(g, b), None)
            given = STATES[0] if name == "layers" else STATES
            say(
                "batched",
                backend,
                name,
                lambda f=function, g=given, b=backend: vmap(lambda x: f(x, b))(g[None]),
                None,
            )
    for backend in ("cpu", "auto", "eager", "reference"):
        for name, function in FUNCTIONS.items():
            given = STATES[0] if name == "layers" else STATES
            with default_device("meta"):
                call = lambda f=function, g=given, b=backend: f(g, b)  # noqa: E731
                say("default device", backend, name, call, None)


REFUSED_WHOLE = ("masked", "distributed", "quantised", "complex", "freed", "short")

if __name__ == "__main__":
    main()
