"""How a trajectory study is shown."""

import xarray as xr

from laminar_lens.figures.view import Part, Section, View
from laminar_lens.studies.trajectories.facts import SPACES
from laminar_lens.studies.trajectories.figures import (
    distances,
    explained,
    hidden,
    means,
    plane,
    space,
    turning,
)
from laminar_lens.tables import Column, Table, by_layer, with_interval
from laminar_lens.words import decimal, number, radians, share, share_with_ends

APART = {
    True: "mean distance of the same prompt with two words",
    False: "distance of the means of two groups, without what chance adds",
}
"""What the distance of two groups is, where they have the same prompts and where each has its own."""
NOTE = (
    "Means over each two groups. Full, plane: {apart}, in full dimension and in the plane of two axes. Left "
    "out: share of the squared distance outside the plane. Relative: distance in full over the norm. Depth, "
    "positions: the angle between successive steps of the target, in full. "
)
MEANS = "Means: distance of the groups' mean points, without what chance adds. "
PUBLISHED = (
    "Published: that distance in the plane, as published, with what chance adds; and the same in full."
)


def by_layers(dataset: xr.Dataset) -> Table | None:
    """Distances in full and in the plane, side by side, one row a layer."""
    if "hidden" not in dataset:
        return None
    paired = bool(dataset.attrs["paired"])
    columns = [
        *_spaces(dataset["every_distance"], ("full", "plane")),
        _column("left out", share, dataset["every_hidden"], "hidden", answer=True),
        _column("relative", decimal, dataset["every_relative"]),
        _column("depth", radians, dataset["every_turning"].sel(along="depth"), unit="rad", spare=2),
        _column("positions", radians, dataset["every_turning"].sel(along="positions"), unit="rad", spare=1),
        *(_means(dataset) if paired else []),
        _column("published", number, dataset["every_published_distance"], "published_distance", spare=5),
        _column("published, full", number, dataset["every_published_full"], "published_full", spare=6),
    ]
    note = NOTE.format(apart=APART[paired]) + (MEANS if paired else "") + PUBLISHED
    return by_layer("by_layer", "Distance of groups, by layer", dataset["layer"].values, columns, note)


def _means(dataset: xr.Dataset) -> list[Column]:
    """Of the groups' mean points."""
    return [
        *_spaces(dataset["every_mean_distance"], ("means, full", "means, plane"), "mean_", spare=4),
        _column("means, left out", share, dataset["every_mean_hidden"], "mean_hidden", spare=3),
    ]


def _spaces(values: xr.DataArray, titles: tuple[str, str], name: str = "", **how: object) -> list[Column]:
    """A distance in full dimension and in the plane."""
    spaces = zip(SPACES, titles, strict=True)
    return [
        _column(title, number, values.sel(space=space), f"{name}{space}", **how) for space, title in spaces
    ]


def pairs(dataset: xr.Dataset) -> Table | None:
    """Each two groups: where the plane leaves out most, and how their distance changes with depth."""
    if "parting" not in dataset:
        return None
    rows = dataset["versus"].values.tolist()
    at = dataset["hidden"].fillna(-1).argmax("layer")
    most = dataset.isel(layer=at)
    columns = (
        Column("groups", tuple(map(str, rows)), values={"groups": rows}, wide=True),
        Column.of("most left out", _share, with_interval(most, "hidden"), answer=True),
        Column.of("in layer", str, {"hidden_layer": most["layer"].values.tolist()}),
        Column.of("last − first", _plain, with_interval(dataset, "parting")),
        Column.of("p", number, {"parting_p": dataset["parting_p"].values.tolist()}),
    )
    note = (
        "Last − first: relative distance in the last third of the layers minus that in the first; "
        "brackets are the 95% band over all rows, p is of sign flips of prompts that it is 0, adjusted for "
        "all rows."
    )
    return Table("groups", "Each two groups", columns, note)


def _plain(value: float, low: float, high: float) -> str:
    return radians(value, low, high, digits=2)


def _share(value: float, low: float, high: float) -> str:
    said, ends = share_with_ends(value, low, high, join=", ")
    return f"{said} [{ends}]" if ends else said


def _column(title: str, said: object, values: xr.DataArray, name: str = "", **how: object) -> Column:
    return Column.of(title, said, {name or title: values.values.tolist()}, **how)  # type: ignore[arg-type]


VIEW = View(
    title="Trajectory study",
    sections=(
        Section("Trajectories", {"plane": plane, "space": space, "explained": explained}),
        Section(
            "In full and in the plane",
            {"distances": distances, "hidden": hidden, "means": means, "turning": turning},
            {"groups": pairs, "by_layer": by_layers},
        ),
    ),
    inputs="prompts",
    claims_title="What is said of trajectories, on this model",
    contrast="target_distance",
    parts=(
        Part("mean distance of the groups", "target_distance"),
        Part("mean share that the plane leaves out", "target_hidden"),
    ),
)
