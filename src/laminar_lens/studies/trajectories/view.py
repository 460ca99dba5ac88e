"""How a trajectory study is shown."""

import xarray as xr

from laminar_lens.figures.view import Part, Section, View
from laminar_lens.studies.trajectories.figures import distances, explained, hidden, plane, space, turning
from laminar_lens.tables import Column, Table, by_layer
from laminar_lens.words import decimal, number, radians, share

NOTE = (
    "Means over each two groups. Full, plane: mean distance of the same prompt with two words, in "
    "full dimension and in the plane of two axes. Hidden: share of the squared distance outside the plane. "
    "Relative: distance in full over the norm. Depth, positions: the angle between successive steps of the "
    "target, in full."
)


def by_layers(dataset: xr.Dataset) -> Table | None:
    """Distances in full and in the plane, side by side, one row a layer."""
    if "hidden" not in dataset:
        return None
    columns = [
        _column("full", number, dataset["every_distance"].sel(space="full")),
        _column("plane", number, dataset["every_distance"].sel(space="plane")),
        _column("hidden", share, dataset["every_hidden"], answer=True),
        _column("relative", decimal, dataset["every_relative"]),
        _column("depth", radians, dataset["every_turning"].sel(along="depth"), unit="rad", spare=2),
        _column("positions", radians, dataset["every_turning"].sel(along="positions"), unit="rad", spare=1),
    ]
    return by_layer("by_layer", "Distance of groups, by layer", dataset["layer"].values, columns, NOTE)


def pairs(dataset: xr.Dataset) -> Table | None:
    """Each two groups: where the plane hides most, and whether they part with depth."""
    if "parting" not in dataset:
        return None
    rows = dataset["versus"].values.tolist()
    at = dataset["hidden"].fillna(-1).argmax("layer")
    most = dataset.isel(layer=at)
    hides = {f"hidden{end}": most[f"hidden{end}"].values.tolist() for end in ENDS}
    part = {f"parting{end}": dataset[f"parting{end}"].values.tolist() for end in ENDS}
    columns = (
        Column("groups", tuple(map(str, rows)), values={"groups": rows}, wide=True),
        Column.of("most hidden", _share, hides, answer=True),
        Column.of("in layer", str, {"hidden_layer": most["layer"].values.tolist()}),
        Column.of("parting", _plain, part),
    )
    note = (
        "Parting: relative distance in the last third of the layers minus that in the first; brackets are "
        "the 95% band over all rows."
    )
    return Table("groups", "Each two groups", columns, note)


ENDS = ("", "_low", "_high")


def _plain(value: float, low: float, high: float) -> str:
    return radians(value, low, high, digits=2)


def _share(value: float, low: float, high: float) -> str:
    return f"{share(value)} [{share(low)}, {share(high)}]" if low == low else share(value)


def _column(title: str, said: object, values: xr.DataArray, **how: object) -> Column:
    return Column.of(title, said, {title: values.values.tolist()}, **how)  # type: ignore[arg-type]


VIEW = View(
    title="Trajectory study",
    sections=(
        Section("Trajectories", {"plane": plane, "space": space, "explained": explained}),
        Section(
            "In full and in the plane",
            {"distances": distances, "hidden": hidden, "turning": turning},
            {"groups": pairs, "by_layer": by_layers},
        ),
    ),
    inputs="prompts",
    claims_title="What is said of trajectories, on this model",
    contrast="target_distance",
    parts=(
        Part("mean distance of the groups", "target_distance"),
        Part("mean share that the plane hides", "target_hidden"),
    ),
)
