"""Results with an `intervention` axis: stacking conditions and taking one out again."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.axes import PLAIN
from laminar_lens.errors import InputError, ResultError

AXIS = "intervention"
TEXT_AXES = ("prompt", "text")
_MISSING: dict[str, Any] = {"f": np.nan, "i": -1, "u": 0, "b": False}


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
