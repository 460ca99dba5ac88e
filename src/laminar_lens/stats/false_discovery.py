"""Which of many tests to believe where a share of the discoveries may be false.

Source: Benjamini & Yekutieli (2001), whose adjustment holds whatever the dependence between the tests; the
layers of one text depend on each other in ways that nobody knows.
"""

import numpy as np
from jaxtyping import Float, Shaped

from laminar_lens.errors import InputError

LEVEL = 0.05
"""Of the layers that are named, this share is expected to be named by chance, at most."""


def discovery_values(p: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """p-values adjusted so that those at or below a level are discoveries of which at most that share is
    expected to be false.

    >>> discovery_values(np.array([0.01, 0.02, np.nan])).tolist()
    [0.03, 0.03, nan]

    Args:
        p: of any shape, all one family; NaN where nothing was tested, which counts as no test.

    Returns:
        In [0, 1], of the same shape; NaN where `p` is.

    Raises:
        InputError: a p-value outside [0, 1].
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p, dtype=np.float64)
    tested = np.isfinite(values)
    if ((values[tested] < 0) | (values[tested] > 1)).any():
        raise InputError(f"p holds {values[tested].min():g} … {values[tested].max():g}; expected 0 … 1")
    found = np.full(values.shape, np.nan)
    if tested.any():
        found[tested] = false_discovery_control(values[tested], method="by")
    return found
