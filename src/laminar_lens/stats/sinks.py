"""Which tokens are sinks by what their vectors are, wherever in the text they stand, and shares of texts."""

import unicodedata
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from laminar_lens.arguments import number, places, truths
from laminar_lens.axes import Mask
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.stats.bootstrap import Interval
from laminar_lens.stats.one_thread import one_thread

Array = np.ndarray

CHUNK = 4096
NORM_RATIO, MIN_COSINE = 5.0, 0.9
HEAD_SHARE = 0.3
"""A head whose mean attention to a position exceeds it rests there."""
NEWLINE, DELIMITER, OTHER = "newline", "delimiter", "other"


def sink_tokens(
    values: object,
    mask: Mask = None,
    *,
    norm_ratio: float = NORM_RATIO,
    min_cosine: float = MIN_COSINE,
) -> Bool[Array, "batch pos"]:
    """True at tokens whose vector is a sink's in some layer.

    A vector is one if its norm is more than `norm_ratio` times the typical norm of that layer (the median of
    the tokens that are not the first of their text, see `typical_norm`), and so is any with a cosine above
    `min_cosine` to such a vector in the same layer. The cosine never makes a sink by itself: a layer without
    large norms extends nothing, and neither does one in which the typical token points the same way (most
    vectors of a narrow cone lie within that cosine of each other, sink or not).

    Args:
        values: residual states [layer, batch, pos, d_model], a numpy array or torch tensor.
        mask: bool [batch, pos], True = real token; padding and vectors that are not finite are never sinks.
            Where every text has one token, only one that is long among those of the other texts is found.

    Raises:
        ShapeError: values has not four axes, or mask does not match.
        InputError: thresholds out of range.

    Source: docs/definition.md, §3; arXiv 2402.17762 for large
    norms.
    """
    norm_ratio, min_cosine = number("norm_ratio", norm_ratio), number("min_cosine", min_cosine)
    values, mask = _numpy("values", values), None if mask is None else _numpy("mask", truths("mask", mask))
    if values.ndim != 4:
        raise ShapeError(
            f"values has shape {values.shape}; give residual states [layer, batch, pos, d_model]"
        )
    real = np.ones(values.shape[1:3], dtype=bool) if mask is None else mask.astype(bool)
    if real.shape != values.shape[1:3]:
        raise ShapeError(f"mask has shape {real.shape}; values has [batch, pos] = {values.shape[1:3]}")
    if not (norm_ratio > 1 and 0 < min_cosine < 1):
        raise InputError(
            f"norm_ratio {norm_ratio}, min_cosine {min_cosine}; need norm_ratio > 1, 0 < min_cosine < 1"
        )
    found, first = np.zeros_like(real), first_tokens(real)
    for layer in values:
        valid = real & np.isfinite(layer).all(-1)
        found[valid] |= _in_layer(layer[valid], first[valid], norm_ratio, min_cosine)
    return found


def first_tokens(mask: Bool[Array, "batch pos"]) -> Bool[Array, "batch pos"]:
    """The first real token of each text, on whichever side it is padded."""
    return np.asarray(mask & (mask.cumsum(axis=1) == 1))


def typical_norm(norm: Float[Array, "*layer token"], first: Bool[Array, " token"]) -> Float[Array, "*layer"]:
    """The norm that others are compared with: the median of the tokens that are not the first of their text.

    A text's first token is where a sink stands. Among texts of one or two tokens first tokens are half of all
    or more, so that a median of all would be the sinks' own. Where every token is a first one there is
    nothing else to compare with: the median of all, NaN without a token.
    """
    others = norm if first.all() else norm[..., ~first]
    if not others.shape[-1]:
        return np.full(norm.shape[:-1], np.nan)
    return np.asarray(np.median(others, axis=-1))


def both_sinks(
    ratio: Float[Array, "layer pair 2"], angle: Float[Array, "layer pair"], typical: Float[Array, " layer"]
) -> Bool[Array, "layer pair"]:
    """True where both vectors of a pair are a sink's by what `sink_tokens` calls one: each is longer than
    `NORM_RATIO` times the typical one, or one is and the other has a cosine above `MIN_COSINE` to it, in a
    layer whose typical pairs have not.

    Args:
        ratio: length of each of the two over the typical length.
        angle: between the two, in radians.
        typical: the typical angle between two tokens of the layer, in radians.
    """
    near = (angle < np.arccos(MIN_COSINE)) & (typical > np.arccos(MIN_COSINE))[:, None]
    large = ratio > NORM_RATIO
    return np.asarray(large.all(-1) | (large.any(-1) & near))


def _numpy(name: str, values: Any) -> Array:
    """Numbers of an array, or of a tensor on any device; half precision becomes float32."""
    values = places(name, values)
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() and values.element_size() < 4 else values
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.itemsize < 4 and array.dtype.kind == "f" else array


def _in_layer(
    x: Float[Array, "token d_model"], first: Bool[Array, " token"], norm_ratio: float, min_cosine: float
) -> Bool[Array, " token"]:
    norm = np.linalg.norm(x, axis=-1)
    large = np.asarray(norm > norm_ratio * typical_norm(norm, first))
    if not large.any():
        return large
    return extended(large, nearest_cosine(x, unit_vectors(x[large])), min_cosine)


def unit_vectors(x: Float[Array, "token d_model"]) -> Float[Array, "token d_model"]:
    """Vectors of length 1; a zero vector stays one."""
    norm = np.linalg.norm(x, axis=-1)
    return np.asarray(x / np.where(norm > 0, norm, 1.0)[:, None])


@one_thread
def nearest_cosine(
    x: Float[Array, "token d_model"], sinks: Float[Array, "sink d_model"]
) -> Float[Array, " token"]:
    """The largest cosine of each vector with any of the sinks' unit vectors."""
    unit = unit_vectors(x)
    return np.concatenate(
        [(unit[i : i + CHUNK] @ sinks.T).max(axis=1) for i in range(0, len(unit), CHUNK)]
        or [np.zeros(0, x.dtype)]
    )


def extended(
    large: Bool[Array, " token"], nearest: Float[Array, " token"], min_cosine: float
) -> Bool[Array, " token"]:
    """The large vectors and those that point as they do, unless the typical other vector does too."""
    rest = nearest[~large]
    if len(rest) and np.median(rest) > min_cosine:
        return large
    return np.asarray(large | (nearest > min_cosine))


def token_kind(text: str) -> str:
    """What a token is as a place for a sink: "newline", "delimiter" (nothing but punctuation) or "other"."""
    if "\n" in text:
        return NEWLINE
    plain = text.strip()
    punctuation = plain and all(unicodedata.category(letter).startswith("P") for letter in plain)
    return DELIMITER if punctuation else OTHER


def share_interval(
    flags: Shaped[Array, " n"], *, groups: Shaped[Array, " n"] | None = None, level: float = 0.95
) -> tuple[float, float, float]:
    """A share of texts and its interval [low, high]; texts of one group are one observation.

    Returns:
        In [0, 1]; right also where every text or none has the property, where a bootstrap has no variance.

    Source: Wilson, Journal of the American Statistical Association 22 (1927).
    """
    values = np.asarray(flags, dtype=float)
    if groups is not None:
        values = np.array([values[groups == label].mean() for label in np.unique(groups)])
    n, share = len(values), float(values.mean())
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    low, high = max(0.0, centre - reach), min(1.0, centre + reach)
    return share, 0.0 if share == 0 else low, 1.0 if share == 1 else high  # exact, whatever was rounded


def within_shares(found: Interval) -> Interval:
    """An interval of a mean of shares with no end below 0 or above 1, of which a bootstrap does not know."""
    low, high = (np.asarray(np.clip(end, 0.0, 1.0)) for end in (found.low, found.high))
    return replace(found, low=low, high=high)
