"""The compiled loops of cpu.py. Each vector is read from memory once, as it lies there.

A tensor comes as the address of its first element, with strides in bytes, so that a list of layers needs no
stack and no layout a copy. Its dtype comes as that of an empty array, `like`: float32 and float64 as they
are, bfloat16 as uint16 and float16 as int16, whose bits `_wide` widens in registers.

Up to float32, coordinates are widened to float64 and the products u·u, u·v, v·v summed there: products of
float32 are exact, nothing overflows or vanishes at any norm, and the cosine is good to some 10⁻¹⁵, so that
arccos is wrong by √(2·10⁻¹⁵) = 4·10⁻⁸ rad at most, at 0 and π, and less elsewhere. float64 input would lose
half of its digits there: it gets Kahan's form, from vectors scaled by a power of two.

fastmath may reorder sums and contract products, no more: NaN and infinity keep their meaning.

This is one long file because numba's cache notices changes only in the file of the loop that it compiled.
"""

import math
import typing

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic, overload

_FASTMATH = {"reassoc", "contract", "nsz"}


def _helper(function):
    """Compiled with the loop that calls it, and cached in it."""
    return njit(fastmath=_FASTMATH, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def _loop(function):
    """Without the interpreter's lock; cached beside the package, or else for the user, or else not at all."""
    options = {"fastmath": _FASTMATH, "nogil": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder that it can write
        return njit(**options)(function)


@intrinsic
@typing.no_type_check
def _pointer(context, address, like):
    """The address as a pointer to what `like` holds."""

    def code(context, builder, signature, values):
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(address, like), code


@intrinsic
@typing.no_type_check
def _wide(context, number):
    """A coordinate as float64; bfloat16 (uint16) and float16 (int16) from their bits."""

    def code(context, builder, signature, values):
        from llvmlite import ir

        single, double, word = ir.FloatType(), ir.DoubleType(), ir.IntType(32)
        (value,) = values
        kind = signature.args[0]
        if kind == types.float64:
            return value
        if kind == types.float32:
            return builder.fpext(value, double)
        bits = builder.zext(value, word)
        if kind == types.uint16:
            return builder.fpext(builder.bitcast(builder.shl(bits, word(16)), single), double)
        size = builder.shl(builder.and_(bits, word(0x7FFF)), word(13))
        sign = builder.shl(builder.and_(bits, word(0x8000)), word(16))
        # The exponent is 112 too small; 2¹¹² is exact, and makes a subnormal number normal.
        scaled = builder.fmul(builder.bitcast(size, single), single(2.0**112))
        scaled = builder.bitcast(scaled, word)
        special = builder.icmp_unsigned(">=", size, word(0x7C00 << 13))  # infinity or NaN
        scaled = builder.select(special, builder.or_(size, word(0x7F800000)), scaled)
        return builder.fpext(builder.bitcast(builder.or_(scaled, sign), single), double)

    return types.float64(number), code


@_helper
@typing.no_type_check
def _row(address, d_model, hop, like, spare):
    """The vector at an address; gathered into `spare` if its coordinates do not lie side by side."""
    if hop == like.itemsize:
        return carray(_pointer(address, like), (d_model,))
    for j in range(d_model):
        spare[j] = carray(_pointer(address + j * hop, like), (1,))[0]
    return spare


@_helper
@typing.no_type_check
def _store(address, index, value, result):
    """Writes into an output, whose dtype is that of the empty array `result`."""
    carray(_pointer(address + index * result.itemsize, result), (1,))[0] = value


@_helper
@typing.no_type_check
def _spare(layout, d_model, like):
    """Room for gathered vectors, if there are any to gather."""
    gathered = False
    for layer in range(len(layout)):
        gathered = gathered or layout[layer, -1] != like.itemsize
    return np.empty((3, d_model if gathered else 0), like.dtype)


@_helper
@typing.no_type_check
def _first(address, place, shape, strides):
    """Address of the first vector of a sequence; `place` counts the sequences in row-major order."""
    for axis in range(len(shape) - 2, -1, -1):
        address += (place % shape[axis]) * strides[axis]
        place //= shape[axis]
    return address


@_helper
@typing.no_type_check
def _places(shape):
    """How many sequences there are: all axes but the last."""
    places = 1
    for axis in range(len(shape) - 1):
        places *= shape[axis]
    return places


@_helper
@typing.no_type_check
def _reach(outputs):
    """The largest lag that is wanted."""
    reach = 0
    for lag in range(1, 5):
        if outputs[lag - 1] != 0:
            reach = lag
    return reach


# ---- up to float32: sums of products in float64


@_helper
@typing.no_type_check
def _square(u):
    uu = 0.0
    for j in range(len(u)):
        a = _wide(u[j])
        uu += a * a
    return uu


@_helper
@typing.no_type_check
def _product(u, v):
    uv = 0.0
    for j in range(len(u)):
        uv += _wide(u[j]) * _wide(v[j])
    return uv


@_helper
@typing.no_type_check
def _square_and_product(u, v):
    uu = uv = 0.0
    for j in range(len(u)):
        a = _wide(u[j])
        uu += a * a
        uv += a * _wide(v[j])
    return uu, uv


@_helper
@typing.no_type_check
def _square_and_products(u, v, w):
    uu = uv = uw = 0.0
    for j in range(len(u)):
        a = _wide(u[j])
        uu += a * a
        uv += a * _wide(v[j])
        uw += a * _wide(w[j])
    return uu, uv, uw


@_helper
@typing.no_type_check
def _angle_of(uv, uu, vv):
    if not (0.0 < uu < math.inf and 0.0 < vv < math.inf):
        return math.nan
    return math.acos(min(1.0, max(-1.0, uv / math.sqrt(uu * vv))))


@_helper
@typing.no_type_check
def _distance_of(u, v, uu, vv, uv):
    """‖u − v‖; from the products unless they cancel."""
    if not (uu < math.inf and vv < math.inf):
        return math.nan
    square = uu + vv - 2.0 * uv
    if square < 1e-6 * (uu + vv):
        square = 0.0
        for j in range(len(u)):
            step = _wide(u[j]) - _wide(v[j])
            square += step * step
    return math.sqrt(square)


@_helper
@typing.no_type_check
def _narrow_pair(u, v):
    uu = uv = vv = 0.0
    for j in range(len(u)):
        a, b = _wide(u[j]), _wide(v[j])
        uu += a * a
        uv += a * b
        vv += b * b
    return _angle_of(uv, uu, vv)


@_helper
@typing.no_type_check
def _narrow_turn(u, v, w, spare):
    """Angle between v − u and w − v."""
    ss = st = tt = 0.0
    for j in range(len(u)):
        middle = _wide(v[j])
        s, t = middle - _wide(u[j]), _wide(w[j]) - middle
        ss += s * s
        st += s * t
        tt += t * t
    return _angle_of(st, ss, tt)


@_helper
@typing.no_type_check
def _narrow_block(place, start, stop, addresses, layout, shape, d_model, like, outputs, result):
    """One sequence's positions start … stop−1 through all layers; see `profile` on the outputs."""
    rotation, norm, step = outputs[4], outputs[5], outputs[6]
    n_pos, n_places, reach = shape[-1], _places(shape), _reach(outputs)
    last = min(stop + reach, n_pos)
    squares = np.empty((2, last - start))
    spare = _spare(layout, d_model, like)
    for layer in range(len(addresses)):
        pitch, hop = layout[layer, -2], layout[layer, -1]
        base = _first(addresses[layer], place, shape, layout[layer])
        above = max(layer - 1, 0)
        under = _first(addresses[above], place, shape, layout[above])
        here, before = squares[layer % 2], squares[1 - layer % 2]
        turned = layer > 0 and (rotation != 0 or step != 0)
        row, row_above = layer * n_places + place, (layer - 1) * n_places + place
        for p in range(start, last):
            i = p - start
            u = _row(base + p * pitch, d_model, hop, like, spare[0])
            back = outputs[0] != 0 and 1 <= i <= stop - start
            turns = turned and p < stop
            uu = uv = uw = 0.0
            v = w = u
            if back:
                v = _row(base + (p - 1) * pitch, d_model, hop, like, spare[1])
            if turns:
                w = _row(under + p * layout[above, -2], d_model, layout[above, -1], like, spare[2])
            if back and turns:
                uu, uv, uw = _square_and_products(u, v, w)
            elif back or turns:
                uu, uv = _square_and_product(u, v if back else w)
                uw = uv
            else:
                uu = _square(u)
            here[i] = uu
            if back:
                _store(outputs[0], row * (n_pos - 1) + p - 1, _angle_of(uv, uu, here[i - 1]), result)
            if turns and rotation != 0:
                _store(rotation, row_above * n_pos + p, _angle_of(uw, uu, before[i]), result)
            if turns and step != 0:
                _store(step, row_above * n_pos + p, _distance_of(u, w, uu, before[i], uw), result)
            if norm != 0 and p < stop:
                _store(norm, row * n_pos + p, math.sqrt(uu) if uu < math.inf else math.nan, result)
            for lag in range(2, min(reach, i) + 1):
                if outputs[lag - 1] != 0 and p - lag < stop:
                    v = _row(base + (p - lag) * pitch, d_model, hop, like, spare[1])
                    angle = _angle_of(_product(u, v), uu, here[i - lag])
                    _store(outputs[lag - 1], row * (n_pos - lag) + p - lag, angle, result)


# ---- float64: Kahan's form


@_helper
@typing.no_type_check
def _length(u):
    """‖u‖ as a length and the power of two it was scaled by, so that no square overflows or vanishes."""
    total = 0.0
    for j in range(len(u)):
        total += u[j] * u[j]
    if 1e-200 < total < 1e200:
        return math.sqrt(total), 1.0
    largest = 0.0
    for j in range(len(u)):
        largest = max(largest, abs(u[j]))
    if not largest < math.inf:
        return math.nan, 1.0
    scale = math.ldexp(1.0, -max(math.frexp(largest)[1], -1000))
    total = 0.0
    for j in range(len(u)):
        total += (u[j] * scale) * (u[j] * scale)
    return math.sqrt(total), scale


@_helper
@typing.no_type_check
def _kahan(u, scale_u, length_u, v, scale_v, length_v):
    if not (length_u > 0.0 and length_v > 0.0):
        return math.nan
    near = far = 0.0
    for j in range(len(u)):
        a, b = u[j] * scale_u / length_u, v[j] * scale_v / length_v
        near += (a - b) * (a - b)
        far += (a + b) * (a + b)
    return 2.0 * math.atan2(math.sqrt(near), math.sqrt(far))


@_helper
@typing.no_type_check
def _wide_pair(u, v):
    length_u, scale_u = _length(u)
    length_v, scale_v = _length(v)
    return _kahan(u, scale_u, length_u, v, scale_v, length_v)


@_helper
@typing.no_type_check
def _wide_turn(u, v, w, spare):
    for j in range(len(u)):
        spare[0, j], spare[1, j] = v[j] - u[j], w[j] - v[j]
    return _wide_pair(spare[0], spare[1])


@_helper
@typing.no_type_check
def _wide_distance(u, v, difference):
    for j in range(len(u)):
        difference[j] = u[j] - v[j]
    length, scale = _length(difference)
    return math.inf if math.isnan(length) else length / scale


@_helper
@typing.no_type_check
def _wide_block(place, start, stop, addresses, layout, shape, d_model, like, outputs, result):
    """One sequence's positions start … stop−1 through all layers; see `profile` on the outputs."""
    rotation, norm, step = outputs[4], outputs[5], outputs[6]
    n_pos, n_places, reach = shape[-1], _places(shape), _reach(outputs)
    last = min(stop + reach, n_pos)
    scales, lengths = np.empty((2, last - start)), np.empty((2, last - start))
    spare, difference = _spare(layout, d_model, like), np.empty(d_model)
    for layer in range(len(addresses)):
        base = _first(addresses[layer], place, shape, layout[layer])
        now, then = layer % 2, 1 - layer % 2
        row, row_above = layer * n_places + place, (layer - 1) * n_places + place
        for p in range(start, last):
            i = p - start
            u = _row(base + p * layout[layer, -2], d_model, layout[layer, -1], like, spare[0])
            length, scale = _length(u)
            scales[now, i], lengths[now, i] = scale, length
            if norm != 0 and p < stop:
                _store(norm, row * n_pos + p, length / scale, result)
            for lag in range(1, min(reach, i) + 1):
                if outputs[lag - 1] != 0 and p - lag < stop:
                    address = base + (p - lag) * layout[layer, -2]
                    v = _row(address, d_model, layout[layer, -1], like, spare[1])
                    angle = _kahan(u, scale, length, v, scales[now, i - lag], lengths[now, i - lag])
                    _store(outputs[lag - 1], row * (n_pos - lag) + p - lag, angle, result)
            if layer == 0 or p >= stop:
                continue
            before = layout[layer - 1]
            address = _first(addresses[layer - 1], place, shape, before) + p * before[-2]
            v = _row(address, d_model, before[-1], like, spare[1])
            if rotation != 0:
                angle = _kahan(u, scale, length, v, scales[then, i], lengths[then, i])
                _store(rotation, row_above * n_pos + p, angle, result)
            if step != 0:
                finite = not math.isnan(length + lengths[then, i])
                distance = _wide_distance(u, v, difference) if finite else math.nan
                _store(step, row_above * n_pos + p, distance, result)


# ---- either, by dtype


@typing.no_type_check
def _pair(u, v):
    """Angle between two vectors."""


@typing.no_type_check
def _turn(u, v, w, spare):
    """Turn of a path through three points."""


@typing.no_type_check
def _block(place, start, stop, addresses, layout, shape, d_model, like, outputs, result):
    """All measures of one sequence's positions start … stop−1."""


@overload(_pair)
@typing.no_type_check
def _choose_pair(u, v):
    if u.dtype == types.float64:
        return lambda u, v: _wide_pair(u, v)
    return lambda u, v: _narrow_pair(u, v)


@overload(_turn)
@typing.no_type_check
def _choose_turn(u, v, w, spare):
    if u.dtype == types.float64:
        return lambda u, v, w, spare: _wide_turn(u, v, w, spare)
    return lambda u, v, w, spare: _narrow_turn(u, v, w, spare)


@overload(_block)
@typing.no_type_check
def _choose_block(place, start, stop, addresses, layout, shape, d_model, like, outputs, result):
    if like.dtype == types.float64:
        return lambda place, start, stop, addresses, layout, shape, d_model, like, outputs, result: (
            _wide_block(place, start, stop, addresses, layout, shape, d_model, like, outputs, result)
        )
    return lambda place, start, stop, addresses, layout, shape, d_model, like, outputs, result: _narrow_block(
        place, start, stop, addresses, layout, shape, d_model, like, outputs, result
    )


@_loop
@typing.no_type_check
def profile(begin, end, rows, length, addresses, layout, shape, d_model, like, result, outputs):
    """All measures at once: `rows` positions of a sequence after another, each through all layers.

    `outputs` are addresses, 0 for what is not wanted: sequential angles at lags 1 … 4 [layer sequence
    pos-lag], rotation [layer-1 sequence pos], norm [layer sequence pos], step [layer-1 sequence pos]. As in
    all loops, `begin` … `end`−1 are blocks: those of the first sequence, then those of the second.
    """
    blocks = (length + rows - 1) // rows
    for index in range(begin, end):
        start = index % blocks * rows
        stop = min(start + rows, length)
        _block(index // blocks, start, stop, addresses, layout, shape, d_model, like, outputs, result)


@_loop
@typing.no_type_check
def angles(begin, end, rows, length, addresses, layout, shape, d_model, like, result, out):
    """Angles between two tensors of one shape, place by place; `out` is the address of [sequence last]."""
    blocks = (length + rows - 1) // rows
    spare = _spare(layout, d_model, like)
    for index in range(begin, end):
        place, start = index // blocks, index % blocks * rows
        first = _first(addresses[0], place, shape, layout[0])
        second = _first(addresses[1], place, shape, layout[1])
        for p in range(start, min(start + rows, length)):
            u = _row(first + p * layout[0, -2], d_model, layout[0, -1], like, spare[0])
            v = _row(second + p * layout[1, -2], d_model, layout[1, -1], like, spare[1])
            _store(out, place * length + p, _pair(u, v), result)


@_loop
@typing.no_type_check
def chosen(begin, end, rows, length, addresses, layout, shape, d_model, like, result, out, pairs, along):
    """Angles between the positions of pairs [batch pair 2]; `out` is the address of [sequence pair].

    `pairs` is the address of int64 numbers; `along` holds the length of the batch, and strides in bytes.
    """
    blocks = (length + rows - 1) // rows
    strides, spare = layout[0], _spare(layout, d_model, like)
    for index in range(begin, end):
        place, start = index // blocks, index % blocks * rows
        base = _first(addresses[0], place, shape, strides)
        text = pairs + place % along[0] * along[1]
        for k in range(start, min(start + rows, length)):
            i = carray(_pointer(text + k * along[2], along), (1,))[0]
            j = carray(_pointer(text + k * along[2] + along[3], along), (1,))[0]
            angle = math.nan
            if i >= 0 and j >= 0:
                u = _row(base + i * strides[-2], d_model, strides[-1], like, spare[0])
                v = _row(base + j * strides[-2], d_model, strides[-1], like, spare[1])
                angle = _pair(u, v)
            _store(out, place * length + k, angle, result)


@_loop
@typing.no_type_check
def turns(begin, end, rows, length, addresses, layout, shape, d_model, like, result, out):
    """Angles between successive differences along positions; `out` is the address of [sequence pos−2]."""
    blocks = (length + rows - 1) // rows
    strides, spare = layout[0], _spare(layout, d_model, like)
    differences = np.empty((2, d_model), like.dtype)
    for index in range(begin, end):
        place, start = index // blocks, index % blocks * rows
        base = _first(addresses[0], place, shape, strides)
        for p in range(start, min(start + rows, length)):
            u = _row(base + p * strides[-2], d_model, strides[-1], like, spare[0])
            v = _row(base + (p + 1) * strides[-2], d_model, strides[-1], like, spare[1])
            w = _row(base + (p + 2) * strides[-2], d_model, strides[-1], like, spare[2])
            _store(out, place * length + p, _turn(u, v, w, differences), result)
