"""How a dimension study is shown."""

from functools import partial

import xarray as xr

from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import Part, Section, View
from laminar_lens.studies.dimensions.claims import FEW
from laminar_lens.studies.dimensions.figures import contributions, few_share, without
from laminar_lens.tables import Column, Table, by_layer
from laminar_lens.words import interval, radians


@needs("angle_without")
def without_dimensions(dataset: xr.Dataset) -> Table | None:
    """The first pair's angle with and without the dimensions that make most of its cosine, in radians."""
    few, geometry = int(dataset.attrs["few"]), str(dataset["geometry"].values[0])
    part = dataset.sel(geometry=geometry, pairs="first")
    random = part.sel(removed=few)
    ends = {f"{few}_random_{end}": random[f"angle_random_{end}"].values.tolist() for end in ("low", "high")}
    top = {"dimensions": part["top_dimension"].values[:, :few].tolist()}
    columns = [
        _angle(part, "angle", 0),
        _angle(part, "without 1", 1, spare=1),
        _angle(part, f"without {few}", few, "", "_low", "_high"),
        Column.of(f"{few} random", partial(interval, digits=3), ends, unit="rad"),
        Column.of("dimensions", lambda row: ", ".join(map(str, row)), top),
    ]
    where = "" if geometry == "raw" else f", {geometry}"
    title = (
        f"The first pair's angle by layer (rad{where}), without the dimensions that make most of its cosine"
    )
    note = (
        f"Without 1 and {few}: without so many of the dimensions that make most of the cosine in other "
        f"texts, which the last column names; {few} random: 95% of draws of {few} dimensions."
    )
    return by_layer("first_pair", title, part["layer"].values, columns, note)


def _angle(part: xr.Dataset, title: str, removed: int, *ends: str, spare: int = 0) -> Column:
    one, name = part.sel(removed=removed), title.replace(" ", "_")
    values = {f"{name}{end}": one[f"angle_without{end}"].values.tolist() for end in ends or ("",)}
    return Column.of(title, radians, values, unit="rad", spare=spare)


VIEW = View(
    title="Dimension study",
    sections=(
        Section(
            "The angle without a few dimensions",
            {"dimension_angles": few_share, "dimension_removal": without},
            {"first_pair": without_dimensions},
        ),
        Section("Dimension by dimension", {"dimension_contributions": contributions}),
    ),
    claims_title="The claims of this study, on this model",
    contrast="angle",
    parts=(
        Part("first pair, with every dimension", "angle", {"geometry": 0, "pairs": 0, "removed": 0}),
        Part("first pair, without three", "angle", {"geometry": 0, "pairs": 0, "removed": FEW}),
    ),
)
