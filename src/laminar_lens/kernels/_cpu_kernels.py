"""The compiled loops of cpu.py. Each vector is read from memory once, as it lies there.

A tensor comes as the address of its first element, with strides in bytes, so that a list of layers needs no
stack and no layout a copy. Its dtype comes as that of an empty array, `like`: float32 and float64 as they
are, bfloat16 as uint16 and float16 as int16, whose bits `_widened` widens in registers.

Up to float32, coordinates are widened to float64 and the products u·u, u·v, v·v summed there: products of
float32 are exact, nothing overflows or vanishes at any norm, and the cosine is good to some 10⁻¹⁵, so that
arccos is wrong by √(2·10⁻¹⁵) = 4·10⁻⁸ rad at most, at 0 and π, and less elsewhere. float64 input would lose
half of its digits there: it gets Kahan's form, from vectors scaled by a power of two.

Products in float32 would be twice as fast, and are too coarse: each is wrong by 2⁻²⁴ = 6·10⁻⁸ of itself, and
beside a massive activation one product is nearly the whole sum. Then 3·6·10⁻⁸/2 of u·u, v·v and u·v is
9·10⁻⁸ rad at π/4, 10⁻⁶ rad at 0.1 and 3·10⁻⁴ at 0, where the result, rounded to float32, may be 1.2·10⁻⁷.

These sums are written in vectors of `_LANES` numbers each (`_sums`), not left to the compiler: LLVM would
choose half of the width that the machine has, and another order of the sum for each loop. So u·u has the same
bits whatever it is summed beside, in whatever block, on however many threads, and on whatever machine; the
products are exact, so that neither does a fused multiply-add change them. Four vectors at a time share each
other's conversions to float64, which cost as much as the products. The processor does not foresee so many
streams: from memory they are as fast as one only where the next four vectors are asked for meanwhile.

For the rest fastmath may reorder sums and contract products, no more: NaN and infinity keep their meaning.

This is one long file because numba's cache notices changes only in the file of the loop that it compiled.
"""

import math
import typing

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

_FASTMATH = {"reassoc", "contract", "nsz"}
_DIVIDING = {"error_model": "numpy"}
"""A division by zero is infinite or NaN, not an exception, for which every loop would branch."""
_LANES = 16


def _helper(function):
    """Compiled with the loop that calls it, and cached in it."""
    return njit(fastmath=_FASTMATH, no_cpython_wrapper=True, no_cfunc_wrapper=True, **_DIVIDING)(function)


def _ordered(function):
    """The same with every sum in the order that is written."""
    return njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_DIVIDING)(function)


def _loop(function):
    """Without the interpreter's lock; cached beside the package, or else for the user, or else not at all."""
    options = {"fastmath": _FASTMATH, "nogil": True, **_DIVIDING}
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


def _widened(builder, kind, value):
    """A coordinate, or a vector of them, as float64; bfloat16 (uint16), float16 (int16) from their bits."""
    from llvmlite import ir

    lanes = getattr(value.type, "count", 0)

    def of(base):
        return ir.VectorType(base, lanes) if lanes else base

    def word(number, base=None):
        one = ir.Constant(base or ir.IntType(32), number)
        return ir.Constant(of(one.type), [one] * lanes) if lanes else one

    single, double, bits32 = of(ir.FloatType()), of(ir.DoubleType()), of(ir.IntType(32))
    if kind == types.float64:
        return value
    if kind == types.float32:
        return builder.fpext(value, double)
    bits = builder.zext(value, bits32)
    if kind == types.uint16:
        return builder.fpext(builder.bitcast(builder.shl(bits, word(16)), single), double)
    size = builder.shl(builder.and_(bits, word(0x7FFF)), word(13))
    sign = builder.shl(builder.and_(bits, word(0x8000)), word(16))
    # The exponent is 112 too small; 2¹¹² is exact, and makes a subnormal number normal.
    scaled = builder.fmul(builder.bitcast(size, single), word(2.0**112, ir.FloatType()))
    scaled = builder.bitcast(scaled, bits32)
    special = builder.icmp_unsigned(">=", size, word(0x7C00 << 13))  # infinity or NaN
    scaled = builder.select(special, builder.or_(size, word(0x7F800000)), scaled)
    return builder.fpext(builder.bitcast(builder.or_(scaled, sign), single), double)


def _halves_added(builder, vector):
    """The sum of a vector's lanes, always in the same order."""
    from llvmlite import ir

    word, count = ir.IntType(32), vector.type.count
    while count > 1:
        count //= 2
        low, high = (
            ir.Constant(ir.VectorType(word, count), [ir.Constant(word, at + i) for i in range(count)])
            for at in (0, count)
        )
        nothing = ir.Constant(vector.type, ir.Undefined)
        vector = builder.fadd(
            builder.shuffle_vector(vector, nothing, low), builder.shuffle_vector(vector, nothing, high)
        )
    return builder.extract_element(vector, word(0))


def _fetch(builder, place):
    """Asks for what lies at a place to be brought into a core's own cache; no place is an error."""
    from llvmlite import ir

    word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    # To read; into the second level, as the first has no room for what is read later; of data.
    builder.call(prefetch, [builder.bitcast(place, byte), word(0), word(2), word(1)])


def _sums(n_sums, factors, n_next=0):
    """A function of a tuple of vectors: sums over the coordinates of products, of what `factors` gives.

    `factors(builder, coordinates)` takes a float64 value for each vector, and gives `n_sums` pairs of values.
    The last `n_next` vectors are not read, only fetched for the next call; they need not exist.
    """

    @intrinsic
    @typing.no_type_check
    def sums(context, vectors):
        def code(context, builder, signature, values):
            from llvmlite import ir

            kind = signature.args[0]
            arrays = [
                context.make_array(kind.dtype)(context, builder, builder.extract_value(values[0], i))
                for i in range(kind.count)
            ]
            arrays, upcoming = arrays[: kind.count - n_next], arrays[kind.count - n_next :]
            item, element = kind.dtype.dtype, arrays[0].data.type.pointee
            length = builder.extract_value(arrays[0].shape, 0)
            word = length.type
            wide, narrow = ir.VectorType(ir.DoubleType(), _LANES), ir.VectorType(element, _LANES)
            nothing = ir.Constant(wide, [ir.Constant(ir.DoubleType(), 0.0)] * _LANES)
            totals = [cgutils.alloca_once_value(builder, nothing) for _ in range(n_sums)]
            whole = builder.udiv(length, word(_LANES))
            with cgutils.for_range(builder, whole) as loop:
                at = builder.mul(loop.index, word(_LANES))
                for array in upcoming:
                    _fetch(builder, builder.gep(array.data, [at]))
                places = [builder.gep(array.data, [at]) for array in arrays]
                loaded = [
                    builder.load(builder.bitcast(place, narrow.as_pointer()), align=item.bitwidth // 8)
                    for place in places
                ]
                _add_products(builder, totals, factors, [_widened(builder, item, x) for x in loaded])
            rest = [
                cgutils.alloca_once_value(builder, _halves_added(builder, builder.load(total)))
                for total in totals
            ]
            begin = builder.mul(whole, word(_LANES))
            with cgutils.for_range_slice(builder, begin, length, word(1)) as (at, _):
                loaded = [builder.load(builder.gep(array.data, [at])) for array in arrays]
                _add_products(builder, rest, factors, [_widened(builder, item, x) for x in loaded])
            found = [builder.load(total) for total in rest]
            return context.make_tuple(builder, signature.return_type, found)

        return types.UniTuple(types.float64, n_sums)(vectors), code

    return sums


def _add_products(builder, totals, factors, coordinates):
    for total, (a, b) in zip(totals, factors(builder, coordinates), strict=True):
        product = builder.fmul(a, b, flags=["contract"])
        builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)


def _turning_factors(builder, x):
    first, second = builder.fsub(x[1], x[0]), builder.fsub(x[2], x[1])
    return (first, first), (first, second), (second, second)


def _difference_factors(builder, x):
    step = builder.fsub(x[0], x[1])
    return ((step, step),)


_square, _square_and_product, _square_and_two = (
    _sums(count, lambda builder, x: [(x[0], y) for y in x]) for count in (1, 2, 3)
)
_product = _sums(1, lambda builder, x: [(x[0], x[1])])
_pair_products = _sums(3, lambda builder, x: [(x[0], x[0]), (x[0], x[1]), (x[1], x[1])])
_turn_products = _sums(3, _turning_factors)
_difference_square = _sums(1, _difference_factors)
# Vectors 1 … 4 with themselves and with the one before, then each with another of its own, 5 … 8. Four more
# follow, which are next.
_four = _sums(8, lambda builder, x: [(x[i], x[i - lag]) for lag in (0, 1) for i in (1, 2, 3, 4)], 4)
_four_above = _sums(
    12, lambda builder, x: [(x[i], x[i + step]) for step in (0, -1, 4) for i in (1, 2, 3, 4)], 4
)


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


@_ordered
@typing.no_type_check
def _arccos(x):
    """arccos within 4·10⁻¹⁶, without a branch or a call, so that a loop of it runs in vectors.

    The arcsine of |x|, or above 1/2 of √((1 − |x|)/2), by the rational function of FreeBSD's e_asin.c (Sun
    Microsystems, 1993).
    """
    size = abs(x)
    far = size > 0.5
    z = 0.5 * (1.0 - size) if far else size * size
    s = math.sqrt(z)
    over = 7.91534994289814532176e-04 + z * 3.47933107596021167570e-05
    over = 2.01212532134862925881e-01 + z * (-4.00555345006794114027e-02 + z * over)
    over = z * (1.66666666666666657415e-01 + z * (-3.25565818622400915405e-01 + z * over))
    under = 2.02094576023350569471e00 + z * (-6.88283971605453293030e-01 + z * 7.70381505559019352791e-02)
    under = 1.0 + z * (-2.40339491173441421878e00 + z * under)
    r = s + s * (over / under)
    around = math.pi if far else 0.5 * math.pi
    turned = 2.0 * r if far else r
    ahead = turned if far else around - turned
    return around - turned if far and x < 0.0 else around + turned if x < 0.0 else ahead


@_ordered
@typing.no_type_check
def _angle_of(uv, uu, vv):
    cosine = uv / math.sqrt(uu * vv)
    angle = _arccos(min(1.0, max(-1.0, cosine)))
    return angle if 0.0 < uu < math.inf and 0.0 < vv < math.inf else math.nan


@_ordered
@typing.no_type_check
def _store_angles(address, at, products, first, second, result):
    """The angles of products u·v and squares u·u, v·v, at the address of an output, from place `at` on."""
    out = carray(_pointer(address + at * result.itemsize, result), (len(products),))
    for i in range(len(products)):
        out[i] = _angle_of(products[i], first[i], second[i])


@_ordered
@typing.no_type_check
def _store_norms(address, at, squares, result):
    out = carray(_pointer(address + at * result.itemsize, result), (len(squares),))
    for i in range(len(squares)):
        out[i] = math.sqrt(squares[i]) if squares[i] < math.inf else math.nan


@_ordered
@typing.no_type_check
def _store_steps(address, at, sums, before, u, near, w, far, d_model, like, spare, result):
    """‖u − w‖ from the products unless they cancel; `u` and `w` are addresses of the first two vectors."""
    out = carray(_pointer(address + at * result.itemsize, result), (sums.shape[1],))
    for i in range(sums.shape[1]):
        uu, ww = sums[0, i], before[0, i]
        square = uu + ww - 2.0 * sums[2, i]
        if not (uu < math.inf and ww < math.inf):
            square = math.nan
        elif square < 1e-6 * (uu + ww):
            here = _row(u + i * near[-2], d_model, near[-1], like, spare[0])
            there = _row(w + i * far[-2], d_model, far[-1], like, spare[2])
            (square,) = _difference_square((here, there))
        out[i] = math.sqrt(square)


@_ordered
@typing.no_type_check
def _narrow_pair(u, v):
    uu, uv, vv = _pair_products((u, v))
    return _angle_of(uv, uu, vv)


@_ordered
@typing.no_type_check
def _narrow_turn(u, v, w, spare):
    """Angle between v − u and w − v."""
    ss, st, tt = _turn_products((u, v, w))
    return _angle_of(st, ss, tt)


@_ordered
@typing.no_type_check
def _rows(address, pitch, d_model, like):
    """Four vectors, `pitch` bytes apart."""
    a = carray(_pointer(address, like), (d_model,))
    b = carray(_pointer(address + pitch, like), (d_model,))
    c = carray(_pointer(address + 2 * pitch, like), (d_model,))
    d = carray(_pointer(address + 3 * pitch, like), (d_model,))
    return a, b, c, d


@_ordered
@typing.no_type_check
def _summed_four(start, last, first, pitch, above, pitch_above, d_model, like, sums):
    """`sums` of positions start … last−1, four at a time; the last four may overlap those before.

    sums[0] is u·u, sums[1] u·v with the position before (itself for the first), sums[2] u·w with the layer
    before, if `above` is not 0.
    """
    for begin in range(start, last, 4):
        p = min(begin, last - 4)
        at, i = first + p * pitch, p - start
        behind = (carray(_pointer(at - pitch * (p > start), like), (d_model,)),)
        here = behind + _rows(at, pitch, d_model, like)
        upcoming = _rows(at + 4 * pitch, pitch, d_model, like)
        if above == 0:
            found = _four(here + upcoming)
            for k in range(4):
                sums[0, i + k], sums[1, i + k] = found[k], found[4 + k]
        else:
            there = _rows(above + p * pitch_above, pitch_above, d_model, like)
            found = _four_above(here + there + upcoming)
            for k in range(4):
                sums[0, i + k], sums[1, i + k], sums[2, i + k] = found[k], found[4 + k], found[8 + k]


@_ordered
@typing.no_type_check
def _summed_one(start, stop, last, first, near, above, far, back, d_model, like, spare, sums):
    """The same one position after another, from any layout, and only what is wanted."""
    for p in range(start, last):
        i = p - start
        u = _row(first + p * near[-2], d_model, near[-1], like, spare[0])
        v = w = u
        behind, turned = back and 1 <= i <= stop - start, above != 0 and p < stop
        if behind:
            v = _row(first + (p - 1) * near[-2], d_model, near[-1], like, spare[1])
        if turned:
            w = _row(above + p * far[-2], d_model, far[-1], like, spare[2])
        if behind and turned:
            sums[0, i], sums[1, i], sums[2, i] = _square_and_two((u, v, w))
        elif behind:
            sums[0, i], sums[1, i] = _square_and_product((u, v))
        elif turned:
            sums[0, i], sums[2, i] = _square_and_product((u, w))
        else:
            (sums[0, i],) = _square((u,))


@_ordered
@typing.no_type_check
def _narrow_block(place, start, stop, addresses, layout, shape, d_model, like, outputs, result):
    """One sequence's positions start … stop−1 through all layers; see `profile` on the outputs."""
    rotation, norm, step = outputs[4], outputs[5], outputs[6]
    n_pos, n_places, reach = shape[-1], _places(shape), _reach(outputs)
    last = min(stop + reach, n_pos)
    both = np.empty((2, 3, last - start))
    spare = _spare(layout, d_model, like)
    back = outputs[0] != 0
    for layer in range(len(addresses)):
        near, far = layout[layer], layout[max(layer - 1, 0)]
        base = _first(addresses[layer], place, shape, near)
        turned = layer > 0 and (rotation != 0 or step != 0)
        above = _first(addresses[layer - 1], place, shape, far) if turned else 0
        sums, before = both[layer % 2], both[1 - layer % 2]
        dense = near[-1] == like.itemsize and (not turned or far[-1] == like.itemsize)
        if back and dense and last - start >= 4:
            _summed_four(start, last, base, near[-2], above, far[-2], d_model, like, sums)
        else:
            _summed_one(start, stop, last, base, near, above, far, back, d_model, like, spare, sums)
        row, row_above = layer * n_places + place, (layer - 1) * n_places + place
        size, n_back = stop - start, min(stop, last - 1) - start
        squares, squares_before = sums[0], before[0]
        if back:
            at = row * (n_pos - 1) + start
            _store_angles(outputs[0], at, sums[1, 1 : n_back + 1], squares[1:], squares, result)
        if norm != 0:
            _store_norms(norm, row * n_pos + start, squares[:size], result)
        if rotation != 0 and turned:
            at = row_above * n_pos + start
            _store_angles(rotation, at, sums[2, :size], squares, squares_before, result)
        if step != 0 and turned:
            at, u, w = row_above * n_pos + start, base + start * near[-2], above + start * far[-2]
            _store_steps(step, at, sums[:, :size], before, u, near, w, far, d_model, like, spare, result)
        for lag in range(2, reach + 1):
            if outputs[lag - 1] != 0:
                n_lag = max(0, min(stop, last - lag) - start)
                for i in range(n_lag):
                    u = _row(base + (start + i) * near[-2], d_model, near[-1], like, spare[0])
                    v = _row(base + (start + i + lag) * near[-2], d_model, near[-1], like, spare[1])
                    (sums[1, i],) = _product((u, v))
                at = row * (n_pos - lag) + start
                _store_angles(outputs[lag - 1], at, sums[1, :n_lag], squares[lag:], squares, result)


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
