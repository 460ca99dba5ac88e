"""Figures by layer of the sequential-angle study."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import layer_curve, line, needs
from laminar_lens.figures.style import (
    BASELINE,
    BASELINES,
    EARLY,
    SOFT,
    TARGET,
    WITH_FIRST,
    WITHOUT_FIRST,
    angle_axis,
    bundle,
    layer_axis,
    new_figure,
    quoted,
    shown,
    withheld_note,
)
from laminar_lens.studies.layers import named_layers
from laminar_lens.words import interval

_DARK = "#33373d"
_ENDS = ("_mean", "_low", "_high")
_LAYER = "layer %{x}: mean %{y:.3f} rad"


def pair_texts(dataset: xr.Dataset, pairs: xr.DataArray, *, donor: bool = False) -> list[str]:
    """One hover line a prompt: its number, its start, and the two tokens of its pair.

    With `donor` the pair is another text's, whose tokens the dataset does not hold: only positions are said.
    """
    lines = []
    for row, (first, second) in enumerate(pairs.values.tolist()):
        words = dataset["token"].values[row]
        pair = (
            "no pair"
            if first < 0
            else f"another text, positions ({first}, {second})"
            if donor
            else f"{quoted(words[first])} → {quoted(words[second])} ({first}, {second})"
        )
        lines.append(f"prompt {row}: {shown(dataset['text'].values[row])}<br><b>{pair}</b>")
    return lines


def baseline_label(name: object) -> str:
    """A baseline's name as a figure shows it: it may be of a foreign file."""
    return shown(str(name).replace("_", " "), 40)


def chosen_baseline(dataset: xr.Dataset) -> int:
    """Row of the baseline that `baseline_angle` holds."""
    same = [
        np.array_equal(
            dataset["angle_by_baseline"].values[row], dataset["baseline_angle"].values, equal_nan=True
        )
        for row in range(dataset.sizes["baseline"])
    ]
    return same.index(True) if any(same) else 0


def baseline_texts(dataset: xr.Dataset) -> list[str]:
    """Hover lines of the chosen baseline's pairs; only `matched` takes them from other texts."""
    name = dataset["baseline"].values[chosen_baseline(dataset)]
    return pair_texts(dataset, dataset["baseline_pair"], donor=str(name) == "matched")


@needs("target_angle")
def target_by_layer(dataset: xr.Dataset) -> go.Figure | None:
    """The target's angles against the baseline's: a thin line a prompt, the means and their 95% bands."""
    figure = new_figure(
        "Target against baseline, by layer",
        "One thin line a prompt: see whether the target's lines stay together, and whether the baseline's "
        "fall into groups that its mean runs between." + withheld_note(dataset, "target_low", "baseline_low"),
    )
    layers, row = dataset["layer"].values, chosen_baseline(dataset)
    name = baseline_label(dataset["baseline"].values[row])
    target, baseline = dataset["target_angle"], dataset["baseline_angle"]
    texts = baseline_texts(dataset), pair_texts(dataset, dataset["target_pair"])
    bundle(
        figure, layers, baseline.values.T, texts[0], name="baseline, each prompt", color=BASELINE,
        opacity=0.34,
    )  # fmt: skip
    bundle(figure, layers, target.values.T, texts[1], name="target, each prompt", color=TARGET)
    layer_curve(
        figure, dataset.isel(baseline=row), "baseline", ends=_ENDS, band="95% band", color=_DARK,
        name=f"{name} baseline, mean of all draws", hover="baseline, " + _LAYER,
    )  # fmt: skip
    look = {"name": "target, mean", "band": "95% band", "color": TARGET, "hover": "target, " + _LAYER}
    layer_curve(figure, dataset, "target", ends=_ENDS, **look)
    angle_axis(figure, [target, baseline], attrs=dataset.attrs)
    return figure


_SPLIT = (
    ("from position 4 on", WITHOUT_FIRST),
    *((f"from position {place}", EARLY[place - 1]) for place in (3, 2, 1)),
    ("with position 0", WITH_FIRST),
)
"""Groups of pairs by their earlier position, the last on top."""


@needs("baseline_angle")
def baseline_split(dataset: xr.Dataset) -> go.Figure | None:
    """The baseline's angles coloured by the earlier position of the pair."""
    layers, angles = dataset["layer"].values, dataset["baseline_angle"].values
    both, said = _two_sinks(dataset)
    figure = new_figure(
        "The baseline, split by position 0",
        "The same baseline lines, coloured by the earlier token of the pair. If those with the first token "
        "separate from the others, the mean over both describes neither." + said,
    )
    earliest = dataset["baseline_pair"].values.min(axis=1)
    texts = [text + more for text, more in zip(baseline_texts(dataset), both, strict=True)]
    for place, (name, color) in zip((4, 3, 2, 1, 0), _SPLIT, strict=True):
        mask = earliest >= 4 if place == 4 else earliest == place
        if mask.any():
            chosen = [text for text, wanted in zip(texts, mask, strict=True) if wanted]
            label = f"{name} ({len(chosen)} prompts)"
            bundle(figure, layers, angles[:, mask].T, chosen, name=label, color=color, opacity=0.6)
    mean = dataset["baseline_mean"].values[chosen_baseline(dataset)]
    line(
        figure, layers, mean, name="mean over all, every draw", color=_DARK, width=3.0, dash="5px,4px",
        hover="mean over all, layer %{x}: %{y:.3f} rad",
    )  # fmt: skip
    if said:
        rows, columns = np.nonzero(dataset["two_sinks"].values)
        figure.add_trace(
            go.Scatter(
                x=layers[rows], y=angles[rows, columns], mode="markers", name="both tokens are sinks",
                marker={"symbol": "circle-open", "size": 7, "color": _DARK}, hoverinfo="skip",
            )
        )  # fmt: skip
    layer_axis(figure, layers.tolist())
    angle_axis(figure, [angles], attrs=dataset.attrs)
    return figure


def _two_sinks(dataset: xr.Dataset) -> tuple[list[str], str]:
    """What the hover text of each pair and the caption say of pairs whose tokens are both sinks."""
    if "two_sinks" not in dataset or not dataset["two_sinks"].values.any():
        return [""] * dataset.sizes["prompt"], ""
    both, layers = dataset["two_sinks"].values.astype(bool), dataset["layer"].values
    each = [f"<br>two sinks in {named_layers(layers, rows)}" if rows.any() else "" for rows in both.T]
    angles, rows = dataset["baseline_angle"].values[both], np.flatnonzero(both.any(axis=0))
    prompts = ", ".join(map(str, rows))
    few = f"{len(rows)} lines (prompts {prompts}) are pairs"
    few = f"1 line (prompt {prompts}) is a pair" if len(rows) == 1 else few
    where = named_layers(layers, both.any(axis=1))
    apart = f"{interval(angles.min(), angles.max())} rad apart"
    return each, f" {few} of two sinks in {where}, {apart}: both vectors are long and point the same way."


@needs("difference")
def difference(dataset: xr.Dataset) -> go.Figure | None:
    """Target minus each baseline by layer, with simultaneous bands."""
    caption = (
        "Where a band (simultaneous, 95%) leaves 0, the target differs in that layer; a dashed baseline has "
        "two modes and is compared without the position that makes them."
    )
    figure = new_figure("Target minus each baseline", caption)
    drawn: list[np.ndarray] = []
    missing: dict[tuple[str, str], list[str]] = {}
    for row, name in enumerate(dataset["baseline"].values.tolist()):
        for kind, dash in (("difference", "solid"), ("stratified_difference", "5px,4px")):
            if kind not in dataset or not np.isfinite(dataset[kind].values[row]).any():
                continue
            label = baseline_label(name) + (", split" if dash != "solid" else "")
            band = layer_curve(
                figure, dataset.isel(baseline=row), kind, name=label, color=BASELINES.get(name, SOFT),
                dash=dash, opacity=0.1, hover=f"target − {label}, layer %{{x}}: %{{y:.3f}} rad",
            )  # fmt: skip
            drawn += band
            if not np.isfinite(band[1]).any():
                missing.setdefault(("No band", _reason(dataset, row, kind)), []).append(label)
            break
        else:
            why = _reason(dataset, row, "difference", "stratified_difference")
            missing.setdefault(("Not drawn", why), []).append(baseline_label(name))
    said = [f" {head}: {', '.join(labels)} ({why})." for (head, why), labels in missing.items()]
    figure.update_layout(meta={"caption": caption + "".join(said)})
    layer_axis(figure, dataset["layer"].values.tolist())
    angle_axis(figure, drawn, title="difference of angles (rad)", zero=True)
    if not drawn:
        figure.update_layout(height=240)
        figure.add_annotation(
            text="no difference was computed", showarrow=False, xref="paper", yref="paper", x=0.5, y=0.75,
            font={"color": SOFT},
        )  # fmt: skip
    return figure


def _reason(dataset: xr.Dataset, row: int, *kinds: str) -> str:
    """Why a baseline has no difference, or a difference no band."""
    notes = [str(dataset[f"{kind}_note"].values[row]) for kind in kinds if f"{kind}_note" in dataset]
    return "; ".join(dict.fromkeys(note for note in notes if note)) or "no reason was kept"


@needs("rotation_mean")
def rotation(dataset: xr.Dataset) -> go.Figure | None:
    """The angle at the target beside what the target itself rotates from one layer to the next."""
    if not np.isfinite(dataset["rotation_mean"].values).any():
        return None
    figure = new_figure(
        "Angle between tokens, rotation between layers",
        "Blue: how far the target points from the word before it. Grey: how far it turns in one layer."
        + withheld_note(dataset, "target_low", "rotation_low"),
    )
    shown_values = []
    for name, label, color in (
        ("target", "target pair", TARGET),
        ("rotation", "rotation since the layer before", SOFT),
    ):
        look = {"name": label, "color": color, "hover": f"{label}, {_LAYER}"}
        shown_values += layer_curve(figure, dataset, name, ends=_ENDS, **look)
    angle_axis(figure, [*shown_values, [0.0]], attrs=dataset.attrs)
    return figure


@needs("target_iqr")
def dispersion(dataset: xr.Dataset) -> go.Figure | None:
    """The interquartile range over prompts of the target's angle by layer."""
    figure = new_figure(
        "Spread over prompts",
        "Interquartile range of the angle by layer: does the target fan out towards the last layer?"
        + withheld_note(dataset, "target_iqr_low"),
    )
    look = {"name": "target", "color": TARGET, "hover": "target, layer %{x}: IQR %{y:.3f} rad"}
    band = layer_curve(figure, dataset, "target_iqr", **look)
    row = chosen_baseline(dataset)
    baseline = dataset["baseline_iqr"].values[row]
    label = f"baseline ({baseline_label(dataset['baseline'].values[row])})"
    line(
        figure, dataset["layer"].values, baseline, name=label, color=BASELINE, width=2.4, dash="5px,4px",
        hover="baseline, layer %{x}: IQR %{y:.3f} rad",
    )  # fmt: skip
    angle_axis(figure, [*band, baseline], title="interquartile range (rad)", zero=True)
    return figure
