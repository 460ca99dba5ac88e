"""All texts from measurements of some each: means by position are weighted, the largest error stays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.studies.decomposition.numbers import OF_TEXTS
from laminar_lens.studies.merge import by_text
from laminar_lens.studies.study import Study


def merged(study: type[Study], parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Texts one after another."""
    counts = np.stack([part["place_count"].values for part in parts])
    whole = counts.sum(axis=0)

    def mean(values: Any) -> Any:
        total = np.nansum(np.stack(values) * counts, axis=0)
        return np.divide(total, whole, out=np.full(total.shape, np.nan), where=whole > 0)

    rules: dict[str, Callable[[Any], Any]] = {
        "place_cosine": mean,
        "place_count": lambda values: whole,
        "error": lambda values: np.max(values, axis=0),  # NaN stays
    }
    found = by_text(study, parts, rules)
    broken = np.any([_broken(part) for part in parts], axis=0)
    for name in ("place_cosine", *OF_TEXTS):
        if name in found:
            found[name][{"layer": broken}] = np.nan
    return found


def _broken(part: xr.Dataset) -> np.ndarray:
    """In which layers a part decomposed no step, though there were writes."""
    values = np.isnan(part["place_cosine"].values) & (part["place_count"].values > 0)
    return np.asarray(values.any(axis=1))
