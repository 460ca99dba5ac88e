"""Figures by layer of the sequential-angle study."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.style import (
    BASELINE,
    BASELINES,
    RULE,
    SOFT,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    bundle,
    fade,
    layer_axis,
    mean_and_band,
    new_figure,
    quoted,
    shown,
)

_LAYER = "layer %{x}: mean %{y:.3f} rad"


def pair_texts(dataset: xr.Dataset, pairs: xr.DataArray) -> list[str]:
    """One hover line a prompt: its number, its start, and the two tokens of its pair."""
    lines = []
    for row, (first, second) in enumerate(pairs.values.tolist()):
        words = dataset["token"].values[row]
        pair = (
            "no pair"
            if first < 0
            else f"{quoted(words[first])} → {quoted(words[second])} ({first}, {second})"
        )
        lines.append(f"prompt {row}: {shown(dataset['text'].values[row])}<br><b>{pair}</b>")
    return lines


def chosen_baseline(dataset: xr.Dataset) -> int:
    """Row of the baseline that `baseline_angle` holds."""
    same = [
        np.array_equal(
            dataset["angle_by_baseline"].values[row], dataset["baseline_angle"].values, equal_nan=True
        )
        for row in range(dataset.sizes["baseline"])
    ]
    return same.index(True) if any(same) else 0


def target_by_layer(dataset: xr.Dataset) -> go.Figure | None:
    """The target's angles against the baseline's: a thin line a prompt, the means and their 95% bands."""
    if "target_angle" not in dataset:
        return None
    figure = new_figure(
        "Target against baseline, by layer",
        "One thin line a prompt: see whether the target's lines stay together, and whether the baseline's "
        "fall into groups that its mean runs between.",
    )
    layers, row = dataset["layer"].values, chosen_baseline(dataset)
    name = str(dataset["baseline"].values[row]).replace("_", " ")
    target, baseline = dataset["target_angle"], dataset["baseline_angle"]
    bundle(
        figure,
        layers,
        baseline.values.T,
        pair_texts(dataset, dataset["baseline_pair"]),
        name="baseline, each prompt",
        color=BASELINE,
        opacity=0.34,
    )
    bundle(
        figure,
        layers,
        target.values.T,
        pair_texts(dataset, dataset["target_pair"]),
        name="target, each prompt",
        color=TARGET,
    )
    band = [dataset[f"baseline_{part}"].values[row] for part in ("mean", "low", "high")]
    mean_and_band(
        figure,
        layers,
        *band,
        name=f"{name} baseline, mean of all draws, 95% band",
        color="#33373d",
        hover="baseline, " + _LAYER,
    )
    band = [dataset[f"target_{part}"].values for part in ("mean", "low", "high")]
    mean_and_band(
        figure, layers, *band, name="target, mean, 95% band", color=TARGET, hover="target, " + _LAYER
    )
    layer_axis(figure, layers.tolist())
    angle_axis(figure, [target, baseline])
    return figure


def baseline_split(dataset: xr.Dataset) -> go.Figure | None:
    """The baseline's angles coloured by whether the pair contains position 0."""
    if "baseline_angle" not in dataset:
        return None
    figure = new_figure(
        "The baseline, split by position 0",
        "The same baseline lines, coloured by one question: does the pair contain the first token? If the "
        "colours separate, the mean over both describes neither.",
    )
    layers, angles = dataset["layer"].values, dataset["baseline_angle"].values
    pairs = dataset["baseline_pair"].values
    first = (pairs == 0).any(axis=1)
    texts = pair_texts(dataset, dataset["baseline_pair"])
    kept = (pairs >= 0).all(axis=1)
    for mask, name, color in (
        (~first & kept, "without position 0", WITHOUT_FIRST),
        (first & kept, "with position 0", WITH_FIRST),
    ):
        if mask.any():
            chosen = [text for text, wanted in zip(texts, mask, strict=True) if wanted]
            bundle(
                figure,
                layers,
                angles[:, mask].T,
                chosen,
                name=f"{name} ({mask.sum()} prompts)",
                color=color,
                opacity=0.55,
            )
    mean = dataset["baseline_mean"].values[chosen_baseline(dataset)]
    figure.add_trace(
        go.Scatter(
            x=layers, y=mean, mode="lines", name="mean over both, all draws",
            line={"color": "#33373d", "width": 3, "dash": "5px,4px"},
            hovertemplate="mean over both, layer %{x}: %{y:.3f} rad<extra></extra>",
        )
    )  # fmt: skip
    layer_axis(figure, layers.tolist())
    angle_axis(figure, [angles])
    return figure


def mixture(dataset: xr.Dataset) -> go.Figure | None:
    """The two modes of the baseline in each layer over the raw angles."""
    if "two_modes" not in dataset:
        return None
    figure = new_figure(
        "One mode or two, layer by layer",
        "Bars mark a mode's mean ± one standard deviation where the test finds two modes, the percentage is "
        "the weight of the upper one; a layer without bars shows one group.",
    )
    layers, angles = dataset["layer"].values, dataset["baseline_angle"].values
    pairs = dataset["baseline_pair"].values
    first = (pairs == 0).any(axis=1)
    texts = np.array(pair_texts(dataset, dataset["baseline_pair"]), dtype=object)
    spread = np.linspace(-0.3, 0.3, len(first))[np.random.default_rng(0).permutation(len(first))]
    for mask, name, color in (
        (~first, "without position 0", WITHOUT_FIRST),
        (first, "with position 0", WITH_FIRST),
    ):
        figure.add_trace(
            go.Scatter(
                x=np.add.outer(layers, spread[mask]).ravel(), y=angles[:, mask].ravel(),
                mode="markers", name=name,
                marker={"color": fade(color, 0.55), "size": 5},
                customdata=np.tile(texts[mask], len(layers)).tolist(),
                hovertemplate="%{customdata}<br>%{y:.3f} rad<extra></extra>",
            )
        )  # fmt: skip
    two = dataset["two_modes"].values.astype(bool)
    for side in ("low", "high"):
        _mode_bars(figure, dataset, layers, two, side)
    layer_axis(figure, layers.tolist())
    figure.update_xaxes(range=[layers[0] - 0.6, layers[-1] + 0.6])
    angle_axis(figure, [angles])
    return figure


def _mode_bars(
    figure: go.Figure, dataset: xr.Dataset, layers: np.ndarray, two: np.ndarray, side: str
) -> None:
    mean, sd = dataset[f"mode_{side}_mean"].values, dataset[f"mode_{side}_sd"].values
    weight = dataset["mode_high_weight"].values
    labels = [f"{100 * w:.0f}%" if side == "high" and np.isfinite(w) else "" for w in weight]
    figure.add_trace(
        go.Scatter(
            x=layers[two], y=mean[two], mode="markers+text", name="mode: mean ± sd", legendgroup="mode",
            showlegend=side == "low",
            marker={"symbol": "line-ew", "size": 26, "line": {"width": 3, "color": "#1f2328"}},
            error_y={"type": "data", "array": sd[two], "thickness": 1.6, "width": 7, "color": "#1f2328"},
            text=[label for label, wanted in zip(labels, two, strict=True) if wanted],
            textposition="middle right" if len(layers) < 20 else "top center",
            textfont={"size": 12, "color": "#1f2328"}, customdata=sd[two],
            hovertemplate=f"{side}er mode".replace("higher", "upper")
            + ", layer %{x}: %{y:.3f} ± %{customdata:.3f} rad<extra></extra>",
        )
    )  # fmt: skip


def difference(dataset: xr.Dataset) -> go.Figure | None:
    """Target minus each baseline by layer, with simultaneous bands."""
    if "difference" not in dataset:
        return None
    figure = new_figure(
        "Target minus each baseline",
        "Where a band (simultaneous, 95%) leaves 0, the target differs in that layer; a dashed baseline has "
        "two modes and is compared without the position that makes them.",
    )
    layers, drawn = dataset["layer"].values, []
    for row, name in enumerate(dataset["baseline"].values.tolist()):
        for kind, dash in (("difference", "solid"), ("stratified_difference", "5px,4px")):
            if kind not in dataset or not np.isfinite(dataset[kind].values[row]).any():
                continue
            band = [dataset[f"{kind}{part}"].values[row] for part in ("", "_low", "_high")]
            label = name.replace("_", " ") + (", split" if dash != "solid" else "")
            drawn += band
            mean_and_band(
                figure, layers, *band, name=label, color=BASELINES.get(name, SOFT), dash=dash, opacity=0.1,
                hover=f"target − {label}, layer %{{x}}: %{{y:.3f}} rad",
            )  # fmt: skip
            break
    layer_axis(figure, layers.tolist())
    angle_axis(figure, drawn, title="difference of angles (rad)", zero=True)
    return figure


def rotation(dataset: xr.Dataset) -> go.Figure | None:
    """The angle at the target beside what the target itself rotates from one layer to the next."""
    if "rotation_mean" not in dataset:
        return None
    figure = new_figure(
        "Angle between tokens, rotation between layers",
        "Blue: how far the target points from the word before it. Grey: how far it turns in one layer.",
    )
    layers = dataset["layer"].values
    shown_values = []
    for name, label, color in (
        ("target", "target pair", TARGET),
        ("rotation", "rotation since the layer before", RULE),
    ):
        band = [dataset[f"{name}_{part}"].values for part in ("mean", "low", "high")]
        shown_values += band
        mean_and_band(
            figure,
            layers,
            *band,
            name=label,
            color=SOFT if color == RULE else color,
            hover=label + ", " + _LAYER,
        )
    layer_axis(figure, layers.tolist())
    angle_axis(figure, [*shown_values, [0.0]])
    return figure


def dispersion(dataset: xr.Dataset) -> go.Figure | None:
    """The interquartile range over prompts of the target's angle by layer."""
    if "target_iqr" not in dataset:
        return None
    figure = new_figure(
        "Spread over prompts",
        "Interquartile range of the angle by layer: does the target fan out towards the last layer?",
    )
    layers = dataset["layer"].values
    band = [dataset[name].values for name in ("target_iqr", "target_iqr_low", "target_iqr_high")]
    mean_and_band(
        figure, layers, *band, name="target", color=TARGET, hover="target, layer %{x}: IQR %{y:.3f} rad"
    )
    row = chosen_baseline(dataset)
    baseline = dataset["baseline_iqr"].values[row]
    label = f"baseline ({str(dataset['baseline'].values[row]).replace('_', ' ')})"
    figure.add_trace(
        go.Scatter(
            x=layers, y=baseline, mode="lines", name=label,
            line={"color": BASELINE, "width": 2.4, "dash": "5px,4px"},
            hovertemplate="baseline, layer %{x}: IQR %{y:.3f} rad<extra></extra>",
        )
    )  # fmt: skip
    layer_axis(figure, layers.tolist())
    angle_axis(figure, [*band, baseline], title="interquartile range (rad)", zero=True)
    return figure
