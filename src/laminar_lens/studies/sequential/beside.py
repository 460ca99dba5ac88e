"""The warm-up that a sequential study keeps beside its own numbers: names and axes under a prefix."""

from collections.abc import Collection

import xarray as xr

PREFIX = "warmup_"


def prefixed(answered: xr.Dataset, shared: Collection[str] = ()) -> dict[str, xr.Variable]:
    """An answer's variables, without the raw angles and tokens, which stay with the warm-up's own result;
    `shared` axes keep their names, and their labels are left out."""
    return {
        f"{PREFIX}{name}": xr.Variable(
            [dim if dim in shared else f"{PREFIX}{dim}" for dim in one.dims], one.values, one.attrs
        )
        for name, one in answered.variables.items()
        if "text" not in one.dims and name not in shared
    }


def unprefixed(dataset: xr.Dataset) -> dict[str, xr.Variable]:
    """What `prefixed` made, by its own names."""
    return {
        str(name).removeprefix(PREFIX): xr.Variable(
            [str(dim).removeprefix(PREFIX) for dim in one.dims], one.values, one.attrs
        )
        for name, one in dataset.variables.items()
        if str(name).startswith(PREFIX)
    }
