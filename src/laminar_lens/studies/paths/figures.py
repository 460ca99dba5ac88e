"""Figures of the path study: steps, straightness and norms by layer, and the correlations."""

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
    new_figure,
    reference_line,
    withheld_note,
)
from laminar_lens.tables import ENDS

WHICH = {"without position 0": (TARGET, "solid"), "every position": (WITH_FIRST, "5px,4px")}
PREDICTED = {"logit": "logit", "log_prob": "log-probability"}
METHODS = {"pearson": ("Pearson", TARGET, "circle"), "spearman": ("Spearman", RANDOM, "diamond")}


def _both(dataset: xr.Dataset, name: str, title: str, caption: str, axis: str) -> go.Figure:
    """A number by layer, with and without position 0."""
    figure = new_figure(title, caption + withheld_note(dataset, f"{name}_low"))
    for which, (color, dash) in WHICH.items():
        part, hover = dataset.sel(which=which), f"layer %{{x}}, {which}: %{{y:.3f}}"
        layer_curve(figure, part, name, name=which, color=color, dash=dash, hover=hover)
    figure.update_yaxes(title={"text": axis})
    return figure


@needs("relative_step")
def steps(dataset: xr.Dataset) -> go.Figure | None:
    """Steps relative to the norm."""
    figure = _both(
        dataset, "relative_step", "How far each block moves a token",
        "Length of a step over the norm of the vector that it leaves: at 1 a block writes as much as was "
        "there.", "step / norm",
    )  # fmt: skip
    figure.update_yaxes(type="log")
    return figure


@needs("path")
def away(dataset: xr.Dataset) -> go.Figure | None:
    """The path so far, and the distance from the embedding."""
    figure = new_figure(
        "Path and distance covered",
        "The sum of a token's steps, and how far it then is from its embedding; without position 0. Were the "
        "path straight, the two would be one line." + withheld_note(dataset, "path_low"),
    )
    part = dataset.sel(which="without position 0")
    for name, label, color in (("path", "path", TARGET), ("displacement", "distance covered", BASELINE)):
        hover = f"layer %{{x}}, {label}: %{{y:.4g}}"
        layer_curve(figure, part, name, name=label, color=color, hover=hover)
    figure.update_yaxes(title={"text": "unit of the stream"}, type="log")
    return figure


@needs("tortuosity")
def tortuosity(dataset: xr.Dataset) -> go.Figure | None:
    """Path over distance covered."""
    figure = _both(
        dataset, "tortuosity", "How winding the path is",
        "Path over distance covered, from the embedding to each layer; 1 is a straight line.",
        "path / distance",
    )  # fmt: skip
    reference_line(figure, 1.0, "1: straight")
    return figure


@needs("growth")
def growth(dataset: xr.Dataset) -> go.Figure | None:
    """Norm over the norm in the layer before."""
    published = float(dataset.attrs["published_growth"])
    figure = _both(
        dataset, "growth", "Growth of the norm, block by block",
        f"Norm over the norm in the layer before, geometric mean. The dotted line is {published:g}, as "
        "published for GPT2-XL.", "norm / norm before",
    )  # fmt: skip
    figure.update_yaxes(type="log")
    reference_line(figure, published, f"{published:g}: GPT2-XL")
    return figure


@needs("correlation")
def correlations(dataset: xr.Dataset) -> go.Figure | None:
    """Correlation of path length with what is predicted, for each choice of what is held fixed."""
    figure = new_figure(
        "Does path length go with how well the next token is predicted?",
        "Mean over texts of each text's own correlation along its positions, with bands that hold for all at "
        "once. Grey: over the tokens of all texts at once, as published."
        + withheld_note(dataset, "correlation_low"),
        x="correlation",
    )
    part = dataset.sel(length="path")
    rows = [(predicted, held) for predicted in PREDICTED for held in dataset["held"].values.tolist()]
    words = [f"{PREDICTED[predicted]},<br>{held}" for predicted, held in rows]
    for shift, (method, (label, color, symbol)) in zip((-0.14, 0.14), METHODS.items(), strict=True):
        of = [part.sel(predicted=predicted, held=held, statistic=method) for predicted, held in rows]
        band = [np.array([float(one[f"correlation{end}"]) for one in of]) for end in ENDS]
        dots(
            figure, np.arange(len(rows)) + shift, band, along="x", width=6, name=label, customdata=words,
            marker={"color": color, "size": 10, "symbol": symbol},
            hover=f"{label}, %{{customdata}}: %{{x:.3f}}",
        )  # fmt: skip
    published = [
        float(part["correlation_pooled"].sel(predicted=one, statistic="pearson")) for one in PREDICTED
    ]
    figure.add_trace(
        go.Scatter(
            x=published, y=[rows.index((one, rows[0][1])) for one in PREDICTED], mode="markers",
            name="as published", marker={"color": BASELINE, "size": 10, "symbol": "x"},
            hovertemplate="Pearson over all tokens at once: %{x:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": RULE, "width": 1})
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=words, autorange="reversed")
    figure.update_layout(height=560)
    return figure
