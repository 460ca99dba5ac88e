"""The figure of a result with several conditions: each against the plain run."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import position_axis, reached
from laminar_lens.figures.style import (
    RANDOM,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    layer_axis,
    mean_and_band,
    new_figure,
    shown,
    withheld_note,
)

COLOURS = (TARGET, WITH_FIRST, WITHOUT_FIRST, RANDOM, "#8a6d00")
DASHES = ("solid", "8px,4px", "2px,3px")


def contrasts(curves: xr.Dataset | None) -> go.Figure | None:
    """Each condition minus the plain run, a line a condition along positions or layers.

    Args:
        curves: of `contrast_curves`.
    """
    if curves is None:
        return None
    along = str(curves["difference"].dims[1])
    kept = reached(curves["n"].values.min(axis=0))
    if not len(kept):
        return None
    rad = curves.attrs["units"] == "rad"
    unit = " rad" if rad else ""
    over = "mean over texts and layers" if along == "pair" else "mean over texts and places"
    figure = new_figure(
        f"What each intervention changes: {shown(curves.attrs['about'], 90)}",
        f"Each condition minus the plain run of the same texts, {over}, with paired 95% intervals. A band "
        "that holds 0 shows no effect there." + withheld_note(curves, "low"),
    )
    x = curves[along].values[kept].tolist()
    names = [str(name) for name in curves["condition"].values]
    place = "pair (%{x}, next)" if along == "pair" else "layer %{x}"
    for row, name in enumerate(names):
        mean, low, high = (curves[end].values[row][kept] for end in ("difference", "low", "high"))
        mean_and_band(
            figure, x, mean, low, high, name=shown(name, 40), color=COLOURS[row % len(COLOURS)],
            dash=DASHES[row // len(COLOURS) % len(DASHES)], opacity=0.18,
            hover=f"{shown(name, 40)}<br>{place}: %{{y:.3f}}{unit}",
        )  # fmt: skip
    _axes(figure, along, x, [curves[end].values[:, kept] for end in ("difference", "low", "high")], rad)
    return figure


def _axes(figure: go.Figure, along: str, x: Sequence[int], values: list[Any], rad: bool) -> None:
    if along == "pair":
        position_axis(figure, x)
    else:
        layer_axis(figure, x)
    if rad:
        angle_axis(figure, values, title="difference from the plain run (rad)", zero=True)
    else:
        figure.update_layout(yaxis={"title": {"text": "difference from the plain run"}})
