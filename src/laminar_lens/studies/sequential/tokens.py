"""A prompt token by token: the figure, and what the page's own view of it needs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import heatmap, needs
from laminar_lens.figures.style import new_figure, shown, visible

_ROW = 8


@needs("position_angle")
def token_data(dataset: xr.Dataset) -> dict[str, Any] | None:
    """What the token view needs: text, words, angles by layer and target of each prompt, one scale for all.

    A letter of several bytes may be split between tokens, so the text is the dataset's and no join of words.
    """
    angles = dataset["position_angle"].values
    low, high = (float(dataset[f"angle_{end}"]) for end in ("low", "high"))
    counts = dataset["n_tokens"].values.tolist()
    prompts = []
    for row, count in enumerate(counts):
        values = np.round(angles[:, row, : count - 1].astype(float), 3)
        prompts.append(
            {
                "text": visible(dataset["text"].values[row], 90),
                "words": [visible(word) for word in dataset["token"].values[row][:count]],
                "target": int(dataset["target_pair"].values[row][1]) if "target_pair" in dataset else -1,
                "angles": [[None if math.isnan(v) else v for v in layer] for layer in values.tolist()],
            }
        )
    return {"layers": dataset["layer"].values.tolist(), "low": low, "high": high, "prompts": prompts}


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
    heatmap(
        figure, None, None, grids[start], text=[text[r * _ROW : (r + 1) * _ROW] for r in range(rows)],
        xgap=4, ygap=8, zmin=low, zmax=high, texttemplate="%{text}<br>%{z:.2f}", textfont={"size": 14},
        hoverongaps=False, title="rad", hover="%{text}: %{z:.3f} rad",
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
