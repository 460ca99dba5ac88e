"""What leaving out costs and saves: variables by layer, tokens of a text (T) and tokens left out (k), and a
table."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import band_or_nothing, mean_or_nothing
from laminar_lens.stats.warmup_costs import SPANS, Plan, angle_costs, left_out
from laminar_lens.studies.columns import BAND, column, with_ends
from laminar_lens.studies.warmup.measure import Measurement
from laminar_lens.tables import Column, Table
from laminar_lens.words import number, radians

BY = ("layer", "span", "k")
STATISTICS = {
    "mean": ("mean angle", "rad"),
    "vector": ("mean vector", "typical lengths"),
    "axis": ("first principal axis", "rad"),
}
NONE = -1
"""Stands for "at no number of texts" in integer arrays."""
MOST = 10**9
"""A larger number of texts is not told from it."""
NOTE = (
    "A mean over the tokens k … T − 1 of texts, against the later tokens. Bias: in radians with a 95% band "
    "over all layers, T and k; of the mean vector in typical lengths (root mean square), along the direction "
    "that a third of the texts chose. Variance: of one text's mean, over that with k = 0. From texts: a mean "
    "over more texts is off by its bias more than by chance; – : no bias was shown. Texts had {} tokens; "
    "further ones are taken to be like the reference's. Vectors were measured on {} texts."
)


def costs(
    theta: np.ndarray, found: Measurement, window: slice, seed: int, groups: np.ndarray | None
) -> dict[str, xr.Variable]:
    """Bias, standard deviation of one text's mean, and the texts from which the bias matters, each with 95%
    intervals.

    Args:
        theta: angles of independent texts [n layer pair].
        found: what was measured of vectors.
        window: reference pairs.
        seed: of the bootstrap.
        groups: of the texts whose vectors were measured.
    """
    plan = Plan(theta.shape[-1], window, [span - 1 for span in SPANS], left_out(window))
    angles = [angle_costs(theta[:, layer], plan) for layer in range(theta.shape[1])]
    made = _variables("mean", np.stack([[one.bias, one.spread] for one in angles], 2), None, seed)
    for row, name in enumerate(("vector", "axis")):
        made |= _variables(name, np.moveaxis(found.vector_costs[:, row], 0, 2), groups, seed)
    return made


def _variables(name: str, values: np.ndarray, groups: np.ndarray | None, seed: int) -> dict[str, xr.Variable]:
    """Of bias and spread by text, [part text layer span k]."""
    (what, units), (bias, spread) = STATISTICS[name], values
    band, of = (
        make(part, groups=groups, seed=seed)
        for make, part in ((band_or_nothing, bias), (mean_or_nothing, spread))
    )
    with np.errstate(invalid="ignore"):
        sd = [np.sqrt(end) for end in (of.estimate, of.low, of.high)]
        shown = ((band.low > 0) | (band.high < 0)) & np.isfinite(sd[0])
    least = np.full(shown.shape, NONE)
    with np.errstate(divide="ignore"):
        least[shown] = np.clip(np.ceil(of.estimate[shown] / band.estimate[shown] ** 2), 1, MOST)
    about = f"{what} over tokens k … T − 1 of a text"
    return {
        **with_ends(f"{name}_bias", BY, band, f"bias of the {about}", units, ends=BAND),
        f"{name}_sd": column(BY, sd[0], f"standard deviation over texts of the {about}", units),
        f"{name}_sd_low": column(BY, sd[1], "lower 95% limit", units),
        f"{name}_sd_high": column(BY, sd[2], "upper 95% limit", units),
        f"{name}_from": column(
            BY, least, "texts from which on the bias is larger than their mean's standard error", "texts"
        ),
    }


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
