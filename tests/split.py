"""Models spread over two devices where there is one: tensors on the second say so, and meet no others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

SECOND = torch.device("lazy:1")  # a kind that every build of torch knows, and no machine has
MOVE, COPY = torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default


class Second(torch.Tensor):
    """A tensor on the second device; its numbers are in `inner`, on the first."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Second":
        how = {"strides": inner.stride(), "dtype": inner.dtype, "device": SECOND}
        return torch.Tensor._make_wrapper_subclass(cls, inner.size(), **how)

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner.detach()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class Operations(TorchDispatchMode):
    """Sees every operation."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class Literals(TorchFunctionMode):
    """`torch.tensor`, which is no operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and (device := kwargs.pop("device", None)) is not None:
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


@contextmanager
def two_devices() -> Iterator[None]:
    """Tensors can be made on the second device, and moved there."""
    with Literals(), Operations():
        yield


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation as a machine with two devices does it."""
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    on_second = [isinstance(one, Second) for one in tensors]
    to = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    alone = [one for one in tensors if one.ndim and not isinstance(one, Second)]
    if any(on_second) and alone and func is not COPY:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    there = any(on_second) if to is None else to == SECOND
    inner = tree_map(lambda one: one.inner if isinstance(one, Second) else one, (args, kwargs))
    if to is not None:
        inner[1]["device"] = torch.device("cpu")
    made = func(*inner[0], **inner[1])
    if func is COPY or func._schema.is_mutable:
        return args[0]
    return (
        tree_map(lambda one: Second(one) if isinstance(one, torch.Tensor) else one, made) if there else made
    )


def moved(value: Any, device: torch.device) -> Any:
    """Every tensor in a value, moved."""
    return tree_map(lambda one: one.to(device) if isinstance(one, torch.Tensor) else one, value)


def follows(part: torch.nn.Module, device: torch.device) -> None:
    """What a part is given is moved to where it is."""

    def follow(module: Any, args: Any, kwargs: Any) -> Any:
        return moved(args, device), moved(kwargs, device)

    follow.__module__ = "accelerate.hooks"  # for which it stands: it is no stranger's
    part.register_forward_pre_hook(follow, with_kwargs=True)


@contextmanager
def spread(model: Any, first: int, device: torch.device = SECOND) -> Iterator[None]:
    """The blocks from `first` on and the final norm are on another device, as Accelerate would put them."""
    with two_devices():
        for part in (*model.blocks[first:], model.ln_final):
            for module in part.modules():
                for name, weight in module._parameters.items():
                    if weight is not None:
                        there = torch.nn.Parameter(weight.detach().to(device), requires_grad=False)
                        module._parameters[name] = there
                for name, buffer in module._buffers.items():
                    module._buffers[name] = None if buffer is None else buffer.to(device)
            follows(part, device)
        follows(model.unembed, torch.device("cpu"))
        yield
