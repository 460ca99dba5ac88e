"""How a warm-up study is shown."""

import math
from collections.abc import Mapping
from typing import Any

import xarray as xr

from laminar_lens.figures.geometries import Headline
from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import CHOICES, FIRST, GEOMETRIES, LATER, Part, Section, View
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.warmup import cost_table
from laminar_lens.studies.warmup.cost_figure import cost
from laminar_lens.studies.warmup.figures import (
    k_by_layer,
    k_by_tolerance,
    paired_shift,
    random_init,
    warmup_delta,
)
from laminar_lens.tables import Column, Table
from laminar_lens.tables import by_layer as table_by_layer
from laminar_lens.words import number, percent

NAMES = {
    "skip": ("", 0),
    "k_hi": ("enough", 0),
    "k_lo": ("necessary", 0),
    "verdict": ("verdict", 0),
    "sign": ("first pairs are", 2),
    "share_affected": ("texts affected", 3),
    "n_needed": ("texts needed", 1),
    "half_life": ("", 0),
    "step_or_decay": ("", 0),
}
"""Title of each variable's column, none where only JSON and CSV have it, and how soon it is left out."""
NOTE = (
    "Enough (k_hi, 95%): leave out so many; necessary (k_lo): so many were shown to stand apart. First pairs "
    "are: of all pairs that were shown to stand apart, not of the one with position 0 alone. Texts "
    "affected: the share whose most affected first pair leaves the central 95% of the later ones, beyond "
    "chance. Texts needed: how many would make the two numbers one (exact), or show a first number that is "
    "enough (bound)."
)
GOALS = {"bracketed": " (exact)", "undetermined": " (bound)"}
"""What the texts that are needed would do, by verdict; they do nothing for another one."""
MISSING = -1
"""In the file, a number of tokens or texts that does not exist."""


@needs("k_hi")
def by_layer(dataset: xr.Dataset) -> Table | None:
    """How many first positions to leave out, one row a layer."""
    found = {name: _values(dataset, name) for name in NAMES if name in dataset}
    columns = [_column(name, found) for name in found]
    return table_by_layer("by_layer", "Warm-up by layer", dataset["layer"].values, columns, NOTE)


@needs("tolerance_k_hi")
def by_tolerance(dataset: xr.Dataset) -> Table | None:
    """How many first positions to leave out at each tolerance, and which layers ask for so many."""
    tau, layers = dataset["tolerance"].values.tolist(), dataset["layer"].values
    enough, least = (_values(dataset, f"tolerance_{name}") for name in ("k_hi", "k_lo"))
    each = dataset["tolerance_k_hi_by_layer"].values
    asking = [
        "" if k == 0 else named_layers(layers, row == (MISSING if k is None else k))
        for k, row in zip(enough, each, strict=True)
    ]
    columns = (
        Column.of("±τ", lambda x: f"{x:g}", {"tolerance": tau}, unit="rad"),
        Column.of("enough", number, {"k_hi": enough}, answer=True),
        Column.of("necessary", number, {"k_lo": least}),
        Column("asked for by", tuple(asking), wide=True, values={"asked_for_by": asking}),
    )
    note = (
        "One measurement at every tolerance; – : no number was shown to be enough, and in which layers not."
    )
    return Table("by_tolerance", "First tokens to leave out, by tolerance", columns, note)


def fact(settings: Mapping[str, Any]) -> str:
    """What a number of tokens to leave out rests on."""
    first, stop = settings["reference"]
    return (
        f"warm-up from {settings['n_texts']:,} texts of {settings['length']} tokens, τ = {settings['tau']:g} "
        f"rad, reference pairs {first}–{stop - 1}"
    )


def _values(dataset: xr.Dataset, name: str) -> list[Any]:
    variable = dataset[name]
    missing = MISSING if variable.dtype.kind == "i" else None
    return [None if value == missing else value for value in variable.values.tolist()]


def _column(name: str, found: Mapping[str, list[Any]]) -> Column:
    """An undetermined layer without a number of texts needs more than a million."""
    values, (title, spare) = {name: found[name]}, NAMES[name]
    if not title:
        return Column(name, values=values)
    if name == "n_needed":
        rows = zip(found[name], found.get("verdict", [""] * len(found[name])), strict=True)
        cells = [
            f"{'> 1,000,000' if n is None else number(n)}{GOALS[said]}" if said in GOALS else number(n)
            for n, said in rows
        ]
        return Column(title, tuple(cells), "texts", spare=spare, values=values)
    shown = _share if name == "share_affected" else _said
    return Column.of(title, shown, values, spare=spare, answer=name == "k_hi")


def _share(value: float) -> str:
    return percent(value) if math.isfinite(value) else "–"


def _said(value: object) -> str:
    return value if isinstance(value, str) else number(value)


SECTIONS = (
    Section(
        "Warm-up",
        {
            "warmup_delta": warmup_delta,
            "warmup_k": k_by_layer,
            "warmup_tolerance": k_by_tolerance,
            "warmup_random_init": random_init,
            "warmup_paired_shift": paired_shift,
        },
        {"by_tolerance": by_tolerance, "by_layer": by_layer},
    ),
    Section("What leaving out costs and saves", {"warmup_cost": cost}, {"costs": cost_table.table}),
)
VIEW = View(
    title="Warm-up study",
    sections=(*SECTIONS, GEOMETRIES, CHOICES),
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
    fact=fact,
)
