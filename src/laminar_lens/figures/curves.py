"""What a study without a view of its own is shown by: a curve with its band for each number by layer."""

import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.marks import layer_curve
from laminar_lens.figures.style import TARGET, angle_axis, new_figure, shown, withheld_note
from laminar_lens.tables import ENDS, Column, Table, by_layer, with_interval
from laminar_lens.words import estimate, unit_text, with_unit


def banded(dataset: xr.Dataset) -> list[str]:
    """Variables by layer whose ends `_low` and `_high` stand beside them."""
    names = {str(name) for name, one in dataset.data_vars.items() if one.dims == ("layer",)}
    return sorted(name for name in names if {name + end for end in ENDS} <= names)


def curve(name: str, dataset: xr.Dataset) -> go.Figure | None:
    """One variable by layer with its interval."""
    attrs = dataset[name].attrs
    label = shown(attrs.get("long_name", name.replace("_", " ")), 90)
    unit = shown(unit_text(str(attrs.get("units", ""))), 20)
    figure = new_figure(
        label, "The estimate and its interval by layer." + withheld_note(dataset, f"{name}_low")
    )
    hover = f"layer %{{x}}: %{{y:.3f}} {unit}"
    band = layer_curve(figure, dataset, name, name=label, color=TARGET, hover=hover)
    if unit == "rad":
        angle_axis(figure, band, title=f"{label} (rad)", attrs=dataset.attrs)
    else:
        figure.update_yaxes(title={"text": with_unit(label, unit)})
    return figure


def table(dataset: xr.Dataset) -> Table:
    """Every such variable, one row a layer."""
    return by_layer(
        "by_layer",
        "Estimates by layer",
        dataset["layer"].values,
        [_column(dataset, n) for n in banded(dataset)],
    )


def _column(dataset: xr.Dataset, name: str) -> Column:
    unit = str(dataset[name].attrs.get("units", ""))
    return Column.of(name.replace("_", " "), estimate, with_interval(dataset, name), unit=unit)
