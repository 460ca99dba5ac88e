"""The headline in every geometry, side by side."""

from dataclasses import dataclass

import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import layer_curve
from laminar_lens.figures.style import (
    BASELINE,
    INK,
    RANDOM,
    SOFT,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
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


@dataclass(frozen=True)
class Headline:
    """A number by layer that a study compares between geometries.

    Attributes:
        what: its name in tables.
        title, axis: of its figure.
        zero: whether 0 is where nothing happens.
        unit: of the number; what is no angle is a ratio, drawn on a logarithmic axis.
    """

    what: str
    title: str
    axis: str
    zero: bool = False
    unit: str = "rad"


def by_geometry(name: str, headline: Headline, dataset: xr.Dataset) -> go.Figure | None:
    """The variable behind `geometry_` by layer, a line a geometry."""
    name = f"geometry_{name}"
    if name not in dataset:
        return None
    figure = new_figure(
        headline.title,
        "The same texts and the same pass of the model; only what is compared differs: vectors as they are, "
        "without the mean of other texts, without their own mean, standardised, without the dimensions that "
        "make most cosines, or as the next block reads them. Means with simultaneous 95% bands."
        + withheld_note(dataset, f"{name}_low"),
    )
    seen = []
    # raw comes last and is dashed: where another geometry changes nothing, both are seen
    for label in sorted(dataset["geometry"].values.tolist(), key=lambda label: label == "raw"):
        seen += layer_curve(
            figure, dataset.sel(geometry=label), name, name=label, color=COLOURS.get(label, SOFT),
            opacity=0.14, dash="7px,6px" if label == "raw" else "solid",
            hover=f"layer %{{x}}, {label}: %{{y:.3f}} {headline.unit}",
        )  # fmt: skip
    if headline.unit != "rad":
        figure.update_yaxes(title={"text": headline.axis}, type="log", dtick="D1")
        return figure
    angle_axis(figure, seen, title=headline.axis, zero=headline.zero)
    return figure
