"""Figures along the positions of a prompt."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from laminar_lens.figures.style import (
    BASELINE,
    INK,
    LAYERS,
    RANDOM,
    SHADES,
    SOFT,
    angle_axis,
    bundle,
    colorscale,
    new_figure,
    scale_color,
    shown,
)

FEWEST_PROMPTS = 10
"""A position that fewer prompts reach is not drawn: its mean would be theirs alone."""

FEWEST_PAIRS = 3
"""The skipped curves keep at least this many pairs, or stop skipping at `MOST_SKIPPED`."""
MOST_SKIPPED = 8

_ROW = 8


def layer_lines(
    figure: go.Figure,
    layers: Sequence[int],
    x: Sequence[int],
    curves: NDArray[Any],
    *,
    hover: str,
    width: float = 1.8,
) -> None:
    """A line a layer [layer, x], coloured from first to last, with a colour bar instead of a long legend.

    A single layer gets a legend entry; no layer, nothing.
    """
    if not layers:
        return
    span = max(1, layers[-1] - layers[0])
    for layer, curve in zip(layers, curves, strict=True):
        figure.add_trace(
            go.Scatter(
                x=list(x), y=curve, mode="lines", showlegend=len(layers) == 1, name=f"layer {layer}",
                line={"color": scale_color(LAYERS, (layer - layers[0]) / span), "width": width},
                hovertemplate=f"layer {layer}, {hover}: %{{y:.3f}} rad<extra></extra>",
            )
        )  # fmt: skip
    if len(layers) == 1:
        return
    figure.add_trace(
        go.Scatter(
            x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
            marker={
                "color": [layers[0]], "cmin": layers[0], "cmax": layers[-1], "colorscale": colorscale(LAYERS),
                "showscale": True,
                "colorbar": {
                    "title": {"text": "layer", "side": "right", "font": {"size": 13}},
                    "thickness": 10, "len": 0.95,
                    "x": 1.09, "xanchor": "left", "outlinewidth": 0, "tickfont": {"size": 12, "color": SOFT},
                    "tickvals": list(layers)[:: math.ceil(len(layers) / 9)],
                },
            },
        )
    )  # fmt: skip
    figure.update_layout(margin={"r": 118})


def position_axis(figure: go.Figure, x: Sequence[int]) -> None:
    """Pairs named by their first position."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 500, 10**6) if len(x) / s <= 16)
    figure.update_xaxes(
        title={"text": "position p of the pair (p, p+1)"},
        tickvals=[p for p in x if (p - x[0]) % step == 0],
        range=[x[0] - 0.02 * len(x) - 0.15, x[-1] + 0.02 * len(x) + 0.15],
    )


def by_position(dataset: xr.Dataset) -> go.Figure | None:
    """The mean angle of adjacent pairs by position, a line a layer."""
    random = "; random weights have a curve of their own" if "random_position_angle" in dataset else ""
    return _by_position(
        dataset,
        0,
        "Angle by position",
        "The first pair against the others: a line that starts apart from its own later course is a warm-up "
        f"in that layer. Layer 0 has no context yet{random}. With the positions permuted, none can stand "
        "apart.",
    )


def by_position_skipped(dataset: xr.Dataset) -> go.Figure | None:
    """The same without the first positions."""
    if "position_angle" not in dataset:
        return None
    asked, reached = _asked(dataset), len(_drawn_pairs(dataset))
    skip = asked if asked <= reached - FEWEST_PAIRS else max(1, min(MOST_SKIPPED, reached - FEWEST_PAIRS))
    tokens = "the first token" if skip == 1 else f"the first {skip} tokens"
    short = "" if skip == asked else (
        f" The warm-up asks to leave out {asked}; these prompts are too short for that, so {skip}."
    )  # fmt: skip
    return _by_position(
        dataset,
        skip,
        f"Angle by position, without {tokens}",
        "The same curves on a scale of their own: is what is left flat, up to the words that happen to stand "
        "there?" + short,
    )


def _asked(dataset: xr.Dataset) -> int:
    """Tokens to leave out: the largest that any layer's warm-up asks for, and at least one."""
    for name in ("warmup_k_hi", "warmup_k_lo"):
        if name in dataset and (dataset[name].values >= 0).all():
            return max(1, int(dataset[name].values.max()))
    return 1


def _drawn_pairs(dataset: xr.Dataset) -> NDArray[Any]:
    """Indices of the pairs that enough prompts reach."""
    counts = np.isfinite(dataset["position_angle"].values).any(axis=0).sum(axis=0)
    return np.flatnonzero(counts >= max(1, min(FEWEST_PROMPTS, counts.max())))


def _by_position(dataset: xr.Dataset, skip: int, title: str, caption: str) -> go.Figure | None:
    if "position_angle" not in dataset:
        return None
    angles = dataset["position_angle"].values
    kept = _drawn_pairs(dataset)
    kept = kept[kept >= skip]
    if len(kept) < 2:
        return None
    figure = new_figure(title, caption)
    x = dataset["pair"].values[kept].tolist()
    layers = dataset["layer"].values.tolist()
    first = 1 if layers[0] == 0 else 0
    curves = _means(angles[:, :, kept])
    seen = [curves]
    contextual = layers[first:]
    if "random_position_angle" in dataset and contextual:
        random = dataset["random_position_angle"].values[first:, kept]
        _random_lines(figure, x, random, [f"random weights, layer {layer}" for layer in contextual])
        seen.append(random)
    layer_lines(figure, contextual, x, curves[first:], hover="pair (%{x}, next)")
    if "null_position_angle" in dataset:
        null = dataset["null_position_angle"].values
        seen.append(_permuted_line(figure, x, (null[first:] if contextual else null)[:, kept]))
    if first:
        figure.add_trace(
            go.Scatter(
                x=x, y=curves[0], mode="lines", name="layer 0 (embeddings)",
                line={"color": INK, "width": 2, "dash": "dot"},
                hovertemplate="layer 0: %{y:.3f} rad<extra></extra>",
            )
        )  # fmt: skip
    position_axis(figure, x)
    angle_axis(figure, seen, title="mean angle (rad)", attrs=dataset.attrs)
    return figure


def _random_lines(figure: go.Figure, x: Sequence[int], curves: NDArray[Any], texts: Sequence[str]) -> None:
    bundle(figure, x, curves, texts, name="random weights, each layer", color=RANDOM, opacity=0.4)
    figure.data[-1].line.dash = "4px,3px"
    figure.data[-1].hovertemplate = "%{customdata}<br>pair (%{x}, next): %{y:.3f} rad<extra></extra>"


def _permuted_line(figure: go.Figure, x: Sequence[int], null: NDArray[Any]) -> NDArray[Any]:
    """Draw the mean over layers of the curves [layer, x] with permuted positions, and return it."""
    mean: NDArray[Any] = _means(null[None])[0]
    figure.add_trace(
        go.Scatter(
            x=list(x), y=mean, mode="lines", name="positions permuted, mean over layers",
            line={"color": BASELINE, "width": 1.2},
            hovertemplate="positions permuted, mean over layers<br>pair (%{x}, next): %{y:.3f} rad"
            "<extra></extra>",
        )
    )  # fmt: skip
    return mean


def _means(angles: NDArray[Any]) -> NDArray[Any]:
    """Mean over the second axis [layer prompt pair] → [layer pair] of what is finite."""
    finite = np.isfinite(angles)
    count = finite.sum(axis=1)
    total = np.where(finite, angles, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def tokens(dataset: xr.Dataset) -> go.Figure | None:
    """The first prompt's tokens shaded by the angle from the token before, with a slider over layers."""
    if "position_angle" not in dataset or "token" not in dataset:
        return None
    figure = new_figure(
        "A prompt, token by token",
        "Each token is shaded by the angle between it and the token before it; move the slider through "
        "the layers.",
    )
    words = dataset["token"].values[0][: int(dataset["n_tokens"].values[0])].tolist()
    rows = math.ceil(len(words) / _ROW)
    angles = dataset["position_angle"].values[:, 0, : len(words) - 1]
    grids = [_grid([math.nan, *row], rows) for row in np.round(angles.astype(float), 4).tolist()]
    low, high = float(np.nanmin(angles)), float(np.nanmax(angles))
    start = len(grids) // 2
    text = [shown(word, 14) for word in words] + [""] * (rows * _ROW - len(words))
    figure.add_trace(
        go.Heatmap(
            z=grids[start], text=[text[r * _ROW : (r + 1) * _ROW] for r in range(rows)],
            xgap=4, ygap=8, zmin=low, zmax=high, colorscale=colorscale(SHADES),
            texttemplate="%{text}<br>%{z:.2f}", textfont={"size": 14}, hoverongaps=False,
            hovertemplate="%{text}: %{z:.3f} rad<extra></extra>",
            colorbar={"title": {"text": "rad"}, "thickness": 10, "outlinewidth": 0},
        )
    )  # fmt: skip
    layers = dataset["layer"].values.tolist()
    steps = [
        {"label": str(layer), "method": "restyle", "args": [{"z": [grid]}, [0]]}
        for layer, grid in zip(layers, grids, strict=True)
    ]
    figure.update_layout(
        sliders=[{"steps": steps, "active": start, "currentvalue": {"prefix": "layer "}, "pad": {"t": 24}}],
        xaxis={"visible": False}, yaxis={"visible": False, "autorange": "reversed"}, height=220 + 74 * rows,
    )  # fmt: skip
    return figure


def _grid(values: Sequence[float], rows: int) -> list[list[float | None]]:
    padded = [None if math.isnan(v) else v for v in values] + [None] * (rows * _ROW - len(values))
    return [padded[r * _ROW : (r + 1) * _ROW] for r in range(rows)]
