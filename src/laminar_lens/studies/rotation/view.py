"""How a rotation study is shown."""

import xarray as xr

from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import Part, Section, View
from laminar_lens.studies.rotation.figures import (
    PLACES,
    between,
    difference,
    influence,
    parts,
    rotation,
    runs,
)
from laminar_lens.tables import Column, Table, by_layer, listed, with_interval
from laminar_lens.words import decimal, estimate, number, radians

NOTE = (
    "Rotation: angle between a token's vector and its own one layer before; shuffled: from the target to "
    "another token of its prompt. More: target minus the word before it; p: of the paired test that they "
    "turn alike, adjusted for all layers. Influence: 1 minus the mean cosine, over every token."
)


@needs("rotation")
def rotations(dataset: xr.Dataset) -> Table | None:
    """Rotation of the target, its neighbour and shuffled tokens, one row a layer."""
    shuffled = {"shuffled": dataset["rotation"].sel(place="shuffled").values.tolist()}
    columns = [
        _radians("target", dataset.sel(place="target"), "rotation", answer=True),
        _radians("before", dataset.sel(place="before"), "rotation"),
        Column.of("shuffled", radians, shuffled, unit="rad", spare=3),
        _radians("more", dataset, "difference"),
    ]
    if "difference_p" in dataset:
        columns.append(Column.of("p", number, listed(dataset, "difference_p"), spare=2))
    columns.append(Column.of("influence", decimal, listed(dataset, "influence"), spare=1))
    title = "Rotation since the layer before, by layer (rad)"
    return by_layer("rotations", title, dataset["layer"].values, columns, NOTE)


@needs("part_rotation")
def parts_table(dataset: xr.Dataset) -> Table | None:
    """Rotation a block in the first, those between, the last, and all."""
    names = dataset["part"].values.tolist()
    part = Column("part", tuple(map(str, names)), values={"part": names}, wide=True)
    columns = [_radians(place, dataset.sel(place=place), "part_rotation") for place in PLACES]
    note = "Mean rotation a block; “every block” averages the first and the last in, as published."
    return Table("parts", "Rotation a block, by part of the model (rad)", (part, *columns), note)


@needs("run_estimate")
def least_runs(dataset: xr.Dataset) -> Table | None:
    """The least-turning run of each length."""
    one = listed(dataset, "run_blocks", "run_first", "run_estimate", "run_low", "run_high", "run_rivals")
    last = [first + n - 1 for first, n in zip(one["run_first"], one["run_blocks"], strict=True)]
    where = {"first_block": one["run_first"], "last_block": last}
    ends = {name: one[name] for name in ("run_estimate", "run_low", "run_high")}
    columns = (
        Column.of("blocks", str, {"blocks": one["run_blocks"]}),
        Column.of("which", lambda a, b: f"{a}–{b}" if b > a else str(a), where, answer=True),
        Column.of("angle / π", estimate, ends),
        Column.of("rivals", lambda n: "–" if n < 0 else str(n), {"rivals": one["run_rivals"]}),
    )
    note = (
        "Which: the blocks in a row that turn the prompt's last token least, counted from 0: block "
        "0 leads to layer "
        "1; rivals: other runs of that length that cannot be told from it, as their band reaches below its "
        "upper end."
    )
    return Table(
        "least_runs",
        "The run of blocks that turns the prompt's last token least, by its length",
        columns,
        note,
    )


def _radians(title: str, dataset: xr.Dataset, name: str, **how: bool) -> Column:
    return Column.of(title, radians, with_interval(dataset, name, title), unit="rad", **how)


VIEW = View(
    title="Rotation study",
    sections=(
        Section(
            "From layer to layer",
            {"rotation_by_layer": rotation, "rotation_parts": parts, "rotation_difference": difference},
            {"parts": parts_table, "rotations": rotations},
        ),
        Section(
            "Layer against layer",
            {"layer_angles": between, "least_turning_runs": runs, "block_influence": influence},
            {"least_runs": least_runs},
        ),
    ),
    inputs="prompts",
    claims_title="What is said of rotations along the layers, on this model",
    contrast="target_rotation",
    parts=(
        Part("rotation of the target", "target_rotation"),
        Part("rotation of the word before it", "before_rotation"),
    ),
)
