"""The Triton backend: each residual vector is read from memory once for all of its angles and lengths.

It computes in float32 and takes float16, bfloat16 and float32, in any strides (a last axis that is contiguous
is read in wide loads), up to d_model 16,384. With TRITON_INTERPRET=1, set before Triton is imported, it runs
on CPU tensors, slowly. See fused_rows.py for the arithmetic, fused_plan.py for sizes and counts.

Source: Kahan's two-argument form; see reference.py.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd import forward_ad

from laminar_lens.kernels._outputs import sequential_key
from laminar_lens.kernels.fused_autograd import Pairs, Pairwise, Profile, Turning, apply, split_lags
from laminar_lens.kernels.fused_launch import INTERPRETED, histogram_op, profile_op
from laminar_lens.kernels.fused_plan import MOST_COLUMNS

_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def refuses(*tensors: Tensor) -> str:
    """Why this backend cannot compute on `tensors`, "" if it can."""
    for x in tensors:
        if not x.is_cuda and not INTERPRETED:
            return f"it computes on CUDA tensors, this one is on {x.device}; use backend='auto'"
        if x.dtype not in _DTYPES:
            dtype = str(x.dtype).removeprefix("torch.")
            return (
                f"it computes in float32, the input is {dtype}; use backend='eager' or convert with .float()"
            )
        if x.shape[-1] > MOST_COLUMNS:
            return (
                f"d_model is {x.shape[-1]}, it holds at most {MOST_COLUMNS} coordinates; use backend='eager'"
            )
        if not torch.compiler.is_compiling() and _is_dual(x):
            return "it has no forward-mode derivative (jvp); backend='eager' has it"
    return ""


def _is_dual(x: Tensor) -> bool:
    return forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]


def _texts(x: Tensor) -> Tensor:
    """As [batch pos d_model], a view wherever the strides allow it."""
    if x.ndim > 3:
        return x.flatten(0, -3)
    return x[(None,) * (3 - x.ndim)]


def _measure(
    layers: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    lag: int = 1,
    lags: int = 0,
    norm: bool = False,
    rotation: bool = False,
    step: bool = False,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Norms, sequential angles by lag, rotations and steps of [batch pos d_model]; empty if not asked."""
    if torch.compiler.is_compiling() and not (
        torch.is_grad_enabled() and any(x.requires_grad for x in layers)
    ):
        # Without a gradient Dynamo traces a Function's forward itself, and miscounts what *layers holds.
        found = profile_op(list(layers), mask, lag, lags, norm, rotation, step)
    else:
        found = apply(Profile, mask, lag, lags, norm, rotation, step, *layers)
    turns = split_lags(found[1], len(layers), layers[0].shape[0], layers[0].shape[1], lag, lags)
    return found[0], turns, found[2], found[3]


def angle(u: Float[Tensor, "*place d_model"], v: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place"]:
    """Angle between `u` and `v`: the rotation from one to the other."""
    if u.dtype != v.dtype:
        u, v = u.float(), v.float()
    return _measure([_texts(u), _texts(v)], rotation=True)[2].reshape(u.shape[:-1])


def sequential_angles(
    resid: Float[Tensor, "*batch pos d_model"], lag: int
) -> Float[Tensor, "*batch pos-{lag}"]:
    """Angle between each position and the one `lag` later."""
    layers = resid.unbind(0) if resid.ndim == 4 and len(resid) else [_texts(resid)]
    (turns,) = _measure(layers, lag=lag, lags=1)[1]
    return turns.reshape(*resid.shape[:-2], resid.shape[-2] - lag)


def pair_angles(
    resid: Float[Tensor, "*layer batch pos d_model"], pairs: Int[Tensor, "batch pair 2"]
) -> Float[Tensor, "*layer batch pair"]:
    """Angle between the two positions of each pair, gathered in the kernel; NaN where an index is −1."""
    layers = resid.flatten(0, -4) if resid.ndim > 4 else resid[(None,) * (4 - resid.ndim)]
    angles: Tensor = apply(Pairs, layers, pairs)
    return angles.reshape(*resid.shape[:-2], pairs.shape[-2])


def rotation_angles(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Angle between each layer and the next."""
    turned = _measure([_texts(x) for x in resid.unbind(0)], rotation=True)[2]
    return turned.reshape(resid.shape[0] - 1, *resid.shape[1:-1])


def pairwise_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos pos"]:
    """Angle between every two positions, in tiles."""
    angles: Tensor = apply(Pairwise, _texts(resid))
    return angles.reshape(*resid.shape[:-1], resid.shape[-2])


def pairwise_histogram(resid: Float[Tensor, "*batch pos d_model"], bins: int) -> Int[Tensor, "*batch bins"]:
    """How many of the angles between i < j are in each of `bins` equal parts of [0, π]; no matrix exists."""
    counts: Tensor = histogram_op(_texts(resid.detach()), bins)
    return counts.reshape(*resid.shape[:-2], bins)


def turning_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos-2"]:
    """Angle between successive differences along positions, which are rounded to float32."""
    angles: Tensor = apply(Turning, _texts(resid))
    return angles.reshape(*resid.shape[:-2], resid.shape[-2] - 2)


def step_lengths(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Length of the difference between each layer and the next; NaN where either is not finite."""
    moved = _measure([_texts(x) for x in resid.unbind(0)], step=True)[3]
    return moved.reshape(resid.shape[0] - 1, *resid.shape[1:-1])


def profile(
    layers: Sequence[Float[Tensor, "batch pos d_model"]],
    measures: tuple[str, ...],
    lags: int,
    mask: Bool[Tensor, "batch pos"] | None,
) -> dict[str, Tensor]:
    """Every measure in one launch; layers that are not one tensor are read where they lie."""
    asked = {name: name in measures for name in ("norm", "rotation", "step")}
    found = _measure(layers, mask, lags=lags if "sequential" in measures else 0, **asked)
    named = {sequential_key(lag): turns for lag, turns in enumerate(found[1], start=1)}
    values = dict(zip(("norm", "rotation", "step"), (found[0], *found[2:]), strict=True))
    return named | {name: values[name] for name in values if asked[name]}
