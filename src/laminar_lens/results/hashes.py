"""SHA-256 of the numbers of a result: the same for two runs that gave the same, whenever and wherever."""

import hashlib
import json
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from laminar_lens.axes import PLAIN
from laminar_lens.results.tree import answer_of, measured_of, names, parts_of
from laminar_lens.results.values import canonical, is_text


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


def answers_sha256(tree: xr.DataTree) -> str:
    """SHA-256 of the numbers of the answers: of the plain run, or of several conditions by name; each with
    those of the studies that it rests on."""
    found = _by_condition(tree, answer_of)
    assert found is not None  # each condition has an answer
    return found


def measured_sha256(tree: xr.DataTree) -> str | None:
    """SHA-256 of what was measured, likewise; None where the tree does not hold it."""
    return _by_condition(tree, measured_of)


def _by_condition(tree: xr.DataTree, what: Callable[[xr.DataTree, str], xr.Dataset | None]) -> str | None:
    return _together({name: _with_parts(tree, name, what) for name in names(tree)})


def _with_parts(
    tree: xr.DataTree, name: str, what: Callable[[xr.DataTree, str], xr.Dataset | None]
) -> str | None:
    """Of one condition and, by their kinds, of the studies that it rests on, with those that they rest on."""
    data = what(tree, name)
    own = None if data is None else numbers_sha256(canonical(data))
    parts = {kind: _with_parts(one, PLAIN, what) for kind, one in parts_of(tree, name).items()}
    return _together({"": own, **parts})


def _together(every: Mapping[str, str | None]) -> str | None:
    """One hash of those that there are, by name; the only one as it is; None where there is none."""
    hashes = {name: one for name, one in every.items() if one is not None}
    if len(hashes) < 2:
        return next(iter(hashes.values()), None)
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
