"""Figures along the positions of a prompt."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from laminar_lens.figures.marks import layer_lines, needs, position_axis, reached
from laminar_lens.figures.style import (
    BASELINE,
    INK,
    RANDOM,
    angle_axis,
    bundle,
    new_figure,
)

FEWEST_PAIRS = 3
"""The skipped curves keep at least this many pairs, or stop skipping at `MOST_SKIPPED`."""
MOST_SKIPPED = 8


@needs("position_mean")
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


@needs("position_mean")
def by_position_skipped(dataset: xr.Dataset) -> go.Figure | None:
    """The same without the first positions."""
    asked, left = _asked(dataset), len(reached(dataset["position_prompts"].values)) - FEWEST_PAIRS
    skip = asked if asked <= left else max(1, min(MOST_SKIPPED, left))
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
    """Tokens to leave out: what the warm-up asks for in all layers at once, and at least one."""
    return max(1, int(dataset.attrs.get("leave_out", 1)))


def _by_position(dataset: xr.Dataset, skip: int, title: str, caption: str) -> go.Figure | None:
    kept = reached(dataset["position_prompts"].values)
    kept = kept[kept >= skip]
    if len(kept) < 2:
        return None
    figure = new_figure(title, caption)
    x = dataset["pair"].values[kept].tolist()
    layers = dataset["layer"].values.tolist()
    first = 1 if layers[0] == 0 else 0
    curves = dataset["position_mean"].values[:, kept]
    seen = [curves]
    contextual = layers[first:]
    if "random_position_angle" in dataset and contextual:
        random = dataset["random_position_angle"].values[first:, kept]
        _random_lines(figure, x, random, [f"random weights, layer {layer}" for layer in contextual])
        seen.append(random)
    layer_lines(figure, contextual, x, curves[first:], hover="pair (%{x}, next)")
    if "null_position_mean" in dataset:
        null = dataset["null_position_mean"].values[kept]
        _permuted_line(figure, x, null)
        seen.append(null)
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


def _permuted_line(figure: go.Figure, x: Sequence[int], null: NDArray[Any]) -> None:
    figure.add_trace(
        go.Scatter(
            x=list(x), y=null, mode="lines", name="positions permuted, mean over layers",
            line={"color": BASELINE, "width": 1.2},
            hovertemplate="positions permuted, mean over layers<br>pair (%{x}, next): %{y:.3f} rad"
            "<extra></extra>",
        )
    )  # fmt: skip
