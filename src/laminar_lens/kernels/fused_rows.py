"""What the Triton kernels do with tiles of rows: load, sum, and the angle between two of them.

A tile is [chunk, row, column] with the rows in the middle: a warp then holds whole rows where they fit, and
sums over a row need no barrier. Every coordinate is read once into registers and used from there twice, first
for the squared length, then for ‖u − (‖u‖/‖v‖)·v‖ = ‖u‖·‖û − v̂‖: Kahan's form with one fused multiply-add in
place of two divisions. With near = ‖û − v̂‖ the other half of the form is far = √(4 − near²), exact enough
while near² ≤ 2.5. What lies beyond (angles above 105°, lengths near the ends of the exponent, vectors without
a direction) is rare; those rows are read again, from the cache, and take float64 inner products.

Source: Kahan's two-argument form; see reference.py.
"""

from typing import no_type_check

import triton
import triton.language as tl

# Squared lengths between them leave room for float32 squares of differences 10⁷ times smaller or √d larger.
_LOW = tl.constexpr(1e-16)
_HIGH = tl.constexpr(1e30)
# Beyond it tan(θ/2) ≥ 1.3 multiplies the error of near², and one massive dimension makes that 3e-7 or more.
_NEAR = tl.constexpr(2.5)
_PI = tl.constexpr(3.141592653589793)
_TAN_EIGHTH = tl.constexpr(0.4142135623730951)


@triton.jit
@no_type_check
def row_sum(values, R: tl.constexpr, WIDTH: tl.constexpr):
    """Sum over the coordinates of each row, inside a thread first."""
    return tl.sum(tl.reshape(tl.permute(values, (1, 0, 2)), (R, WIDTH)), axis=1)


@triton.jit
@no_type_check
def atan2(y, x):
    """Angle of (x, y) for y ≥ 0, in [0, π], NaN for (0, 0); Triton's own does not run in its interpreter."""
    level = tl.abs(x)
    low, high = tl.minimum(y, level), tl.maximum(y, level)
    steep = low > _TAN_EIGHTH * high
    t = tl.div_rn(tl.where(steep, low - high, low), tl.where(steep, low + high, high))
    z = t * t
    # Chebyshev fit of (atan t − t)/t³ on [0, tan π/8]: 2e-8 from atan in float32.
    series = -0.06459376 * z + 0.10746298
    series = series * z - 0.14264233
    series = series * z + 0.1999955
    series = series * z - 0.33333332
    angle = tl.where(steep, _PI / 4, 0.0) + (t + t * z * series)
    angle = tl.where(y > level, _PI / 2 - angle, angle)
    return tl.where(x < 0, _PI - angle, angle)


@triton.jit
@no_type_check
def angle_of_cosine(cosine):
    """Angle from a float64 cosine, 2e-8 from the truth where the cosine is exact to 2⁻⁵²; NaN from NaN."""
    sine2 = tl.maximum((1.0 - cosine) * (1.0 + cosine), 0.0).to(tl.float32)
    angle = atan2(tl.sqrt_rn(sine2), cosine.to(tl.float32))
    return tl.where(cosine == cosine, angle, float("nan"))


@triton.jit
@no_type_check
def columns(NC: tl.constexpr, C: tl.constexpr):
    """Indices along d_model, [chunk, 1, column]."""
    return (tl.arange(0, NC) * C)[:, None, None] + tl.arange(0, C)[None, None, :]


@triton.jit
@no_type_check
def tile(base, offsets, wanted, d, stride_d, D: tl.constexpr, ALIGN: tl.constexpr):
    """Rows at `offsets`, zero where unwanted or beyond `D`. ALIGN divides the offsets: wide loads need it."""
    # Exact; written out because Triton drops its hint `multiple_of` from tensors of one element.
    start = ((offsets // ALIGN) * ALIGN)[None, :, None]
    return tl.load(
        base + (start + d.to(tl.int64) * stride_d),
        mask=wanted[None, :, None] & (d < D),
        other=0.0,
    )


@triton.jit
@no_type_check
def products(base, at_u, at_v, wanted, stride_d, chunks, back, D: tl.constexpr, R: tl.constexpr,
              TURN: tl.constexpr, ALIGN: tl.constexpr, EXACT: tl.constexpr):  # fmt: skip
    """u·u, v·v, u·v and (u − v)·(u − v) in float64, from the cache, EXACT columns at a time.

    With TURN the vectors are differences in float32, to the rows `back` elements before.
    """
    uu = tl.zeros((1, R, EXACT), tl.float64)
    vv, uv, dd = uu, uu, uu
    for chunk in range(chunks):  # a number known only at run time: this rare loop shall not be unrolled
        d = chunk * EXACT + columns(1, EXACT)
        u = tile(base, at_u, wanted, d, stride_d, D, ALIGN).to(tl.float32)
        v = tile(base, at_v, wanted, d, stride_d, D, ALIGN).to(tl.float32)
        if TURN:
            u -= tile(base, at_u - back, wanted, d, stride_d, D, ALIGN).to(tl.float32)
            v -= tile(base, at_v - back, wanted, d, stride_d, D, ALIGN).to(tl.float32)
        wide_u, wide_v = u.to(tl.float64), v.to(tl.float64)
        uu += wide_u * wide_u
        vv += wide_v * wide_v
        uv += wide_u * wide_v
        dd += (wide_u - wide_v) * (wide_u - wide_v)
    return row_sum(uu, R, EXACT), row_sum(vv, R, EXACT), row_sum(uv, R, EXACT), row_sum(dd, R, EXACT)


@triton.jit
@no_type_check
def any_of(flags):
    """Whether a flag of any row is set."""
    return tl.max(flags.to(tl.int32), axis=0) > 0


@triton.jit
@no_type_check
def near(u, v, uu, vv, R: tl.constexpr, WIDTH: tl.constexpr):
    """‖û − v̂‖² between rows whose squared lengths are known, and whether float32 could hold it."""
    ratio = tl.sqrt_rn(tl.div_rn(uu, vv))
    gap = tl.fma(tl.broadcast_to(-ratio[None, :, None], v.shape), v, u)
    near2 = tl.div_rn(row_sum(gap * gap, R, WIDTH), uu)
    return near2, (near2 <= _NEAR) & (uu > _LOW) & (uu < _HIGH) & (vv > _LOW) & (vv < _HIGH)


@triton.jit
@no_type_check
def angle_of_near(near2):
    """Angle by ‖û − v̂‖² of two unit vectors."""
    return 2.0 * atan2(tl.sqrt_rn(near2), tl.sqrt_rn(4.0 - near2))


@triton.jit
@no_type_check
def between(u, v, uu, vv, wanted, base, at_u, at_v, stride_d, chunks, back, D: tl.constexpr, R: tl.constexpr,
             WIDTH: tl.constexpr, TURN: tl.constexpr, ALIGN: tl.constexpr, EXACT: tl.constexpr):  # fmt: skip
    """Angle between the rows of two float32 tiles; NaN where not wanted."""
    near2, simple = near(u, v, uu, vv, R, WIDTH)
    angle = angle_of_near(tl.where(simple, near2, 0.0))
    if any_of(wanted & (simple == 0)):
        wide_uu, wide_vv, uv, _ = products(
            base, at_u, at_v, wanted, stride_d, chunks, back, D, R, TURN, ALIGN, EXACT
        )
        angle = tl.where(simple, angle, angle_of_cosine(uv / tl.sqrt(wide_uu * wide_vv)))
    return tl.where(wanted, angle, float("nan"))


@triton.jit
@no_type_check
def wide_length(squared):
    """Length by its float64 square: inf where float32 cannot hold it, NaN where the square is not finite."""
    return tl.where(squared < float("inf"), tl.sqrt(squared).to(tl.float32), float("nan"))


@triton.jit
@no_type_check
def fits(squared):
    """Whether a squared length is far enough from the ends of float32's exponent."""
    return (squared > _LOW) & (squared < _HIGH)


@triton.jit
@no_type_check
def place(table, layer, stride_layer, stride_text, stride_pos, LISTED: tl.constexpr):
    """Where a layer begins, and its strides: by a rule, or from a table [layer 3]."""
    if LISTED:
        row = table + layer * 3
        return tl.load(row), tl.load(row + 1), tl.load(row + 2)
    else:
        return layer.to(tl.int64) * stride_layer, stride_text.to(tl.int64), stride_pos.to(tl.int64)
