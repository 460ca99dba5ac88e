"""One look for all figures: colours that always mean the same, axes in radians and degrees, hover text."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from laminar_lens.words import because, interval

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
INK, SOFT, RULE, GRID = "#1f2328", "#59636e", "#b6bec7", "#e8ebee"

TARGET = "#0072B2"
BASELINE = "#6b6f76"
WITH_FIRST = "#D55E00"
WITHOUT_FIRST = "#009E73"
RANDOM = "#A6468A"
"""Okabe and Ito's palette (the last darkened for thin lines): told apart with any kind of colour vision."""

EARLY = ("#8B5FBF", "#2F7FC1", "#C23B87")
"""Positions 1 to 3, beside position 0."""

BASELINES = {"published": BASELINE, "adjacent": "#D55E00", "matched": "#009E73", "by_position": "#A6468A"}

LAYERS = ("#0d0887", "#5b02a3", "#9a179b", "#cb4678", "#eb7852", "#fbb32f")
"""Embedding to last layer (plasma without its palest end)."""

SHADES = ("#f6f6f3", "#fbdcb6", "#f3a765", "#d55e00", "#762c00")
"""Small to large angle: lightness falls all the way, so that it survives printing."""

DIVERGING = ("#053061", "#92c5de", SHADES[0], SHADES[2], SHADES[4])
"""From below 0, over 0, to above it."""

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 14, "color": INK},
        "title": {
            "x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top",
            "pad": {"l": 8, "t": 14}, "font": {"size": 17},
        },
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": [TARGET, WITH_FIRST, WITHOUT_FIRST, RANDOM, BASELINE],
        "hoverlabel": {
            "bgcolor": "white", "bordercolor": RULE, "align": "left", "font": {"size": 13, "color": INK},
        },
        "legend": {
            "orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom",
            "font": {"size": 13}, "itemsizing": "constant", "bgcolor": "rgba(255,255,255,0)",
        },
        "margin": {"l": 72, "r": 60, "t": 118, "b": 56},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(255,255,255,0)", "color": RULE, "activecolor": INK},
        "sliderdefaults": {"bgcolor": RULE, "bordercolor": RULE, "tickcolor": RULE, "activebgcolor": SOFT},
        "updatemenudefaults": {"bgcolor": "white", "bordercolor": RULE},
        "xaxis": {
            "showgrid": False, "zeroline": False, "showline": True, "linecolor": RULE, "ticks": "outside",
            "tickcolor": RULE, "ticklen": 5, "tickangle": 0, "title": {"standoff": 10},
        },
        "yaxis": {
            "gridcolor": GRID, "zeroline": False, "ticks": "outside", "tickcolor": "white", "ticklen": 4,
            "automargin": True, "title": {"standoff": 10},
        },
    }
)  # fmt: skip

HEIGHT = 480


def new_figure(title: str, caption: str, x: str = "layer (0 = embedding)") -> go.Figure:
    """An empty figure in the common look; the caption says what to look at and goes below it in a report."""
    figure = go.Figure()
    figure.update_layout(
        template=TEMPLATE,
        title={"text": title},
        height=HEIGHT,
        meta={"caption": caption},
        xaxis={"title": {"text": x}},
    )
    return figure


def layer_axis(figure: go.Figure, layers: Sequence[int]) -> None:
    """Whole layers on the x axis, as many labels as fit."""
    step = max(1, math.ceil(len(layers) / 14))
    pad = 0.02 * (layers[-1] - layers[0]) + 0.2
    figure.update_xaxes(tickvals=list(layers)[::step], range=[layers[0] - pad, layers[-1] + pad])


def angle_axis(
    figure: go.Figure,
    values: Iterable[Any],
    *,
    title: str = "angle (rad)",
    zero: bool = False,
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """Radians left, degrees right, wide enough for `values`; π/2 as a reference where it is near.

    Args:
        figure: changed in place.
        values: arrays that must be seen; NaN and infinite values are left out.
        title: of the left axis.
        zero: a difference or a spread: 0 is the reference, not π/2.
        attrs: of the dataset; where they hold it, the reference says how far random directions scatter.
    """
    low, high = _bounds(values, zero)
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
    step = next((s for s in steps if math.degrees(high - low) / s <= 8), 30)
    ticks = np.arange(math.ceil(math.degrees(low) / step), math.degrees(high) // step + 1) * step
    digits = 0 if step >= 1 else 1
    figure.update_layout(
        yaxis={"title": {"text": title}, "range": [low, high]},
        yaxis2={
            "overlaying": "y", "side": "right", "matches": "y", "showgrid": False, "zeroline": False,
            "tickvals": np.radians(ticks).tolist(),
            "ticktext": [f"{t:.{digits}f}°".replace("-", "−") for t in ticks],
            "tickcolor": "white", "tickfont": {"color": SOFT}, "title": {"text": ""},
        },
    )  # fmt: skip
    figure.add_trace(go.Scatter(x=[None], y=[None], yaxis="y2", showlegend=False, hoverinfo="skip"))
    if zero and low < 0 < high:
        figure.add_hline(y=0, line={"color": RULE, "width": 1})
    elif not zero and low < math.pi / 2 < high:
        sd = (attrs or {}).get("random_direction_sd")
        reference_line(figure, math.pi / 2, f"π/2{'' if sd is None else f' ± {sd:.2f}'}: random directions")


def reference_line(figure: go.Figure, y: float, label: str) -> None:
    """A dotted horizontal line, with its meaning in the legend."""
    dotted = {"color": SOFT, "width": 1, "dash": "dot"}
    figure.add_hline(y=y, line=dotted)
    key(figure, label, line=dotted)


def key(figure: go.Figure, name: str, **marks: Any) -> None:
    """A legend entry for marks that no entry of a trace explains: `line` or `marker` as a trace has them."""
    kinds = [kind for kind, mark in (("lines", "line"), ("markers", "marker")) if mark in marks]
    mode = "+".join(kinds)
    figure.add_trace(
        go.Scatter(x=[None], y=[None], mode=mode, name=name, showlegend=True, hoverinfo="skip", **marks)
    )


def _bounds(values: Iterable[Any], zero: bool) -> tuple[float, float]:
    flat = np.concatenate([np.ravel(np.asarray(v, dtype=float)) for v in values] or [np.zeros(0)])
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return (-0.1, 0.1) if zero else (0.0, math.pi)
    low, high = float(flat.min()), float(flat.max())
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    elif low - 0.35 < math.pi / 2 < high + 0.35:
        low, high = min(low, math.pi / 2 - 0.04), max(high, math.pi / 2 + 0.08)
    pad = max(0.06 * (high - low), 0.002 if zero else 0.01)
    low = 0.0 if low >= 0 and (zero or low - pad < 0.25) else low - pad
    return low, min(high + pad, math.pi + 0.02)


def mean_and_band(
    figure: go.Figure,
    x: Any,
    mean: Any,
    low: Any,
    high: Any,
    *,
    name: str,
    color: str,
    hover: str,
    band: str = "",
    dash: str = "solid",
    opacity: float = 0.26,
) -> None:
    """A bold line with its interval as a band; one legend entry for both, which names `band` if there is one.

    A single x has no line: a point with its error bar stands for it.
    """
    known = bool(np.isfinite(np.asarray(low, dtype=float)).any())
    name += f", {band}" if band and known else ""
    bar: dict[str, Any] = {}
    if len(x) == 1 and known:
        ends = {"array": np.subtract(high, mean), "arrayminus": np.subtract(mean, low), "symmetric": False}
        bar = {"error_y": {"type": "data", "thickness": 2, "width": 8, **ends}}
    elif known:
        edge = {
            "mode": "lines",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": name,
        }
        figure.add_trace(go.Scatter(x=x, y=low, **edge))
        figure.add_trace(go.Scatter(x=x, y=high, fill="tonexty", fillcolor=fade(color, opacity), **edge))
    spans = [
        f"<br>95% interval {interval(a, b, 3, join=' to ')}" if np.isfinite(a + b) else ""
        for a, b in zip(low, high, strict=True)
    ]
    figure.add_trace(
        go.Scatter(
            x=x, y=mean, name=name, legendgroup=name, mode=line_mode(x), customdata=spans,
            line={"color": color, "width": 3.2, "dash": dash}, marker={"color": color, "size": 11}, **bar,
            hovertemplate=hover + "%{customdata}<extra></extra>",
        )
    )  # fmt: skip


def withheld_note(dataset: xr.Dataset, *names: str) -> str:
    """Why the named variables' interval ends are missing, each reason once, to stand behind a caption."""
    reasons = dict.fromkeys(str(dataset[name].attrs.get("withheld", "")) for name in names if name in dataset)
    return "".join(map(because, reasons))


def bundle(
    figure: go.Figure,
    x: Any,
    lines: NDArray[Any],
    texts: Sequence[str],
    *,
    name: str,
    color: str,
    opacity: float = 0.3,
) -> None:
    """Many thin lines [line, x] as one trace with one legend entry, each with its own hover text.

    `meta` tells a page that a click picks one of them.
    """
    count, gap = len(lines), np.full((len(lines), 1), np.nan)
    ys = np.concatenate([np.asarray(lines, dtype=float), gap], axis=1).ravel()
    xs = np.tile(np.append(np.asarray(x, dtype=float), np.nan), count)
    figure.add_trace(
        go.Scatter(
            x=xs, y=ys, mode=line_mode(x), name=name, line={"color": fade(color, opacity), "width": 1.1},
            marker={"color": fade(color, opacity), "size": 7}, meta="each",
            customdata=[text for text in texts for _ in range(len(x) + 1)],
            hovertemplate="%{customdata}<br>layer %{x}: %{y:.3f} rad<extra></extra>",
        )
    )  # fmt: skip


def line_mode(x: Any) -> str:
    """How a curve over `x` is drawn: a line through a single point would not be seen."""
    return "lines" if len(x) > 1 else "markers"


def fade(color: str, alpha: float) -> str:
    """`#rrggbb` with transparency."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def scale_color(stops: Sequence[str], share: float) -> str:
    """The colour at `share` (0 to 1) of evenly spaced `#rrggbb` stops."""
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    rest = place - index
    channels = [
        round((1 - rest) * int(stops[index][i : i + 2], 16) + rest * int(stops[index + 1][i : i + 2], 16))
        for i in (1, 3, 5)
    ]
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def colorscale(stops: Sequence[str]) -> list[list[Any]]:
    """Evenly spaced stops in plotly's form."""
    return [[i / (len(stops) - 1), color] for i, color in enumerate(stops)]


def visible(text: object, limit: int | None = None) -> str:
    """Text with its control characters visible, cut to `limit` characters."""
    plain = str(text)
    plain = plain if limit is None or len(plain) <= limit else plain[: limit - 1] + "…"
    return "".join(c if c.isprintable() else {"\n": "⏎", "\t": "⇥"}.get(c, "·") for c in plain)


def shown(text: object, limit: int = 70) -> str:
    """`visible` text for any part of a figure: plotly takes nothing in it for a tag or a variable."""
    return html.escape(visible(text, limit), quote=False).replace("%{", "%&#123;")


def quoted(token: object) -> str:
    """A token in quotes, so that its leading space is seen."""
    return f"“{shown(token, 30)}”"
