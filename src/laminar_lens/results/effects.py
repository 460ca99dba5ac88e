"""The effects of a why-study by layer: as dictionaries, and as a table of text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from laminar_lens.results.numbers import decimal

EFFECTS_SHOWN = ("excess", "T", "E11", "E10", "E01", "interaction", "token_x_place")
"""What a table shows by layer, in radians."""


def effect_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """The effects of a why-study, one dictionary a layer: verdict, sign, and `E11`, `E11_low`, `E11_high`, …
    in radians with intervals that are simultaneous over layers; empty where there are none."""
    if "effect_band_low" not in dataset:
        return []
    rows: list[dict[str, Any]] = [{"layer": int(layer)} for layer in dataset["layer"].values]
    for k, row in enumerate(rows):
        row |= {name: str(dataset[name].values[k]) for name in ("verdict", "sign")}
        for effect in dataset["effect"].values.tolist():
            for end, name in (("", "mean"), ("_low", "band_low"), ("_high", "band_high")):
                row[f"{effect}{end}"] = float(dataset[f"effect_{name}"].sel(effect=effect).values[k])
    return rows


def radians(value: Any) -> str:
    """A radian number with two decimals for a table of effects; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return decimal(value)


def effect_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The effects of a why-study by layer as text."""
    heads = ["layer", *EFFECTS_SHOWN, "verdict"]
    cells = [[str(row["layer"]), *(radians(row[n]) for n in EFFECTS_SHOWN), row["verdict"]] for row in rows]
    widths = [max(len(line[k]) for line in [heads, *cells]) for k in range(len(heads))]
    lines = [
        "  ".join([*(c.rjust(w) for c, w in zip(line[:-1], widths[:-1], strict=True)), line[-1]])
        for line in [heads, *cells]
    ]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])
