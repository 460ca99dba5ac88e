"""Triton kernels whose programs own rows: one walk over the layers, chosen pairs, turns along positions."""

from typing import no_type_check

import triton
import triton.language as tl

from laminar_lens.kernels.fused_rows import (
    angle_of_cosine,
    angle_of_near,
    any_of,
    between,
    columns,
    fits,
    near,
    place,
    products,
    row_sum,
    tile,
    wide_length,
)

# Triton makes a constant of an argument that is 1, and a constant has no `.to`. ALIGN says what divides them.
_PROFILE_NUMBERS = (
    "n_layer", "n_batch", "n_pos", "stride_layer", "stride_text", "stride_pos", "mask_text", "mask_pos",
    "lag", "per_program", "chunks",
)  # fmt: skip
_PAIR_NUMBERS = ("n_batch", "n_pair", "stride_layer", "stride_text", "stride_pos", "chunks")
_TURNING_NUMBERS = ("n_pos", "stride_text", "stride_pos", "chunks")


@triton.jit(do_not_specialize=_PROFILE_NUMBERS)
@no_type_check
def profile_kernel(
    base, table, mask, norm, sequential, rotation, step,
    n_layer, n_batch, n_pos, stride_layer, stride_text, stride_pos, stride_d, mask_text, mask_pos,
    lag, per_program, chunks,
    D: tl.constexpr, NC: tl.constexpr, R: tl.constexpr, C: tl.constexpr, LAGS: tl.constexpr,
    LISTED: tl.constexpr, MASKED: tl.constexpr, NORM: tl.constexpr, ROTATION: tl.constexpr,
    STEP: tl.constexpr, PREFETCH: tl.constexpr, ALIGN: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """R positions of one text through `per_program` layers; `sequential` holds its LAGS lags in turn."""
    WIDTH: tl.constexpr = NC * C
    CARRY: tl.constexpr = ROTATION or STEP
    blocks = tl.cdiv(n_pos, R)
    text = (tl.program_id(0) // blocks).to(tl.int64)
    start = (tl.program_id(0) % blocks) * R
    pos = start + tl.arange(0, R)
    here = pos < n_pos
    if MASKED:
        here = here & (
            tl.load(mask + text * mask_text + pos.to(tl.int64) * mask_pos, mask=here, other=0) != 0
        )
    d = columns(NC, C)
    first = tl.program_id(1) * per_program
    last = tl.minimum(first + per_program, n_layer)

    layer_at, by_text, by_pos = place(table, first, stride_layer, stride_text, stride_pos, LISTED)
    at = layer_at + text * by_text + pos.to(tl.int64) * by_pos
    x = tile(base, at, here, d, stride_d, D, ALIGN)
    at_p = at
    if CARRY:
        layer_at, p_text, p_pos = place(
            table, tl.maximum(first - 1, 0), stride_layer, stride_text, stride_pos, LISTED
        )
        at_p = layer_at + text * p_text + pos.to(tl.int64) * p_pos
        p = tile(base, at_p, here & (tl.full((R,), first, tl.int32) > 0), d, stride_d, D, ALIGN)
        pp = row_sum(p.to(tl.float32) * p.to(tl.float32), R, WIDTH)

    for walked in range(last - first):
        layer = first + walked
        out = (layer.to(tl.int64) * n_batch + text) * n_pos + pos
        inside = pos < n_pos
        u = x.to(tl.float32)
        uu = row_sum(u * u, R, WIDTH)
        if NORM:
            simple = fits(uu) | (here == 0)
            length = tl.sqrt_rn(uu)
            if any_of(simple == 0):
                wide_uu, _, _, _ = products(
                    base, at, at, here, stride_d, chunks, 0, D, R, False, ALIGN, EXACT
                )
                length = tl.where(simple, length, wide_length(wide_uu))
            tl.store(norm + out, tl.where(here, length, float("nan")), mask=inside)
        if CARRY:
            q = p.to(tl.float32)
            after_another = tl.full((R,), layer, tl.int32) > 0
            follows = here & after_another
            out_before = out - n_batch.to(tl.int64) * n_pos
            before = inside & after_another
            # What was not asked for needs no second look.
            near2, turns = uu, follows | (follows == 0)
            squared, moves = uu, turns
            if ROTATION:
                near2, simple = near(u, q, uu, pp, R, WIDTH)
                turns = simple | (follows == 0)
            if STEP:
                squared = row_sum((u - q) * (u - q), R, WIDTH)
                moves = fits(squared) | (follows == 0)
            turned = angle_of_near(tl.where(turns, near2, 0.0))
            moved = tl.sqrt_rn(squared)
            if any_of((turns & moves) == 0):
                wide_uu, wide_vv, uv, dd = products(
                    base, at, at_p, follows, stride_d, chunks, 0, D, R, False, ALIGN, EXACT
                )
                turned = tl.where(turns, turned, angle_of_cosine(uv / tl.sqrt(wide_uu * wide_vv)))
                moved = tl.where(moves, moved, wide_length(dd))
            if ROTATION:
                tl.store(rotation + out_before, tl.where(follows, turned, float("nan")), mask=before)
            if STEP:
                tl.store(step + out_before, tl.where(follows, moved, float("nan")), mask=before)
        # The next layer's rows are on their way while the neighbours are compared.
        at_p = at
        layer_at, next_text, next_pos = place(
            table, tl.minimum(layer + 1, last - 1), stride_layer, stride_text, stride_pos, LISTED
        )
        at_next = layer_at + text * next_text + pos.to(tl.int64) * next_pos
        more = here & (tl.full((R,), layer + 1, tl.int32) < last)
        if PREFETCH:
            coming = tile(base, at_next, more, d, stride_d, D, ALIGN)
        region = (n_layer * 0).to(tl.int64)
        for j in tl.static_range(LAGS):
            other = pos + (lag + j)
            there = other < n_pos
            pair = here & there
            if MASKED:
                seen = mask + text * mask_text + other.to(tl.int64) * mask_pos
                pair = pair & (tl.load(seen, mask=there, other=0) != 0)
            # The block's own rows again, from the nearest cache, and `lag` new ones.
            at_v = at + tl.full((R,), lag + j, tl.int64) * by_pos
            v = tile(base, at_v, pair, d, stride_d, D, ALIGN).to(tl.float32)
            vv = row_sum(v * v, R, WIDTH)
            angle = between(
                u, v, uu, vv, pair, base, at, at_v, stride_d, chunks, 0, D, R, WIDTH, False, ALIGN, EXACT
            )
            n_out = n_pos - (lag + j)
            tl.store(
                sequential + region + (layer.to(tl.int64) * n_batch + text) * n_out + pos, angle, mask=there
            )
            region += n_layer.to(tl.int64) * n_batch * n_out
        if CARRY:
            p = x
            pp = uu
        if PREFETCH:  # noqa: SIM108 (a branch that Triton decides when it compiles)
            x = coming
        else:
            x = tile(base, at_next, more, d, stride_d, D, ALIGN)
        at, by_text, by_pos = at_next, next_text, next_pos


@triton.jit(do_not_specialize=_PAIR_NUMBERS)
@no_type_check
def pair_kernel(
    base, pairs, angles, n_batch, n_pair, stride_layer, stride_text, stride_pos, stride_d, chunks,
    D: tl.constexpr, NC: tl.constexpr, R: tl.constexpr, C: tl.constexpr, ALIGN: tl.constexpr,
    EXACT: tl.constexpr,
):  # fmt: skip
    """R pairs of one text in one layer, gathered by index; `pairs` is int64 [batch pair 2], contiguous."""
    WIDTH: tl.constexpr = NC * C
    blocks = tl.cdiv(n_pair, R)
    text = (tl.program_id(0) // blocks).to(tl.int64)
    pair = (tl.program_id(0) % blocks) * R + tl.arange(0, R)
    inside = pair < n_pair
    ends = pairs + (text * n_pair + pair) * 2
    i = tl.load(ends, mask=inside, other=-1)
    j = tl.load(ends + 1, mask=inside, other=-1)
    real = (i >= 0) & (j >= 0)
    d = columns(NC, C)
    layer = tl.program_id(1).to(tl.int64)
    origin = layer * stride_layer + text * stride_text
    u = tile(base, origin + i * stride_pos, real, d, stride_d, D, ALIGN).to(tl.float32)
    v = tile(base, origin + j * stride_pos, real, d, stride_d, D, ALIGN).to(tl.float32)
    uu, vv = row_sum(u * u, R, WIDTH), row_sum(v * v, R, WIDTH)
    at_i, at_j = origin + i * stride_pos, origin + j * stride_pos
    angle = between(
        u, v, uu, vv, real, base, at_i, at_j, stride_d, chunks, 0, D, R, WIDTH, False, ALIGN, EXACT
    )
    tl.store(angles + (layer * n_batch + text) * n_pair + pair, angle, mask=inside)


@triton.jit(do_not_specialize=_TURNING_NUMBERS)
@no_type_check
def turning_kernel(
    base, angles, n_pos, stride_text, stride_pos, stride_d, chunks,
    D: tl.constexpr, NC: tl.constexpr, R: tl.constexpr, C: tl.constexpr, ALIGN: tl.constexpr,
    EXACT: tl.constexpr,
):  # fmt: skip
    """R turns of one text: three rows each, two of which the neighbouring turns read too."""
    WIDTH: tl.constexpr = NC * C
    n_turn = n_pos - 2
    blocks = tl.cdiv(n_turn, R)
    text = (tl.program_id(0) // blocks).to(tl.int64)
    turn = (tl.program_id(0) % blocks) * R + tl.arange(0, R)
    inside = turn < n_turn
    d = columns(NC, C)
    offsets = text * stride_text + turn.to(tl.int64) * stride_pos
    back = stride_pos.to(tl.int64)
    middle = tile(base, offsets + back, inside, d, stride_d, D, ALIGN).to(tl.float32)
    u = middle - tile(base, offsets, inside, d, stride_d, D, ALIGN).to(tl.float32)
    after = offsets + 2 * back
    v = tile(base, after, inside, d, stride_d, D, ALIGN).to(tl.float32) - middle
    uu, vv = row_sum(u * u, R, WIDTH), row_sum(v * v, R, WIDTH)
    at_u = offsets + back
    angle = between(
        u, v, uu, vv, inside, base, at_u, after, stride_d, chunks, back, D, R, WIDTH, True, ALIGN, EXACT
    )
    tl.store(angles + text * n_turn + turn, angle, mask=inside)
