"""Figures of the warm-up study."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import layer_curve, layer_lines, needs, position_axis, shift_axis, tolerance
from laminar_lens.figures.style import (
    INK,
    RANDOM,
    SOFT,
    TARGET,
    WITH_FIRST,
    fade,
    key,
    layer_axis,
    new_figure,
    withheld_note,
)


def _reference_window(figure: go.Figure, dataset: xr.Dataset) -> None:
    """Shade the pairs that all others are compared with."""
    names = [f"reference_{end}" for end in ("start", "stop")]
    if set(names) <= set(dataset.attrs):
        ends = [dataset.attrs[name] for name in names]
        color = fade(SOFT, 0.1)
        figure.add_vrect(x0=ends[0] - 0.5, x1=ends[1] - 0.5, fillcolor=color, line_width=0, layer="below")
        key(figure, "reference pairs", marker={"symbol": "square", "color": color, "size": 12})


@needs("delta")
def warmup_delta(dataset: xr.Dataset) -> go.Figure | None:
    """Each layer's shift by position against the reference window; a slider shows one layer's intervals."""
    figure = new_figure(
        "Warm-up: how far each position is from the later ones",
        "A layer is warmed up where its 90% interval (darker band) lies inside ±τ from there on; the slider "
        "picks the layer, the thin lines are the others.",
    )
    layers, x = dataset["layer"].values.tolist(), dataset["pair"].values.tolist()
    delta, curves = dataset["delta"].values, _curves(dataset)
    layer_lines(figure, layers, x, delta, hover="pair (%{x}, next), δ", width=1.0)
    first = len(figure.data)
    start = int(np.argmax(np.abs(np.nan_to_num(delta[:, 0]))))
    for values, style in zip(curves[start], _CHOSEN, strict=False):
        figure.add_trace(go.Scatter(x=x, y=values, mode="lines", **style))
    which = list(range(first, len(figure.data)))
    steps = [
        {"label": str(layer), "method": "restyle", "args": [{"y": curve}, which]}
        for layer, curve in zip(layers, curves, strict=True)
    ]
    slider = {"steps": steps, "active": start, "currentvalue": {"prefix": "layer "}, "pad": {"t": 56}}
    figure.update_layout(height=560, sliders=[slider])
    position_axis(figure, x)
    names = ("delta", "band_low", "band_high", "random_delta")
    seen = [dataset[name].values for name in names if name in dataset]
    shift_axis(figure, dataset, seen, "shift δ (rad)")
    _reference_window(figure, dataset)
    return figure


_HOVER = "pair (%{x}, next): %{y:.3f} rad"
_EDGE: dict[str, Any] = {"line": {"width": 0}, "hoverinfo": "skip"}
_CHOSEN: tuple[dict[str, Any], ...] = (
    {**_EDGE, "showlegend": False},
    {**_EDGE, "fill": "tonexty", "fillcolor": fade(TARGET, 0.16), "name": "95%, all together"},
    {**_EDGE, "showlegend": False},
    {**_EDGE, "fill": "tonexty", "fillcolor": fade(TARGET, 0.34), "name": "90%, each position"},
    {"line": {"width": 3, "color": TARGET}, "name": "the layer's shift δ", "hovertemplate": _HOVER},
    {
        "line": {"width": 2, "color": RANDOM, "dash": "4px,3px"},
        "name": "random weights, same layer",
        "hovertemplate": _HOVER,
    },
)
"""How the chosen layer's lines look, in the order of `_curves`."""


def _curves(dataset: xr.Dataset) -> list[list[list[float | None]]]:
    """By layer, the lines that the slider exchanges."""
    names = ["band_low", "band_high", "delta_low90", "delta_high90", "delta"]
    names += ["random_delta"] if "random_delta" in dataset else []
    columns = [np.round(dataset[name].values.astype(float), 5) for name in names]
    return [
        [[None if np.isnan(v) else v for v in column[layer].tolist()] for column in columns]
        for layer in range(dataset.sizes["layer"])
    ]


@needs("random_delta")
def random_init(dataset: xr.Dataset) -> go.Figure | None:
    """The same shift in a model of the same shape with random weights."""
    figure = new_figure(
        "The same measure on random weights",
        "Random weights are no zero: averaging over few tokens moves the first pairs without any training. "
        "Compare the trained curves with these, not with a flat line." + _one_draw(dataset),
    )
    layers, x = dataset["layer"].values.tolist(), dataset["pair"].values.tolist()
    random = dataset["random_delta"].values
    layer_lines(figure, layers, x, random, hover="random weights, pair (%{x}, next), δ")
    position_axis(figure, x)
    shift_axis(figure, dataset, [random], "shift δ (rad)")
    return figure


def _one_draw(dataset: xr.Dataset) -> str:
    """What layer 0 shows besides, in a model that adds position embeddings."""
    absolute = '"positions": "absolute"' in dataset.attrs.get("provenance", "")
    if not absolute or dataset["layer"].values[0] != 0:
        return ""
    return " The jags of layer 0 are this one draw's random position embeddings."


@needs("k_hi")
def k_by_layer(dataset: xr.Dataset) -> go.Figure | None:
    """How many tokens to leave out in each layer: the interval [k_lo, k_hi]."""
    figure = new_figure(
        "How many tokens to leave out, by layer",
        "The mark is enough; a bar reaches down to the fewest that are necessary (one point: exact). An "
        "arrow: no number was shown to be enough. More texts shorten a bar.",
    )
    layers, verdict = dataset["layer"].values, dataset["verdict"].values.astype(str)
    low, high = np.maximum(dataset["k_lo"].values, 0), dataset["k_hi"].values
    top = int(max(high.max(), low.max(), 1))
    roof = top + max(0.6, 0.15 * top)
    end = np.where(high >= 0, high, roof)
    open_ended = (high < 0) & (verdict != "drift")
    bar = (end > low) & (verdict != "drift")
    figure.add_trace(
        go.Scatter(
            x=np.repeat(layers[bar].astype(float), 3),
            y=np.stack([low[bar], end[bar], np.full_like(end[bar], np.nan)], 1).ravel(),
            mode="lines", showlegend=False, line={"color": WITH_FIRST, "width": 5}, hoverinfo="skip",
        )
    )  # fmt: skip
    _k_marks(figure, dataset, end, open_ended)
    if bar.any():
        key(figure, "from what is necessary up", line={"color": WITH_FIRST, "width": 5})
    layer_axis(figure, layers.tolist())
    step = next(s for s in (1, 2, 5, 10, 20, 50, 1000) if top / s <= 8)
    bottom = -0.06 * top - 0.2
    figure.update_yaxes(title={"text": "tokens to leave out (k)"}, range=[bottom, roof - bottom])
    figure.update_yaxes(tickvals=list(range(0, top + 1, step)))
    figure.update_layout(height=380, showlegend=True)
    return figure


@needs("tolerance_k_hi")
def k_by_tolerance(dataset: xr.Dataset) -> go.Figure | None:
    """What is enough and what is necessary at each tolerance: all layers at once, and each by itself."""
    figure = new_figure(
        "How many tokens to leave out, by tolerance",
        "The same measurement at every tolerance: thick, all layers at once; thin, each layer by itself. A "
        "line begins where a number was first shown to be enough.",
        x="tolerance ±τ (rad)",
    )
    tau, layers = dataset["tolerance"].values.tolist(), dataset["layer"].values.tolist()
    x, names = list(range(len(tau))), [f"{one:g}" for one in tau]
    for layer, k in zip(layers, dataset["tolerance_k_hi_by_layer"].values.T, strict=True):
        figure.add_trace(
            go.Scatter(
                x=x, customdata=names, y=np.where(k < 0, np.nan, k), mode="lines", name=f"layer {layer}",
                line={"color": fade(TARGET, 0.25), "width": 1}, showlegend=False,
                hovertemplate=f"layer {layer}, ±%{{customdata}} rad: %{{y}} are enough<extra></extra>",
            )
        )  # fmt: skip
    for name, words, color in (
        ("k_hi", "enough in every layer", TARGET),
        ("k_lo", "necessary", WITH_FIRST),
    ):
        k = dataset[f"tolerance_{name}"].values
        figure.add_trace(
            go.Scatter(
                x=x, customdata=names, y=np.where(k < 0, np.nan, k), mode="lines+markers", name=words,
                line={"color": color, "width": 3}, marker={"size": 8},
                hovertemplate=f"±%{{customdata}} rad: %{{y}} {words}<extra></extra>",
            )
        )  # fmt: skip
    key(figure, "enough in one layer", line={"color": fade(TARGET, 0.4), "width": 1})
    chosen = tolerance(dataset)
    if chosen in tau:
        line = {"color": SOFT, "width": 1, "dash": "dot"}
        figure.add_vline(x=tau.index(chosen), line=line, layer="below")
        key(figure, f"τ = {chosen:g} rad, this study's", line=line)
    figure.update_xaxes(tickvals=x, ticktext=names)
    figure.update_yaxes(title={"text": "tokens to leave out (k)"}, rangemode="tozero")
    figure.update_layout(height=380, showlegend=True)
    return figure


def _k_marks(figure: go.Figure, dataset: xr.Dataset, end: Any, open_ended: Any) -> None:
    """A point a layer at its upper end, by verdict."""
    layers, verdict = dataset["layer"].values, dataset["verdict"].values.astype(str)
    low, high = np.maximum(dataset["k_lo"].values, 0), dataset["k_hi"].values
    at = np.where(verdict == "drift", 0, end)
    hover = [
        f"{v}: at least {a}, {f'at most {b}' if b >= 0 else 'no upper bound shown'}"
        for v, a, b in zip(verdict, low, high, strict=True)
    ]
    for name, rows, color, symbol in (
        ("exact", verdict == "exact", TARGET, "circle"),
        ("enough", verdict == "bracketed", WITH_FIRST, "line-ew"),
        ("no upper bound", open_ended, WITH_FIRST, "triangle-up"),
        ("drift", verdict == "drift", INK, "x"),
    ):
        if rows.any():
            figure.add_trace(
                go.Scatter(
                    x=layers[rows], y=at[rows], mode="markers", name=name,
                    marker={
                        "color": color, "size": 13, "symbol": symbol, "line": {"width": 2, "color": color},
                    },
                    customdata=[text for text, row in zip(hover, rows, strict=True) if row],
                    hovertemplate="layer %{x}: %{customdata}<extra></extra>",
                )
            )  # fmt: skip


@needs("paired_shift")
def paired_shift(dataset: xr.Dataset) -> go.Figure | None:
    """The same bigram at position 0 against deep inside a longer window of the same text."""
    if not np.isfinite(dataset["paired_shift"].values).any():
        return None
    figure = new_figure(
        "The same two tokens, first against inside",
        "What being first does to a pair, with the tokens themselves held fixed; above 0, first pairs "
        "are wider." + withheld_note(dataset, "paired_shift_low"),
    )
    look = {"name": "paired shift", "band": "95% interval", "color": TARGET}
    band = layer_curve(figure, dataset, "paired_shift", hover="layer %{x}: %{y:.3f} rad", **look)
    shift_axis(figure, dataset, band, "paired shift (rad)")
    return figure
