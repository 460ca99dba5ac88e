"""All pairs of positions on a CPU, in tiles, for the backends that run there."""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.kernels._outputs import empty_output

_TILE_BYTES = 2**20
_LEAST_TILE_ROWS, _MOST_TILE_ROWS = 16, 256

Angle = Callable[[Tensor, Tensor], Tensor]


def pairwise_angles(
    resid: Float[Tensor, "*batch pos d_model"], angle: Angle
) -> Float[Tensor, "*batch pos pos"]:
    """Angle between every two positions; a tile serves both halves of the matrix.

    Args:
        angle: of the backend, for float64 input, whose products float64 cannot hold.
    """
    *batch, n_pos, _ = resid.shape
    out = empty_output(resid, (*batch, n_pos, n_pos))
    for place in itertools.product(*map(range, batch)):
        for rows, columns, angles in _tiles(resid[place], angle):
            out[place][columns, rows] = angles.T
            out[place][rows, columns] = angles
    return out


def pairwise_histogram(
    resid: Float[Tensor, "*batch pos d_model"], bins: int, angle: Angle
) -> Int[Tensor, "*batch bins"]:
    """How many of the angles between i < j are in each of `bins` equal parts of [0, π]."""
    *batch, _, _ = resid.shape
    counts = torch.zeros(*batch, bins, dtype=torch.int64, device=resid.device)
    for place in itertools.product(*map(range, batch)):
        for rows, columns, angles in _tiles(resid[place], angle):
            if rows == columns:
                angles = angles[*torch.triu_indices(len(angles), len(angles), 1, device=angles.device)]
            angles = angles[~angles.isnan()]
            found = (angles * (bins / math.pi)).long().clamp(max=bins - 1)
            counts[place] += torch.bincount(found, minlength=bins)
    return counts


def _tiles(states: Float[Tensor, "pos d_model"], angle: Angle) -> Iterator[tuple[slice, slice, Tensor]]:
    """Angles in float64 of blocks of positions, on and above the diagonal.

    Up to float32 the inner products of a block are one matrix product in float64; see _cpu_kernels.py on what
    this costs in accuracy. It sums in fewer lanes: 10⁻⁷ rad at 0 and π for 16,384 coordinates. A product in
    float32 takes half of the time, and is wrong by more than the angles may be wherever few coordinates hold
    most of the length, not at 0 and π alone.
    """
    n_pos, d_model = states.shape
    size = min(_MOST_TILE_ROWS, max(_LEAST_TILE_ROWS, _TILE_BYTES // (8 * d_model)))
    tiles = [slice(start, min(start + size, n_pos)) for start in range(0, n_pos, size)]
    if states.dtype == torch.float64:
        for rows, columns in itertools.combinations_with_replacement(tiles, 2):
            shape = (rows.stop - rows.start, columns.stop - columns.start, d_model)
            yield (
                rows,
                columns,
                angle(states[rows, None].expand(shape), states[None, columns].expand(shape)),
            )
        return
    inverse = torch.cat([torch.linalg.vector_norm(states[rows].double(), dim=-1) for rows in tiles])
    inverse.reciprocal_()  # 0 · inf, inf · 0 and NaN: no angle without a direction
    for index, rows in enumerate(tiles):
        left = states[rows].double()
        left *= inverse[rows, None]
        for columns in tiles[index:]:
            right = states[columns].double()
            angles = (left @ right.T).mul_(inverse[columns]).clamp_(-1, 1).acos_()
            if columns == rows:
                angles.diagonal().mul_(0)  # NaN stays
            yield rows, columns, angles
