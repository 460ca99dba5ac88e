"""Whether the cause depends on where in a text the first bigram was put: effects against the place t.

A straight line is fitted by least squares through each effect, one value a text, against its t. A point of
the line is the mean over texts of xᵢ + (t − t̄)(tᵢ − t̄)(xᵢ − x̄)·n/Σ(tᵢ − t̄)², so that its intervals are
those of means over independent observations, whatever the variance along t.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from laminar_lens.stats.bootstrap import Interval, simultaneous_band

EFFECTS = ("E11", "E10", "E01")


@dataclass(frozen=True)
class Trend:
    """Effects along the places, in radians; axis 0 is E11, E10, E01.

    Attributes:
        at: the places, increasing.
        mean: [effect at], over the texts of each place.
        line: [effect at], fitted, with a band that covers all of it.
        change: [effect], the line's last point minus its first, with simultaneous intervals.
        tau: a smaller change is none.
    """

    at: Int[np.ndarray, " at"]
    mean: Float[np.ndarray, "effect at"]
    line: Interval
    change: Interval
    tau: float

    @property
    def shown(self) -> list[str]:
        """Effects that are shown to change, by more than τ."""
        apart = (self.change.low > 0) | (self.change.high < 0)
        big = apart & (np.abs(self.change.estimate) > self.tau)
        return [name for name, yes in zip(EFFECTS, big, strict=True) if yes]


def place_trend(
    values: Mapping[str, Float[np.ndarray, " n"]],
    at: Int[np.ndarray, " n"],
    *,
    units: Shaped[np.ndarray, " n"] | None = None,
    tau: float = 0.05,
    seed: int = 0,
) -> Trend | None:
    """How E11, E10 and E01 change along the places; None where there is only one, or no such effect at all.

    Args:
        values: one number a text for each effect, in radians; all NaN where a model does not have it.
        at: each text's place.
        units: one label a text; texts of one unit are one observation.
        tau: a smaller change is none.
        seed: of the bootstrap.
    """
    places = np.unique(at)
    x = np.stack([np.asarray(values[name], dtype=np.float64) for name in EFFECTS], axis=1)
    if len(places) < 2 or not np.isfinite(x).any():
        return None
    centred = at - at.mean()
    lever = (places - at.mean()) * (centred * len(at) / (centred**2).sum())[:, None]
    line = x[:, :, None] + (x - x.mean(axis=0))[:, :, None] * lever[:, None]
    ends = line[..., -1] - line[..., 0]
    means = np.stack([x[at == t].mean(axis=0) for t in places], axis=1)
    return Trend(places, means, _band(line, units, seed), _band(ends, units, seed), tau)


def _band(x: np.ndarray, units: np.ndarray | None, seed: int) -> Interval:
    return simultaneous_band(x, groups=units, seed=seed)
