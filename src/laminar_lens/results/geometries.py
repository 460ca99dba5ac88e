"""How the headline changes with the geometry: one layer of the figure as rows and as a table of text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

HEADLINES = {
    "excess": "first pair minus the reference pairs",
    "E11": "what being first does to a pair (E11)",
    "target": "target's angle",
    "baseline": "published baseline's angle, its single draw",
}
"""What a study compares, by the name of its variable behind `geometry_`."""
Shown = Callable[[Mapping[str, Any]], str]
ENDS = {"estimate": "", "low": "_low", "high": "_high"}


def geometry_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """The headline in each geometry, one dictionary each: `geometry`, `what`, `layer`, `estimate`, `low`,
    `high`, `unit`; empty where no geometries were compared.

    All in the layer behind the embedding where it is largest in the first geometry, "raw" (of a target, where
    it is farthest from its baseline).
    """
    names = [name for name in HEADLINES if f"geometry_{name}" in dataset]
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
            about = {"geometry": geometry, "what": HEADLINES[name], "layer": int(layers[row])}
            rows.append({**about, **numbers, "unit": "rad"})
    return rows


def geometry_cells(rows: Sequence[Mapping[str, Any]], shown: Shown) -> tuple[list[str], list[list[str]]]:
    """The headlines' names, and a line a geometry: its name and each headline as `shown` writes it."""
    heads = list(dict.fromkeys(row["what"] for row in rows))
    names = dict.fromkeys(row["geometry"] for row in rows)
    return heads, [[name, *(shown(row) for row in rows if row["geometry"] == name)] for name in names]


def geometry_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which layer the rows are of, and what their intervals are."""
    several = len({row["what"] for row in rows}) > 1
    where = "the two are farthest apart" if several else "it is largest"
    said = f"Layer {rows[0]['layer']}, where {where} in the geometry {rows[0]['geometry']!r}."
    known = any(row["low"] is not None and np.isfinite(row["low"]) for row in rows)
    return f"{said} Intervals are 95%, for this layer alone." if known else said


def geometry_table(rows: Sequence[Mapping[str, Any]], shown: Shown) -> str:
    """The rows as text, a geometry a line."""
    heads, lines = geometry_cells(rows, shown)
    cells = [["geometry", *heads], *lines]
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([text[0], "─" * max(map(len, text)), *text[1:]])
