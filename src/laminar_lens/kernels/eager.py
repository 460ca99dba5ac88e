"""Angles in plain torch: any device, any floating dtype, differentiable.

The definition of reference.py, cut into blocks of vectors that fit a cache, so that no temporary has the size
of the input, and no input is copied, whatever its strides.

On a CPU, up to float32 and without a gradient, a block is widened to float64, which holds the products of any
two float32 numbers: the cosine is then right to 10⁻¹⁵, and its arccos to 10⁻⁷ rad even at 0 and π.

Elsewhere the arithmetic is in the input's own precision (float32 for half), and three things keep float32
within 5·10⁻⁷ rad of float64:

- Vectors are divided by max|u| before anything is squared: norms up to 10³⁸ neither overflow nor vanish.
- Sums run over at most 128 coordinates, and the partial lengths are then combined: one long sum drifts,
  and beside a massive activation it loses the small coordinates (4.6·10⁻⁷ rad with blocks of 512).
- Kahan's form needs no exact norm: an error e in ‖u‖ moves the angle by about e², and by e at most where the
  angle itself (or its distance from π) is no larger than e.

The blocks share a few scratch buffers: fresh memory for each would cost more than the arithmetic. When a
gradient is recorded, or a `torch.func` transform is at work, nothing may be overwritten and autograd keeps
every intermediate anyway: then everything is one block, about six times the input in memory.
"""

import itertools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.errors import BackendError
from laminar_lens.kernels import _pairwise
from laminar_lens.kernels._blocks import (
    Block,
    Directions,
    Scratch,
    Vectors,
    blocks,
    collect,
    finite_length,
    finite_of,
    largest_of,
    length_of,
    longer,
    norm_of,
    shorter,
)
from laminar_lens.kernels._outputs import hide_padding, sequential_key
from laminar_lens.kernels._tensors import unreadable

_TILE_SUM_BLOCK = 64  # torch.cdist adds one after the other in fewer lanes than vector_norm
_TILE_ROWS = 512
_ALIKE = 1 - 1e-12


def angle(u: Float[Tensor, "*place d_model"], v: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place"]:
    """Angle between `u` and `v`."""

    def compute(block: Block) -> Tensor:
        return _between(scratch.vectors("u", u[block]), scratch.vectors("v", v[block]), scratch)

    scratch = Scratch(u, v, buffers=6, wide_buffers=6)
    return collect(compute, u.shape[:-1], scratch, rows=scratch.rows // 2)


def sequential_angles(
    resid: Float[Tensor, "*batch pos d_model"], lag: int
) -> Float[Tensor, "*batch pos-{lag}"]:
    """Angle between each position and the one `lag` later; each direction is formed once."""
    scratch = Scratch(resid)
    if lag > scratch.rows // 8:  # blocks would mostly overlap
        return angle(resid[..., :-lag, :], resid[..., lag:, :])

    def compute(block: Block) -> Tensor:
        directions = scratch.vectors("u", resid[longer(block, lag)])
        return _between(directions.at(slice(None, -lag)), directions.at(slice(lag, None)), scratch)

    return collect(compute, shorter(resid, lag), scratch)


def pair_angles(
    resid: Float[Tensor, "*layer batch pos d_model"], pairs: Int[Tensor, "batch pair 2"]
) -> Float[Tensor, "*layer batch pair"]:
    """Angle between the two positions of each pair; NaN where an index is −1."""

    def compute(block: Block) -> Tensor:
        states, ends = resid[block[:-1]], pairs[block[-2:]]
        text = torch.arange(len(ends), device=ends.device)[:, None]
        first, second = ends.clamp(min=0).unbind(-1)
        u = scratch.vectors("u", states[..., text, first, :])
        v = scratch.vectors("v", states[..., text, second, :])
        return _between(u, v, scratch).masked_fill((ends < 0).any(-1), torch.nan)

    scratch = Scratch(resid, buffers=6, wide_buffers=6)
    return collect(compute, (*resid.shape[:-2], pairs.shape[-2]), scratch, rows=scratch.rows // 2)


def rotation_angles(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Angle between each layer and the next."""
    return sequential_angles(resid.movedim(0, -2), lag=1).movedim(-1, 0).contiguous()


def pairwise_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos pos"]:
    """Angle between every two positions, in tiles."""
    n_pos = resid.shape[-2]
    scratch = Scratch(resid)
    if scratch.wide:
        return _pairwise.pairwise_angles(resid, angle)
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

    return collect(compute, resid.shape[:-1], scratch, rows, inner=(n_pos,))


def pairwise_histogram(resid: Float[Tensor, "*batch pos d_model"], bins: int) -> Int[Tensor, "*batch bins"]:
    """How many of the angles between i < j are in each of `bins` equal parts of [0, π], in tiles."""
    *batch, n_pos, _ = resid.shape
    scratch = Scratch(resid)
    if scratch.wide:
        return _pairwise.pairwise_histogram(resid, bins, angle)
    if not torch.compiler.is_compiling() and (reason := unreadable(resid)):
        raise BackendError(f"a histogram cannot be counted here: {reason}; give a plain tensor")
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
        states = scratch.widened("v", resid[longer(block, 2)])
        directions = scratch.vectors("u", scratch.difference(states))
        return _between(directions.at(slice(None, -1)), directions.at(slice(1, None)), scratch)

    scratch = Scratch(resid, wide_buffers=6)
    return collect(compute, shorter(resid, 2), scratch)


def step_lengths(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Length of the difference between each layer and the next; NaN where either is not finite."""
    path = resid.movedim(0, -2)

    def compute(block: Block) -> Tensor:
        states = scratch.widened("u", path[longer(block, 1)])
        return _step(states[..., :-1, :], states[..., 1:, :], scratch)

    scratch = Scratch(path)
    return collect(compute, shorter(path, 1), scratch).movedim(-1, 0).contiguous()


def profile(
    layers: list[Tensor], measures: tuple[str, ...], lags: int, mask: Tensor | None
) -> dict[str, Tensor]:
    """All measures of a block of positions, layer by layer: the layer before is still in the cache."""
    scratch = Scratch(*layers, buffers=6, wide_buffers=6)
    shape, reach = layers[0].shape[:-1], lags if "sequential" in measures else 0
    rows = scratch.rows if layers[0].numel() else 2**62  # nothing at all is one block, too
    parts: dict[str, list[list[Tensor]]] = {}

    def add(name: str, row: int, values: Tensor) -> None:
        rows = parts.setdefault(name, [])
        if row == len(rows):
            rows.append([])
        rows[row].append(values.flatten())

    for block in blocks(tuple(shape), rows):
        size = block[-1].stop - block[-1].start
        before: tuple[Tensor, Directions | Vectors] | None = None
        for index, layer in enumerate(layers):
            states = layer[longer(block, reach)]
            directions = scratch.vectors("uv"[index % 2], states)
            now = directions.at(slice(0, size))
            here = now.states if isinstance(now, Vectors) else states[..., :size, :]
            for lag in range(1, reach + 1):
                n = max(0, min(states.shape[-2] - lag, size))
                ends = directions.at(slice(0, n)), directions.at(slice(lag, lag + n))
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


def _between(a: Directions | Vectors, b: Directions | Vectors, scratch: Scratch) -> Tensor:
    """The angle between two sets of vectors of one shape."""
    if isinstance(a, Directions) or isinstance(b, Directions):
        assert isinstance(a, Directions)
        assert isinstance(b, Directions)
        return _kahan(a, b, scratch)
    # 0 / 0 and inf / inf: NaN without a direction.
    cosine = scratch.inner(a.states, b.states).div_(a.length * b.length)
    alike = cosine.abs() > _ALIKE
    if alike.any():  # three sums over the same places, so that the angle of a vector with itself is 0
        u, v = a.states[alike], b.states[alike]
        squares = scratch.inner(u, u) * scratch.inner(v, v)
        cosine[alike] = scratch.inner(u, v) / squares.sqrt()
    return cosine.clamp_(-1, 1).acos_().float()


def _kahan(a: Directions, b: Directions, scratch: Scratch) -> Tensor:
    """Kahan's form."""
    out = scratch.buffer("between", a.unit.shape)
    near = length_of(torch.sub(a.unit, b.unit, out=out))
    far = length_of(torch.add(a.unit, b.unit, out=out))
    angles = 2 * torch.atan2(near, far)
    return angles if a.gap is None or b.gap is None else angles + a.gap + b.gap


def _between_all(a: Directions, b: Directions) -> Tensor:
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
    return parts[0] if len(parts) == 1 else norm_of(torch.stack(parts, -1))


def _step(start: Tensor, end: Tensor, scratch: Scratch) -> Tensor:
    """‖end − start‖ at any scale, NaN where either is not finite, inf beyond the dtype."""
    if not scratch.wide:
        return _scaled_step(start.to(scratch.dtype), end.to(scratch.dtype), scratch)
    return finite_length(norm_of(torch.sub(end, start, out=scratch.buffer("products", end.shape, end.dtype))))


def _scaled_step(start: Tensor, end: Tensor, scratch: Scratch) -> Tensor:
    """The same by way of max|end − start|."""
    finite = largest_of(start).isfinite() & largest_of(end).isfinite()
    if scratch.watched:
        start, end = finite_of(start), finite_of(end)
    step = torch.sub(end, start, out=scratch.buffer("step", end.shape))
    largest = largest_of(step)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    length = scale * length_of(torch.div(step, scale[..., None], out=None if scratch.watched else step))
    return length + torch.where(finite, 0.0, torch.nan).to(scratch.dtype)
