"""How a warm-up study is shown."""

import math
from collections.abc import Callable
from typing import Any

import xarray as xr

from laminar_lens.figures.geometries import Headline
from laminar_lens.figures.view import FIRST, GEOMETRIES, LATER, Part, Section, View
from laminar_lens.studies.warmup.figures import (
    cost,
    k_by_layer,
    paired_shift,
    random_init,
    warmup_delta,
)
from laminar_lens.tables import Column, Table
from laminar_lens.tables import by_layer as table_by_layer
from laminar_lens.words import number, percent

MISSING = -1
"""In the file, a number of tokens or texts that does not exist."""


def by_layer(dataset: xr.Dataset) -> Table | None:
    """How many first positions to leave out, one row a layer."""
    if "k_hi" not in dataset:
        return None
    tokens = {"unit": "tokens"}
    made = (
        _column(dataset, "skip", number, **tokens),
        _column(dataset, "k_lo", number, **tokens),
        _column(dataset, "k_hi", number, **tokens),
        _column(dataset, "verdict", str),
        _column(dataset, "sign", str, "first pairs are", spare=2),
        _column(dataset, "share_affected", _share, "texts affected", spare=3),
        _needed(dataset),
        _column(dataset, "half_life", None),
        _column(dataset, "step_or_decay", None),
    )
    note = "skip: tokens to leave out; so many stand apart at least (k_lo) and at most (k_hi)."
    columns = [one for one in made if one is not None]
    return table_by_layer("by_layer", "Warm-up by layer", dataset["layer"].values, columns, note)


def _values(dataset: xr.Dataset, name: str) -> list[Any]:
    variable = dataset[name]
    missing = MISSING if variable.dtype.kind == "i" else None
    return [None if value == missing else value for value in variable.values.tolist()]


def _column(
    dataset: xr.Dataset, name: str, shown: Callable[[Any], str] | None, title: str = "", **how: Any
) -> Column | None:
    if name not in dataset:
        return None
    values = _values(dataset, name)
    return Column(title or name, tuple(map(shown, values)) if shown else (), values={name: values}, **how)


def _needed(dataset: xr.Dataset) -> Column | None:
    """How many texts would decide a layer; an undetermined one without a number needs more than a million."""
    if "n_needed" not in dataset:
        return None
    values = _values(dataset, "n_needed")
    verdicts = dataset["verdict"].values.tolist() if "verdict" in dataset else [""] * len(values)
    cells = [
        "> 1,000,000" if value is None and verdict == "undetermined" else number(value)
        for value, verdict in zip(values, verdicts, strict=True)
    ]
    return Column("texts needed", tuple(cells), "texts", spare=1, values={"n_needed": values})


def _share(value: float) -> str:
    return percent(value) if math.isfinite(value) else "–"


FIGURES = {
    "warmup_delta": warmup_delta,
    "warmup_k": k_by_layer,
    "warmup_random_init": random_init,
    "warmup_paired_shift": paired_shift,
    "warmup_cost": cost,
}
VIEW = View(
    title="Warm-up study",
    sections=(GEOMETRIES, Section("Warm-up", FIGURES, {"by_layer": by_layer})),
    contrast="angle",
    parts=(Part("first pair", "angle", FIRST), Part("later pairs", "angle", LATER)),
    geometries={
        "excess": Headline(
            "first pair minus the reference pairs",
            "The first pair against the rest of the text, by geometry",
            "first pair minus the reference pairs (rad)",
            zero=True,
        )
    },
)
