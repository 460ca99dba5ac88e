"""Counts and means of all texts from those of some each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.studies.merge import by_text
from laminar_lens.studies.sinks.measure import RANDOM_TEXTS
from laminar_lens.studies.study import Study


def merged(study: type[Study], parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Texts one after another; counts add up, means are weighted, the largest error stays."""
    weights = np.array([part.sizes["text"] for part in parts])
    known = np.concatenate([part["token"].values for part in parts])
    words = np.concatenate([part["word"].values for part in parts])
    vocabulary, where = np.unique(known, return_index=True)
    rules: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(("massive", "massive_first"), lambda values: np.sum(values, axis=0)),
        "received": lambda values: np.average(values, axis=0, weights=weights),
        "error": lambda values: np.max(values, axis=0),  # NaN stays
        "token": lambda values: vocabulary,
        "word": lambda values: words[where],
    }
    return by_text(study, parts, rules, {"random_text": RANDOM_TEXTS})
