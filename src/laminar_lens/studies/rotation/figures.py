"""Figures of the rotation study: turns by layer and part, layer against layer, and the least-turning runs."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import line, menu, needs, tolerance, tolerance_band
from laminar_lens.figures.style import (
    BASELINE,
    RANDOM,
    SHADES,
    SOFT,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    colorscale,
    fade,
    layer_axis,
    mean_and_band,
    new_figure,
    withheld_note,
)

PLACES = {
    "target": ("target", TARGET),
    "before": ("word before it", WITH_FIRST),
    "shuffled": ("shuffled tokens", BASELINE),
}
AT = {"target": "the target", "last": "the prompt's last token"}


@needs("rotation")
def rotation(dataset: xr.Dataset) -> go.Figure | None:
    """Turns of the target and of the word before it in the middle layers."""
    last = int(dataset.attrs["n_layers"])
    part = dataset.isel(layer=(dataset["layer"].values > 1) & (dataset["layer"].values < last))
    layers = part["layer"].values
    if not len(layers):
        return None
    low, high = (float(dataset.attrs[f"published_{end}"]) for end in ("low", "high"))
    figure = new_figure(
        "How far the target turns in each block between the first and the last",
        f"Mean angle between a token's vector and its own one layer before. The shaded strip is {low:g}–"
        f"{high:g} rad, as published. The first and the last block stand in the next figure."
        + withheld_note(dataset, "rotation_low"),
    )
    seen = [np.array([low, high])]
    for name in ("target", "before"):
        label, color = PLACES[name]
        one = part.sel(place=name)
        band = [one[f"rotation{end}"].values for end in ("", "_low", "_high")]
        hover = f"layer %{{x}}, {label}: %{{y:.3f}} rad"
        mean_and_band(figure, layers, *band, name=label, color=color, hover=hover)
        seen += band
    if "random_rotation" in part:
        random = part["random_rotation"].values
        hover = "layer %{x}, target, random weights: %{y:.3f} rad"
        name = "target, random weights"
        line(figure, layers, random, name=name, color=RANDOM, hover=hover, width=1.6, dash="4px,3px")
        seen.append(random)
    figure.add_hrect(y0=low, y1=high, fillcolor=fade(WITHOUT_FIRST, 0.12), line_width=0, layer="below")
    layer_axis(figure, layers.tolist())
    angle_axis(figure, seen, title="rotation (rad)")
    return figure


@needs("part_rotation")
def parts(dataset: xr.Dataset) -> go.Figure | None:
    """Turns in the first block, in those between and in the last, of the target, its neighbour and shuffled
    tokens."""
    figure = new_figure(
        "First block, middle blocks and last block apart",
        "Mean rotation a block. “every block” averages the first and the last in, as published. Of a "
        "shuffled pair the second vector is another token's of the same prompt."
        + withheld_note(dataset, "part_rotation_low"),
        x="",
    )
    names = dataset["part"].values.tolist()
    seen = []
    for row, (name, (label, color)) in enumerate(PLACES.items()):
        one = dataset.sel(place=name)
        mean, low, high = (one[f"part_rotation{end}"].values for end in ("", "_low", "_high"))
        ends: dict[str, Any] = {"type": "data", "thickness": 2, "width": 6, "symmetric": False}
        figure.add_trace(
            go.Scatter(
                x=np.arange(len(names)) + 0.16 * (row - 1), y=mean, mode="markers", name=label,
                marker={"color": color, "size": 10},
                error_y={**ends, "array": high - mean, "arrayminus": mean - low},
                customdata=names, hovertemplate=f"{label}, %{{customdata}}: %{{y:.3f}} rad<extra></extra>",
            )
        )  # fmt: skip
        seen += [mean, low, high]
    words = [name.replace(" ", "<br>") for name in names]
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=words, range=[-0.5, len(names) - 0.5])
    angle_axis(figure, seen, title="rotation (rad)")
    return figure


@needs("difference")
def difference(dataset: xr.Dataset) -> go.Figure | None:
    """Target minus the word before it, by layer."""
    figure = new_figure(
        "Does the target turn more than the word before it?",
        "Rotation of the target minus that of its neighbour in the same prompt; 95% band over all layers at "
        "once. Inside the strip they turn alike." + withheld_note(dataset, "difference_low"),
    )
    layers = dataset["layer"].values
    band = [dataset[f"difference{end}"].values for end in ("", "_low", "_high")]
    tau = tolerance(dataset)
    tolerance_band(figure, tau)
    hover = "layer %{x}: %{y:.3f} rad"
    mean_and_band(figure, layers, *band, name="target minus word before", color=TARGET, hover=hover)
    layer_axis(figure, layers.tolist())
    strip = [] if tau is None else [np.array([-tau, tau])]
    angle_axis(figure, [*band, *strip], title="difference (rad)", zero=True)
    return figure


@needs("between")
def between(dataset: xr.Dataset) -> go.Figure | None:
    """Every layer against every other, of a prompt's last token; a menu picks the target."""
    states = dataset["state"].values
    grids = {name: np.round(dataset["between"].sel(which=name).values, 4) for name in AT}
    figure = new_figure(
        "Layer against layer",
        "Mean angle between one token's vectors in two layers: of each prompt's last token, or, as the menu "
        "of the page has it, of the target. A square of small angles along the diagonal is a run of blocks "
        "that leaves the direction as it is.",
    )
    start = "last"
    figure.add_trace(
        go.Heatmap(
            z=grids[start], x=states, y=states, colorscale=colorscale(SHADES), zmin=0,
            colorbar={"title": {"text": "rad"}, "thickness": 10, "outlinewidth": 0},
            hovertemplate=_between(start),
        )
    )  # fmt: skip
    order = [start, *(name for name in AT if name != start)]
    buttons = [
        {
            "label": AT[name],
            "method": "restyle",
            "args": [{"z": [grids[name].tolist()], "hovertemplate": _between(name)}, [0]],
        }
        for name in order
    ]
    figure.update_layout(updatemenus=menu(buttons), height=560)
    step = max(1, len(states) // 12)
    half = 0.5
    span = [float(states[0]) - half, float(states[-1]) + half]
    figure.update_xaxes(title={"text": "layer"}, dtick=step, range=span)
    figure.update_yaxes(title={"text": "layer"}, dtick=step, range=span[::-1])
    return figure


def _between(which: str) -> str:
    """What a hover over two layers of a token says."""
    return f"{AT[which]}, layers %{{y}} and %{{x}}: %{{z:.3f}} rad<extra></extra>"


@needs("run_estimate")
def runs(dataset: xr.Dataset) -> go.Figure | None:
    """The pruning distance of the least-turning run, by its length."""
    figure = new_figure(
        "The run of blocks that turns the prompt's last token least",
        "For each number of blocks in a row, the smallest angle over π between the layer before the run and "
        "the layer after it; the band covers every run of every length."
        + withheld_note(dataset, "pruning_low"),
        x="blocks in a row",
    )
    x = dataset["run_blocks"].values
    band = [dataset[f"run_{end}"].values for end in ("estimate", "low", "high")]
    hover = "%{x} blocks: %{y:.3f} of π"
    mean_and_band(figure, x, *band, name="least-turning run, last token", color=SOFT, hover=hover)
    firsts = dataset["run_first"].values
    figure.data[-1].text = [f"from block {first}" for first in firsts]
    figure.data[-1].hovertemplate = "%{x} blocks, %{text}: %{y:.3f} of π%{customdata}<extra></extra>"
    figure.update_xaxes(dtick=max(1, len(x) // 12))
    figure.update_yaxes(title={"text": "pruning distance (angle / π)"}, rangemode="tozero")
    return figure


@needs("influence")
def influence(dataset: xr.Dataset) -> go.Figure | None:
    """Block influence by layer."""
    figure = new_figure(
        "Block influence",
        "1 minus the mean cosine between a token's vector and its own one layer before, over every token of "
        "a prompt: a block near 0 hardly turns the stream." + withheld_note(dataset, "influence_low"),
    )
    layers = dataset["layer"].values
    band = [dataset[f"influence{end}"].values for end in ("", "_low", "_high")]
    hover = "layer %{x}: %{y:.3f}"
    mean_and_band(figure, layers, *band, name="every token", color=SOFT, hover=hover)
    layer_axis(figure, layers.tolist())
    figure.update_yaxes(title={"text": "1 − mean cosine"}, rangemode="tozero")
    return figure
