"""SHA-256 of the numbers of a result: the same for two runs that gave the same, whenever and wherever."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from laminar_lens.axes import PLAIN
from laminar_lens.errors import ResultError
from laminar_lens.results.tree import answer_of, measured_of, names, parts_of


def numbers_sha256(dataset: xr.Dataset) -> str:
    """SHA-256 over the variables sorted by name: name, axes, type, shape and bytes; text as UTF-8.

    Attributes (date, provenance, labels) do not enter: runs that gave the same numbers have the same hash.
    """
    digest = hashlib.sha256()
    for name in sorted(str(key) for key in dataset.variables):
        variable = dataset.variables[name]
        values = np.asarray(variable.values)
        text = is_text(values)
        kind = "str" if text else values.dtype.newbyteorder("<").str
        digest.update(json.dumps([name, [str(d) for d in variable.dims], kind, list(values.shape)]).encode())
        if text:
            for string in values.ravel().tolist():
                raw = str(string).encode("utf-8", errors="surrogatepass")
                digest.update(len(raw).to_bytes(8, "little") + raw)
        else:
            digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def canonical(dataset: xr.Dataset) -> xr.Dataset:
    """A shallow copy whose text variables have one type, whichever way they were made.

    Raises:
        ResultError: a variable holds objects that are neither numbers nor text.
    """
    text = {str(name): v for name, v in dataset.variables.items() if is_text(np.asarray(v.values), str(name))}
    return with_values(dataset, {name: text_array(v.values) for name, v in text.items()}, {})


def text_array(values: object) -> NDArray[Any]:
    """Strings as a numpy array: fixed width, or objects where fixed width would cut a NUL off the end."""
    array = np.asarray(values, dtype=object)
    if any(str(s).endswith("\0") for s in array.ravel().tolist()):
        return array
    return array.astype(np.str_)


def is_text(values: NDArray[Any], name: str = "") -> bool:
    """Whether an array holds strings; ResultError when it holds objects of another kind."""
    if values.dtype.kind in "UT":
        return True
    if values.dtype.kind in "biuf":
        return False
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.ravel().tolist()):
        return True
    raise ResultError(f"variable {name!r} has type {values.dtype}; a result holds numbers, booleans and text")


def answers_sha256(tree: xr.DataTree) -> str:
    """SHA-256 of the numbers of the answers: of the plain run, or of several conditions by name; each with
    those of the studies that it rests on."""
    return str(_by_condition(tree, answer_of))


def measured_sha256(tree: xr.DataTree) -> str | None:
    """SHA-256 of what was measured, likewise; None where the tree does not hold it."""
    return _by_condition(tree, measured_of)


def _by_condition(tree: xr.DataTree, what: Callable[[xr.DataTree, str], xr.Dataset | None]) -> str | None:
    hashes: dict[str, str] = {}
    for name in names(tree):
        parts = {kind: what(one, PLAIN) for kind, one in parts_of(tree, name).items()}
        found = {"": what(tree, name), **parts}
        one = {kind: numbers_sha256(canonical(data)) for kind, data in found.items() if data is not None}
        hashes |= {name: _together(one, several=len(one) > 1)} if one else {}
    return _together(hashes, several=len(names(tree)) > 1) if hashes else None


def _together(hashes: Mapping[str, str], *, several: bool) -> str:
    """One hash of several by name; the only one as it is."""
    if not several:
        return next(iter(hashes.values()))
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def with_values(
    dataset: xr.Dataset, values: Mapping[str, NDArray[Any]], added: Mapping[str, Mapping[str, str]]
) -> xr.Dataset:
    """The dataset with the values of some variables replaced, and attributes added to some; the input is not
    touched."""
    parts: dict[str, xr.Variable] = {}
    for key, variable in dataset.variables.items():
        name = str(key)
        attrs = {**variable.attrs, **added.get(name, {})}
        parts[name] = xr.Variable(variable.dims, values.get(name, variable.values), attrs)
    coords = {name: parts.pop(name) for name in map(str, dataset.coords)}
    return xr.Dataset(parts, coords, dict(dataset.attrs))
