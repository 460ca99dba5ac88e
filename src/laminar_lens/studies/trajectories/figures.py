"""Figures of the trajectory study."""

from itertools import cycle
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import line, needs
from laminar_lens.figures.style import (
    BASELINE,
    EARLY,
    INK,
    RANDOM,
    RULE,
    SOFT,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    fade,
    layer_axis,
    mean_and_band,
    new_figure,
    quoted,
    shown,
    withheld_note,
)
from laminar_lens.words import share

COLORS = (TARGET, WITH_FIRST, WITHOUT_FIRST, RANDOM, *EARLY, BASELINE)
DASHES = ("solid", "5px,4px", "2px,3px")
HEIGHT = 560
SIZES = {go.Scatter: (5, 4, 11), go.Scatter3d: (3, 2, 7)}
"""Of a layer's mean, of a prompt and of the chosen layer's mean."""


def words_of(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """Each group's name and colour."""
    return list(zip(map(quoted, dataset["word"].values), cycle(COLORS), strict=False))


def first_note(dataset: xr.Dataset) -> str:
    """What a caption says of position 0, where it is part of the PCA and its first axis."""
    if not dataset.attrs.get("keep_first"):
        return " Position 0 is left out."
    if dataset.attrs.get("first_is_axis"):
        return " The first axis is position 0: what lies along it is how far a token is from the sink."
    return " Position 0 is part of the PCA."


def axis_name(dataset: xr.Dataset, axis: int) -> str:
    """`axis 1 (43%)`."""
    return f"axis {axis + 1} ({share(dataset['explained'].values[axis])})"


@needs("trajectory")
def plane(dataset: xr.Dataset) -> go.Figure | None:
    """Mean trajectories in the plane of the first two axes; a slider picks the layer of the points."""
    figure = new_figure(
        "Trajectories in the plane of two axes",
        "A line is a group's mean from the embedding (open) to the last layer; the slider picks the layer "
        f"whose prompts are the points, and whose mean is the large mark.{first_note(dataset)}",
        x=axis_name(dataset, 0),
    )
    for (name, color), way in zip(words_of(dataset), dataset["trajectory"].values, strict=True):
        figure.add_trace(_line(go.Scatter, way[:, :2], name, color, dataset["layer"].values))
    _slider(figure, dataset, go.Scatter, 2)
    figure.update_yaxes(title={"text": axis_name(dataset, 1)})
    figure.update_layout(hovermode="closest")
    return figure


@needs("trajectory")
def space(dataset: xr.Dataset) -> go.Figure | None:
    """The same along three axes; None where there are only two."""
    if dataset.sizes["axis"] < 3:
        return None
    figure = new_figure(
        "Trajectories along three axes",
        "As in the plane; drag to turn. Lengths along the three axes are drawn to one scale each."
        + first_note(dataset),
    )
    for (name, color), way in zip(words_of(dataset), dataset["trajectory"].values, strict=True):
        figure.add_trace(_line(go.Scatter3d, way[:, :3], name, color, dataset["layer"].values))
    _slider(figure, dataset, go.Scatter3d, 3)
    look = {"gridcolor": RULE, "zerolinecolor": RULE, "color": SOFT, "showbackground": False}
    look |= {"tickfont": {"size": 10}, "nticks": 5}
    scene = {
        f"{letter}axis": {"title": {"text": axis_name(dataset, axis), "font": {"size": 12}}, **look}
        for axis, letter in enumerate("xyz")
    }
    figure.update_layout(
        scene={**scene, "aspectmode": "cube", "camera": {"eye": {"x": 1.5, "y": 1.5, "z": 0.9}}},
        margin={"l": 8, "r": 8, "b": 8},
    )
    return figure


def _line(kind: Any, way: np.ndarray, name: str, color: str, layers: np.ndarray) -> Any:
    """A mean trajectory; its first point is open."""
    shapes = ["circle-open", *["circle"] * (len(layers) - 1)]
    return kind(
        **_at(way.T), mode="lines+markers", name=name, legendgroup=name,
        line={"color": color, "width": 2.4},
        marker={"color": color, "size": SIZES[kind][0], "symbol": shapes},
        text=[f"layer {layer}" for layer in layers], hovertemplate=f"{name}, %{{text}}<extra></extra>",
    )  # fmt: skip


def _slider(figure: go.Figure, dataset: xr.Dataset, kind: Any, n: int) -> None:
    """Points of one layer's prompts and its means, and a slider that exchanges them."""
    first, layers = len(figure.data), dataset["layer"].values.tolist()
    start = len(layers) // 2
    for which, (name, color) in enumerate(words_of(dataset)):
        large = {"size": SIZES[kind][2], "color": color, "line": {"color": INK, "width": 1}}
        for points, marker in (
            (points_of(dataset, which), {"size": SIZES[kind][1], "color": fade(color, 0.45)}),
            (dataset["trajectory"].values[None, which], large),
        ):
            hover = f"{name}, one prompt" if len(points) > 1 else f"{name}, mean"
            figure.add_trace(
                kind(
                    **_at(points[:, start, :n].T), mode="markers", marker=marker, legendgroup=name,
                    showlegend=False, hovertemplate=f"{hover}<extra></extra>",
                )
            )  # fmt: skip
    moved = list(range(first, len(figure.data)))
    steps = [
        {"label": str(layer), "method": "restyle", "args": [_layer(dataset, row, n), moved]}
        for row, layer in enumerate(layers)
    ]
    slider = {"steps": steps, "active": start, "currentvalue": {"prefix": "layer "}, "pad": {"t": 56}}
    figure.update_layout(height=HEIGHT, sliders=[slider])


def _layer(dataset: xr.Dataset, row: int, n: int) -> dict[str, list[Any]]:
    """What the slider puts in the place of the points, in the order of the traces."""
    means = dataset["trajectory"].values[:, row, :n].astype(float)
    groups = [
        part
        for which in range(len(means))
        for part in (points_of(dataset, which)[:, row, :n], means[which : which + 1])
    ]
    return {
        letter: [[None if np.isnan(v) else float(f"{v:.4g}") for v in part[:, axis]] for part in groups]
        for axis, letter in enumerate("xyz"[:n])
    }


def points_of(dataset: xr.Dataset, which: int) -> np.ndarray:
    """The prompts of one group, [prompt layer axis]."""
    found = dataset["coordinate"].values[:, which].astype(float)
    return np.asarray(found[np.isfinite(found).any(axis=(1, 2))])


def _at(columns: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("xyz", columns, strict=False))


@needs("distance")
def distances(dataset: xr.Dataset) -> go.Figure | None:
    """Distances of groups in full and in the plane, by layer."""
    what = "Mean distance of the same prompts with two words"
    if not dataset.attrs["paired"]:
        what = "Distance of the means of two groups, without what chance adds to it"
    return _apart(dataset, "distance", "How far groups are apart", what)


@needs("mean_distance")
def means(dataset: xr.Dataset) -> go.Figure | None:
    """The same of the groups' mean points; None where that is the same, groups having their own prompts."""
    if not dataset.attrs["paired"]:
        return None
    what = (
        "Distance of two groups' mean points, without what chance adds to it: what differs in direction from "
        "prompt to prompt has no part in it"
    )
    return _apart(dataset, "mean_distance", "How far the groups' mean points are apart", what)


def _apart(dataset: xr.Dataset, of: str, title: str, what: str) -> go.Figure:
    """A distance of each two groups in full and in the plane, by layer."""
    figure = new_figure(
        title,
        f"{what}; lines are in full dimension, broken ones in the plane. Bands are 95%, over all at once."
        + withheld_note(dataset, f"{of}_low"),
    )
    layers = dataset["layer"].values
    for (name, color), pair in zip(_pairs(dataset), dataset["versus"].values, strict=True):
        for kind, dash in zip(dataset["space"].values, DASHES, strict=False):
            one = dataset.sel(versus=pair, space=kind)
            band = [one[f"{of}{end}"].values for end in ("", "_low", "_high")]
            label = f"{name}, {'in full' if kind == 'full' else 'in the plane'}"
            hover = f"{label}, layer %{{x}}: %{{y:.3g}}"
            mean_and_band(
                figure, layers, *band, name=label, color=color, hover=hover, dash=dash, opacity=0.15
            )
    layer_axis(figure, layers.tolist())
    figure.update_yaxes(title={"text": "distance"}, rangemode="tozero")
    _legend_below(figure)
    return figure


@needs("hidden")
def hidden(dataset: xr.Dataset) -> go.Figure | None:
    """The share of the squared distance that the plane leaves out, by layer."""
    figure = new_figure(
        "How much the plane leaves out",
        "Share of the squared distance between two groups that lies outside the plane; bands are 95%, over "
        "all at once. Above the line, the plane leaves out more than it shows."
        + withheld_note(dataset, "hidden_low"),
    )
    layers = dataset["layer"].values
    for (name, color), pair in zip(_pairs(dataset), dataset["versus"].values, strict=True):
        one = dataset.sel(versus=pair)
        band = [one[f"hidden{end}"].values for end in ("", "_low", "_high")]
        hover = f"{name}, layer %{{x}}: %{{y:.1%}}"
        mean_and_band(figure, layers, *band, name=name, color=color, hover=hover, opacity=0.18)
    figure.add_hline(y=0.5, line={"color": SOFT, "width": 1, "dash": "dot"})
    layer_axis(figure, layers.tolist())
    figure.update_yaxes(title={"text": "share left out"}, range=[0, 1.02], tickformat=".0%")
    return figure


@needs("turning")
def turning(dataset: xr.Dataset) -> go.Figure | None:
    """How far the target's trajectory turns, in full and in the plane, first group's words by layer."""
    figure = new_figure(
        "How far trajectories turn",
        f"Mean angle between successive steps of {words_of(dataset)[0][0]}: from layer to layer (along "
        "depth) and from token to token (along positions). Bands are 95%, over all groups at once."
        + withheld_note(dataset, "turning_low"),
    )
    layers, seen = dataset["layer"].values, []
    for along, color in zip(dataset["along"].values, COLORS, strict=False):
        for kind, dash in zip(dataset["space"].values, DASHES, strict=False):
            one = dataset.sel(along=along, space=kind).isel(word=0)
            band = [one[f"turning{end}"].values for end in ("", "_low", "_high")]
            label = f"along {along}, {'in full' if kind == 'full' else 'in the plane'}"
            hover = f"{label}, layer %{{x}}: %{{y:.3f}} rad"
            mean_and_band(
                figure, layers, *band, name=label, color=color, hover=hover, dash=dash, opacity=0.15
            )
            seen += band
    layer_axis(figure, layers.tolist())
    angle_axis(figure, seen, title="turn (rad)")
    _legend_below(figure)
    return figure


@needs("explained")
def explained(dataset: xr.Dataset) -> go.Figure | None:
    """The share of the variance of all states that each axis has."""
    rows = int(dataset.attrs.get("pca_rows", 0))
    figure = new_figure(
        "What the axes explain",
        f"Share of the variance of {rows:,} states, of all layers and tokens, that each axis has; the thin "
        "bars are 95%, over all axes at once, the axes given."
        + first_note(dataset)
        + withheld_note(dataset, "explained_low"),
        x="axis",
    )
    low, high = (dataset[f"explained_{end}"].values for end in ("low", "high"))
    values, so_far = dataset["explained"].values, dataset["explained_so_far"].values
    axes = dataset["axis"].values
    figure.add_trace(
        go.Bar(x=axes, y=values, marker={"color": TARGET}, name="of one axis",
               error_y={"array": high - values, "arrayminus": values - low, "color": INK, "thickness": 1.2},
               hovertemplate="axis %{x}: %{y:.1%}<extra></extra>", width=0.6)
    )  # fmt: skip
    line(
        figure, axes, so_far, name="up to it", color=SOFT, hover="axes 1–%{x}: %{y:.1%}",
        width=1.8, dash="dot",
    )  # fmt: skip
    figure.update_xaxes(dtick=max(1, len(axes) // 10))
    figure.update_yaxes(title={"text": "share of variance"}, range=[0, 1.02], tickformat=".0%")
    return figure


def _pairs(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """What is compared, as it is drawn, and its colour."""
    return list(zip(map(shown, dataset["versus"].values), cycle(COLORS), strict=False))


def _legend_below(figure: go.Figure) -> None:
    """Long names, two lines a pair: clear of the figure."""
    figure.update_layout(height=HEIGHT, legend={"y": -0.2, "yanchor": "top"})
