"""Whether the cause depends on where in a text the first bigram was put: effects against the place t.

A straight line is fitted by least squares through each effect, one value a text, against its t; groups of
texts weigh alike within their unit, and units weigh alike. A point of the line is the mean over texts of
line(t) + rᵢ·(1 + (t − t̄)(tᵢ − t̄)/Σw(t − t̄)²) with the residuals rᵢ, so that its intervals are those of
means over independent observations, whatever the variance along t. With 60 skewed observations a change is
named in 6.8% where there is none, with 200 in 4.3% (tests/validate/TABLE.md); a study fits it from 80 up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from laminar_lens.axes import Labels
from laminar_lens.stats.bootstrap import Interval, observations, simultaneous_band
from laminar_lens.stats.one_thread import one_thread

EFFECTS = ("E11", "E10", "E01")


@dataclass(frozen=True)
class Trend:
    """Effects along the places, in radians; axis 0 is E11, E10, E01.

    Attributes:
        at: the places, increasing.
        mean: [effect at], over the texts of each place; NaN without any.
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
        """Effects whose interval excludes that nothing changes, and whose change is estimated above τ."""
        apart = (self.change.low > 0) | (self.change.high < 0)
        big = apart & (np.abs(self.change.estimate) > self.tau)
        return [name for name, yes in zip(EFFECTS, big, strict=True) if yes]


@one_thread
def place_trend(
    values: Mapping[str, Float[np.ndarray, " n"]],
    at: Int[np.ndarray, " n"],
    *,
    places: Int[np.ndarray, " at"] | None = None,
    groups: Labels = None,
    units: Labels = None,
    tau: float = 0.05,
    seed: int = 0,
) -> Trend | None:
    """How E11, E10 and E01 change along the places; None where there is only one, or no such effect at all.

    Args:
        values: one number a text for each effect, in radians; all NaN where a model does not have it.
        at: each text's place.
        places: increasing, where some may have no text; those of the texts by default.
        groups: one label a text; texts of one group are averaged.
        units: one label a text; groups of one unit are one observation.
        tau: a smaller change is none.
        seed: of the bootstrap.
    """
    places = np.unique(at) if places is None else places
    x = np.stack([np.asarray(values[name], dtype=np.float64) for name in EFFECTS], axis=1)
    if len(np.unique(at)) < 2 or not np.isfinite(x).any():
        return None
    member, of_unit, weight = _weights(len(at), groups, units)
    centre = float(weight @ at)
    c, mean = at - centre, weight @ x
    square = float(weight @ c**2)
    slope = (weight * c) @ x / square
    rest = x - mean - c[:, None] * slope
    there = places - centre
    fitted = mean[:, None] + slope[:, None] * there
    line = fitted + rest[:, :, None] * (1 + there * c[:, None, None] / square)
    ends = (fitted[:, -1] - fitted[:, 0]) + rest * ((there[-1] - there[0]) * c[:, None] / square)
    band, change = (_band(part, member, of_unit, seed) for part in (line, ends))
    means = [x[at == t].mean(axis=0) if (at == t).any() else np.full(len(EFFECTS), np.nan) for t in places]
    return Trend(places, np.stack(means, axis=1), band, change, tau)


def _weights(n: int, groups: Labels, units: Labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each text's group as a number, each group's unit, and what each text weighs in the mean over units."""
    labels = np.arange(n) if groups is None else np.asarray(groups)
    _, first, member = np.unique(labels, return_index=True, return_inverse=True)
    outer = labels if units is None else np.asarray(units)
    _, of_unit = np.unique(outer[first], return_inverse=True)
    weight = 1 / (np.bincount(of_unit)[of_unit] * (of_unit.max() + 1)) / np.bincount(member)
    return member, of_unit, weight[member]


def _band(x: np.ndarray, member: np.ndarray, of_unit: np.ndarray, seed: int) -> Interval:
    flat = x.reshape(len(x), -1)
    known = np.isfinite(flat).any(axis=0)
    averaged = np.full((len(of_unit), flat.shape[1]), np.nan)
    averaged[:, known] = observations(flat[:, known], member)
    return simultaneous_band(averaged.reshape(-1, *x.shape[1:]), groups=of_unit, seed=seed)
