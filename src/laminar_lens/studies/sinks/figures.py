"""Figures of the sink study: lengths by position, attention by head, activations, and who writes the sink."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import heatmap, layer_curve, line, needs
from laminar_lens.figures.style import (
    BASELINE,
    EARLY,
    RANDOM,
    TARGET,
    WITH_FIRST,
    layer_axis,
    new_figure,
    reference_line,
    shown,
    withheld_note,
)

POSITIONS = 12
"""So many first positions are drawn; what lies beyond is the rest of a text."""
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
_COMPONENTS = {"attn": ("attention", WITH_FIRST), "mlp": ("MLP", TARGET)}


@needs("norm_ratio")
def lengths(dataset: xr.Dataset) -> go.Figure | None:
    """Length of the first positions against the median of their text, by layer."""
    figure = new_figure(
        "How long position 0 is, against the rest of its text",
        "1 is the median of the text in that layer; a sink is above the dotted line. The thin lines are "
        "positions 1 to 3 and, if measured, position 0 with random weights."
        + withheld_note(dataset, "norm_ratio_low"),
    )
    layers, ratio = dataset["layer"].values, dataset["norm_ratio"].values
    layer_curve(
        figure, dataset.isel(pos=0), "norm_ratio", name="position 0", band="95%, all together", color=TARGET,
        hover="layer %{x}, position 0: %{y:.2f} times the median",
    )  # fmt: skip

    def thin(y: object, name: str, color: str, dash: str) -> None:
        hover = f"layer %{{x}}, {name}: %{{y:.2f}} times the median"
        line(figure, layers, y, name=name, color=color, hover=hover, width=1.4, dash=dash)

    for place in range(1, min(4, ratio.shape[1])):
        thin(ratio[:, place], f"position {place}", EARLY[place - 1], "solid")
    if "random_norm_ratio" in dataset:
        thin(dataset["random_norm_ratio"].values[:, 0], "position 0, random weights", RANDOM, "4px,3px")
    threshold = float(dataset.attrs["threshold"])
    ends = max(0.05, 0.8 * np.nanmin(ratio)), 1.25 * max(np.nanmax(ratio), threshold)
    figure.update_yaxes(
        title={"text": "length (times the text's median)"}, type="log", range=np.log10(ends).tolist(),
        tickvals=TICKS, ticktext=[f"{tick:,}" for tick in TICKS],
    )  # fmt: skip
    reference_line(figure, threshold, f"{threshold:g} times: a sink")
    return figure


@needs("attention_first")
def attention(dataset: xr.Dataset) -> go.Figure | None:
    """Mean attention of each head to position 0, with the share of heads that rest there by block."""
    figure = new_figure(
        "Attention to position 0, by head",
        "A cell is one head: the mean, over the positions of a text, of what they give to position 0. "
        f"Attention spread evenly would be {float(dataset['attention_even']):.2f}; a head rests on "
        "position 0 above 0.3.",
        x="block",
    )
    values = dataset["attention_first"].values
    heatmap(
        figure, dataset["block"].values, np.arange(values.shape[1]), values.T, title="attention", zmin=0,
        zmax=1, xgap=2, ygap=2, hover="block %{x}, head %{y}: %{z:.3f}",
    )  # fmt: skip
    if values.size <= 96:
        figure.update_traces(texttemplate="%{z:.2f}", textfont={"size": 12})
    figure.update_xaxes(dtick=max(1, len(values) // 12))
    figure.update_yaxes(title={"text": "head"}, dtick=max(1, values.shape[1] // 8))
    return figure


@needs("largest")
def activations(dataset: xr.Dataset) -> go.Figure | None:
    """The largest coordinate against the median coordinate, by layer and position."""
    figure = new_figure(
        "The largest coordinate, by layer and position",
        "How many times the median |coordinate| of the text the largest one is; the published massive "
        "activations are above 1,000. The label names the dimension that most often is the largest.",
    )
    shown_places = slice(0, POSITIONS)
    values = dataset["largest"].values[:, shown_places]
    names = dataset["largest_dimension"].values[:, shown_places].astype(str)
    heatmap(
        figure, dataset["layer"].values, dataset["pos"].values[shown_places], np.log10(values).T, xgap=2,
        ygap=2, customdata=np.stack([values.T, names.T.astype(float)], -1), title="times the<br>median",
        hover="layer %{x}, position %{y}: %{customdata[0]:.1f} times the median, most often dimension "
        "%{customdata[1]:.0f}",
    )  # fmt: skip
    ticks = {"tickvals": np.log10(TICKS).tolist(), "ticktext": [f"{tick:,}" for tick in TICKS]}
    figure.update_traces(colorbar=ticks)
    if len(values) <= 14:
        figure.update_traces(text=names.T, texttemplate="%{text}", textfont={"size": 11})
    layer_axis(figure, dataset["layer"].values.tolist())
    first, last = float(dataset["layer"].values[0]), float(dataset["layer"].values[-1])
    half = 0.55 * ((last - first) / (len(values) - 1) if last > first else 1)
    figure.update_xaxes(range=[first - half, last + half])
    figure.update_yaxes(title={"text": "position"}, autorange="reversed", dtick=1)
    return figure


@needs("write")
def writes(dataset: xr.Dataset) -> go.Figure | None:
    """What attention and MLP of each block do to the length of position 0, and of the rest."""
    if not np.isfinite(dataset["write"].values).any():
        return None
    figure = new_figure(
        "Which blocks lengthen and shorten position 0",
        "Bars add up to the change of its length in each block; lines are the mean of the text's later half. "
        "A block without a bar does not show what it writes.",
        x="block",
    )
    blocks, write, rest = (dataset[name].values for name in ("block", "write", "write_rest"))
    for row, (name, color) in enumerate(_COMPONENTS.values()):
        figure.add_trace(
            go.Bar(
                x=blocks, y=write[:, row, 0], name=name, marker={"color": color},
                hovertemplate=f"{name} of block %{{x}}: %{{y:.3g}}<extra></extra>",
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=blocks, y=rest[:, row], name=f"{name}, rest of the text", mode="lines+markers",
                line={"color": color, "width": 1.4, "dash": "3px,3px"},
                marker={"size": 7, "line": {"color": "white", "width": 1}},  # seen before a bar of its colour
                hovertemplate=f"{name} of block %{{x}}, rest: %{{y:.3g}}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_layout(
        barmode="relative", yaxis={"title": {"text": "growth of the length (unit of the stream)"}}
    )
    figure.update_xaxes(dtick=max(1, len(blocks) // 12))
    return figure


@needs("sink_token")
def beside(dataset: xr.Dataset) -> go.Figure | None:
    """Tokens beside position 0 that are sinks by their length."""
    if not (dataset["sink_token_sinks"].values > 0).any():
        return None
    rows = np.flatnonzero(dataset["sink_token_sinks"].values > 0)
    names = [shown(f"“{dataset['sink_token'].values[row]}”", 24) for row in rows]
    figure = new_figure(
        "Sinks beside position 0",
        "Share of a token's occurrences after position 0 whose vector is over 5 times the median in some "
        "layer, and the same of its first occurrence in each text.",
        x="token",
    )
    for key, label, color in (
        ("share", "all occurrences", BASELINE),
        ("first_share", "the first in a text", TARGET),
    ):
        figure.add_trace(
            go.Bar(
                x=names, y=dataset[f"sink_token_{key}"].values[rows], name=label, marker={"color": color},
                customdata=dataset["sink_token_occurrences"].values[rows],
                hovertemplate="%{x}, " + label + ": %{y:.0%} (of %{customdata:.0f})<extra></extra>",
            )
        )  # fmt: skip
    figure.update_yaxes(title={"text": "share that are sinks"}, range=[0, 1.02], tickformat=".0%")
    return figure
