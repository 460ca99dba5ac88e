"""The shipped geometries; what each is for stands in `laminar_lens.geometry`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from laminar_lens.geometry.base import Fitting, Geometry
from laminar_lens.models.calibration import reads_of

DROPPED = 3
"""So many dimensions a layer are left out where none are named."""


class Raw(Geometry):
    """The residual vectors as they are."""

    name = "raw"

    @classmethod
    def made(cls, on: Fitting) -> "Geometry":
        """The same for every model."""
        return cls()

    def apply(self, layer: int, state: Tensor) -> Tensor:
        """The state itself, in its own precision."""
        return state


class Centred(Geometry):
    """Minus the mean vector of the body of other texts."""

    name, needs_texts, centred = "centred", True, True

    @classmethod
    def fit(cls, on: Fitting) -> Mapping[int, Any]:
        """The mean of each hidden state."""
        return dict(zip(on.layers, on.calibration.mean, strict=True))

    def map(self, layer: int, state: Tensor) -> Tensor:
        """See `Geometry.map`."""
        mean: Tensor = self.values[layer]
        return state - mean.to(state)


class MeanOverDModel(Geometry):
    """Minus each vector's own mean over its coordinates."""

    name = "mean_over_d_model"

    def map(self, layer: int, state: Tensor) -> Tensor:
        """See `Geometry.map`."""
        return state - state.mean(-1, keepdim=True)


class Standardised(Geometry):
    """Centred, then each coordinate divided by its standard deviation."""

    name, needs_texts, centred = "standardised", True, True

    @classmethod
    def fit(cls, on: Fitting) -> Mapping[int, Any]:
        """Mean and factor of each hidden state.

        A coordinate that does not vary says nothing about a difference, and has no unit to measure one in.
        """
        moments, found = on.calibration, {}
        for layer, mean, sd in zip(on.layers, moments.mean, moments.sd, strict=True):
            inverse = 1 / sd.clamp(min=torch.finfo(sd.dtype).tiny)
            found[layer] = (mean, torch.where(sd > 0, inverse, torch.zeros_like(sd)))
        return found

    def map(self, layer: int, state: Tensor) -> Tensor:
        """See `Geometry.map`."""
        mean, factor = self.values[layer]
        found: Tensor = (state - mean.to(state)) * factor.to(state)
        return found


class WithoutDimensions(Geometry):
    """Without those given, or those that make other texts' cosines."""

    name, needs_texts = "without_dimensions", True

    @classmethod
    def fit(cls, on: Fitting) -> Mapping[int, Any]:
        """1 for coordinates that stay and 0 for others, in each hidden state."""
        width = int(on.model.cfg.d_model)
        if on.dimensions is not None:
            on.settings["dimensions"] = list(on.dimensions)
            gone = {layer: list(on.dimensions) for layer in on.layers}
        else:
            order = on.calibration.contribution.abs().argsort(descending=True)
            most = order[:, : min(DROPPED, width - 1)].tolist()
            gone = {layer: sorted(dims) for layer, dims in zip(on.layers, most, strict=True)}
            on.settings["dimensions"] = {str(layer): dims for layer, dims in gone.items()}
        kept = torch.ones(len(on.layers), width, dtype=torch.float64)
        for row, layer in enumerate(on.layers):
            kept[row, gone[layer]] = 0.0
        return dict(zip(on.layers, kept, strict=True))

    def map(self, layer: int, state: Tensor) -> Tensor:
        """See `Geometry.map`."""
        kept: Tensor = self.values[layer]
        return state * kept.to(state)


class LayerNormed(Geometry):
    """What the next block reads."""

    name, widens = "layernormed", False

    @classmethod
    def fit(cls, on: Fitting) -> Mapping[int, Any]:
        """The norm that reads each hidden state."""
        norms, on.settings["reads"] = reads_of(on.model, on.layers, on.final_norm)
        return norms

    def map(self, layer: int, state: Tensor) -> Tensor:
        """See `Geometry.map`; the norm's weights want no gradient of their own."""
        with torch.set_grad_enabled(state.requires_grad and torch.is_grad_enabled()):
            normed: Tensor = self.values[layer](state)
        return normed
