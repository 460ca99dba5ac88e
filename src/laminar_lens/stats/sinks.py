"""Which tokens are sinks by what their vectors are, wherever in the text they stand."""

import numpy as np
from jaxtyping import Bool, Float, Shaped

from laminar_lens.errors import InputError, ShapeError

Array = np.ndarray

CHUNK = 4096


def sink_tokens(
    values: Shaped[Array, "..."],
    mask: Shaped[Array, "..."] | None = None,
    *,
    norm_ratio: float = 5.0,
    min_cosine: float = 0.9,
) -> Bool[Array, "batch pos"]:
    """True at tokens whose vector is a sink's in some layer.

    A vector is one if its norm is more than `norm_ratio` times the median norm of that layer, and so is any
    with a cosine above `min_cosine` to such a vector in the same layer. The cosine never makes a sink by
    itself: a layer without large norms extends nothing, and neither does one in which the typical token
    points the same way (most vectors of a narrow cone lie within that cosine of each other, sink or not).

    Args:
        values: residual states [layer, batch, pos, d_model].
        mask: [batch, pos], True = real token; padding and vectors that are not finite are never sinks.

    Raises:
        ShapeError: values has not four axes, or mask does not match.
        InputError: thresholds out of range.

    Source: definition of the experiment, "Position 0 is not the only place"; arXiv 2402.17762 for large
    norms.
    """
    if values.ndim != 4:
        raise ShapeError(
            f"values has shape {values.shape}; give residual states [layer, batch, pos, d_model]"
        )
    real = np.ones(values.shape[1:3], dtype=bool) if mask is None else mask
    if real.shape != values.shape[1:3]:
        raise ShapeError(f"mask has shape {real.shape}; values has [batch, pos] = {values.shape[1:3]}")
    if not (norm_ratio > 1 and 0 < min_cosine < 1):
        raise InputError(
            f"norm_ratio {norm_ratio}, min_cosine {min_cosine}; need norm_ratio > 1, 0 < min_cosine < 1"
        )
    found = np.zeros_like(real)
    for layer in values:
        valid = real & np.isfinite(layer).all(-1)
        found[valid] |= _in_layer(layer[valid], norm_ratio, min_cosine)
    return found


def _in_layer(
    x: Float[Array, "token d_model"], norm_ratio: float, min_cosine: float
) -> Bool[Array, " token"]:
    norm = np.linalg.norm(x, axis=-1)
    large = norm > norm_ratio * np.median(norm) if len(norm) else np.zeros(0, dtype=bool)
    if not large.any():
        return large
    unit = x / np.where(norm > 0, norm, 1.0)[:, None]
    sinks = unit[large]
    nearest = np.concatenate(
        [(unit[i : i + CHUNK] @ sinks.T).max(axis=1) for i in range(0, len(unit), CHUNK)]
    )
    if np.median(nearest[~large]) > min_cosine:
        return large
    return large | (nearest > min_cosine)
