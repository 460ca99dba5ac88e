"""The definition of every angle: einops, float64, no chunks, nothing saved.

This is what the other backends are compared with. Kahan's two-argument form,

    angle(u, v) = 2 · atan2(‖û − v̂‖, ‖û + v̂‖),   û = u/‖u‖, v̂ = v/‖v‖,

equals arccos(û·v̂) and keeps full precision near 0 and π. A vector without a direction (zero, or with an
infinite or undefined coordinate) becomes NaN in the division by its length, and so does every angle that it
is part of. Dividing by max|u| first changes no direction; it keeps u² from overflowing.

Source: W. Kahan, "How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?", §12.
"""

import math

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.kernels._outputs import hide_padding, sequential_key


def _unit(vectors: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place d_model"]:
    """Directions in float64; NaN where there is none."""
    wide = vectors.double()
    scaled = wide / reduce(wide.abs(), "... d_model -> ... 1", "max")
    return scaled / _length(scaled)[..., None]


def _length(vectors: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place"]:
    return reduce(vectors**2, "... d_model -> ...", "sum").sqrt()


def _extent(vectors: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place"]:
    """The length, where the squares would overflow or vanish too."""
    least = torch.finfo(vectors.dtype).tiny
    largest = reduce(vectors.abs(), "... d_model -> ... 1", "max").clamp(min=least)
    length = _length(vectors / largest) * largest[..., 0]
    return length.masked_fill(largest[..., 0].isinf(), torch.inf)


def _output(values: Float[Tensor, "*place"], *inputs: Tensor) -> Float[Tensor, "*place"]:
    """float64 if an input was float64, else float32."""
    return values if any(x.dtype == torch.float64 for x in inputs) else values.float()


def angle(u: Float[Tensor, "*place d_model"], v: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place"]:
    """Angle between `u` and `v`."""
    a, b = _unit(u), _unit(v)
    return _output(2 * torch.atan2(_length(a - b), _length(a + b)), u, v)


def sequential_angles(
    resid: Float[Tensor, "*batch pos d_model"], lag: int
) -> Float[Tensor, "*batch pos-{lag}"]:
    """Angle between each position and the one `lag` later."""
    return angle(resid[..., :-lag, :], resid[..., lag:, :])


def pair_angles(
    resid: Float[Tensor, "*layer batch pos d_model"], pairs: Int[Tensor, "batch pair 2"]
) -> Float[Tensor, "*layer batch pair"]:
    """Angle between the two positions of each pair; NaN where an index is −1."""
    text = rearrange(torch.arange(len(pairs), device=pairs.device), "batch -> batch 1")
    first, second = pairs.clamp(min=0).unbind(-1)
    angles = angle(resid[..., text, first, :], resid[..., text, second, :])
    return angles.masked_fill(reduce(pairs < 0, "batch pair end -> batch pair", "any"), torch.nan)


def rotation_angles(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Angle between each layer and the next."""
    return angle(resid[:-1], resid[1:])


def pairwise_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos pos"]:
    """Angle between every two positions."""
    n_pos = resid.shape[-2]
    rows = repeat(resid, "... pos d_model -> ... pos other d_model", other=n_pos)
    columns = repeat(resid, "... pos d_model -> ... other pos d_model", other=n_pos)
    return angle(rows, columns)


def pairwise_histogram(resid: Float[Tensor, "*batch pos d_model"], bins: int) -> Int[Tensor, "*batch bins"]:
    """How many of the angles between i < j are in each of `bins` equal parts of [0, π]."""
    n_pos = resid.shape[-2]
    i, j = torch.triu_indices(n_pos, n_pos, offset=1, device=resid.device)
    angles = pairwise_angles(resid.double())[..., i, j]
    place = (angles * (bins / math.pi)).floor().clamp(max=bins - 1)
    return torch.stack([reduce(place == b, "... pair -> ...", "sum") for b in range(bins)], -1)


def turning_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos-2"]:
    """Angle between successive differences along positions."""
    return _output(sequential_angles(resid.double().diff(dim=-2), lag=1), resid)


def step_lengths(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Length of the difference between each layer and the next; NaN where either is not finite."""
    step = resid.double().diff(dim=0)
    finite = reduce(resid.isfinite(), "... d_model -> ...", "all")
    return _output(_extent(step).masked_fill(~(finite[:-1] & finite[1:]), torch.nan), resid)


def profile(
    layers: list[Tensor], measures: tuple[str, ...], lags: int, mask: Tensor | None
) -> dict[str, Tensor]:
    """Every measure by its own definition."""
    resid = torch.stack(layers)
    found: dict[str, Tensor] = {}
    if "sequential" in measures:
        found |= {sequential_key(lag): sequential_angles(resid, lag) for lag in range(1, lags + 1)}
    if "rotation" in measures:
        found["rotation"] = rotation_angles(resid)
    if "norm" in measures:
        finite = reduce(resid.isfinite(), "... d_model -> ...", "all")
        found["norm"] = _output(_extent(resid.double()).masked_fill(~finite, torch.nan), resid)
    if "step" in measures:
        found["step"] = step_lengths(resid)
    return hide_padding(found, mask)
