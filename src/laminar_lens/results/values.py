"""Values of a dataset: which are text, one type for all text, others in their place."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from laminar_lens.errors import ResultError


def is_text(values: NDArray[Any], name: str = "") -> bool:
    """Whether an array holds strings; ResultError when it holds objects of another kind."""
    if values.dtype.kind in "UT":
        return True
    if values.dtype.kind in "biuf":
        return False
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.ravel().tolist()):
        return True
    raise ResultError(f"variable {name!r} has type {values.dtype}; a result holds numbers, booleans and text")


def text_array(values: object) -> NDArray[Any]:
    """Strings as a numpy array: fixed width, or objects where fixed width would cut a NUL off the end."""
    array = np.asarray(values, dtype=object)
    if any(str(s).endswith("\0") for s in array.ravel().tolist()):
        return array
    return array.astype(np.str_)


def canonical(dataset: xr.Dataset) -> xr.Dataset:
    """A shallow copy whose text variables have one type, whichever way they were made.

    Raises:
        ResultError: a variable holds objects that are neither numbers nor text.
    """
    text = {str(name): v for name, v in dataset.variables.items() if is_text(np.asarray(v.values), str(name))}
    return with_values(dataset, {name: text_array(v.values) for name, v in text.items()})


def with_values(
    dataset: xr.Dataset,
    values: Mapping[str, NDArray[Any]],
    added: Mapping[str, Mapping[str, str]] | None = None,
) -> xr.Dataset:
    """The dataset with the values of some variables replaced, and attributes added to some; the input is not
    touched."""
    parts: dict[str, xr.Variable] = {}
    for key, variable in dataset.variables.items():
        name = str(key)
        attrs = {**variable.attrs, **(added or {}).get(name, {})}
        parts[name] = xr.Variable(variable.dims, values.get(name, variable.values), attrs)
    coords = {name: parts.pop(name) for name in map(str, dataset.coords)}
    return xr.Dataset(parts, coords, dict(dataset.attrs))
