"""Triton kernel whose programs own tiles of the pos × pos matrix: all angles, or their histogram.

The inner products of a tile are a matrix product in float64, on the tensor cores of devices that have them
for float64: products of float32 numbers are exact there, and sin² = 1 − cos² keeps an angle to 2·10⁻⁸ rad
where float32 products would lose 4·10⁻⁴. Kahan's form takes four instructions for each coordinate of each
pair, and cannot use the tensor cores.
"""

from typing import no_type_check

import triton
import triton.language as tl

from laminar_lens.kernels.fused_rows import angle_of_cosine

_PI = tl.constexpr(3.141592653589793)
_NUMBERS = ("n_pos", "stride_text", "stride_pos", "n_bin")  # a constant 1 has no `.to`


@triton.jit(do_not_specialize=_NUMBERS)
@no_type_check
def pairwise_kernel(
    base, angles, counts, n_pos, stride_text, stride_pos, stride_d, n_bin,
    D: tl.constexpr, TILE: tl.constexpr, C: tl.constexpr, HISTOGRAM: tl.constexpr, BINS: tl.constexpr,
    ALIGN: tl.constexpr,
):  # fmt: skip
    """Tile (row, column) of one text's matrix and its mirror image, or their counts (BINS > n_bin)."""
    tiles = tl.cdiv(n_pos, TILE)
    row, column = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    if column < row:  # the mirror image of another program's tile
        return
    text = tl.program_id(1).to(tl.int64)
    i, j = row * TILE + tl.arange(0, TILE), column * TILE + tl.arange(0, TILE)
    at_i = ((text * stride_text + i.to(tl.int64) * stride_pos) // ALIGN * ALIGN)[:, None]
    at_j = ((text * stride_text + j.to(tl.int64) * stride_pos) // ALIGN * ALIGN)[:, None]
    uv = tl.zeros((TILE, TILE), tl.float64)
    uu, vv = tl.zeros((TILE, C), tl.float64), tl.zeros((TILE, C), tl.float64)
    for first in range(0, D, C):
        d = first + tl.arange(0, C)[None, :]
        u = tl.load(base + (at_i + d.to(tl.int64) * stride_d), mask=(i < n_pos)[:, None] & (d < D), other=0.0)
        v = tl.load(base + (at_j + d.to(tl.int64) * stride_d), mask=(j < n_pos)[:, None] & (d < D), other=0.0)
        u, v = u.to(tl.float64), v.to(tl.float64)
        uv = tl.dot(u, tl.trans(v), uv, out_dtype=tl.float64)
        uu += u * u
        vv += v * v
    # 0 · inf and inf · 0 make NaN of a vector without a direction.
    scale_u, scale_v = 1.0 / tl.sqrt(tl.sum(uu, axis=1)), 1.0 / tl.sqrt(tl.sum(vv, axis=1))
    angle = angle_of_cosine(uv * (scale_u[:, None] * scale_v[None, :]))
    below, right = i.to(tl.int64)[:, None], j.to(tl.int64)[None, :]
    inside = (below < n_pos) & (right < n_pos)
    if HISTOGRAM:
        chosen = inside & (below < right) & (angle == angle)
        place = tl.minimum((angle.to(tl.float64) * (n_bin.to(tl.float64) / _PI)).to(tl.int32), n_bin - 1)
        # What is not counted goes where no bin is kept.
        found = tl.histogram(tl.ravel(tl.where(chosen, place, n_bin)), BINS)
        bins = tl.arange(0, BINS)
        tl.atomic_add(counts + text * n_bin + bins, found.to(tl.int64), mask=bins < n_bin, sem="relaxed")
    else:
        angle = tl.where((below == right) & (angle == angle), 0.0, angle)
        matrix = angles + text * n_pos * n_pos
        tl.store(matrix + below * n_pos + right, angle, mask=inside)
        if column > row:
            mirror = tl.trans(right * n_pos + below)
            tl.store(matrix + mirror, tl.trans(angle), mask=tl.trans(inside))
