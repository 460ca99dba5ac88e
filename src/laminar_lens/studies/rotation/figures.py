"""Figures of the rotation study: turns by layer and part, layer against layer, and the least-turning runs."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import dots, heatmap, layer_curve, line, menu, needs, shift_axis
from laminar_lens.figures.style import (
    BASELINE,
    RANDOM,
    SOFT,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    fade,
    mean_and_band,
    new_figure,
    withheld_note,
)
from laminar_lens.tables import ENDS

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
    if not part.sizes["layer"]:
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
        hover = f"layer %{{x}}, {label}: %{{y:.3f}} rad"
        one = part.sel(place=name)
        seen += layer_curve(figure, one, "rotation", name=label, color=color, hover=hover)
    if "random_rotation" in part:
        random = part["random_rotation"].values
        hover = "layer %{x}, target, random weights: %{y:.3f} rad"
        name = "target, random weights"
        x, dash = part["layer"].values, "4px,3px"
        line(figure, x, random, name=name, color=RANDOM, hover=hover, width=1.6, dash=dash)
        seen.append(random)
    figure.add_hrect(y0=low, y1=high, fillcolor=fade(WITHOUT_FIRST, 0.12), line_width=0, layer="below")
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
        one, places = dataset.sel(place=name), np.arange(len(names)) + 0.16 * (row - 1)
        band = [one[f"part_rotation{end}"].values for end in ENDS]
        dots(
            figure, places, band, along="y", width=6, name=label, marker={"color": color, "size": 10},
            customdata=names, hover=f"{label}, %{{customdata}}: %{{y:.3f}} rad",
        )  # fmt: skip
        seen += band
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
    look = {"name": "target minus word before", "color": TARGET, "hover": "layer %{x}: %{y:.3f} rad"}
    band = layer_curve(figure, dataset, "difference", **look)
    shift_axis(figure, dataset, band, "difference (rad)")
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
    heatmap(figure, states, states, grids[start], title="rad", hover=_between(start), zmin=0)
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
    layer_curve(figure, dataset, "influence", name="every token", color=SOFT, hover="layer %{x}: %{y:.3f}")
    figure.update_yaxes(title={"text": "1 − mean cosine"}, rangemode="tozero")
    return figure
