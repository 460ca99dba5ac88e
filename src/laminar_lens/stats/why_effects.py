"""The effects of context and position, by text: a bigram in four cells, what they differ by, and the cause.

A bigram is measured in four cells: in the body of a text as it is (θ00), with the context cut off (θ10), with
its positions restarted (θ01), and with both, which makes it the first of its text (θ11). E_ab = θ_ab − θ00.

| verdict | E11 apart from 0 by more than τ, and in its sign |
|---|---|
| position | E01 ≥ ½E11 > E10: being at position 0 is enough, being without context is not |
| context | E10 ≥ ½E11 > E01: the reverse |
| either | E01 ≥ ½E11 and E10 ≥ ½E11: each is enough |
| jointly | E01 < ½E11 and E10 < ½E11: only together |
| none | E11's simultaneous interval lies within ±τ |
| undetermined | an interval crosses one of these thresholds, or there are too few texts |

Source: docs/definition.md, §4.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from laminar_lens.axes import Labels
from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import observations

Array = np.ndarray

CELLS = ("plain", "cut", "restart", "both")
CAUSES = ("position", "context", "either", "jointly")
VERDICTS = (*CAUSES, "none", "undetermined")
EFFECTS = {
    "excess": "angle of the first pair minus the body's mean: T + E11",
    "T": "the same bigram in the body minus the body's mean: the tokens' own part",
    "E11": "context cut and positions restarted, minus the body: what being first does to the bigram",
    "E10": "context cut alone, minus the body",
    "E01": "positions restarted alone, minus the body",
    "interaction": "E11 − E10 − E01",
    "E11_body": "E11 of bigrams from inside a text, moved to its start",
    "token_x_place": "E11 of first bigrams minus E11 of bigrams from inside",
}
"""What is reported by layer, in radians."""


def effects(
    first: Float[Array, "cell n layer"],
    body: Float[Array, "cell n layer"],
    reference: Float[Array, "n layer"],
) -> dict[str, Float[Array, "n layer"]]:
    """Every effect of `EFFECTS` for each text, in radians; NaN where a cell does not exist.

    Args:
        first: angles of texts' first bigrams in the cells of `CELLS`.
        body: angles of bigrams from inside the texts.
        reference: the mean angle of each text's reference pairs: the body's mean.
    """
    plain, cut, restart, both = np.asarray(first, dtype=np.float64)
    inside = np.asarray(body, dtype=np.float64)
    moved, moved_body = both - plain, inside[3] - inside[0]
    return {
        "excess": both - reference,
        "T": plain - reference,
        "E11": moved,
        "E10": cut - plain,
        "E01": restart - plain,
        "interaction": moved - (cut - plain) - (restart - plain),
        "E11_body": moved_body,
        "token_x_place": moved - moved_body,
    }


def cause(bounds: Sequence[tuple[float, float]], tau: float, *, has_positions: bool = True) -> str:
    """The verdict that intervals allow.

    Args:
        bounds: (low, high) of E11, E01 − ½E11 and E10 − ½E11, oriented so that E11 is positive; NaN where
            withheld.
        has_positions: False where positions cannot be restarted: cutting is then all there is.
    """
    if not bounds[0][0] > tau:
        return "undetermined"
    if not has_positions:
        return "context"
    enough = []
    for low, high in bounds[1:]:
        if not (low >= 0 or high < 0):
            return "undetermined"
        enough.append(low >= 0)
    names = {(True, False): "position", (False, True): "context", (True, True): "either"}
    return names.get((enough[0], enough[1]), "jointly")


def by_observation(
    values: Mapping[str, Array], groups: Labels, units: Labels
) -> tuple[dict[str, Array], int]:
    """Effects [observation layer] of texts [n layer]: groups are averaged first, then the groups of a unit;
    and how many groups there are."""
    n = len(values["E11"])
    labels = np.arange(n) if groups is None else np.asarray(groups)
    outer = labels if units is None else np.asarray(units)
    if labels.shape != (n,) or outer.shape != (n,):
        raise InputError(f"groups and units need one label for each of the {n} texts")
    distinct, first, member = np.unique(labels, return_index=True, return_inverse=True)
    if (outer[first][member] != outer).any():
        raise InputError("texts of one group are in different units: a unit is a set of whole groups")
    flat = np.stack(list(values.values()), axis=1)
    known = np.isfinite(flat).any(axis=(0, 2))
    out = np.full((len(np.unique(outer)), *flat.shape[1:]), np.nan)
    if known.any():
        out[:, known] = observations(observations(flat[:, known], labels), outer[first])
    return {name: out[:, k] for k, name in enumerate(values)}, len(distinct)
