"""How a comparison of models is shown: a curve a model along a common depth, and their differences."""

import json
import textwrap
from functools import partial

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.contrasts import COLOURS, DASHES
from laminar_lens.figures.style import angle_axis, mean_and_band, new_figure, shown, visible, withheld_note
from laminar_lens.figures.view import Section, View
from laminar_lens.tables import Column, Table
from laminar_lens.words import capitalised, decimal, estimate, with_unit

DEPTH = "depth (0 = embedding, 1 = last block)"
ENDS = ("", "_low", "_high")
SHOWN_AT = (0.0, 0.25, 0.5, 0.75, 1.0)
ROUNDING = 1e-9
AXIS_WIDTH = 36
"""Characters of a line along the vertical axis."""


class _Sections(View):
    """Sections that follow from the numbers that were compared."""

    def ordered(self, dataset: xr.Dataset) -> tuple[Section, ...]:
        parts: dict[str, str] = json.loads(dataset.attrs["parts"])
        own = [
            Section(
                capitalised(name),
                {f"depth_{key}": partial(curves, key), f"difference_{key}": partial(differences, key)},
                {f"depth_{key}": partial(by_depth, key, name)},
            )
            for key, name in parts.items()
        ]
        return (Section("Model by model", {}, dict.fromkeys(("model_claims", "answers"))), *own)


def curves(key: str, dataset: xr.Dataset) -> go.Figure:
    """A number of each model along its depth, with a 95% band over the model's layers."""
    about = dataset[key].attrs
    figure = new_figure(
        f"{_title(about['long_name'])}, by depth",
        "Mean over texts of each model with its 95% band over layers; depth is the layer's number over the "
        "number of blocks, so that layer 1 of n blocks is at 1/n." + withheld_note(dataset, f"{key}_low"),
        DEPTH,
    )
    for row, name in enumerate(dataset["model"].values.tolist()):
        x, *band = (dataset[one].values[row] for one in ("depth", *(key + end for end in ENDS)))
        _line(figure, row, str(name), x, band)
    _axis(figure, [dataset[key + end].values for end in ENDS], about, zero=False)
    return figure


def differences(key: str, dataset: xr.Dataset) -> go.Figure | None:
    """The same of the other models minus the first, text by text."""
    name = f"{key}_difference"
    if name not in dataset:
        return None
    about = dataset[name].attrs
    figure = new_figure(
        f"{_title(about['long_name'])}, at the same depth",
        "Mean over texts of each text's own difference, with a 95% band over all depths; between layers, "
        "numbers are interpolated. A band that holds 0 shows no difference there."
        + withheld_note(dataset, f"{name}_low"),
        DEPTH,
    )
    for row, other in enumerate(dataset["other"].values.tolist()):
        band = [dataset[name + end].values[row] for end in ENDS]
        _line(figure, row + 1, str(other), dataset["common_depth"].values, band)
    _axis(figure, [dataset[name + end].values for end in ENDS], about, zero=True)
    return figure


def by_depth(key: str, name: str, dataset: xr.Dataset) -> Table:
    """The same as numbers, in the layer of each model that is nearest to some depths."""
    unit = str(dataset[key].attrs["units"])
    at = np.array([_nearest(dataset.isel(model=row)) for row in range(dataset.sizes["model"])])
    shown = (at >= 0).any(axis=0)
    columns = []
    for row, model in enumerate(dataset["model"].values.tolist()):
        ends = {end: dataset[key + end].values[row] for end in ENDS}
        values = {
            f"{model}{end}": np.where(at[row] >= 0, one[at[row]], np.nan)[shown].tolist()
            for end, one in ends.items()
        }
        columns.append(Column.of(str(model), estimate, values, unit=unit))
    places = Column.of("depth", decimal, {"depth": np.array(SHOWN_AT)[shown].tolist()})
    note = (
        "Depth 0 is the embedding, 1 the output of the last block; in each model's layer that is nearest, at "
        "most half a block away. 95% bands cover all layers of a model."
    )
    title = with_unit(f"{_title(name)} by depth", unit)
    return Table(f"depth_{key}", title, (places, *columns), note)


def _nearest(model: xr.Dataset) -> list[int]:
    """The state of a model that is nearest to each depth that is shown; −1 where it is over half a block
    away, as the embedding of what is measured between layers."""
    away = abs(model["depth"].values[:, None] - np.array(SHOWN_AT))
    near = np.nanargmin(away, axis=0)
    found = np.nanmin(away, axis=0) <= 0.5 / int(model["blocks"]) + ROUNDING
    return [int(state) if is_near else -1 for state, is_near in zip(near, found, strict=True)]


def _title(text: str) -> str:
    return shown(capitalised(text), 90)


def _line(figure: go.Figure, row: int, name: str, x: object, band: list[object]) -> None:
    label = shown(name, 40)
    mean_and_band(
        figure, x, *band, name=label, color=COLOURS[row % len(COLOURS)], opacity=0.18,
        dash=DASHES[row // len(COLOURS) % len(DASHES)], hover=f"{label}<br>depth %{{x:.2f}}: %{{y:.3f}}",
    )  # fmt: skip


def _axis(figure: go.Figure, values: list[object], about: dict[str, str], *, zero: bool) -> None:
    unit, name = about["units"], about["long_name"]
    lines = textwrap.wrap(with_unit(visible(name, 90), unit), AXIS_WIDTH)
    title = "<br>".join(map(shown, lines))
    figure.update_xaxes(range=[-0.02, 1.02])
    if unit == "rad":
        angle_axis(figure, values, title=title, zero=zero)
    else:
        figure.update_yaxes(title={"text": title})


VIEW = _Sections(title="Comparison of models", claims_title="")
