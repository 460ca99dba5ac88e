"""Figures of the decomposition study: the two writes against each other, and what each does."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import heatmap, layer_curve, line, needs
from laminar_lens.figures.style import (
    BASELINE,
    DIVERGING,
    RULE,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    layer_axis,
    new_figure,
    withheld_note,
)

PARTS = {"attn": ("attention", WITH_FIRST), "mlp": ("MLP", TARGET), "step": ("both: the step", BASELINE)}
X = "layer (written by the block before)"
LATER = 64
"""So many first positions are drawn."""
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def _curves(
    figure: go.Figure, dataset: xr.Dataset, name: str, unit: str, parts: tuple[str, ...]
) -> list[Any]:
    """A line with its band for each part; returns what must be seen."""
    seen = []
    for part in parts:
        label, color = PARTS[part]
        look = {"name": label, "color": color, "dash": "4px,3px" if part == "step" else "solid"}
        hover = f"layer %{{x}}, {label}: %{{y:.3f}}{unit}"
        seen += layer_curve(figure, dataset.sel(part=part), name, hover=hover, **look)
    return seen


def _cells(figure: go.Figure, dataset: xr.Dataset, y: np.ndarray, values: np.ndarray, **how: Any) -> None:
    """Cosines [layer, y], white at right angles."""
    layers, reach = dataset["layer"].values, float(np.nanmax(np.abs(values)))
    how |= {"zmin": -reach, "zmax": reach, "xgap": how.get("ygap", 1)}
    heatmap(figure, layers, y, values.T, title="cosine", colors=DIVERGING, **how)
    layer_axis(figure, layers.tolist())
    figure.update_xaxes(range=[layers[0] - 0.55, layers[-1] + 0.55])


@needs("cosine")
def cosines(dataset: xr.Dataset) -> go.Figure | None:
    """Cosine of the two writes, against that of writes to different tokens; discoveries are marked."""
    figure = new_figure(
        "Attention's and the MLP's write: their cosine",
        "Line and band: writes to the same token. Dashed: writes to different tokens of the same text and "
        "layer. A ring marks a layer where the two differ (false discovery rate 5% over layers)."
        + withheld_note(dataset, "cosine_low"),
        x=X,
    )
    layer_curve(
        figure, dataset, "cosine", name="same token", band="95%, all together", color=TARGET,
        hover="layer %{x}, same token: %{y:.3f}",
    )  # fmt: skip
    line(
        figure, dataset["layer"].values, dataset["other"].values, name="different tokens", color=BASELINE,
        width=1.8, dash="4px,3px", hover="layer %{x}, different tokens: %{y:.3f}",
    )  # fmt: skip
    _discoveries(figure, dataset)
    figure.update_yaxes(title={"text": "cosine"})
    figure.add_hline(y=0, line={"color": RULE, "width": 1})
    return figure


def _discoveries(figure: go.Figure, dataset: xr.Dataset) -> None:
    """A ring around the cosine of each layer that is a discovery."""
    at = np.flatnonzero(dataset["related"].values == 1)
    figure.add_trace(
        go.Scatter(
            x=dataset["layer"].values[at], y=dataset["cosine"].values[at], mode="markers", name="differ",
            marker={"size": 9, "color": "white", "line": {"color": TARGET, "width": 2}},
            customdata=dataset["q_value"].values[at],
            hovertemplate="layer %{x}: %{y:.3f}, q = %{customdata:.2g}<extra></extra>",
        )
    )  # fmt: skip


@needs("place_cosine")
def places(dataset: xr.Dataset) -> go.Figure | None:
    """The same cosine by layer and position."""
    values = dataset["place_cosine"].values[:, :LATER]
    if not np.isfinite(values).any():
        return None
    figure = new_figure(
        "The same cosine, by layer and position",
        "A cell is the mean over texts; white is at right angles. All positions are here, also those that "
        "are left out elsewhere.",
        x=X,
    )
    hover = "layer %{x}, position %{y}: %{z:.3f}"
    _cells(figure, dataset, dataset["pos"].values[:LATER], values, hover=hover)
    figure.update_yaxes(title={"text": "position"}, autorange="reversed")
    return figure


@needs("relative")
def lengths(dataset: xr.Dataset) -> go.Figure | None:
    """How long each write is beside the residual that it enters."""
    figure = new_figure(
        "How long the writes are",
        "Over the length of the residual that they enter; 95% bands over all layers and parts."
        + withheld_note(dataset, "relative_low"),
        x=X,
    )
    _curves(figure, dataset, "relative", " times the residual", ("attn", "mlp", "step"))
    title = {"text": "length (times the residual's)"}
    figure.update_yaxes(title=title, type="log", tickvals=TICKS, ticktext=[f"{tick:,g}" for tick in TICKS])
    return figure


@needs("along")
def lengthening(dataset: xr.Dataset) -> go.Figure | None:
    """The part of each write along the residual."""
    figure = new_figure(
        "What lengthens: the part along the residual",
        "Over the residual's length: above 0 a write lengthens it, below 0 it shortens it."
        + withheld_note(dataset, "along_low"),
        x=X,
    )
    _curves(figure, dataset, "along", " times the residual", ("attn", "mlp", "step"))
    figure.add_hline(y=0, line={"color": RULE, "width": 1})
    figure.update_yaxes(title={"text": "part along it (times its length)"})
    return figure


@needs("turn")
def turning(dataset: xr.Dataset) -> go.Figure | None:
    """By how much each turns the residual, and the difference of the two."""
    figure = new_figure(
        "What turns: by how much each turns the residual",
        "The angle between the residual before and after a write. The thin line is attention's turn minus "
        "the MLP's, the difference of their adjustments; the two do not add up to the step's."
        + withheld_note(dataset, "turn_low"),
        x=X,
    )
    seen = _curves(figure, dataset, "turn", " rad", ("attn", "mlp", "step"))
    apart = dataset["difference_of_adjustments"].values
    line(
        figure, dataset["layer"].values, apart, name="attention minus MLP", color=WITHOUT_FIRST, width=1.4,
        dash="solid", hover="layer %{x}, attention minus MLP: %{y:.3f} rad",
    )  # fmt: skip
    angle_axis(figure, [*seen, apart], title="turn (rad)", zero=True)
    return figure


@needs("with_step")
def angles(dataset: xr.Dataset) -> go.Figure | None:
    """Angles of the writes with the residual and with the step."""
    figure = new_figure(
        "At which angle the writes stand",
        "Solid: with the residual that they enter. Dotted: with the step that they make together."
        + withheld_note(dataset, "with_residual_low"),
        x=X,
    )
    seen = _curves(figure, dataset, "with_residual", " rad with the residual", ("attn", "mlp"))
    for part in ("attn", "mlp"):
        (label, color), angle = PARTS[part], dataset["with_step"].sel(component=part).values
        line(
            figure, dataset["layer"].values, angle, name=f"{label}, with the step", color=color, width=2.0,
            dash="2px,3px", hover=f"layer %{{x}}, {label} with the step: %{{y:.3f}} rad",
        )  # fmt: skip
        seen.append(angle)
    angle_axis(figure, seen)
    return figure


@needs("head_cosine")
def heads(dataset: xr.Dataset) -> go.Figure | None:
    """Cosine of every head's write with the MLP's."""
    values = dataset["head_cosine"].values
    if not np.isfinite(values).any():
        return None
    figure = new_figure(
        "Heads against the MLP of their block",
        "A cell is one head: the mean cosine of its write and the MLP's write to the same token.",
        x=X,
    )
    length = dataset["head_relative"].values.T
    hover = "layer %{x}, head %{y}: %{z:.3f}; length %{customdata:.3f} times the residual"
    _cells(figure, dataset, np.arange(values.shape[1]), values, customdata=length, ygap=2, hover=hover)
    figure.update_yaxes(title={"text": "head"}, dtick=max(1, values.shape[1] // 8))
    return figure
