"""Figures of the dimension study: what each dimension adds to a cosine, and angles without the first few."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import heatmap, layer_curve, menu, needs
from laminar_lens.figures.style import (
    DIVERGING,
    RANDOM,
    TARGET,
    angle_axis,
    fade,
    layer_axis,
    new_figure,
    shown,
    withheld_note,
)

PAIR_WORDS = {
    "first": "the first pair",
    "first_body": "position 0 and the body",
    "body": "neighbours in the body",
}
RANKS = 8


@needs("top_contribution")
def contributions(dataset: xr.Dataset) -> go.Figure | None:
    """The largest contributions to the cosine by layer; a menu picks the pairs and the geometry."""
    figure = new_figure(
        "What single dimensions add to the cosine",
        "A cell is the part of the mean cosine that one dimension makes; its number is the dimension. The "
        "row “cosine” is all of them together. Chosen in one half of the texts, measured in the other.",
    )
    layers = dataset["layer"].values
    views = [(g, p) for g in dataset["geometry"].values for p in dataset["pairs"].values]
    ranks = [f"no. {rank}" for rank in dataset["rank"].values[:RANKS]]
    grids, texts = zip(*(_grid(dataset, g, p) for g, p in views), strict=True)
    reach = float(np.nanmax(np.abs(np.stack(grids))))
    heatmap(
        figure, layers, ["cosine", *ranks], grids[0], title="part of the<br>cosine", colors=DIVERGING,
        text=texts[0], zmin=-reach, zmax=reach, xgap=2, ygap=2, hover="layer %{x}: %{text}, %{z:.3f}",
    )  # fmt: skip
    if len(layers) <= 14:
        figure.update_traces(texttemplate="%{text}", textfont={"size": 12})
    changes = [[{"z": [grid], "text": [text]}, [0]] for grid, text in zip(grids, texts, strict=True)]
    figure.update_layout(updatemenus=menu(_buttons(views, changes)))
    layer_axis(figure, layers.tolist())
    figure.update_xaxes(range=[layers[0] - 0.55, layers[-1] + 0.55])
    figure.update_yaxes(title={"text": "the largest dimensions"}, autorange="reversed", type="category")
    return figure


def _buttons(views: list[tuple[str, str]], changes: list[Any]) -> list[dict[str, Any]]:
    """One for each geometry and kind of pair."""
    return [
        {"label": f"{PAIR_WORDS[pairs]}, {shown(geometry)}", "method": "restyle", "args": change}
        for (geometry, pairs), change in zip(views, changes, strict=True)
    ]


def _grid(dataset: xr.Dataset, geometry: str, pairs: str) -> tuple[list[list[float]], list[list[str]]]:
    part = dataset.sel(geometry=geometry, pairs=pairs)
    whole = part["cosine"].values
    values = np.concatenate([whole[None], part["top_contribution"].values.T[:RANKS]])
    names = part["top_dimension"].values.T[:RANKS].astype(str)
    labels = np.concatenate([np.array([[f"{value:.2f}" for value in whole]]), names])
    return np.round(values, 4).tolist(), labels.tolist()


@needs("angle_without")
def without(dataset: xr.Dataset) -> go.Figure | None:
    """The angle by layer, without 0, 1, … dimensions; a menu picks the pairs and the geometry."""
    figure = new_figure(
        "The angle without the dimensions that make most of the cosine",
        "From strong to faint: all dimensions, then without the first 1, 2, 3, … of each layer. The violet "
        "band is the angle without as many dimensions drawn at random, of any size, 95% of the draws."
        + withheld_note(dataset, "angle_without_low"),
    )
    layers = dataset["layer"].values
    few = int(dataset.attrs["few"])
    views = [(g, p) for g in dataset["geometry"].values for p in dataset["pairs"].values]
    curves = [_curves(dataset, g, p, few) for g, p in views]
    low, high, *lines = curves[0]
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_trace(go.Scatter(x=layers, y=low, **edge, showlegend=False))
    figure.add_trace(
        go.Scatter(
            x=layers, y=high, **edge, fill="tonexty", fillcolor=fade(RANDOM, 0.3),
            name=f"without {few} random ones",
        )
    )  # fmt: skip
    for m, line in enumerate(lines):
        figure.add_trace(
            go.Scatter(
                x=layers, y=line, mode="lines+markers", marker={"size": 5},
                name="all dimensions" if m == 0 else f"without {m}",
                line={"color": fade(TARGET, 1 - 0.22 * m), "width": 3 if m in (0, few) else 1.6},
                hovertemplate=f"layer %{{x}}, without {m}: %{{y:.3f}} rad<extra></extra>",
            )
        )  # fmt: skip
    which = list(range(len(figure.data)))
    angle_axis(figure, [np.array(found) for found in curves], title="mean angle (rad)")
    menus = menu(_buttons(views, [[{"y": found}, which] for found in curves]))
    legend = {"y": -0.16, "yanchor": "top", "traceorder": "normal"}
    figure.update_layout(updatemenus=menus, height=520, legend=legend)
    layer_axis(figure, layers.tolist())
    return figure


def _curves(dataset: xr.Dataset, geometry: str, pairs: str, few: int) -> list[list[float]]:
    part = dataset.sel(geometry=geometry, pairs=pairs)
    bands = [part[f"angle_random_{end}"].sel(removed=few).values for end in ("low", "high")]
    lines = [part["angle_without"].sel(removed=m).values for m in range(few + 1)]
    return [np.round(line, 5).tolist() for line in (*bands, *lines)]


@needs("angle_without")
def few_share(dataset: xr.Dataset) -> go.Figure | None:
    """The first pair's angle with and without the few, with intervals; the same centred, if it is there."""
    few = int(dataset.attrs["few"])
    names = dataset["geometry"].values.tolist()
    figure = new_figure(
        f"The first pair without {few} dimensions"
        + (", before and after centring" if len(names) > 1 else ""),
        "Where the two lines of one colour lie apart, few dimensions make the angle; 95% intervals.",
    )
    seen = []
    for geometry, color in zip(names, (TARGET, RANDOM), strict=False):
        for m, dash in ((0, "solid"), (few, "4px,3px")):
            part = dataset.sel(geometry=geometry, pairs="first", removed=m)
            name = f"{shown(geometry)}, {'all dimensions' if m == 0 else f'without {m}'}"
            look = {"name": name, "color": color, "hover": f"layer %{{x}}, {name}: %{{y:.3f}} rad"}
            seen += layer_curve(figure, part, "angle_without", dash=dash, **look)
    angle_axis(figure, seen, title="mean angle (rad)")
    return figure
