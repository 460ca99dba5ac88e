"""Marks that figures of several studies share: lines by layer, pairs along an axis, the tolerance."""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from laminar_lens.figures.style import (
    LAYERS,
    SHADES,
    SOFT,
    WITHOUT_FIRST,
    angle_axis,
    colorscale,
    fade,
    key,
    layer_axis,
    line_mode,
    mean_and_band,
    scale_color,
)
from laminar_lens.tables import ENDS

T = TypeVar("T")
Drawn = Callable[[xr.Dataset], go.Figure | None]

FEWEST_TEXTS = 10
"""A position that fewer texts reach is not drawn: its mean would be theirs alone."""


def needs(name: str) -> Callable[[Callable[[xr.Dataset], T]], Callable[[xr.Dataset], T | None]]:
    """A figure or table that is None of a dataset without that variable."""

    def of(make: Callable[[xr.Dataset], T]) -> Callable[[xr.Dataset], T | None]:
        return wraps(make)(lambda dataset: make(dataset) if name in dataset else None)

    return of


def reached(n: NDArray[Any]) -> NDArray[Any]:
    """Indices of the places that enough texts reach, of how many reach each."""
    return np.flatnonzero(n >= max(1, min(FEWEST_TEXTS, int(n.max()))))


def layer_curve(
    figure: go.Figure, dataset: xr.Dataset, variable: str, *, ends: Sequence[str] = ENDS, **look: Any
) -> list[NDArray[Any]]:
    """A number by layer with its band, which looks as `mean_and_band` has it; returns what must be seen.

    Args:
        figure: changed in place.
        dataset: with an axis of layers, and no other of that variable.
        variable: its name, without what `ends` add for the number and the ends of its band.
        ends: of these three names.
        look: as of `mean_and_band`.
    """
    band = [dataset[f"{variable}{end}"].values for end in ends]
    layers = dataset["layer"].values
    mean_and_band(figure, layers, *band, **look)
    layer_axis(figure, layers.tolist())
    return band


def dots(
    figure: go.Figure, places: object, band: Sequence[Any], *, along: str, width: int, hover: str, **look: Any
) -> None:
    """Points at `places`, each with the bar of its interval along the axis "x" or "y"."""
    mean, low, high = band
    bar = {"type": "data", "thickness": 2, "width": width, "symmetric": False}
    bar |= {"array": high - mean, "arrayminus": mean - low}
    values = {along: mean, "xy".replace(along, ""): places, f"error_{along}": bar}
    figure.add_trace(go.Scatter(mode="markers", hovertemplate=f"{hover}<extra></extra>", **values, **look))


def heatmap(
    figure: go.Figure,
    x: object,
    y: object,
    z: object,
    *,
    title: str,
    hover: str,
    colors: Sequence[str] = SHADES,
    **how: Any,
) -> None:
    """Cells [y, x] from pale to dark, or as `colors` has it, with a narrow bar of these under its title."""
    bar = {"title": {"text": title}, "thickness": 10, "outlinewidth": 0}
    look = {"colorscale": colorscale(colors), "colorbar": bar, "hovertemplate": f"{hover}<extra></extra>"}
    figure.add_trace(go.Heatmap(x=x, y=y, z=z, **look, **how))


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


def line(
    figure: go.Figure, x: object, y: object, *, name: str, color: str, hover: str, width: float, dash: str
) -> None:
    """A line without an interval; of a single x, a point."""
    figure.add_trace(
        go.Scatter(
            x=x, y=y, name=name, mode=line_mode(x), line={"color": color, "width": width, "dash": dash},
            marker={"color": color, "size": 11}, hovertemplate=f"{hover}<extra></extra>",
        )
    )  # fmt: skip


def menu(buttons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A menu above the figure, as its layout takes it."""
    look = {"font": {"size": 13}, "pad": {"t": 0, "b": 0}}
    return [{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.03, "yanchor": "bottom", **look}]


def position_axis(figure: go.Figure, x: Sequence[int]) -> None:
    """Pairs named by their first position."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 500, 10**6) if len(x) / s <= 16)
    figure.update_xaxes(
        title={"text": "position p of the pair (p, p+1)"},
        tickvals=[p for p in x if (p - x[0]) % step == 0],
        range=[x[0] - 0.02 * len(x) - 0.15, x[-1] + 0.02 * len(x) + 0.15],
    )


def tolerance(dataset: xr.Dataset) -> float | None:
    """The half-width τ in rad of the band inside which a shift counts as none."""
    found = dataset.attrs.get("tau")
    return float(found) if isinstance(found, int | float) else None


def shift_axis(figure: go.Figure, dataset: xr.Dataset, values: Sequence[Any], title: str) -> None:
    """An axis of differences in radians, wide enough for `values` and for ±τ, which is shaded."""
    tau = tolerance(dataset)
    angle_axis(figure, [*values, [] if tau is None else [-tau, tau]], title=title, zero=True)
    if tau is not None:
        color = fade(WITHOUT_FIRST, 0.14)
        figure.add_hrect(y0=-tau, y1=tau, fillcolor=color, line_width=0, layer="below")
        key(figure, f"within ±τ = {tau:g} rad", marker={"symbol": "square", "color": color, "size": 12})
