"""Launches of the Triton kernels, and their registration with torch, so that torch.compile can hold them.

The operators have no gradient of their own: fused_autograd.py gives it. Their schemas are written out because
torch cannot read jaxtyping's annotations.
"""

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import triton
from torch import Tensor

from laminar_lens.kernels.fused_kernels import pair_kernel, profile_kernel, turning_kernel
from laminar_lens.kernels.fused_plan import (
    EXACT_COLUMNS,
    MOST_LAYERS_IN_GRID,
    PAIR_SIZES,
    TILE,
    TILE_COLUMNS,
    TILE_WARPS,
    ProfilePlan,
    Sizes,
    columns_of,
    pairwise_grid,
    sizes_of,
    width_of,
)
from laminar_lens.kernels.fused_tiles import pairwise_kernel

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""As Triton decided when it was imported just now."""

_PROCESSORS = 132
"""Where no device can be asked (the interpreter): an H100's."""

# Contraction into fused multiply-adds changes a rounding and no tolerance; said here because Triton's default
# is about to change and warns of it.
_OPTIONS: dict[str, Any] = {"enable_fp_fusion": True, "num_stages": 1}


def _empty(like: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device)


def _device_of(x: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device_of(x)  # type: ignore[no-untyped-call]


def _alignment(*elements: int) -> int:
    """The largest power of two up to 16 that divides every offset: what a wide load may rely on."""
    return math.gcd(16, *elements)


def _row_options(x: Tensor, sizes: Sizes) -> dict[str, Any]:
    """Constants of a kernel whose tiles are rows of `x`."""
    width, columns = width_of(x.shape[-1]), columns_of(x.shape[-1], x.element_size())
    shape = {"D": x.shape[-1], "NC": width // columns, "C": columns, "R": sizes.rows, "EXACT": _exact(x)}
    return shape | {"num_warps": sizes.warps} | _OPTIONS


def _exact(x: Tensor) -> int:
    """Columns at a time in the rare float64 loop; the interpreter, which has no registers, takes all."""
    return width_of(x.shape[-1]) if INTERPRETED else EXACT_COLUMNS


def _chunks(x: Tensor) -> int:
    return -(-x.shape[-1] // _exact(x))


def addresses(layers: Sequence[Tensor]) -> tuple[Tensor | None, int, int]:
    """Where the layers lie, in elements from the first, and what divides those distances.

    Either a table [layer 3] of start and strides of text and position, or None and the one distance of all.
    """
    first = layers[0]
    starts = [(x.data_ptr() - first.data_ptr()) // first.element_size() for x in layers]
    stride = starts[1] if len(starts) > 1 else 0
    alike = all(x.stride() == first.stride() for x in layers)
    if alike and starts == [index * stride for index in range(len(layers))]:
        return None, stride, _alignment(stride, *first.stride()[:2])
    rows = [[start, *x.stride()[:2]] for start, x in zip(starts, layers, strict=True)]
    table = torch.tensor(rows, dtype=torch.int64, pin_memory=first.is_cuda)
    return table.to(first.device, non_blocking=True), 0, _alignment(*(n for row in rows for n in row))


def plan_profile(
    layers: Sequence[Tensor],
    lag: int,
    lags: int,
    norm: bool,
    rotation: bool,
    step: bool,
    listed: bool = False,
) -> ProfilePlan:
    """What one pass over `layers`, each [batch pos d_model], will launch, read and write."""
    x = layers[0]
    processors = (
        torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else _PROCESSORS
    )
    n_batch, n_pos, d_model = x.shape
    size = (len(layers), n_batch, n_pos, d_model, x.element_size())
    return ProfilePlan(*size, lag, lags, norm, rotation, step, listed, processors)


@torch.library.custom_op(
    "laminar_lens::profile",
    mutates_args=(),
    schema="(Tensor[] layers, Tensor? mask, int lag, int lags, bool norm, bool rotation, bool step)"
    " -> Tensor[]",
)
def profile_op(
    layers: Sequence[Tensor], mask: Tensor | None, lag: int, lags: int, norm: bool, rotation: bool, step: bool
) -> list[Tensor]:
    """Norms [layer batch pos], sequential angles (all lags in a row), rotations, steps [layer-1 batch pos].

    What was not asked for is empty.
    """
    if any(x.stride(-1) != layers[0].stride(-1) for x in layers):
        layers = [x.contiguous() for x in layers]
    x = layers[0]
    table, stride, align = addresses(layers)
    plan = plan_profile(layers, lag, lags, norm, rotation, step, table is not None)
    outputs = _profile_outputs(x, plan)
    if plan.bytes_written == 0:
        return outputs
    seen = x if mask is None else mask.view(torch.uint8)
    with _device_of(x):
        profile_kernel[plan.grid](
            x, x if table is None else table, seen, *outputs,
            *(len(layers), x.shape[0], x.shape[1]),
            *(stride, *x.stride(), seen.stride(0), seen.stride(1)),
            *(lag, plan.per_program, _chunks(x)),
            LAGS=lags, LISTED=table is not None, MASKED=mask is not None, NORM=norm, ROTATION=rotation,
            STEP=step, PREFETCH=plan.sizes.prefetch, ALIGN=align, **_row_options(x, plan.sizes),
        )  # fmt: skip
    return outputs


def _profile_outputs(x: Tensor, plan: ProfilePlan) -> list[Tensor]:
    norm, sequential, rotation, step = (_empty(x, n) for n in plan.outputs)
    here, between = (plan.n_layer, *x.shape[:2]), (plan.n_layer - 1, *x.shape[:2])
    return [
        norm.view(here) if plan.norm else norm,
        sequential,
        rotation.view(between) if plan.rotation else rotation,
        step.view(between) if plan.step else step,
    ]


@profile_op.register_fake
def _(layers, mask, lag, lags, norm, rotation, step):  # type: ignore[no-untyped-def]
    x = layers[0]
    n_layer, (n_batch, n_pos) = len(layers), x.shape[:2]
    found = sum(n_layer * n_batch * (n_pos - each) for each in range(lag, lag + lags))
    shapes = [
        (n_layer, n_batch, n_pos),
        (found,),
        (n_layer - 1, n_batch, n_pos),
        (n_layer - 1, n_batch, n_pos),
    ]
    wanted = [norm, lags > 0, rotation, step]
    return [_empty(x, *(shape if asked else (0,))) for shape, asked in zip(shapes, wanted, strict=True)]


@torch.library.custom_op(
    "laminar_lens::pair_angles", mutates_args=(), schema="(Tensor resid, Tensor pairs) -> Tensor"
)
def pair_op(resid: Tensor, pairs: Tensor) -> Tensor:
    """Angles [layer batch pair] in `resid` [layer batch pos d_model] at `pairs` [batch pair 2]."""
    n_layer, n_batch, n_pair = resid.shape[0], resid.shape[1], pairs.shape[1]
    angles = _empty(resid, n_layer, n_batch, n_pair)
    if not angles.numel():
        return angles
    pairs = pairs.contiguous()
    sizes = sizes_of(resid.shape[-1], resid.element_size(), PAIR_SIZES)
    blocks = n_batch * triton.cdiv(n_pair, sizes.rows)
    with _device_of(resid):
        for start in range(0, n_layer, MOST_LAYERS_IN_GRID):
            part = resid[start : start + MOST_LAYERS_IN_GRID]
            pair_kernel[blocks, part.shape[0]](
                part, pairs, angles[start:], n_batch, n_pair, *resid.stride(), _chunks(resid),
                ALIGN=_alignment(*resid.stride()[:3]), **_row_options(resid, sizes),
            )  # fmt: skip
    return angles


@pair_op.register_fake
def _(resid, pairs):  # type: ignore[no-untyped-def]
    return _empty(resid, *resid.shape[:2], pairs.shape[1])


@torch.library.custom_op("laminar_lens::turning_angles", mutates_args=(), schema="(Tensor resid) -> Tensor")
def turning_op(resid: Tensor) -> Tensor:
    """Turning angles [batch pos-2] of `resid` [batch pos d_model]."""
    angles = _empty(resid, resid.shape[0], resid.shape[1] - 2)
    if not angles.numel():
        return angles
    sizes = sizes_of(resid.shape[-1], resid.element_size(), PAIR_SIZES)
    with _device_of(resid):
        turning_kernel[(resid.shape[0] * triton.cdiv(angles.shape[1], sizes.rows),)](
            resid, angles, resid.shape[1], *resid.stride(), _chunks(resid),
            ALIGN=_alignment(*resid.stride()[:2]), **_row_options(resid, sizes),
        )  # fmt: skip
    return angles


@turning_op.register_fake
def _(resid):  # type: ignore[no-untyped-def]
    return _empty(resid, resid.shape[0], resid.shape[1] - 2)


def _launch_tiles(resid: Tensor, angles: Tensor, counts: Tensor, bins: int) -> None:
    for start in range(0, resid.shape[0], MOST_LAYERS_IN_GRID):
        part = resid[start : start + MOST_LAYERS_IN_GRID]
        with _device_of(resid):
            pairwise_kernel[pairwise_grid(part.shape[0], resid.shape[1])](
                part, angles[start:], counts[start:], resid.shape[1], *resid.stride(), max(1, bins),
                D=resid.shape[-1], TILE=TILE, C=TILE_COLUMNS, HISTOGRAM=bins > 0,
                BINS=triton.next_power_of_2(bins + 1), ALIGN=_alignment(*resid.stride()[:2]),
                num_warps=TILE_WARPS, **_OPTIONS,
            )  # fmt: skip


@torch.library.custom_op("laminar_lens::pairwise_angles", mutates_args=(), schema="(Tensor resid) -> Tensor")
def pairwise_op(resid: Tensor) -> Tensor:
    """Angles [batch pos pos] of `resid` [batch pos d_model]."""
    angles = _empty(resid, resid.shape[0], resid.shape[1], resid.shape[1])
    if angles.numel():
        _launch_tiles(resid, angles, angles, 0)
    return angles


@pairwise_op.register_fake
def _(resid):  # type: ignore[no-untyped-def]
    return _empty(resid, resid.shape[0], resid.shape[1], resid.shape[1])


@torch.library.custom_op(
    "laminar_lens::pairwise_histogram", mutates_args=(), schema="(Tensor resid, int bins) -> Tensor"
)
def histogram_op(resid: Tensor, bins: int) -> Tensor:
    """Counts [batch bins], int64, of the angles of i < j in `resid` [batch pos d_model]."""
    counts = torch.zeros(resid.shape[0], bins, dtype=torch.int64, device=resid.device)
    if counts.numel() and resid.shape[1] > 1:
        _launch_tiles(resid, counts, counts, bins)
    return counts


@histogram_op.register_fake
def _(resid, bins):  # type: ignore[no-untyped-def]
    return _empty(resid, resid.shape[0], bins, dtype=torch.int64)


@histogram_op.register_vmap
def _(info, in_dims, resid, bins):  # type: ignore[no-untyped-def]
    stacked = resid.movedim(in_dims[0], 0)
    return histogram_op(stacked.flatten(0, 1), bins).unflatten(0, stacked.shape[:2]), 0
