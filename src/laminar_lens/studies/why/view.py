"""How a why-study is shown."""

import math
from dataclasses import replace
from itertools import starmap

import xarray as xr

from laminar_lens.figures.geometries import Headline
from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import GEOMETRIES, INTERVENTIONS, Section, View
from laminar_lens.studies.why.figures import (
    why_cells,
    why_effects,
    why_excess,
    why_places,
    why_trend,
    why_verdict,
)
from laminar_lens.tables import Column, Table, by_layer
from laminar_lens.words import decimal, radians

SHOWN = ("excess", "T", "E11", "E10", "E01", "interaction", "token_x_place")
SPARE = {"token_x_place": 3, "interaction": 2, "excess": 1}
NOTE = (
    "Means in radians; the page, JSON and CSV have their 95% intervals, which hold in all layers together. "
    "T: the tokens' own part, wherever they stand. The excess of a first pair is T + E11; "
    "E10: context cut off, E01: positions restarted, E11: both; interaction: E11 − E10 − E01; "
    "token × place: E11 of first bigrams minus E11 of bigrams from inside."
)


@needs("effect_band_low")
def effects(dataset: xr.Dataset) -> Table | None:
    """The effects in radians, one row a layer, with intervals that are simultaneous over layers."""
    verdict, sign = (tuple(map(str, dataset[name].values)) for name in ("verdict", "sign"))
    names = dataset["effect"].values.tolist()
    columns = [
        *(_effect(dataset, name, name in SHOWN) for name in (*SHOWN, *(n for n in names if n not in SHOWN))),
        Column("answer", verdict, values={"verdict": verdict}),
        Column("sign", values={"sign": sign}),
    ]
    title = "Effects by layer (rad); E10: context cut, E01: positions restarted, E11: both"
    return by_layer("effects", title, dataset["layer"].values, columns, NOTE)


def _effect(dataset: xr.Dataset, name: str, shown: bool) -> Column:
    one = dataset.sel(effect=name)
    ends = {"": "mean", "_low": "band_low", "_high": "band_high"}
    values = {f"{name}{end}": one[f"effect_{of}"].values.tolist() for end, of in ends.items()}
    made = Column.of(name.replace("_x_", " × "), _mean, values, unit="rad", spare=SPARE.get(name, 0))
    bands = tuple(starmap(_band, zip(*values.values(), strict=True)))
    return replace(made, small=bands) if shown else replace(made, cells=())


def _mean(mean: float, low: float, high: float) -> str:
    return radians(mean, digits=2)


def _band(mean: float, low: float, high: float) -> str:
    return f"[{decimal(low)}, {decimal(high)}]" if math.isfinite(low + high) else ""


VIEW = View(
    title="Why-study",
    sections=(
        INTERVENTIONS,
        Section(
            "Why first pairs stand apart",
            {"why_effects": why_effects, "why_verdict": why_verdict, "why_trend": why_trend},
            {"effects": effects},
        ),
        Section(
            "What the verdict rests on",
            {"why_excess": why_excess, "why_cells": why_cells, "why_places": why_places},
        ),
        GEOMETRIES,
    ),
    contrast="E11",
    geometries={
        "E11": Headline(
            "what being first does to a pair (E11)",
            "What being first does to a pair, by geometry",
            "E11 (rad)",
            zero=True,
        )
    },
)
