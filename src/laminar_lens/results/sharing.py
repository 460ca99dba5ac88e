"""What several datasets of a tree hold alike is stored once: angles were measured, and are in the answer too.

Datasets here are as a file holds them: by path of their group, attributes plain numbers or text.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

_WHERE = "laminar_lens_where"
"""Attribute of a dataset that lacks variables: its data variables in order, each with the group that has
it, "" for its own."""


def shared(nodes: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """The datasets, each numeric data variable only where it first occurs; `unshared` brings them back."""
    first: dict[str, str] = {}
    return {path: _without(path, dataset, first) for path, dataset in nodes.items()}


def unshared(nodes: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """The datasets as they were, without a copy of what they share.

    Raises:
        KeyError, ValueError: a variable that is not where it should be, or does not fit.
    """
    return {path: _with(dataset, nodes) for path, dataset in nodes.items()}


def _without(path: str, dataset: xr.Dataset, first: dict[str, str]) -> xr.Dataset:
    where = {}
    for key, variable in dataset.data_vars.items():
        name, plain = str(key), variable.dtype.kind in "biuf"
        found = first.setdefault(_identity(name, variable.variable), path) if plain else path
        where[name] = "" if found == path else found
    lacking = [name for name, there in where.items() if there]
    return dataset.drop_vars(lacking).assign_attrs({_WHERE: json.dumps(where)}) if lacking else dataset


def _with(dataset: xr.Dataset, nodes: Mapping[str, xr.Dataset]) -> xr.Dataset:
    if _WHERE not in dataset.attrs:
        return dataset
    where = json.loads(dataset.attrs[_WHERE])
    parts = {name: (nodes[there] if there else dataset)[name].variable for name, there in where.items()}
    attrs = {key: value for key, value in dataset.attrs.items() if key != _WHERE}
    return xr.Dataset(parts, {name: dataset[name].variable for name in dataset.coords}, attrs)


def _identity(name: str, variable: xr.Variable) -> str:
    """Equal for two variables of one name, one type and shape, the same axes, attributes and bytes."""
    values = np.ascontiguousarray(variable.values)
    about = [name, variable.dims, values.dtype.str, values.shape, variable.attrs]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(values.tobytes())
    return digest.hexdigest()
