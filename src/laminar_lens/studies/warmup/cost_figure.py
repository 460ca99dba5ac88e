"""The figure of what leaving out costs and saves."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import menu, needs
from laminar_lens.figures.style import LAYERS, SOFT, key, new_figure, scale_color
from laminar_lens.studies.warmup.cost_table import STATISTICS, worst_layer
from laminar_lens.words import with_unit

DASHED = "4px,4px"
_TICKS = [digit * 10.0**power for power in range(-6, 4) for digit in (1, 3)]


@needs("mean_bias")
def cost(dataset: xr.Dataset) -> go.Figure | None:
    """The bias of a statistic over tokens k … T − 1 and its chance error at 100 texts; a menu picks it."""
    figure = new_figure(
        "Does it matter for you? What leaving out costs and saves",
        "A mean over tokens k … T − 1, in the layer where keeping all biases it most: its bias (thick; "
        "hollow where none was shown) and its chance error at 100 texts (dashed; of n texts, 10/√n of it). "
        "A bias above the dashed line of its colour matters at 100 texts: leave out more.",
        x="first tokens left out (k)",
    )
    k = dataset["k"].values
    buttons: list[Any] = []
    for name, (what, units) in STATISTICS.items():
        one = dataset.isel(layer=worst_layer(dataset, name))
        layer = int(one["layer"])
        size, shown = np.abs(one[f"{name}_bias"].values), one[f"{name}_from"].values >= 0
        traces = list(_cost_lines(dataset["span"].values, k, size, one[f"{name}_sd"].values / 10, shown))
        figure.add_traces([] if buttons else traces)
        moved = {
            "y": [trace.y for trace in traces],
            "marker.symbol": [trace.marker.symbol for trace in traces],
        }
        axis = {"yaxis.title.text": with_unit(f"bias of the {what} in layer {layer}", units)}
        buttons.append({"label": what, "method": "update", "args": [moved, axis, [*range(len(traces))]]})
    key(figure, "bias", line={"color": SOFT, "width": 2.6}, marker={"color": SOFT, "size": 8})
    key(figure, "no bias was shown", marker={"color": SOFT, "size": 8, "symbol": "circle-open"})
    key(figure, "chance error of 100 texts", line={"color": SOFT, "width": 1.4, "dash": DASHED})
    figure.update_xaxes(tickvals=list(range(len(k))), ticktext=k.astype(str).tolist())
    figure.update_yaxes(type="log", tickvals=_TICKS, ticktext=[f"{tick:g}" for tick in _TICKS])
    below = {"x": 0, "y": -0.2, "yanchor": "top"}  # beside the menu there is no room
    figure.update_layout(buttons[0]["args"][1], updatemenus=menu(buttons), legend=below)
    return figure


def _cost_lines(spans: Any, k: Any, size: Any, error: Any, shown: Any) -> Iterator[go.Scatter]:
    """For each T the bias and the chance error, both positive."""
    for row, span in enumerate(spans.tolist()):
        color = scale_color(LAYERS, row / max(1, len(spans) - 1))
        for values, name, dash in ((size, "bias", "solid"), (error, "chance error of 100 texts", DASHED)):
            yield go.Scatter(
                x=list(range(len(k))), y=np.where(values[row] > 0, values[row], np.nan), customdata=k,
                mode="lines+markers" if dash == "solid" else "lines", name=f"T = {span}",
                showlegend=dash == "solid", legendgroup=str(span),
                line={"color": color, "width": 2.6 if dash == "solid" else 1.4, "dash": dash},
                marker={"symbol": np.where(shown[row], "circle", "circle-open").tolist(), "size": 8},
                hovertemplate=f"T = {span}, first %{{customdata}} left out: {name} %{{y:.3g}}<extra></extra>",
            )  # fmt: skip
