"""Figures of the speech study: ratios between classes, curves by class, and mean states in their plane."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import dots, layer_curve, needs
from laminar_lens.figures.style import (
    BASELINE,
    RANDOM,
    RULE,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    new_figure,
    reference_line,
    withheld_note,
)
from laminar_lens.tables import ENDS

LOOK = {
    "nouns": (TARGET, "solid", "circle"),
    "verbs": (WITHOUT_FIRST, "6px,3px", "square"),
    "adjectives": (WITH_FIRST, "2px,3px", "diamond"),
    "function words": (RANDOM, "8px,3px,2px,3px", "cross"),
}
MEASURES = {
    "path": ("path", TARGET),
    "tortuosity": ("winding", WITHOUT_FIRST),
    "rotation": ("rotation", RANDOM),
}
HELD = {"matched": "circle", "as they are": "circle-open"}


@needs("ratio")
def ratios(dataset: xr.Dataset) -> go.Figure | None:
    """Ratio of each pair of classes, matched and as they are."""
    shown = bool(dataset["ratio_low"].notnull().any())
    bands = ", with bands that hold for all at once" if shown else ""
    figure = new_figure(
        "How many times as long, as winding, turning as far?",
        f"The first class's words over the second's, geometric means within each text and over texts{bands}. "
        "Filled: matched, words of the same frequency, number of tokens, "
        "position and number of characters. Open: as they are." + withheld_note(dataset, "ratio_low"),
        x="ratio",
    )
    rows = dataset["compared"].values.tolist()
    shifts = iter(np.linspace(-0.35, 0.35, len(MEASURES) * len(HELD)))
    for measure, (label, color) in MEASURES.items():
        for held, symbol in HELD.items():
            of = dataset.sel(measure=measure, held=held)
            band = [of[f"ratio{end}"].values for end in ENDS]
            dots(
                figure, np.arange(len(rows)) + next(shifts), band, along="x", width=4, customdata=rows,
                name=label, legendgroup=label, showlegend=held == "matched",
                marker={"color": color, "size": 9, "symbol": symbol},
                hover=f"{label}, %{{customdata}}, {held}: %{{x:.3f}}",
            )  # fmt: skip
    figure.add_vline(x=1, line={"color": RULE, "width": 1})
    words = [row.replace(" / ", " /<br>") for row in rows]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=words, autorange="reversed")
    figure.update_layout(height=220 + 86 * len(rows))
    return figure


def _by_class(dataset: xr.Dataset, name: str, title: str, caption: str, axis: str) -> go.Figure:
    """A number by layer, a curve a class."""
    figure = new_figure(title, caption + withheld_note(dataset, f"{name}_low"))
    for one in dataset["class"].values.tolist():
        color, dash, _ = LOOK.get(one, (BASELINE, "solid", "circle"))
        look = {"name": one, "color": color, "dash": dash, "hover": f"layer %{{x}}, {one}: %{{y:.4g}}"}
        layer_curve(figure, dataset.sel({"class": one}), name, **look, opacity=0.16)
    figure.update_yaxes(title={"text": axis})
    return figure


@needs("path_share")
def paths(dataset: xr.Dataset) -> go.Figure | None:
    """The path so far, over that of all classes."""
    caption = (
        "Sum of a word's steps from the embedding to each layer, mean over a class's words, over the mean of "
        "the classes; in each text, then over texts, as they are."
    )
    figure = _by_class(
        dataset, "path_share", "Path so far, over that of all classes", caption, "path / mean path"
    )
    reference_line(figure, 1.0, "1: the mean of the classes")
    return figure


@needs("tortuosity")
def windings(dataset: xr.Dataset) -> go.Figure | None:
    """Path over distance covered."""
    caption = "Path over distance from the embedding; 1 is a straight line."
    return _by_class(dataset, "tortuosity", "How winding the path is, by class", caption, "path / distance")


@needs("turn")
def rotations(dataset: xr.Dataset) -> go.Figure | None:
    """Rotation in each layer."""
    caption = "Angle between a word's vector and its own in the layer before, mean over words and texts."
    title = "How far a word turns in each block, by class"
    figure = _by_class(dataset, "turn", title, caption, "rotation (rad)")
    figure.update_yaxes(type="log", tickformat=".2~g")
    return figure


@needs("plane")
def plane(dataset: xr.Dataset) -> go.Figure | None:
    """Mean states in their plane."""
    figure = new_figure(
        "As published: the mean state of each class in a plane",
        "The mean of a class's states in each layer, in the plane of the first two principal components of "
        "all of them; a line joins the layers, and its length is the published number. It is the path of a "
        "mean, in two dimensions of all; the study's own numbers are each word's path, in all.",
        x="first component",
    )
    states = dataset["state"].values
    for one in dataset["class"].values.tolist():
        color, dash, symbol = LOOK.get(one, (BASELINE, "solid", "circle"))
        x, y = dataset["plane"].sel({"class": one}).values.T
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="lines+markers", name=one, customdata=states,
                line={"color": color, "width": 2, "dash": dash},
                marker={"color": color, "size": 6, "symbol": symbol},
                hovertemplate=f"{one}, layer %{{customdata}}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_yaxes(title={"text": "second component"})
    return figure
