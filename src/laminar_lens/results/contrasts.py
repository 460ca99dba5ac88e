"""Contrasts between two conditions of a result, paired within each text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.axes import PLAIN
from laminar_lens.errors import InputError
from laminar_lens.figures.view import Part, View
from laminar_lens.results.tree import answer_of, groups_of, measured_of, names
from laminar_lens.stats.bootstrap import mean_interval
from laminar_lens.tables import Column, Table
from laminar_lens.words import estimate, number

TEXT_AXES = ("prompt", "text")
NOTE = "Means over layers of each text's own difference. Other figures and tables are of the plain run."


def contrast(tree: xr.DataTree, view: View, a: str, b: str, what: str | None, seed: int) -> xr.Dataset:
    """Condition `a` minus condition `b`, paired within each text; see `StudyResult.contrast`."""
    found = [compared(tree, name) for name in (a, b)]
    what = what or _default(found[0], view)
    if a == b:
        raise InputError(f"a contrast needs two conditions; both are {a!r}")
    have = with_texts(found[0])
    if what not in have:
        raise InputError(
            f"{what!r} has no value for each text in this result; contrast one of {', '.join(have)}"
        )
    if what not in found[1]:
        raise InputError(f"condition {b!r} has no {what!r}; contrast another")
    variable = found[0][what]
    axis = next(name for name in TEXT_AXES if name in variable.dims)
    values = [_in_order(part[what].values, variable.dims.index(axis)) for part in found]
    dims = tuple(name for name in variable.dims if name != axis)
    interval = mean_interval(values[0] - values[1], groups=groups_of(tree), seed=seed)
    units = str(variable.attrs.get("units", ""))
    columns = {"difference": interval.estimate, "low": interval.low, "high": interval.high}
    with np.errstate(invalid="ignore"):
        columns |= {name: _mean(part) for name, part in zip(("a", "b"), values, strict=True)}
    about = {
        "difference": f"{a} minus {b}, mean over texts",
        "low": "its 95% interval, lower end",
        "high": "its 95% interval, upper end",
        "a": f"mean over texts, {a}",
        "b": f"mean over texts, {b}",
    }
    made = {
        name: xr.Variable(dims, column, {"units": units, "long_name": about[name]})
        for name, column in columns.items()
    }
    made["n"] = xr.Variable(dims, interval.n_valid)
    coords = {
        str(key): value.variable for key, value in found[0][what].coords.items() if axis not in value.dims
    }
    attrs = {"a": a, "b": b, "what": what, "level": interval.level, "withheld": interval.withheld}
    return xr.Dataset(made, coords, attrs)


def contrast_rows(tree: xr.DataTree, view: View, seed: int) -> list[dict[str, Any]]:
    """Each condition against the plain run, in a few numbers a text that are means over layers; empty where
    there is one condition."""
    conditions, first = names(tree), compared(tree, PLAIN)
    if len(conditions) == 1 or not with_texts(first) or n_groups(tree) < 2:
        return []
    plain = _by_text(first, view)
    rows = []
    for name in conditions[1:]:
        there = _by_text(compared(tree, name), view)
        for what, (values, unit) in plain.items():
            difference = there[what][0] - values
            if np.isfinite(difference).sum() < 2:
                continue
            found = mean_interval(difference, groups=groups_of(tree), seed=seed)
            numbers = {"estimate": found.estimate, "low": found.low, "high": found.high}
            rows.append(
                {
                    "condition": name,
                    "what": what,
                    **{key: float(value) for key, value in numbers.items()},
                    "unit": unit,
                    "n": int(found.n),
                }
            )
    return rows


def contrast_curves(tree: xr.DataTree, view: View, seed: int) -> xr.Dataset | None:
    """Each condition minus the plain run, along pairs (mean over layers) or else along layers.

    Returns:
        `difference` with the paired 95% interval `low` … `high`, and `n` texts: (condition, pair or layer).
        Attributes `about` and `units`. None where there are no two texts with a value in each layer.
    """
    conditions, first = names(tree)[1:], compared(tree, PLAIN)
    if not conditions or not with_texts(first) or n_groups(tree) < 2:
        return None
    what = _default(first, view)
    keep = "pair" if "pair" in first[what].dims else "layer"
    if keep not in first[what].dims:
        return None
    plain = along(first[what], keep)
    found = [
        mean_interval(along(compared(tree, name)[what], keep) - plain, groups=groups_of(tree), seed=seed)
        for name in conditions
    ]
    withheld = {"withheld": next((one.withheld for one in found if one.withheld), "")}
    dims = ("condition", keep)
    variable = first[what]
    return xr.Dataset(
        {
            "difference": (dims, np.stack([one.estimate for one in found])),
            "low": (dims, np.stack([one.low for one in found]), withheld),
            "high": (dims, np.stack([one.high for one in found]), withheld),
            "n": (dims, np.stack([one.n_valid for one in found])),
        },
        {"condition": list(conditions), keep: first[keep].values},
        {"about": str(variable.attrs.get("long_name", what)), "units": str(variable.attrs.get("units", ""))},
    )


def contrast_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Each condition's contrasts with the plain run."""
    values = {name: [row[name] for row in rows] for name in rows[0]}
    ends = {name: values[name] for name in ("estimate", "low", "high", "unit")}
    columns = (
        Column("condition", tuple(values["condition"]), wide=True),
        Column("what", tuple(values["what"]), wide=True),
        Column.of("difference", estimate, ends, answer=True),
        Column.of("texts", number, {"n": values["n"]}),
    )
    return Table("contrasts", "Against the plain run (mean over texts and layers)", columns, NOTE)


def _by_text(dataset: xr.Dataset, view: View) -> dict[str, tuple[np.ndarray, str]]:
    """Values [text] and their unit, by name: the parts that the study compares, or the mean of all."""
    return {
        one.name: (
            _over_layers(dataset[one.variable].isel(one.where)),
            str(dataset[one.variable].attrs.get("units", "")),
        )
        for one in parts_of(dataset, view)
    }


def parts_of(dataset: xr.Dataset, view: View) -> list[Part]:
    """What of a study is compared, by text: its own parts, and its contrast where none is of that."""
    what = _default(dataset, view)
    parts = [
        one for one in view.parts if one.variable in dataset and {*one.where} <= {*dataset[one.variable].dims}
    ]
    return parts if what in [one.variable for one in parts] else [*parts, Part(what, what)]


def _over_layers(variable: xr.DataArray) -> np.ndarray:
    """Mean of each text over everything else, places first so that no layer weighs more."""
    axis = next(name for name in TEXT_AXES if name in variable.dims)
    values = _in_order(variable.values, variable.dims.index(axis))
    while values.ndim > 1:
        values = _mean(values, -1)
    return values


def along(variable: xr.DataArray, keep: str) -> np.ndarray:
    """Values [text keep], means over every other axis."""
    axis = next(name for name in TEXT_AXES if name in variable.dims)
    rest = [name for name in variable.dims if name not in (axis, keep)]
    values = np.ascontiguousarray(variable.transpose(axis, keep, *rest).values, dtype=float)
    while values.ndim > 2:
        values = _mean(values, -1)
    return values


def _in_order(values: np.ndarray, axis: int) -> np.ndarray:
    """The values with texts first, and in that order in memory: the last bit of a sum depends on it, and from
    a file they come so."""
    return np.ascontiguousarray(np.moveaxis(values, axis, 0), dtype=float)


def _mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean over an axis of what is defined."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    total = np.where(finite, values, 0.0).sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _default(dataset: xr.Dataset, view: View) -> str:
    """The variable whose contrast is shown where none is asked for."""
    name = view.contrast or str(dataset.attrs.get("what", ""))
    if name in dataset:
        return name
    have = with_texts(dataset)
    if not have:
        raise InputError("this result has no value for each text, so that nothing can be paired")
    return have[0]


def with_texts(dataset: xr.Dataset) -> list[str]:
    """Variables with a number for each text."""
    found = {str(key): v for key, v in dataset.data_vars.items() if set(TEXT_AXES) & set(v.dims)}
    return [key for key, variable in found.items() if variable.dtype.kind == "f"]


def compared(tree: xr.DataTree, name: str) -> xr.Dataset:
    """What of a condition is compared: its answer, or what was measured where that has no value by text."""
    answer, measured = answer_of(tree, name), measured_of(tree, name)
    return answer if measured is None or with_texts(answer) else measured


def n_groups(tree: xr.DataTree) -> int:
    """Independent texts."""
    groups, sizes = groups_of(tree), compared(tree, PLAIN).sizes
    axis = next((name for name in TEXT_AXES if name in sizes), None)
    return len(np.unique(groups)) if groups is not None else sizes[axis] if axis else 0
