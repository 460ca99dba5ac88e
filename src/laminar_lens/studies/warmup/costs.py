"""What leaving out costs and saves: variables by layer, tokens of a text (T) and tokens left out (k)."""

import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import band_or_nothing, mean_or_nothing
from laminar_lens.stats.warmup_costs import SPANS, Plan, angle_costs, left_out
from laminar_lens.studies.columns import BAND, column, with_ends
from laminar_lens.studies.warmup.cost_table import NONE, STATISTICS
from laminar_lens.studies.warmup.measure import Measurement

BY = ("layer", "span", "k")
MOST = 10**9
"""A larger number of texts is not told from it."""


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
