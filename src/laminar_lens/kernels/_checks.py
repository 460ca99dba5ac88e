"""What the kernels accept, checked before any backend runs."""

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.autograd import forward_ad

from laminar_lens.arguments import LARGEST, places, shown
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.kernels._tensors import check_tensor, unreadable

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _shape(x: Tensor) -> list[int]:
    return list(x.shape)


def check_vectors(name: str, x: Tensor, axes: str) -> None:
    """Dense, of a dtype, with the axes that `axes` names ('...' is any number), the last not empty."""
    check_tensor(name, x)
    if x.dtype not in FLOATING:
        dtype = str(x.dtype).removeprefix("torch.")
        how = f"torch.view_as_real({name})" if x.is_complex() else f"{name}.float()"
        raise InputError(
            f"{name} has dtype {dtype}; an angle needs float16, bfloat16, float32 or float64: convert with "
            f"{how}"
        )
    needed = sum(axis != "..." for axis in axes.split())
    if x.ndim < needed:
        raise ShapeError(
            f"{name} has shape {_shape(x)}, which is {x.ndim} axes; expected at least {needed} ({axes}): "
            f"add the missing ones, such as {name}[None]"
        )
    if x.shape[-1] == 0:
        raise ShapeError(f"{name} has shape {_shape(x)}: d_model is 0, so there is no vector to measure")


def check_same(u: Tensor, v: Tensor) -> None:
    """Two tensors of vectors that are compared one to one."""
    if u.shape != v.shape:
        raise ShapeError(
            f"u has shape {_shape(u)} and v has {_shape(v)}; they must be equal: v.expand(u.shape) repeats v "
            "without a copy"
        )
    if u.device != v.device:
        raise InputError(f"u is on {u.device} and v on {v.device}; move one with .to()")


def check_length(x: Tensor, axis: str, dim: int, least: int, why: str) -> None:
    """An axis of at least `least` entries."""
    if x.shape[dim] < least:
        raise ShapeError(
            f"resid has shape {_shape(x)}: {axis} is {x.shape[dim]}, but {why} needs at least {least}"
        )


def check_lag(lag: int) -> None:
    """A lag of 1 or more."""
    if isinstance(lag, bool) or not isinstance(lag, int) or not 1 <= lag <= LARGEST:
        raise ShapeError(f"lag is {shown(lag)}; it counts positions forward, so it must be 1 or more")


def check_pair_form(pairs: Tensor) -> Tensor:
    """Integers [pair 2] or [batch pair 2]."""
    if pairs.is_floating_point() or pairs.is_complex() or pairs.dtype == torch.bool:
        dtype = str(pairs.dtype).removeprefix("torch.")
        raise InputError(f"pairs has dtype {dtype}; it holds positions: convert with pairs.long()")
    if pairs.ndim not in (2, 3) or pairs.shape[-1] != 2:
        raise ShapeError(f"pairs has shape {_shape(pairs)}; expected [pair, 2] or [batch, pair, 2]")
    return pairs


def check_pairs(
    resid: Shaped[Tensor, "*layer batch pos d_model"],
    pairs: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."],
) -> Int[Tensor, "batch pair 2"]:
    """Pairs as int64 [batch pair 2] on the device of `resid`, every index in −1 … pos−1."""
    if not isinstance(pairs, Tensor):
        pairs = torch.as_tensor(places("pairs", pairs), device="cpu")
    check_tensor("pairs", pairs)
    if pairs.device.type == "cpu" and (reason := unreadable(pairs)):
        raise InputError(f"pairs cannot be checked: {reason}; give a plain tensor of positions")
    pairs = check_pair_form(pairs)
    batch, n_pos = resid.shape[-3], resid.shape[-2]
    if pairs.ndim == 3 and pairs.shape[0] != batch:
        raise ShapeError(
            f"pairs has shape {_shape(pairs)} and resid {_shape(resid)}: {pairs.shape[0]} prompts of pairs "
            f"for {batch} prompts; give one row of pairs a prompt, or [pair, 2] for all"
        )
    if pairs.numel():
        low, high = int(pairs.min()), int(pairs.max())
        if low < -1 or high >= n_pos:
            wrong = low if low < -1 else high
            raise ShapeError(
                f"pairs holds position {wrong}, but resid has positions 0 … {n_pos - 1} (−1 is no pair)"
            )
    return pairs.to(resid.device, torch.int64).expand(batch, -1, 2)


MOST_BINS = 4096
"""As many as one program of a GPU counts in its own memory."""


def check_bins(bins: int) -> None:
    """One bin or more."""
    if isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= MOST_BINS:
        raise ShapeError(f"bins is {shown(bins)}; it counts the equal parts of [0, π]: 1 … {MOST_BINS:,}")


def is_watched(x: Tensor) -> bool:
    """Whether autograd records, or forward differentiation or a `torch.func` transform is at work."""
    if x.requires_grad and torch.is_grad_enabled():
        return True
    if forward_ad.unpack_dual(x).tangent is not None:  # type: ignore[no-untyped-call]
        return True
    try:
        x.data_ptr()
    except RuntimeError:  # the wrappers of torch.func have no memory of their own
        return True
    return False
