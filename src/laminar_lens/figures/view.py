"""How the results of one study are shown: what is drawn and tabulated, in which order, under which words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures import curves
from laminar_lens.figures.geometries import Headline, by_geometry
from laminar_lens.figures.marks import Drawn
from laminar_lens.tables import Table

Tabulated = Callable[[xr.Dataset], Table | None]


@dataclass(frozen=True)
class Section:
    """A heading of the page, with its tables and then its figures, each by name.

    A maker takes the dataset of one condition and gives None where it lacks the numbers. Those without a
    maker are made by every study's result itself (contrasts, geometries), or attached to it. `of` is the kind
    of another study whose answer the makers take, where the result rests on it; "": the study's own.
    """

    title: str
    figures: Mapping[str, Drawn | None] = field(default_factory=dict)
    tables: Mapping[str, Tabulated | None] = field(default_factory=dict)
    of: str = ""


INTERVENTIONS = Section(
    "Interventions",
    {"contrasts": None},
    dict.fromkeys(("conditions", "condition_claims", "contrasts")),
)
GEOMETRIES = Section("In other geometries", {}, {"geometries": None})
CHOICES = Section("Under other choices", {}, {"grid": None})
"""The sensitivity grid, where it was computed."""


@dataclass(frozen=True)
class Part:
    """One number a text that conditions are compared by: the mean of a variable, or of what `where` keeps."""

    name: str
    variable: str
    where: Mapping[str, int | slice] = field(default_factory=dict)


FIRST, LATER = {"pair": slice(0, 1)}, {"pair": slice(1, None)}
"""Of a variable whose pairs are counted from the text's first."""


def unsaid(settings: Mapping[str, Any]) -> str:
    """No line."""
    return ""


@dataclass(frozen=True)
class View:
    """What is known about showing a study, and nowhere else.

    Attributes:
        title: of the page.
        sections: of the page; `INTERVENTIONS` and `GEOMETRIES` among them, or else the first and the last.
            Without any, a curve with its band for each variable by layer.
        inputs: what the study was given, "texts" or "prompts".
        claims_title: heading of the table of claims: who makes them.
        contrast: variable whose contrast is shown where none is asked for; by default the one that the
            dataset's attribute `what` names.
        parts: what conditions are compared by; by default the whole of `contrast`.
        geometries: what is compared between geometries, by the variable's name behind `geometry_`.
        tokens: data of the page's view of tokens, where there is one.
        pictures: figures that the page shows in another way.
        fact: of a study that others rest on: its settings in one line, for that under their sentence.
    """

    title: str = ""
    sections: tuple[Section, ...] = ()
    inputs: str = "texts"
    claims_title: str = "The published claims, on this model"
    contrast: str = ""
    parts: tuple[Part, ...] = ()
    geometries: Mapping[str, Headline] = field(default_factory=dict)
    tokens: Callable[[xr.Dataset], dict[str, Any] | None] = lambda dataset: None
    pictures: Mapping[str, Drawn] = field(default_factory=dict)
    fact: Callable[[Mapping[str, Any]], str] = unsaid

    def ordered(self, dataset: xr.Dataset) -> tuple[Section, ...]:
        """The sections with those that every study has."""
        own = self.sections or (by_default(dataset),)
        before = () if INTERVENTIONS in own else (INTERVENTIONS,)
        behind = () if GEOMETRIES in own else (GEOMETRIES,)
        compared = {
            f"geometry_{name}": partial(by_geometry, name, one) for name, one in self.geometries.items()
        }
        return tuple(
            replace(GEOMETRIES, figures=compared) if one is GEOMETRIES else one
            for one in (*before, *own, *behind)
        )

    def figures(self, dataset: xr.Dataset, parts: Mapping[str, xr.Dataset]) -> dict[str, go.Figure]:
        """Every figure of one condition's dataset, and of the `parts` it rests on, that has its numbers."""
        sections = (*self.ordered(dataset), Section("", self.pictures))
        drawn = (
            (name, make(data))
            for one, data in _with_data(sections, dataset, parts)
            for name, make in one.figures.items()
            if make
        )
        return {name: figure for name, figure in drawn if figure is not None}

    def tables(self, dataset: xr.Dataset, parts: Mapping[str, xr.Dataset]) -> dict[str, Table]:
        """Every table, likewise."""
        made = (
            make(data)
            for one, data in _with_data(self.ordered(dataset), dataset, parts)
            for make in one.tables.values()
            if make
        )
        return {table.key: table for table in made if table is not None}


def _with_data(
    sections: Sequence[Section], dataset: xr.Dataset, parts: Mapping[str, xr.Dataset]
) -> Iterator[tuple[Section, xr.Dataset]]:
    """Each section whose answer there is, with it."""
    every = {"": dataset, **parts}
    return ((one, every[one.of]) for one in sections if one.of in every)


def by_default(dataset: xr.Dataset) -> Section:
    """Curves of every variable by layer that has a band, and their table."""
    names = curves.banded(dataset)
    figures: dict[str, Drawn | None] = {name: partial(curves.curve, name) for name in names}
    return Section("By layer", figures, {"by_layer": curves.table} if names else {})


def placed(
    sections: Sequence[Section], figures: Mapping[str, Any], tables: Mapping[str, Any]
) -> list[tuple[str, list[str], list[str]]]:
    """Title, figures and tables of each section that has any, by name; last, what no section names."""
    drawn = {name for one in sections for name in one.figures}
    listed = {key for one in sections for key in one.tables}
    more = Section("More", dict.fromkeys({*figures} - drawn), dict.fromkeys({*tables} - listed))
    found = [
        (one.title, [n for n in one.figures if n in figures], [k for k in one.tables if k in tables])
        for one in (*sections, more)
    ]
    return [one for one in found if one[1] or one[2]]
