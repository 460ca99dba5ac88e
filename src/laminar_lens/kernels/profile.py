"""Several measures of the same residual states in one pass: the public function and its checks."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from laminar_lens.arguments import shown, texts
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.kernels._checks import check_length, check_vectors
from laminar_lens.kernels._dispatch import load_backend
from laminar_lens.kernels._outputs import sequential_key
from laminar_lens.kernels._tensors import check_tensor
from laminar_lens.measures import MEASURES, PROFILE

MOST_LAGS = 4


def angle_profile(
    states: Shaped[Tensor, "..."] | Sequence[Tensor],
    *,
    measures: str | Iterable[str] = PROFILE,
    lags: int = 1,
    mask: Shaped[Tensor, "..."] | None = None,
    backend: str = "auto",
) -> dict[str, Tensor]:
    """Sequential angles, rotations, norms and step lengths of residual states, from one read of them.

    >>> found = angle_profile([torch.eye(3)[None], 2 * torch.eye(3)[None]], measures=["rotation", "norm"])
    >>> {name: values.tolist() for name, values in found.items()}
    {'rotation': [[[0.0, 0.0, 0.0]]], 'norm': [[[1.0, 1.0, 1.0]], [[2.0, 2.0, 2.0]]]}

    Args:
        states: [layer batch pos d_model], or one tensor [batch pos d_model] a layer, which are not stacked.
        measures: of "sequential", "rotation", "norm" and "step". All four, the default, means all that the
            states allow.
        lags: the largest lag of the sequential angles, 1 … 4; all smaller ones come too.
        mask: bool [batch pos], True where a position is real.
        backend: "auto", "eager", "cpu", "fused" or "reference"; see `kernels.resolve_backend`.

    Returns:
        "sequential", "sequential_2" … [layer batch pos-lag] and "rotation" [layer-1 batch pos] in radians in
        [0, π], NaN where either vector is zero or not finite; "norm" [layer batch pos] and "step" [layer-1
        batch pos] in the unit of the states, NaN where a vector is not finite, inf beyond the dtype. NaN
        wherever a masked position takes part. One layer has no rotation and no step.

    Raises:
        ShapeError: fewer than `lags + 1` positions, a rotation or step of one layer, a mask of another shape.
        InputError: an unknown measure, or layers that differ in shape, dtype or device.
        BackendError: an unknown backend, or one that cannot run on these tensors.

    Source: Kahan's two-argument form; see kernels/reference.py.
    """
    layers = check_layers(states)
    chosen = check_measures(measures, lags, layers)
    check_mask(mask, layers[0])
    found = load_backend(backend, *layers).profile(layers, chosen, lags, mask)
    turns = [sequential_key(lag) for lag in range(1, lags + 1)] if "sequential" in chosen else []
    return {name: found[name] for name in [*turns, *(name for name in chosen if name != "sequential")]}


def check_layers(states: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """One tensor a layer, all alike: [batch pos d_model]."""
    if isinstance(states, Tensor):
        check_vectors("states", states, "layer batch pos d_model")
        layers = list(states.unbind(0))
        axes = "layer batch pos d_model"
    else:
        layers, axes = _listed(states), "batch pos d_model"
    if not layers:
        raise ShapeError("states holds no layer; expected at least one, [batch pos d_model]")
    first = layers[0]
    for index, layer in enumerate(layers):
        check_vectors(f"states[{index}]", layer, "batch pos d_model")
        if layer.ndim != 3:
            shape = list(layer.shape)
            raise ShapeError(f"states[{index}] has shape {shape}, which is not [batch pos d_model] ({axes})")
        for what in ("shape", "dtype", "device"):
            if getattr(layer, what) != getattr(first, what):
                raise InputError(
                    f"states[{index}] has {what} {getattr(layer, what)} and states[0] "
                    f"{getattr(first, what)}; the layers must be alike"
                )
    return layers


def _listed(states: Any) -> list[Tensor]:
    """Whatever is no sequence is refused as one tensor would be."""
    if not isinstance(states, Sequence) or isinstance(states, str):
        check_tensor("states", states)
    return list(states)


def check_measures(measures: Iterable[str], lags: int, layers: list[Tensor]) -> tuple[str, ...]:
    """The measures in the order of PROFILE, and whether the states are long enough for them."""
    asked = texts("measures", measures)
    for name in asked:
        if name not in PROFILE:
            raise InputError(f"measure {name!r} is unknown; choose from {', '.join(PROFILE)}")
    if not asked:
        raise InputError(f"measures is empty; choose from {', '.join(PROFILE)}")
    check_lags(lags)
    if "sequential" in asked:
        check_length(layers[0], "pos", -2, lags + 1, f"a lag of {lags}")
    possible = {name for name in PROFILE if len(layers) > 1 or not MEASURES.get(name).between_layers}
    if not set(asked) <= possible and set(asked) != set(PROFILE):
        missing = next(name for name in asked if name not in possible)
        raise ShapeError(f"states holds one layer, but {missing!r} compares two: give the layers together")
    return tuple(name for name in PROFILE if name in asked and name in possible)


def check_lags(lags: int) -> int:
    """The largest lag of the sequential angles."""
    if isinstance(lags, bool) or not isinstance(lags, int) or not 1 <= lags <= MOST_LAGS:
        raise ShapeError(f"lags is {shown(lags)}; it is the largest lag, 1 … {MOST_LAGS}")
    return lags


def check_mask(mask: Tensor | None, like: Tensor) -> None:
    """A bool mask [batch pos] of real positions."""
    if mask is None:
        return
    check_tensor("mask", mask)
    expected = list(like.shape[:-1])
    if mask.dtype != torch.bool:
        dtype = str(mask.dtype).removeprefix("torch.")
        raise InputError(f"mask has dtype {dtype}; True marks a real position: convert with mask.bool()")
    if list(mask.shape) != expected:
        raise ShapeError(f"mask has shape {list(mask.shape)}; expected [batch pos], which is {expected}")
    if mask.device != like.device:
        raise InputError(f"mask is on {mask.device} and the states on {like.device}; move one with .to()")
