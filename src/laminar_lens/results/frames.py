"""A result's numbers as tidy tables of pandas, one a quantity."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from laminar_lens.errors import InputError
from laminar_lens.results.summary import claim_rows
from laminar_lens.results.tree import answer_of, measured_of, names

if TYPE_CHECKING:
    import pandas as pd

CLAIMS = "claims"
_ENDS = ("_low", "_high", "_low90", "_high90")


def frames(tree: xr.DataTree) -> "dict[str, pd.DataFrame]":
    """Every quantity of the answers; see `StudyResult.to_dataframe`."""
    known = dict.fromkeys(name for one in names(tree) for name in quantities(answer_of(tree, one)))
    return {name: frame(tree, name) for name in known}


def frame(tree: xr.DataTree, name: str) -> "pd.DataFrame":
    """One quantity, of the answers or of what was measured, under every condition that has it."""
    import pandas as pd

    parts: dict[str, pd.DataFrame] = {}
    for condition in names(tree):
        answer = answer_of(tree, condition)
        found = next((one for one in (answer, measured_of(tree, condition)) if _has(one, name)), None)
        if found is not None:
            parts[condition] = _claims(found) if name == CLAIMS else _tidy(found, name)
    if not parts:
        held = dict.fromkeys(q for one in names(tree) for q in quantities(answer_of(tree, one)))
        raise InputError(f"no quantity {name!r} in this result; it has {', '.join(held)}")
    if len(names(tree)) == 1:
        return next(iter(parts.values()))
    units = {key: unit for part in parts.values() for key, unit in part.attrs.items()}
    whole = pd.concat(
        [part.assign(condition=condition) for condition, part in parts.items()], ignore_index=True
    )
    whole.insert(0, "condition", whole.pop("condition"))
    whole.attrs = units
    return whole


def quantities(dataset: xr.Dataset) -> Iterator[str]:
    """Names of the quantities: variables but for the ends of others' intervals, and the claims as one."""
    own = [str(name) for name in dataset.data_vars]
    if "claim_verdict" in own:
        yield CLAIMS
    yield from (name for name in own if "claim" not in dataset[name].dims and _head(dataset, name) == name)


def _has(dataset: xr.Dataset | None, name: str) -> bool:
    return dataset is not None and (name in dataset.data_vars or name in quantities(dataset))


def _head(dataset: xr.Dataset, name: str) -> str:
    """The variable whose interval this is an end of; itself where it is none."""
    for end in _ENDS:
        stem = name.removesuffix(end)
        for head in (stem, f"{stem}_mean"):
            if name != stem and head in dataset and dataset[head].dims == dataset[name].dims:
                return head
    return name


def _claims(dataset: xr.Dataset) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(claim_rows(dataset))


def _tidy(dataset: xr.Dataset, name: str) -> "pd.DataFrame":
    import pandas as pd

    head = _head(dataset, name)
    columns = [str(one) for one in dataset.data_vars if _head(dataset, str(one)) == head]
    dims = tuple(map(str, dataset[head].dims))
    sizes = [dataset.sizes[dim] for dim in dims]
    values: dict[str, Any] = {
        dim: _along(dataset[dim].values if dim in dataset.coords else np.arange(size), axis, sizes)
        for axis, (dim, size) in enumerate(zip(dims, sizes, strict=True))
    }
    beside = [
        str(key)
        for key, one in dataset.coords.items()
        if key not in dims and one.dims and {*one.dims} <= {*dims}
    ]
    shape = dataset[head]
    for key in (*beside, *columns):
        values[key] = dataset[key].broadcast_like(shape).transpose(*dims).values.ravel()
    made = pd.DataFrame(values)
    numbers = [column for column in columns if dataset[column].dtype.kind == "f"]
    if len(numbers) == len(columns):
        made = made.dropna(subset=numbers, how="all", ignore_index=True)
    made.attrs = {column: unit for column in columns if (unit := dataset[column].attrs.get("units"))}
    return made


def _along(labels: np.ndarray, axis: int, sizes: list[int]) -> np.ndarray:
    """An axis' labels for every cell of an array of these sizes."""
    shape = [1] * len(sizes)
    shape[axis] = -1
    return np.broadcast_to(labels.reshape(shape), sizes).ravel()
