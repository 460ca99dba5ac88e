"""What leaving out costs and saves, as a table."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.tables import Column, Table
from laminar_lens.words import number, radians

STATISTICS = {
    "mean": ("mean angle", "rad"),
    "vector": ("mean vector", "typical lengths"),
    "axis": ("first principal axis", "rad"),
}
NONE = -1
"""Stands for "at no number of texts" in integer arrays."""
NOTE = (
    "A mean over the tokens k … T − 1 of texts, against the later tokens. Bias: in radians with a 95% band "
    "over all layers, T and k; of the mean vector in typical lengths (root mean square), along the direction "
    "that a third of the texts chose. Variance: of one text's mean, over that with k = 0. From texts: a mean "
    "over more texts is off by its bias more than by chance; – : no bias was shown. Texts had {} tokens; "
    "further ones are taken to be like the reference's. Vectors were measured on {} texts."
)


def worst_layer(dataset: xr.Dataset, name: str) -> int:
    """The row of the layer in which keeping all biases a statistic most."""
    size = np.abs(dataset[f"{name}_bias"].values[:, :, 0]).max(axis=1, initial=0.0)
    return int(np.nan_to_num(size).argmax())


def table(dataset: xr.Dataset) -> Table | None:
    """In the layer where the mean angle is biased most, one row for each T and k."""
    if "mean_bias" not in dataset:
        return None
    row = worst_layer(dataset, "mean")
    layer = int(dataset["layer"].values[row])
    spans, ks = (dataset[name].values for name in ("span", "k"))
    part = dataset.isel(layer=row)
    left = spans[:, None] > ks[None]
    at = {"T": np.broadcast_to(spans[:, None], left.shape)[left], "k": np.broadcast_to(ks, left.shape)[left]}
    columns = [Column.of(name, str, {name: values.tolist()}) for name, values in at.items()]
    for spare, name in enumerate(STATISTICS):
        columns += _columns(part, name, left, spare)
    title = f"What leaving out the first k of T tokens costs and saves, in layer {layer}"
    note = NOTE.format(dataset.attrs["length"], dataset.attrs["n_vector_texts"])
    return Table("costs", title, tuple(columns), note)


def _columns(part: xr.Dataset, name: str, left: np.ndarray, spare: int) -> Iterator[Column]:
    """Bias, variance and texts of one statistic; those of vectors go first where there is no room."""

    def listed(suffix: str) -> list[Any]:
        return list(part[f"{name}_{suffix}"].values[left].tolist())

    what, units = STATISTICS[name]
    short = what.split()[-1]
    ends = {f"{name}_{end}": listed(end) for end in ("bias", "bias_low", "bias_high")}
    yield Column.of(f"{short} bias", radians, ends, unit=units, spare=2 * spare)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.square(part[f"{name}_sd"].values / part[f"{name}_sd"].values[:, :1])[left].tolist()
    values = {f"{name}_variance": ratio, f"{name}_sd": listed("sd")}
    yield Column.of(f"{short} variance", lambda x, sd: number(x, 2), values, spare=2 * spare + 3)
    least = [None if n == NONE else n for n in listed("from")]
    yield Column.of(f"{short} from texts", number, {f"{name}_from": least}, unit="texts", spare=2 * spare)
