"""Variables of an answer: numbers with their axes, unit and meaning, and their intervals beside them."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from laminar_lens.stats.bootstrap import Interval

CI = ("lower 95% limit", "upper 95% limit")
BAND = ("lower limit of its simultaneous 95% band", "upper limit of its simultaneous 95% band")


def column(
    dims: tuple[str, ...], values: ArrayLike, name: str, units: str = "1", **attrs: Any
) -> xr.Variable:
    """Numbers with what they are."""
    return xr.Variable(dims, np.asarray(values), {"units": units, "long_name": name, **attrs})


def radians(dims: tuple[str, ...], values: ArrayLike, name: str, withheld: str = "") -> xr.Variable:
    """Angles with what they are, and why an interval's end is missing."""
    return column(dims, values, name, "rad", **({"withheld": withheld} if withheld else {}))


def with_ends(
    name: str,
    dims: tuple[str, ...],
    found: Interval,
    meaning: str,
    units: str = "1",
    *,
    ends: tuple[str, str] = CI,
    say_withheld: bool = True,
    estimate: str = "",
) -> dict[str, xr.Variable]:
    """An estimate, called `name` with what `estimate` adds, and beside it `_low`, which says why ends are
    missing, and `_high`."""
    why = {"withheld": found.withheld} if say_withheld else {}
    return {
        name + estimate: column(dims, found.estimate, meaning, units),
        f"{name}_low": column(dims, found.low, ends[0], units, **why),
        f"{name}_high": column(dims, found.high, ends[1], units),
    }
