"""The figure of the baseline's modes."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import needs
from laminar_lens.figures.style import WITH_FIRST, WITHOUT_FIRST, angle_axis, fade, layer_axis, new_figure
from laminar_lens.studies.sequential.figures import baseline_texts

MOST_LABELS = 20
"""With more layers than this, labels at each layer would print over each other."""

_GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, without the whole part, keep points side by side apart."""

_WIDTH = 700
"""Of the plot in CSS pixels, about: what a layer may take of it."""


@needs("two_modes")
def mixture(dataset: xr.Dataset) -> go.Figure | None:
    """The two modes of the baseline in each layer over the raw angles."""
    figure = new_figure(
        "One mode or two, layer by layer",
        "Bars mark a mode's mean ± one standard deviation where the test finds two modes, the percentage "
        f"{'is' if dataset.sizes['layer'] <= MOST_LABELS else 'in the hover text is'} the weight of the "
        "upper one; a layer without bars shows no second group.",
    )
    layers, angles = dataset["layer"].values, dataset["baseline_angle"].values
    pairs = dataset["baseline_pair"].values
    first = (pairs == 0).any(axis=1)
    texts = baseline_texts(dataset)
    spread = 0.6 * (np.arange(len(first)) * _GOLDEN % 1) - 0.3
    for mask, name, color in (
        (~first, "without position 0", WITHOUT_FIRST),
        (first, "with position 0", WITH_FIRST),
    ):
        figure.add_trace(
            go.Scatter(
                x=np.add.outer(layers, spread[mask]).ravel(), y=angles[:, mask].ravel(),
                mode="markers", name=name,
                marker={"color": fade(color, 0.55), "size": 5},
                customdata=[texts[row] for _ in layers for row in np.flatnonzero(mask)],
                hovertemplate="%{customdata}<br>layer %{x:.0f}: %{y:.3f} rad<extra></extra>",
            )
        )  # fmt: skip
    two = dataset["two_modes"].values.astype(bool)
    for side in ("low", "high"):
        _mode_bars(figure, dataset, layers, two, side)
    layer_axis(figure, layers.tolist())
    figure.update_xaxes(range=[layers[0] - 0.6, layers[-1] + 0.6])
    angle_axis(figure, [angles], attrs=dataset.attrs)
    return figure


def _mode_bars(
    figure: go.Figure, dataset: xr.Dataset, layers: np.ndarray, two: np.ndarray, side: str
) -> None:
    mean, sd = dataset[f"mode_{side}_mean"].values, dataset[f"mode_{side}_sd"].values
    weight = dataset["mode_high_weight"].values
    labels = [f"{100 * w:.0f}%" if side == "high" and np.isfinite(w) else "" for w in weight[two]]
    few, size = len(layers) <= MOST_LABELS, float(np.clip(0.7 * _WIDTH / len(layers), 5, 26))
    hover = [
        f"± {s:.3f} rad{label and f', {label} of the pairs'}"
        for s, label in zip(sd[two], labels, strict=True)
    ]
    figure.add_trace(
        go.Scatter(
            x=layers[two], y=mean[two], mode="markers+text" if few else "markers",
            name="mode: mean ± sd", legendgroup="mode", showlegend=side == "low",
            marker={
                "symbol": "line-ew", "size": size, "line": {"width": 3 if few else 2, "color": "#1f2328"},
            },
            error_y={
                "type": "data", "array": sd[two], "thickness": 1.6 if few else 1, "width": size / 4,
                "color": "#1f2328",
            },
            text=labels if few else None, textposition="middle right",
            textfont={"size": 12, "color": "#1f2328"}, customdata=hover,
            hovertemplate=f"{side}er mode".replace("higher", "upper")
            + ", layer %{x}: %{y:.3f} %{customdata}<extra></extra>",
        )
    )  # fmt: skip
