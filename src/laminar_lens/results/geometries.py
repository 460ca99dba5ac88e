"""How the headline changes with the geometry: one layer of the figure as rows and as a table."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.figures.geometries import Headline
from laminar_lens.tables import Column, Table
from laminar_lens.words import because, estimate

ENDS = {"estimate": "", "low": "_low", "high": "_high"}


def geometry_rows(dataset: xr.Dataset, headlines: Mapping[str, Headline]) -> list[dict[str, Any]]:
    """The headline in each geometry, one dictionary each: `geometry`, `what`, `layer`, `estimate`, `low`,
    `high`, `unit`, `withheld`; empty where no geometries were compared.

    All in the layer behind the embedding where it is largest in the first geometry, "raw" (of a target, where
    it is farthest from its baseline).
    """
    names = [name for name in headlines if f"geometry_{name}" in dataset]
    if not names:
        return []
    first = [dataset[f"geometry_{name}"].values[0] for name in names]
    size = np.abs(first[0] - first[1] if len(first) > 1 else first[0])
    layers = dataset["layer"].values
    deeper = np.where(layers > 0, size, -1.0) if (layers > 0).any() else size
    if not np.isfinite(deeper).any():
        return []
    row = int(np.nanargmax(deeper))
    rows = []
    for name in names:
        for k, geometry in enumerate(dataset["geometry"].values.tolist()):
            numbers = {
                key: float(dataset[f"geometry_{name}{end}"].values[k, row]) for key, end in ENDS.items()
            }
            about = {"geometry": geometry, "what": headlines[name].what, "layer": int(layers[row])}
            withheld = str(dataset[f"geometry_{name}_low"].attrs.get("withheld", ""))
            rows.append({**about, **numbers, "unit": headlines[name].unit, "withheld": withheld})
    return rows


def geometry_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The headlines, a geometry a line."""
    names = tuple(dict.fromkeys(row["geometry"] for row in rows))
    heads = dict.fromkeys(row["what"] for row in rows)
    columns = [
        _column(head, [next(r for r in rows if (r["geometry"], r["what"]) == (name, head)) for name in names])
        for head in heads
    ]
    title = f"By geometry, in layer {rows[0]['layer']}"
    return Table("geometries", title, (Column("geometry", names), *columns), _note(rows))


def _column(head: str, rows: Sequence[Mapping[str, Any]]) -> Column:
    values = {head + end: [row[key] for row in rows] for key, end in ENDS.items()}
    unit = rows[0]["unit"]
    return Column.of(head, partial(estimate, unit=unit), values, unit=unit, wide=True)


def _note(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which layer the rows are of, and what their intervals are."""
    several = len({row["what"] for row in rows}) > 1
    where = "the two are farthest apart" if several else "it is largest"
    said = f"Layer {rows[0]['layer']}, where {where} in the geometry {rows[0]['geometry']!r}."
    why = "".join(dict.fromkeys(because(row["withheld"]) for row in rows))
    return f"{said} Intervals are 95%, of all geometries and layers at once.{why}"
