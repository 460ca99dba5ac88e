"""Lengths along the layers that several studies measure: how far a token is from its embedding, and how
winding its path is."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from laminar_lens.geometry import Geometry
from laminar_lens.models.steps import widened

RESIDUAL = "unit of the residual stream"
ROUNDING = 1e-6
"""A displacement that is less than this share of its path is 0."""


def from_embedding(geometry: Geometry) -> Callable[[int, Tensor], tuple[Tensor, Tensor]]:
    """What sees the hidden states of one batch, layer 0 first.

    Called as (layer, state [batch pos d_model]), it gives the vectors in the geometry, half precision as
    float32, and how far [batch pos] each is from the same token's in layer 0, in the geometry's unit.
    """
    start: list[Tensor] = []

    def see(layer: int, state: Tensor) -> tuple[Tensor, Tensor]:
        x = widened(geometry.apply(layer, state.detach()))
        if layer == 0:
            start.append(x.clone())
        return x, (x - start[0].to(x)).norm(dim=-1)

    return see


def tortuosity(path: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Path over displacement, 1 on a straight line; NaN where nothing is left of the displacement."""
    return over(path, np.where(displacement > ROUNDING * path, displacement, 0.0))


def over(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A ratio; NaN over 0."""
    return np.asarray(np.divide(x, y, out=np.full(np.shape(x), np.nan), where=y > 0))


def logarithm(x: np.ndarray) -> np.ndarray:
    """NaN at 0."""
    return np.asarray(np.log(x, out=np.full(x.shape, np.nan), where=x > 0))
