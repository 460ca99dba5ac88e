"""Angles in plain torch: any device, any floating dtype, differentiable.

The definition of reference.py, cut into blocks of vectors that fit a cache, so that no temporary has the size
of the input, and no input is copied, whatever its strides. float16 and bfloat16 are widened to float32 block
by block. Three things keep float32 within 5·10⁻⁷ rad of float64:

- Vectors are divided by max|u| before anything is squared: norms up to 10³⁸ neither overflow nor vanish.
- Sums run over at most 128 coordinates, and the partial lengths are then combined: one long sum drifts,
  and beside a massive activation it loses the small coordinates (4.6·10⁻⁷ rad with blocks of 512).
- Kahan's form needs no exact norm: an error e in ‖u‖ moves the angle by about e², and by e at most where the
  angle itself (or its distance from π) is no larger than e.

The blocks share a few scratch buffers: fresh memory for each would cost more than the arithmetic. When a
gradient is recorded, or a `torch.func` transform is at work, nothing may be overwritten and autograd keeps
every intermediate anyway: then everything is one block, about six times the input in memory.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad

_SUM_BLOCK = 128
_TILE_SUM_BLOCK = 64  # torch.cdist adds one after the other in fewer lanes than vector_norm
_TILE_ROWS = 512
_BLOCK_BYTES = {"cpu": 2**20}
_BLOCK_BYTES_ELSEWHERE = 2**24  # an accelerator needs large launches more than it needs its cache

Block = tuple[slice, ...]


def angle(u: Float[Tensor, "*place d_model"], v: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place"]:
    """Angle between `u` and `v`."""

    def compute(block: Block) -> Tensor:
        return _between(scratch.directions("u", u[block]), scratch.directions("v", v[block]), scratch)

    scratch = _Scratch(u, v)
    return _collect(compute, u.shape[:-1], scratch, rows=scratch.rows // 2)


def sequential_angles(
    resid: Float[Tensor, "*batch pos d_model"], lag: int
) -> Float[Tensor, "*batch pos-{lag}"]:
    """Angle between each position and the one `lag` later; each direction is formed once."""
    scratch = _Scratch(resid)
    if lag > scratch.rows // 8:  # blocks would mostly overlap
        return angle(resid[..., :-lag, :], resid[..., lag:, :])

    def compute(block: Block) -> Tensor:
        directions = scratch.directions("u", resid[_longer(block, lag)])
        return _between(directions.at(slice(None, -lag)), directions.at(slice(lag, None)), scratch)

    return _collect(compute, _shorter(resid, lag), scratch)


def pair_angles(
    resid: Float[Tensor, "*layer batch pos d_model"], pairs: Int[Tensor, "batch pair 2"]
) -> Float[Tensor, "*layer batch pair"]:
    """Angle between the two positions of each pair; NaN where an index is −1."""

    def compute(block: Block) -> Tensor:
        states, ends = resid[block[:-1]], pairs[block[-2:]]
        text = torch.arange(len(ends), device=ends.device)[:, None]
        first, second = ends.clamp(min=0).unbind(-1)
        u = scratch.directions("u", states[..., text, first, :])
        v = scratch.directions("v", states[..., text, second, :])
        return _between(u, v, scratch).masked_fill((ends < 0).any(-1), torch.nan)

    scratch = _Scratch(resid)
    return _collect(compute, (*resid.shape[:-2], pairs.shape[-2]), scratch, rows=scratch.rows // 2)


def rotation_angles(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Angle between each layer and the next."""
    return sequential_angles(resid.movedim(0, -2), lag=1).movedim(-1, 0).contiguous()


def pairwise_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos pos"]:
    """Angle between every two positions, in tiles."""
    n_pos = resid.shape[-2]
    scratch = _Scratch(resid)
    rows = min(scratch.rows, _TILE_ROWS)
    tiles = [slice(start, min(start + rows, n_pos)) for start in range(0, n_pos, rows)]

    def compute(block: Block) -> Tensor:
        left = scratch.directions("u", resid[block])
        parts = []
        for tile in tiles:
            same = tile == block[-1]
            right = left if same else scratch.directions("v", resid[(*block[:-1], tile)])
            parts.append(_between_all(left, right))
        return torch.cat(parts, -1)

    return _collect(compute, resid.shape[:-1], scratch, rows, inner=(n_pos,))


def turning_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos-2"]:
    """Angle between successive differences along positions."""

    def compute(block: Block) -> Tensor:
        states = resid[_longer(block, 2)].to(scratch.dtype)
        directions = scratch.directions("u", scratch.difference(states))
        return _between(directions.at(slice(None, -1)), directions.at(slice(1, None)), scratch)

    scratch = _Scratch(resid)
    return _collect(compute, _shorter(resid, 2), scratch)


def step_lengths(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Length of the difference between each layer and the next; NaN where either is not finite."""
    path = resid.movedim(0, -2)

    def compute(block: Block) -> Tensor:
        states = path[_longer(block, 1)].to(scratch.dtype)
        gap = torch.where(_largest(states).isfinite(), 0.0, torch.nan).to(scratch.dtype)
        step = scratch.difference(_finite(states) if scratch.watched else states)
        largest = _largest(step)
        scale = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
        return scale * _length(step / scale[..., None]) + gap[..., :-1] + gap[..., 1:]

    scratch = _Scratch(path)
    return _collect(compute, _shorter(path, 1), scratch).movedim(-1, 0).contiguous()


class _Directions(NamedTuple):
    """Unit vectors. Where a gradient follows, `gap` is added to every angle: 0, or NaN without a direction.

    There the unit vectors hold constants instead of NaN: 0 · NaN backward would reach their neighbours.
    """

    unit: Tensor
    gap: Tensor | None

    def at(self, positions: slice) -> "_Directions":
        gap = None if self.gap is None else self.gap[..., positions]
        return _Directions(self.unit[..., positions, :], gap)


class _Scratch:
    """What one call shares between its blocks: dtype, size of a block, and the buffers that are reused.

    Attributes:
        watched: a gradient or a `torch.func` transform follows, so there are no buffers.
        rows: how many vectors make one block.
        dtype: of the arithmetic and the result.
    """

    def __init__(self, *inputs: Tensor) -> None:
        first = inputs[0]
        self.watched = any(_is_watched(x) for x in inputs)
        self.dtype = torch.float64 if any(x.dtype == torch.float64 for x in inputs) else torch.float32
        budget = _BLOCK_BYTES.get(first.device.type, _BLOCK_BYTES_ELSEWHERE)
        self.rows = max(2, budget // (first.shape[-1] * self.dtype.itemsize))
        if self.watched:
            self.rows = 2 * max(1, first.numel())
        self._like = first
        self._buffers: dict[str, Tensor] = {}

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        return self._like.new_empty(shape, dtype=self.dtype)

    def buffer(self, name: str, shape: tuple[int, ...]) -> Tensor | None:
        """Memory for `out=`; None lets torch allocate."""
        if self.watched:
            return None
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = self.empty((size,))
        return self._buffers[name][:size].view(shape)

    def directions(self, name: str, vectors: Tensor) -> _Directions:
        """Unit vectors. Unwatched, a vector without a direction becomes NaN in the divisions by itself."""
        largest = _largest(vectors).to(self.dtype)
        out = self.buffer(name, vectors.shape)
        if not self.watched:
            scaled = torch.div(vectors, largest[..., None], out=out)
            return _Directions(torch.div(scaled, _length(scaled)[..., None], out=out), None)
        valid = (largest > 0) & largest.isfinite()
        scaled = torch.where(valid[..., None], vectors, 1.0) / torch.where(valid, largest, 1.0)[..., None]
        gap = torch.where(valid, 0.0, torch.nan).to(self.dtype)
        return _Directions(scaled / _length(scaled)[..., None], gap)

    def difference(self, states: Tensor) -> Tensor:
        """Successive differences along positions."""
        shape = (*states.shape[:-2], states.shape[-2] - 1, states.shape[-1])
        return torch.sub(states[..., 1:, :], states[..., :-1, :], out=self.buffer("step", shape))


def _is_watched(x: Tensor) -> bool:
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


def _between(a: _Directions, b: _Directions, scratch: _Scratch) -> Tensor:
    """Kahan's form, between two sets of directions of one shape."""
    out = scratch.buffer("between", a.unit.shape)
    near = _length(torch.sub(a.unit, b.unit, out=out))
    far = _length(torch.add(a.unit, b.unit, out=out))
    angles = 2 * torch.atan2(near, far)
    return angles if a.gap is None or b.gap is None else angles + a.gap + b.gap


def _between_all(a: _Directions, b: _Directions) -> Tensor:
    """Kahan's form, of every direction in `a` with every one in `b`."""
    angles = 2 * torch.atan2(_distances(a.unit, b.unit), _distances(a.unit, -b.unit))
    if a.gap is None or b.gap is None:
        return angles
    return angles + a.gap[..., :, None] + b.gap[..., None, :]


def _distances(u: Tensor, v: Tensor) -> Tensor:
    """‖u − v‖ of all pairs from differences: a matrix product would lose the small ones."""
    parts = [
        torch.cdist(u[..., cut], v[..., cut], compute_mode="donot_use_mm_for_euclid_dist")
        for cut in (slice(start, start + _TILE_SUM_BLOCK) for start in range(0, u.shape[-1], _TILE_SUM_BLOCK))
    ]
    return parts[0] if len(parts) == 1 else _norm(torch.stack(parts, -1))


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length, summed over at most 128 coordinates at a time."""
    d_model = vectors.shape[-1]
    if d_model <= _SUM_BLOCK:
        return _norm(vectors)
    size = _even_block(d_model) or _SUM_BLOCK
    whole = d_model - d_model % size
    parts = _norm(vectors[..., :whole].reshape(*vectors.shape[:-1], -1, size))
    if whole < d_model:
        parts = torch.cat([parts, _norm(vectors[..., whole:])[..., None]], -1)
    return _norm(parts)


def _norm(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return length


@functools.cache
def _even_block(d_model: int) -> int | None:
    """The largest divisor of `d_model` in 65 … 128: no remainder to add. 768 gives 128, 1600 gives 100."""
    return next((size for size in range(_SUM_BLOCK, _SUM_BLOCK // 2, -1) if d_model % size == 0), None)


def _largest(vectors: Tensor) -> Tensor:
    """max|u|, without a temporary. A constant for the gradient: no direction or length depends on it."""
    vectors = vectors.detach()
    return torch.maximum(vectors.amax(-1), -vectors.amin(-1))


def _finite(vectors: Tensor) -> Tensor:
    """Zeros for NaN and inf."""
    return torch.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)


def _shorter(resid: Tensor, by: int) -> tuple[int, ...]:
    return (*resid.shape[:-2], resid.shape[-2] - by)


def _longer(block: Block, by: int) -> Block:
    """The input positions that a block of output positions needs."""
    return (*block[:-1], slice(block[-1].start, block[-1].stop + by))


def _blocks(shape: tuple[int, ...], rows: int) -> Iterator[Block]:
    """Cuts `shape` into blocks of at most `rows` places, in row-major order."""
    axis, inside = len(shape), 1
    while axis > 0 and inside * shape[axis - 1] <= rows:
        axis -= 1
        inside *= shape[axis]
    whole = tuple(slice(0, n) for n in shape[axis:])
    if axis == 0:
        yield whole
        return
    length, step = shape[axis - 1], max(1, rows // inside)
    for outer in itertools.product(*map(range, shape[: axis - 1])):
        single = tuple(slice(i, i + 1) for i in outer)
        for start in range(0, length, step):
            yield (*single, slice(start, min(start + step, length)), *whole)


def _collect(
    compute: Callable[[Block], Tensor],
    shape: tuple[int, ...],
    scratch: _Scratch,
    rows: int | None = None,
    inner: tuple[int, ...] = (),
) -> Tensor:
    """Runs `compute` over the blocks of `shape` and puts the results, with axes `inner` more, together.

    They are joined, not written into a buffer, so that autograd and `torch.func` can follow.
    """
    full = (*shape, *inner)
    if math.prod(full) == 0:
        return scratch.empty(full)
    parts = [compute(block).flatten() for block in _blocks(tuple(shape), rows or scratch.rows)]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(full)
