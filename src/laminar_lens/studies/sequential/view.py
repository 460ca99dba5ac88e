"""How a sequential-angle study is shown, with the warm-up that it keeps."""

from dataclasses import replace
from typing import Any

import xarray as xr

from laminar_lens.figures.geometries import Headline
from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import CHOICES, FIRST, GEOMETRIES, INTERVENTIONS, LATER, Part, Section, View
from laminar_lens.results.complete import from_json
from laminar_lens.studies.sequential.figures import (
    baseline_split,
    chosen_baseline,
    difference,
    dispersion,
    rotation,
    target_by_layer,
)
from laminar_lens.studies.sequential.modes import mixture
from laminar_lens.studies.sequential.positions import by_position, by_position_skipped
from laminar_lens.studies.sequential.tokens import token_data, tokens
from laminar_lens.studies.warmup import view as warmup
from laminar_lens.studies.warmup.study import Warmup
from laminar_lens.tables import Column, Table, listed
from laminar_lens.tables import by_layer as table_by_layer
from laminar_lens.words import number, radians

NOTE = (
    "IQR: interquartile range over prompts. Rotation: angle of the target to itself one layer before. Base: "
    "the {} baseline; p: of the test that the target does not differ from it, adjusted for all layers. "
    "Modes: the means of its two groups of angles, where it has two."
)


@needs("target_mean")
def angles_by_layer(dataset: xr.Dataset) -> Table | None:
    """Target, its rotation and the chosen baseline, in radians, one row a layer."""
    names = list(map(str, dataset["baseline"].values))
    baseline = from_json("settings", dataset.attrs, {}).get("baseline", "published")
    row = names.index(baseline) if baseline in names else chosen_baseline(dataset)
    chosen = dataset.isel(baseline=row)
    columns = [
        _radians("target", dataset, "target_mean", "target_low", "target_high", answer=True),
        _radians("IQR", dataset, "target_iqr", spare=4),
        _radians("rotation", dataset, "rotation_mean", spare=2),
        _radians("base mean", chosen, "baseline_mean"),
        _radians("base median", chosen, "baseline_median", spare=3),
        _radians("base IQR", chosen, "baseline_iqr", spare=5),
        Column.of("p", number, listed(chosen, "difference_p")),
    ]
    note = NOTE.format(names[row])
    if why := str(chosen["difference_note"].values) if "difference_note" in chosen else "":
        note += f" p of this baseline: {why}."
    if "mode_verdict" in dataset:
        modes = listed(dataset, "mode_verdict", "mode_low_mean", "mode_high_mean")
        columns.append(Column.of("modes", _modes, modes, unit="rad", spare=1))
        if "undetermined" in modes["mode_verdict"]:
            note += (
                f" At least {dataset['mode_verdict'].attrs['prompts_needed']} prompts are needed to say one."
            )
    title = f"Angles by layer (rad); base: the {names[row]} baseline, p: target against it"
    return table_by_layer("angles", title, dataset["layer"].values, columns, note)


def _radians(title: str, dataset: xr.Dataset, *names: str, **how: Any) -> Column:
    """A variable by layer, with its interval where there is one."""
    return Column.of(title, radians, listed(dataset, *names), unit="rad", **how)


def _modes(verdict: str, low: float, high: float) -> str:
    return f"{number(low, 2)} and {number(high, 2)}" if verdict == "two" else verdict


VIEW = View(
    title="Sequential-angle study",
    sections=(
        Section(
            "The answer in pictures", {"target_by_layer": target_by_layer, "baseline_split": baseline_split}
        ),
        INTERVENTIONS,
        GEOMETRIES,
        Section(
            "Along the positions", {"by_position": by_position, "by_position_skipped": by_position_skipped}
        ),
        Section(
            "What decides the claims",
            {"mixture": mixture, "difference": difference, "rotation": rotation, "dispersion": dispersion},
            {"angles": angles_by_layer},
        ),
        *(replace(section, of=Warmup.kind) for section in warmup.SECTIONS),
        CHOICES,
    ),
    inputs="prompts",
    contrast="position_angle",
    parts=(
        Part("target", "target_angle"),
        Part("first pair", "position_angle", FIRST),
        Part("later pairs", "position_angle", LATER),
    ),
    geometries={
        "target": Headline("target's angle", "The target's angle, by geometry", "target's angle (rad)"),
        "baseline": Headline(
            "published baseline's angle, its single draw",
            "The published baseline's angle, by geometry",
            "baseline's angle (rad)",
        ),
    },
    tokens=token_data,
    pictures={"tokens": tokens},
)
