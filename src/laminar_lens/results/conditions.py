"""Results with an `intervention` axis: stacking conditions, taking one out again, contrasts between two."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.axes import PLAIN
from laminar_lens.errors import InputError, ResultError
from laminar_lens.stats.bootstrap import mean_interval

AXIS = "intervention"
TEXT_AXES = ("prompt", "text")
_MISSING: dict[str, Any] = {"f": np.nan, "i": -1, "u": 0, "b": False}
_DEFAULT = {
    "sequential": "position_angle",
    "warmup": "angle",
    "why": "E11",
    "sinks": "ratio",
    "dimensions": "angle",
}
_BY_PAIR = ("position_angle", "angle", "sequential")
"""Variables whose last axis counts adjacent pairs from the text's first."""


def stack_conditions(
    found: Mapping[str, xr.Dataset], described: Mapping[str, Any], *, groups: Any = None
) -> xr.Dataset:
    """One dataset with the axis `intervention` from the datasets of one study under several conditions.

    Every variable gets the axis; coordinates are shared. The attributes are those of the first condition;
    each condition's own, and those of its variables, are kept beside them for `condition_dataset`.

    Args:
        found: labelled datasets by condition, the plain one first.
        described: by condition, what was done, JSON-safe.
        groups: one label a text, where texts of one group count as one.
    """
    names, parts = list(found), list(found.values())
    first = parts[0]
    everything = {str(name): part[name] for part in reversed(parts) for name in part.data_vars}
    stacked = {
        name: xr.Variable(
            (AXIS, *model.dims), np.stack([_values(part, name, model) for part in parts]), model.attrs
        )
        for name, model in ((str(name), everything[str(name)]) for name in everything)
    }
    kept = {
        name: {
            "attrs": dict(part.attrs),
            "variables": {str(key): dict(variable.attrs) for key, variable in part.data_vars.items()},
            "coords": [str(key) for key in part.coords],
        }
        for name, part in found.items()
    }
    shared = {str(key): value.variable for part in reversed(parts) for key, value in part.coords.items()}
    coords = {**shared, AXIS: names}
    if groups is not None:
        coords["group"] = (_text_axis(first), np.asarray(groups).astype(str))
    dataset = xr.Dataset(stacked, coords, dict(first.attrs))
    beside = ", ".join(names[1:])
    return dataset.assign_attrs(
        sentence=f"{first.attrs.get('sentence', '')} Beside the plain run: {beside}.".strip(),
        settings=_merged(
            first.attrs.get("settings"), {"interventions": {n: _labels(described[n]) for n in names[1:]}}
        ),
        provenance=_merged(first.attrs.get("provenance"), {"interventions": dict(described)}),
        warnings=json.dumps(_warnings(found), ensure_ascii=False),
        conditions=json.dumps(kept, ensure_ascii=False),
    )


def condition_names(dataset: xr.Dataset) -> tuple[str, ...]:
    """The conditions of a dataset; "plain" alone where it has no such axis."""
    return tuple(map(str, dataset[AXIS].values)) if AXIS in dataset.dims else (PLAIN,)


def condition_dataset(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """The dataset of one condition, as its study alone would have given it.

    Raises:
        InputError: no such condition; the message names those there are.
    """
    names = condition_names(dataset)
    if name not in names:
        raise InputError(f"condition {name!r} is not in this result; it has {', '.join(map(repr, names))}")
    if AXIS not in dataset.dims:
        return dataset
    kept = json.loads(dataset.attrs["conditions"])[name]
    row = names.index(name)
    variables = {
        key: xr.Variable(dataset[key].dims[1:], dataset[key].values[row], attrs)
        for key, attrs in kept["variables"].items()
    }
    coords = {key: dataset[key].variable for key in kept["coords"]}
    return xr.Dataset(variables, coords, kept["attrs"])


def contrast(dataset: xr.Dataset, a: str, b: str, what: str | None, seed: int) -> xr.Dataset:
    """Condition `a` minus condition `b`, paired within each text; see `StudyResult.contrast`."""
    what = what or _default(dataset)
    found = [condition_dataset(dataset, name) for name in (a, b)]
    if a == b:
        raise InputError(f"a contrast needs two conditions; both are {a!r}")
    have = _with_texts(found[0])
    if what not in have:
        raise InputError(
            f"{what!r} has no value for each text in this result; contrast one of {', '.join(have)}"
        )
    if what not in found[1]:
        raise InputError(f"condition {b!r} has no {what!r}; contrast another")
    variable = found[0][what]
    axis = next(name for name in TEXT_AXES if name in variable.dims)
    values = [np.moveaxis(part[what].values, variable.dims.index(axis), 0).astype(float) for part in found]
    dims = tuple(name for name in variable.dims if name != axis)
    interval = mean_interval(values[0] - values[1], groups=_groups(dataset), seed=seed)
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


def contrast_rows(dataset: xr.Dataset, seed: int) -> list[dict[str, Any]]:
    """Each condition against the plain run, in a few numbers a text that are means over layers; empty where
    there is one condition."""
    names = condition_names(dataset)
    first = condition_dataset(dataset, PLAIN)
    if len(names) == 1 or not _with_texts(first) or _n_groups(dataset) < 2:
        return []
    plain = _by_text(first)
    rows = []
    for name in names[1:]:
        there = _by_text(condition_dataset(dataset, name))
        for what, (values, unit) in plain.items():
            difference = there[what][0] - values
            if np.isfinite(difference).sum() < 2:
                continue
            found = mean_interval(difference, groups=_groups(dataset), seed=seed)
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


def _by_text(dataset: xr.Dataset) -> dict[str, tuple[np.ndarray, str]]:
    """Values [text] and their unit, by name: target, first pair and later pairs, or the mean of all."""
    found: dict[str, tuple[np.ndarray, str]] = {}
    if "target_angle" in dataset:
        found["target"] = _over_layers(dataset["target_angle"], slice(None)), "rad"
    what = _default(dataset)
    variable = dataset[what]
    units = str(variable.attrs.get("units", ""))
    if what in _BY_PAIR and variable.dims[-1] == "pair":
        found["first pair"] = _over_layers(variable, slice(0, 1)), units
        found["later pairs"] = _over_layers(variable, slice(1, None)), units
    elif what == "angle" and "removed" in variable.dims:  # of all that a dimension study measures, the first
        one = dict.fromkeys(("geometry", "pairs", "removed"), 0)
        found["first pair, with every dimension"] = _over_layers(variable.isel(one), slice(None)), units
    else:
        found[what] = _over_layers(variable, slice(None)), units
    return found


def _over_layers(variable: xr.DataArray, last: slice) -> np.ndarray:
    """Mean of each text over everything else, places first so that no layer weighs more."""
    axis = next(name for name in TEXT_AXES if name in variable.dims)
    values = np.moveaxis(variable.values, variable.dims.index(axis), 0).astype(float)
    values = values[..., last] if values.ndim > 2 else values
    while values.ndim > 1:
        values = _mean(values, -1)
    return values


def _mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean over an axis of what is defined."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    total = np.where(finite, values, 0.0).sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _default(dataset: xr.Dataset) -> str:
    """The variable whose contrast is shown where none is asked for."""
    name = _DEFAULT.get(str(dataset.attrs.get("study")), str(dataset.attrs.get("what", "")))
    if name in dataset:
        return name
    have = _with_texts(dataset)
    if not have:
        raise InputError("this result has no value for each text, so that nothing can be paired")
    return have[0]


def _with_texts(dataset: xr.Dataset) -> list[str]:
    """Variables with a number for each text."""
    found = {str(key): v for key, v in dataset.data_vars.items() if set(TEXT_AXES) & set(v.dims)}
    return [key for key, variable in found.items() if variable.dtype.kind == "f"]


def _values(part: xr.Dataset, name: str, like: xr.DataArray) -> np.ndarray:
    """A variable's values; what stands for missing where this condition has none."""
    if name in part:
        values: np.ndarray = part[name].values
        if values.shape != like.shape:
            raise ResultError(
                f"variable {name!r} has shape {values.shape} and {like.shape} in two conditions"
            )
        return values
    missing = _MISSING.get(like.dtype.kind, "")
    return np.full(like.shape, missing, dtype=like.dtype if like.dtype.kind in _MISSING else object)


def _text_axis(dataset: xr.Dataset) -> str:
    return next(name for name in TEXT_AXES if name in dataset.dims)


def _groups(dataset: xr.Dataset) -> np.ndarray | None:
    return np.asarray(dataset["group"].values) if "group" in dataset.coords else None


def _n_groups(dataset: xr.Dataset) -> int:
    """Independent texts."""
    groups = _groups(dataset)
    axis = next((name for name in TEXT_AXES if name in dataset.sizes), None)
    return len(np.unique(groups)) if groups is not None else dataset.sizes[axis] if axis else 0


def _labels(described: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(one["label"]) for one in described]


def _warnings(found: Mapping[str, xr.Dataset]) -> list[str]:
    """Of all conditions, each once; those of one condition alone with its name."""
    lists = {
        name: [str(w) for w in json.loads(part.attrs.get("warnings", "[]"))] for name, part in found.items()
    }
    plain = lists.get(PLAIN, [])
    return plain + [f"{name}: {w}" for name, own in lists.items() for w in own if w not in plain]


def _merged(text: Any, more: Mapping[str, Any]) -> str:
    return json.dumps({**json.loads(text or "{}"), **more}, ensure_ascii=False)


def contrast_curves(dataset: xr.Dataset, seed: int) -> xr.Dataset | None:
    """Each condition minus the plain run, along pairs (mean over layers) or else along layers.

    Returns:
        `difference` with the paired 95% interval `low` … `high`, and `n` texts: (condition, pair or layer).
        Attributes `about` and `units`. None where there are no two texts with a value in each layer.
    """
    names = condition_names(dataset)[1:]
    first = condition_dataset(dataset, PLAIN)
    if not _with_texts(first) or _n_groups(dataset) < 2:
        return None
    what = _default(first)
    keep = "pair" if "pair" in first[what].dims else "layer"
    if keep not in first[what].dims:
        return None
    plain = _along(first[what], keep)
    found = [
        mean_interval(
            _along(condition_dataset(dataset, name)[what], keep) - plain, groups=_groups(dataset), seed=seed
        )
        for name in names
    ]
    withheld = {"withheld": next((one.withheld for one in found if one.withheld), "")}
    dims = ("condition", keep)
    variable = dataset[what]
    return xr.Dataset(
        {
            "difference": (dims, np.stack([one.estimate for one in found])),
            "low": (dims, np.stack([one.low for one in found]), withheld),
            "high": (dims, np.stack([one.high for one in found]), withheld),
            "n": (dims, np.stack([one.n_valid for one in found])),
        },
        {"condition": list(names), keep: dataset[keep].values},
        {"about": str(variable.attrs.get("long_name", what)), "units": str(variable.attrs.get("units", ""))},
    )


def _along(variable: xr.DataArray, keep: str) -> np.ndarray:
    """Values [text keep], means over every other axis."""
    axis = next(name for name in TEXT_AXES if name in variable.dims)
    rest = [name for name in variable.dims if name not in (axis, keep)]
    values = variable.transpose(axis, keep, *rest).values.astype(float)
    while values.ndim > 2:
        values = _mean(values, -1)
    return values
