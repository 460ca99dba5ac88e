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

from laminar_lens.kernels._checks import is_watched
from laminar_lens.kernels._outputs import hide_padding, sequential_key

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


def pairwise_histogram(resid: Float[Tensor, "*batch pos d_model"], bins: int) -> Int[Tensor, "*batch bins"]:
    """How many of the angles between i < j are in each of `bins` equal parts of [0, π], in tiles."""
    *batch, n_pos, _ = resid.shape
    scratch = _Scratch(resid)
    rows = min(scratch.rows, _TILE_ROWS)
    tiles = [slice(start, min(start + rows, n_pos)) for start in range(0, n_pos, rows)]
    counts = torch.zeros(*batch, bins, dtype=torch.int64, device=resid.device)
    for place in itertools.product(*map(range, batch)):
        for index, tile in enumerate(tiles):
            left = scratch.directions("u", resid[place][tile])
            for other in tiles[index:]:
                right = left if other is tile else scratch.directions("v", resid[place][other])
                angles = _between_all(left, right)
                if other is tile:
                    angles = angles[*torch.triu_indices(len(angles), len(angles), 1, device=resid.device)]
                angles = angles[~angles.isnan()]
                found = (angles * (bins / math.pi)).long().clamp(max=bins - 1)
                counts[place] += torch.bincount(found, minlength=bins)
    return counts


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
        states = path[_longer(block, 1)]
        return _step(states[..., :-1, :], states[..., 1:, :], scratch)

    scratch = _Scratch(path)
    return _collect(compute, _shorter(path, 1), scratch).movedim(-1, 0).contiguous()


def profile(
    layers: list[Tensor], measures: tuple[str, ...], lags: int, mask: Tensor | None
) -> dict[str, Tensor]:
    """All measures of a block of positions, layer by layer: the layer before is still in the cache."""
    scratch = _Scratch(*layers)
    shape, reach = layers[0].shape[:-1], lags if "sequential" in measures else 0
    rows = max(1, scratch.rows // 3) if layers[0].numel() else 2**62  # nothing at all is one block, too
    parts: dict[str, list[list[Tensor]]] = {}

    def add(name: str, row: int, values: Tensor) -> None:
        rows = parts.setdefault(name, [])
        if row == len(rows):
            rows.append([])
        rows[row].append(values.flatten())

    for block in _blocks(tuple(shape), rows):
        size = block[-1].stop - block[-1].start
        before: tuple[Tensor, _Directions] | None = None
        for index, layer in enumerate(layers):
            states = layer[_longer(block, reach)]
            directions = scratch.directions("uv"[index % 2], states)
            here, now = states[..., :size, :], directions.at(slice(0, size))
            for lag in range(1, reach + 1):
                n = states.shape[-2] - lag
                ends = directions.at(slice(0, min(n, size))), directions.at(slice(lag, lag + min(n, size)))
                add(sequential_key(lag), index, _between(*ends, scratch))
            if "norm" in measures:
                add("norm", index, now.norm)
            if before is not None and "rotation" in measures:
                add("rotation", index - 1, _between(before[1], now, scratch))
            if before is not None and "step" in measures:
                add("step", index - 1, _step(before[0], here, scratch))
            before = here, now

    def whole(name: str, row: list[Tensor]) -> Tensor:
        lag = int(name.partition("_")[2] or 1) if name.startswith("sequential") else 0
        return torch.cat(row).reshape(*shape[:-1], shape[-1] - lag)

    return hide_padding(
        {name: torch.stack([whole(name, row) for row in rows]) for name, rows in parts.items()}, mask
    )


class _Directions(NamedTuple):
    """Unit vectors. Where a gradient follows, `gap` is added to every angle: 0, or NaN without a direction.

    There the unit vectors hold constants instead of NaN: 0 · NaN backward would reach their neighbours.
    """

    unit: Tensor
    norm: Tensor
    gap: Tensor | None

    def at(self, positions: slice) -> "_Directions":
        gap = None if self.gap is None else self.gap[..., positions]
        return _Directions(self.unit[..., positions, :], self.norm[..., positions], gap)


class _Scratch:
    """What one call shares between its blocks: dtype, size of a block, and the buffers that are reused.

    Attributes:
        watched: a gradient or a `torch.func` transform follows, so there are no buffers.
        rows: how many vectors make one block.
        dtype: of the arithmetic and the result.
    """

    def __init__(self, *inputs: Tensor) -> None:
        first = inputs[0]
        self.watched = any(is_watched(x) for x in inputs)
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
            length = _length(scaled)
            norm = torch.where(largest == 0, 0.0, largest * length)
            return _Directions(torch.div(scaled, length[..., None], out=out), norm, None)
        valid = (largest > 0) & largest.isfinite()
        scaled = torch.where(valid[..., None], vectors, 1.0) / torch.where(valid, largest, 1.0)[..., None]
        gap = torch.where(valid, 0.0, torch.nan).to(self.dtype)
        length = _length(scaled)
        norm = torch.where(valid, largest * length, torch.where(largest == 0, 0.0, torch.nan).to(self.dtype))
        return _Directions(scaled / length[..., None], norm, gap)

    def difference(self, states: Tensor) -> Tensor:
        """Successive differences along positions."""
        shape = (*states.shape[:-2], states.shape[-2] - 1, states.shape[-1])
        return torch.sub(states[..., 1:, :], states[..., :-1, :], out=self.buffer("step", shape))


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


def _step(start: Tensor, end: Tensor, scratch: _Scratch) -> Tensor:
    """‖end − start‖ at any scale, NaN where either is not finite, inf beyond the dtype."""
    start, end = start.to(scratch.dtype), end.to(scratch.dtype)
    finite = _largest(start).isfinite() & _largest(end).isfinite()
    if scratch.watched:
        start, end = _finite(start), _finite(end)
    step = torch.sub(end, start, out=scratch.buffer("step", end.shape))
    largest = _largest(step)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    length = scale * _length(torch.div(step, scale[..., None], out=None if scratch.watched else step))
    return length + torch.where(finite, 0.0, torch.nan).to(scratch.dtype)


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
