"""The headline in every geometry, side by side."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.style import (
    BASELINE,
    INK,
    RANDOM,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    layer_axis,
    mean_and_band,
    new_figure,
    withheld_note,
)

COLOURS = {
    "raw": INK,
    "centred": TARGET,
    "mean_over_d_model": BASELINE,
    "standardised": WITHOUT_FIRST,
    "without_dimensions": WITH_FIRST,
    "layernormed": RANDOM,
}


def excess(dataset: xr.Dataset) -> go.Figure | None:
    """The first pair's excess by layer, a line a geometry."""
    title = "The first pair against the rest of the text, by geometry"
    return _lines(dataset, "excess", title, "first pair minus the reference pairs (rad)", zero=True)


def first_effect(dataset: xr.Dataset) -> go.Figure | None:
    """E11 by layer, a line a geometry."""
    title = "What being first does to a pair, by geometry"
    return _lines(dataset, "E11", title, "E11 (rad)", zero=True)


def target(dataset: xr.Dataset) -> go.Figure | None:
    """The target's angle by layer, a line a geometry."""
    return _lines(dataset, "target", "The target's angle, by geometry", "target's angle (rad)")


def baseline(dataset: xr.Dataset) -> go.Figure | None:
    """The published baseline's angle by layer, a line a geometry."""
    return _lines(
        dataset, "baseline", "The published baseline's angle, by geometry", "baseline's angle (rad)"
    )


def _lines(dataset: xr.Dataset, name: str, title: str, axis: str, *, zero: bool = False) -> go.Figure | None:
    name = f"geometry_{name}"
    if name not in dataset:
        return None
    figure = new_figure(
        title,
        "The same texts and the same pass of the model; only what is compared differs: vectors as they are, "
        "without the mean of other texts, without their own mean, standardised, without the dimensions that "
        "make most cosines, or as the next block reads them. Means with 95% intervals."
        + withheld_note(dataset, name),
    )
    layers = dataset["layer"].values
    # raw comes last and is dashed: where another geometry changes nothing, both are seen
    for label in sorted(dataset["geometry"].values.tolist(), key=lambda label: label == "raw"):
        part = dataset.sel(geometry=label)
        band = [part[f"{name}{end}"].values for end in ("", "_low", "_high")]
        mean_and_band(
            figure, layers, *band, name=label, color=COLOURS[label], opacity=0.14,
            dash="7px,6px" if label == "raw" else "solid",
            hover=f"layer %{{x}}, {label}: %{{y:.3f}} rad",
        )  # fmt: skip
    layer_axis(figure, layers.tolist())
    seen = [dataset[f"{name}{end}"].values for end in ("", "_low", "_high")]
    angle_axis(figure, [np.concatenate([np.ravel(part) for part in seen])], title=axis, zero=zero)
    return figure
