"""What a tensor must be before its numbers are read: dense, whole, and for some backends at an address."""

import torch
from torch import Tensor

from laminar_lens.errors import InputError, with_article

_CONVERSIONS = {
    "MaskedTensor": "{name}.to_tensor(torch.nan), as NaN marks what is missing",
    "DTensor": "{name}.full_tensor()",
}
"""Subclasses whose numbers mean something else than a plain tensor's, and how to get one."""


def check_tensor(name: str, x: object) -> None:
    """A dense torch tensor, none of whose coordinates lies beyond its storage."""
    if not isinstance(x, Tensor):
        how = "torch.from_numpy" if type(x).__module__ == "numpy" else "torch.as_tensor"
        raise InputError(
            f"{name} is {with_article(_kind(x))}; expected a torch tensor: convert with {how}({name})"
        )
    if type(x).__name__ in _CONVERSIONS:
        how = _CONVERSIONS[type(x).__name__].format(name=name)
        raise InputError(f"{name} is {with_article(_kind(x))}; expected a plain tensor: convert with {how}")
    if x.is_nested:
        raise InputError(
            f"{name} is a nested tensor; expected a dense one: pad it with NaN, by "
            f"torch.nested.to_padded_tensor({name}, torch.nan)"
        )
    if x.is_quantized:
        raise InputError(f"{name} is quantised; expected numbers: convert with {name}.dequantize()")
    if x.layout != torch.strided:
        layout = str(x.layout).removeprefix("torch.").strip("_")
        raise InputError(
            f"{name} has layout {layout}; expected a dense tensor: convert with {name}.to_dense()"
        )
    if not torch.compiler.is_compiling() and not _has_rules(x):
        _check_storage(name, x)


def unreadable(*tensors: Tensor) -> str:
    """Why numbers cannot be read and written by address: "" if they can.

    Fake tensors, wrappers of torch.func and of functionalisation, and what torch keeps as a promise of zeros
    claim a shape and strides, but at their address lies nothing. Nor where a mode makes every new tensor so.
    """
    for x in tensors:
        if _has_rules(x) or (x.numel() and not _address(x)):
            return f"{with_article(_kind(x))} like this has no memory of its own to read"
    if type(torch.empty(0, device="cpu")) is not Tensor:
        return "a mode is active under which new tensors have no memory (FakeTensorMode?)"
    return ""


def _has_rules(x: Tensor) -> bool:
    """Whether a subclass has operations of its own: fake tensors, masked ones, any wrapper."""
    return type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__


def _address(x: Tensor) -> int:
    """Where the storage begins; 0 where there is none."""
    try:
        return x.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # the wrappers of torch.func
        return 0


def _check_storage(name: str, x: Tensor) -> None:
    try:
        held = x.untyped_storage().nbytes()
    except (RuntimeError, NotImplementedError):  # the wrappers of torch.func have none
        return
    if not x.numel() or x.device.type == "meta":
        return
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    needed = (x.storage_offset() + last + 1) * x.element_size()
    if held < needed and not x._is_zerotensor():
        raise InputError(
            f"{name} has a storage of {held:,} bytes, but its shape and strides reach {needed:,}: it was "
            "freed or resized; measure it while its data is there"
        )


def _kind(x: object) -> str:
    kind = type(x)
    return "numpy array" if kind.__module__ == "numpy" and kind.__name__ == "ndarray" else kind.__name__
