"""Figures of the why-study: effects of context and position by layer, the cells behind them, the verdicts."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import layer_curve, line, needs, position_axis, shift_axis
from laminar_lens.figures.style import (
    BASELINE,
    INK,
    RANDOM,
    SOFT,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    layer_axis,
    mean_and_band,
    new_figure,
    withheld_note,
)

_EFFECTS = {
    "excess": ("first pair minus the body's mean", INK),
    "T": ("T: the tokens' own part", BASELINE),
    "E11": ("E11: both, as in a first pair", TARGET),
    "E10": ("E10: context cut", WITHOUT_FIRST),
    "E01": ("E01: positions restarted", WITH_FIRST),
    "E11_body": ("E11 of bigrams from inside", BASELINE),
}
_CELLS = {
    "plain": ("in the body", BASELINE),
    "cut": ("context cut", WITHOUT_FIRST),
    "restart": ("positions restarted", WITH_FIRST),
    "both": ("both: a first pair", TARGET),
}
_VERDICTS = {
    "undetermined": ("white", "circle"),
    "none": (BASELINE, "circle"),
    "jointly": (TARGET, "diamond"),
    "either": (RANDOM, "star"),
    "context": (WITHOUT_FIRST, "square"),
    "position": (WITH_FIRST, "triangle-up"),
}
"""From the bottom up."""


def _lines(figure: go.Figure, dataset: xr.Dataset, names: tuple[str, ...]) -> list[Any]:
    """Effects with their simultaneous bands; those that this model does not have are left out."""
    seen: list[Any] = []
    for name in names:
        one = dataset.sel(effect=name)
        if one["effect_mean"].notnull().any():
            text, color = _EFFECTS[name]
            look = {"name": text, "color": color, "hover": f"layer %{{x}}, {name}: %{{y:.3f}} rad"}
            ends = ("mean", "band_low", "band_high")
            seen += layer_curve(figure, one, "effect_", ends=ends, opacity=0.18, **look)
    return seen


def _dotted(figure: go.Figure, x: object, y: object, name: str, color: str) -> None:
    hover = f"layer %{{x}}, {name}: %{{y:.3f}} rad"
    line(figure, x, y, name=name, color=color, hover=hover, width=2.0, dash="4px,3px")


@needs("effect_band_low")
def why_effects(dataset: xr.Dataset) -> go.Figure | None:
    """What cutting the context and restarting positions do to a bigram, by layer."""
    figure = new_figure(
        "What makes a pair a first pair",
        "Each alone against both: a cause that is enough by itself runs beyond the dotted half of E11 "
        "(bands: 95%, all layers together)." + withheld_note(dataset, "effect_band_low"),
    )
    seen = _lines(figure, dataset, ("E11", "E10", "E01"))
    _dotted(figure, dataset["layer"].values, dataset["half_E11"].values, "½E11", SOFT)
    shift_axis(figure, dataset, seen, "effect (rad)")
    return figure


@needs("effect_band_low")
def why_verdict(dataset: xr.Dataset) -> go.Figure | None:
    """The verdict of each layer."""
    figure = new_figure(
        "The verdict, layer by layer",
        "What is enough to make a pair in the body behave as the first: all verdicts together are right with "
        "95% confidence. Layer 0 has no context, so that position can be its only cause.",
    )
    verdicts, layers = dataset["verdict"].values.astype(str), dataset["layer"].values
    e11 = dataset.sel(effect="E11")["effect_mean"].values
    names = list(_VERDICTS)
    for name, (color, symbol) in _VERDICTS.items():
        rows = verdicts == name
        figure.add_trace(
            go.Scatter(
                x=layers[rows], y=[name] * len(layers[rows]), mode="markers", showlegend=False,
                customdata=e11[rows],
                marker={"color": color, "size": 15, "symbol": symbol, "line": {"width": 2, "color": SOFT}},
                hovertemplate=f"layer %{{x}}: {name}, E11 %{{customdata:.3f}} rad<extra></extra>",
            )
        )  # fmt: skip
    layer_axis(figure, layers.tolist())
    figure.update_yaxes(categoryorder="array", categoryarray=names, range=[-0.6, len(names) - 0.4])
    figure.update_layout(height=320, margin={"t": 56})
    return figure


@needs("effect_band_low")
def why_excess(dataset: xr.Dataset) -> go.Figure | None:
    """The first pair's excess and its two parts."""
    figure = new_figure(
        "The excess of first pairs, and its two parts",
        "Excess = T + E11, text by text: T belongs to the tokens (as they stand behind another text), E11 to "
        "being first." + withheld_note(dataset, "effect_band_low"),
    )
    seen = _lines(figure, dataset, ("excess", "T", "E11"))
    shift_axis(figure, dataset, seen, "effect (rad)")
    return figure


@needs("effect_band_low")
def why_cells(dataset: xr.Dataset) -> go.Figure | None:
    """Mean angles of first bigrams in the four cells."""
    figure = new_figure(
        "The same bigrams in four cells",
        "First bigrams of texts, measured behind another text's tokens, there with either or both changes; "
        "dotted: the mean pair of a text's last third." + withheld_note(dataset, "cell_low"),
    )
    x, seen = dataset["layer"].values, []
    for name, (text, color) in _CELLS.items():
        one = dataset.sel(place="first", cell=name)
        if one["cell_mean"].notnull().any():
            look = {"name": text, "color": color, "hover": f"layer %{{x}}, {text}: %{{y:.3f}} rad"}
            seen += layer_curve(figure, one, "cell", ends=("_mean", "_low", "_high"), **look)
    body = dataset["reference_mean"].values
    _dotted(figure, x, body, "the body's mean", SOFT)
    angle_axis(figure, [*seen, body])
    return figure


@needs("effect_band_low")
def why_places(dataset: xr.Dataset) -> go.Figure | None:
    """E11 of first bigrams against bigrams from inside, and against random weights."""
    figure = new_figure(
        "Does it matter which tokens are first?",
        "What being first does to a text's first two tokens, and to two from inside a text that are moved "
        "to the start; random weights do something too, which no training explains."
        + withheld_note(dataset, "effect_band_low"),
    )
    seen = _lines(figure, dataset, ("E11", "E11_body"))
    if "random_effect" in dataset:
        random = dataset.sel(effect="E11")["random_effect"].values
        _dotted(figure, dataset["layer"].values, random, "E11 with random weights", RANDOM)
        seen.append(random)
    shift_axis(figure, dataset, seen, "E11 (rad)")
    return figure


@needs("trend_line")
def why_trend(dataset: xr.Dataset) -> go.Figure | None:
    """Effects against the place where the bigram was put."""
    figure = new_figure(
        "Does the cause depend on the place?",
        "Effects in the layers of the verdict, against the position t at which a text's first bigram stands "
        "behind another text: means over the texts of a place, and a straight line with its 95% band."
        + withheld_note(dataset, "trend_low"),
    )
    x, seen = dataset["t"].values.tolist(), []
    for name in dataset["trend_effect"].values.tolist():
        one = dataset.sel(trend_effect=name)
        points, *band = (one[f"trend_{part}"].values for part in ("mean", "line", "low", "high"))
        if not np.isfinite(points).any():
            continue
        text, color = _EFFECTS[name]
        hover = f"t = %{{x}}, {name}: %{{y:.3f}} rad"
        mean_and_band(figure, x, *band, name=text, color=color, hover=hover, opacity=0.18)
        figure.add_trace(
            go.Scatter(
                x=x, y=points, mode="markers", showlegend=False, hovertemplate=f"{hover}<extra></extra>",
                marker={"color": color, "size": 6},
            )
        )  # fmt: skip
        seen += [points, *band]
    position_axis(figure, x)
    figure.update_xaxes(title={"text": "place t of the bigram (t, t+1)"})
    angle_axis(figure, seen, title="effect (rad)", zero=True)
    return figure
