"""A result as tables for a terminal: which column is which variable, and nothing more."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from laminar_lens.cli.screen import table
from laminar_lens.results import StudyResult, layer_rows
from laminar_lens.results.complete import complete
from laminar_lens.results.effects import EFFECTS_SHOWN, radians
from laminar_lens.results.geometries import geometry_cells
from laminar_lens.results.numbers import decimal, interval
from laminar_lens.results.summary import claims_title, estimate_text, number, texts_needed
from laminar_lens.stats.sinks import HEAD_SHARE

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

RADIANS_BY_LAYER = {
    "target": ("target_mean", "target_low", "target_high"),
    "IQR": ("target_iqr",),
    "rotation": ("rotation_mean",),
}
BASELINE_BY_LAYER = {"mean": ("baseline_mean",), "median": ("baseline_median",), "IQR": ("baseline_iqr",)}
GRID_COLUMNS = {
    "prepend_bos": "BOS",
    "final_norm": "final norm",
    "tau": "τ",
    "reference": "reference",
    "verdict": "verdict",
    "k_lo": "k_lo",
    "k_hi": "k_hi",
    "sign": "first pairs are",
    "first_pair": "excess (rad)",
    "layer": "in layer",
    "target_minus_baseline": "target − baseline (rad)",
    "note": "note",
}
WARMUP_COLUMNS = {
    "skip": "skip",
    "k_lo": "k_lo",
    "k_hi": "k_hi",
    "verdict": "verdict",
    "first pairs are": "sign",
    "texts needed": "n_needed",
}
EFFECT_COLUMNS = {"token_x_place": "token × place"}
SPARE_EFFECTS = ("token × place", "interaction", "excess")
SPARE_BY_LAYER = ("base IQR", "IQR", "base median", "rotation", "modes")
SPARE_WARMUP = ("first pairs are", "texts needed")
SPARE_SINKS = ("random", "in a text")
SPARE_DIMENSIONS = ("without 1",)
SPARE_GRID = ("in layer", "first pairs are", "excess (rad)", "target − baseline (rad)", "k_lo")
"""Columns that a narrow terminal does without, the first one first."""


@complete
def parts(study: StudyResult, frame: "pd.DataFrame | None" = None) -> "list[str | Table]":
    """Sentence, claims, layers and warnings, in the order in which they are read; `frame` is a grid.

    With several conditions: those of the plain run, and the contrasts of the others with it.
    """
    summary, plain = study.summary(), study.dataset
    found: list[str | Table] = [summary["sentence"], ""]
    if summary["claims"]:
        found.append(claims(claims_title(study.kind), summary["claims"]))
    if "target_mean" in plain:
        found.append(sequential_by_layer(plain, str(summary["settings"].get("baseline", "published"))))
    if rows := layer_rows(plain):
        found.append(warmup_by_layer(rows))
    if effects := summary.get("effects"):
        found.append(effects_by_layer(effects))
    if study.kind == "sinks":
        found.append(sinks_by_layer(plain))
    if study.kind == "dimensions":
        found.append(dimensions_by_layer(plain))
    if summary["contrasts"]:
        found.append(contrasts(summary["contrasts"]))
    if summary["geometries"]:
        found.append(geometries(summary["geometries"]))
    if frame is not None:
        found.append(grid(frame))
    return found + [f"warning: {warning}" for warning in summary["warnings"]]


def claims(title: str, rows: Sequence[Mapping[str, Any]]) -> "Table":
    """The claims and what this model answers."""
    cells = [[str(row["claim"]), str(row["verdict"]), str(row["text"]), estimate_text(row)] for row in rows]
    return table(title, ["", "answer", "claim", "estimate"], cells, wide=["claim", "estimate"])


def geometries(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """The headline in each geometry, in the layer where it is largest in the first."""
    heads, lines = geometry_cells(rows, estimate_text)
    return table(f"By geometry, in layer {rows[0]['layer']}", ["geometry", *heads], lines, wide=heads)


def sequential_by_layer(dataset: xr.Dataset, baseline: str) -> "Table":
    """Target, its rotation and the chosen baseline, in radians, one row a layer."""
    columns = {name: _cells(dataset, names) for name, names in RADIANS_BY_LAYER.items()}
    chosen = dataset.sel(baseline=baseline)
    columns |= {f"base {name}": _cells(chosen, names) for name, names in BASELINE_BY_LAYER.items()}
    columns["p"] = [number(value) for value in chosen["difference_p"].values.tolist()]
    if "two_modes" in dataset:
        columns["modes"] = [_modes(dataset.isel(layer=row)) for row in range(dataset.sizes["layer"])]
    title = f"Angles by layer (rad); base: the {baseline} baseline, p: target against it"
    return _by_layer(title, dataset["layer"].values.tolist(), columns, SPARE_BY_LAYER)


def warmup_by_layer(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """How many first positions to leave out, one row a layer."""
    columns = {
        title: [texts_needed(row) if name == "n_needed" else _cell(row.get(name)) for row in rows]
        for title, name in WARMUP_COLUMNS.items()
        if name in rows[0]
    }
    return _by_layer("Warm-up by layer", [row["layer"] for row in rows], columns, SPARE_WARMUP)


def effects_by_layer(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """The effects of a why-study, in radians, one row a layer."""
    columns = {EFFECT_COLUMNS.get(name, name): [radians(row[name]) for row in rows] for name in EFFECTS_SHOWN}
    columns["answer"] = [str(row["verdict"]) for row in rows]
    title = "Effects by layer (rad); E10: context cut, E01: positions restarted, E11: both"
    return _by_layer(title, [row["layer"] for row in rows], columns, SPARE_EFFECTS)


def sinks_by_layer(dataset: xr.Dataset) -> "Table":
    """Position 0's length in each layer, and the attention to it in the block that the layer comes out of."""
    first = dataset.isel(pos=0)
    ends = {"estimate": "norm_ratio", "low": "norm_ratio_low", "high": "norm_ratio_high"}
    lengths = zip(*(first[name].values.tolist() for name in ends.values()), strict=True)
    columns = {"length": [estimate_text(dict(zip(ends, row, strict=True))) for row in lengths]}
    if "random_norm_ratio" in dataset:
        columns["random"] = [number(value) for value in first["random_norm_ratio"].values.tolist()]
    title = "Position 0 by layer: length over the text's median"
    if "attention_first" in dataset:
        title += "; attention of the block before, by head"
        mean, low = dataset["attention_first"].values, dataset["attention_first_low"].values
        columns["block"] = ["–", *map(str, dataset["block"].values.tolist())]
        columns["top head"] = ["–", *map(number, mean.max(axis=1).tolist())]
        columns[f"over {HEAD_SHARE}"] = ["–", *map(_resting_heads, low)]
        columns["in a text"] = ["–", *(f"{share:.1%}" for share in first["resting_heads"].values.tolist())]
    return _by_layer(title, dataset["layer"].values.tolist(), columns, SPARE_SINKS)


def _resting_heads(low: np.ndarray) -> str:
    """How many heads of a block are shown to rest on position 0; a dash where no band says it."""
    return f"{(low > HEAD_SHARE).sum()} of {low.size}" if np.isfinite(low).all() else "–"


def dimensions_by_layer(dataset: xr.Dataset) -> "Table":
    """The first pair's angle with and without the dimensions that make most of its cosine, in radians."""
    few, geometry = int(dataset.attrs["few"]), str(dataset["geometry"].values[0])
    part = dataset.sel(geometry=geometry, pairs="first")
    without = {n: part.sel(removed=n) for n in (0, 1, few)}
    ends = [without[few][f"angle_random_{end}"].values.tolist() for end in ("low", "high")]
    columns = {
        "angle": _cells(without[0], ["angle_without"]),
        "without 1": _cells(without[1], ["angle_without"]),
        f"without {few}": _cells(without[few], [f"angle_without{end}" for end in ("", "_low", "_high")]),
        f"{few} random": [interval(low, high, 3) for low, high in zip(*ends, strict=True)],
        "dimensions": [", ".join(map(str, row)) for row in part["top_dimension"].values[:, :few].tolist()],
    }
    where = "" if geometry == "raw" else f", {geometry}"
    title = (
        f"The first pair's angle by layer (rad{where}), without the dimensions that make most of its cosine"
    )
    return _by_layer(title, part["layer"].values.tolist(), columns, SPARE_DIMENSIONS)


def contrasts(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """Each condition's contrasts with the plain run."""
    cells = [[row["condition"], row["what"], estimate_text(row), number(row["n"])] for row in rows]
    names = ["condition", "what", "difference", "texts"]
    title = "Against the plain run (mean over texts and layers)"
    return table(title, names, cells, wide=["condition", "what"])


def grid(frame: "pd.DataFrame") -> "Table":
    """The sensitivity grid, one row a combination; its CSV file has every column."""
    shown = frame[[name for name in GRID_COLUMNS if name in frame and not frame[name].isin(["", None]).all()]]
    shown = shown.astype(object).where(shown.notna(), None)
    cells = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    names = [GRID_COLUMNS[str(name)] for name in shown]
    return table("Sensitivity to the choices made", names, cells, wide=["note"], spare=SPARE_GRID)


def _by_layer(
    title: str, layers: Sequence[int], columns: Mapping[str, Sequence[str]], spare: Sequence[str]
) -> "Table":
    rows = [[str(layer), *cells] for layer, *cells in zip(layers, *columns.values(), strict=True)]
    return table(title, ["layer", *columns], rows, spare=spare)


def _cells(dataset: xr.Dataset, names: Sequence[str]) -> list[str]:
    """A variable by layer, with its interval where there is one."""
    columns = [dataset[name].values.tolist() for name in names]
    if len(names) == 1:
        return [_radians(value) for value in columns[0]]
    return [
        f"{_radians(estimate)} [{interval(low, high, 3, join=', ')}]"
        if math.isfinite(low)
        else _radians(estimate)
        for estimate, low, high in zip(*columns, strict=True)
    ]


def _radians(value: float) -> str:
    return decimal(value, 3) if math.isfinite(value) else "–"


def _modes(row: xr.Dataset) -> str:
    if int(row["two_modes"]) != 1:
        return "one"
    return f"{number(float(row['mode_low_mean']), 2)} and {number(float(row['mode_high_mean']), 2)}"


def _cell(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if value is None or isinstance(value, int | float) else str(value)
