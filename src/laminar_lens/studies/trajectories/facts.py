"""What a trajectory study's claims and sentence rest on."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from laminar_lens.stats.bootstrap import Interval, band_or_nothing
from laminar_lens.stats.means import mean
from laminar_lens.studies.lengths import over
from laminar_lens.studies.trajectories.measure import PLACES, Measurement

SPACES = ("full", "plane")
ALONG = ("depth", "positions")
PLANE = 2
"""Axes of the plane."""


@dataclass(frozen=True)
class Facts:
    """A measurement with its intervals.

    Attributes:
        measured: by sentence.
        seed: of resampling.
    """

    measured: Measurement
    seed: int

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Groups that are compared."""
        return list(combinations(range(len(self.measured.word)), 2))

    @property
    def names(self) -> list[str]:
        """What is compared, as it is said: `'her' and 'him'`."""
        words = [repr(str(word).strip()) for word in self.measured.word]
        return [f"{words[a]} and {words[b]}" for a, b in self.pairs]

    @cached_property
    def inside(self) -> np.ndarray:
        """Places in the plane, [prompt word place layer 2]."""
        return np.asarray(self.measured.coordinate[..., :PLANE], dtype=np.float64)

    @cached_property
    def target(self) -> np.ndarray:
        """The target's own, [prompt word layer 2]."""
        return np.asarray(self.inside[:, :, PLACES.index("target")])

    @cached_property
    def distances(self) -> np.ndarray:
        """[prompt space versus layer]."""
        plane = [np.linalg.norm(self.target[:, a] - self.target[:, b], axis=-1) for a, b in self.pairs]
        return np.stack([self.measured.distance, np.stack(plane, axis=1)], axis=1)

    @cached_property
    def hidden_shares(self) -> np.ndarray:
        """1 − (distance in the plane/distance in full)², [prompt versus layer]."""
        full, plane = self.distances.swapaxes(0, 1)
        return np.asarray(np.clip(1 - over(plane, full) ** 2, 0, 1))

    @cached_property
    def relatives(self) -> np.ndarray:
        """Distance in full over the mean of the two norms, [prompt versus layer]."""
        norm = np.stack([self.measured.norm[:, [a, b]].mean(axis=1) for a, b in self.pairs], axis=1)
        full = self.measured.distance
        return over(full, norm)

    @cached_property
    def turns(self) -> np.ndarray:
        """[prompt along space word layer]."""
        steps = np.diff(self.target, axis=2)
        depth = np.full(self.measured.depth_turn.shape, np.nan)
        depth[..., 1:-1] = between(steps[:, :, :-1], steps[:, :, 1:])
        along = np.diff(self.inside, axis=2)
        position = between(along[:, :, 0], along[:, :, 1])
        full = self.measured.depth_turn, self.measured.position_turn
        return np.stack([np.stack(full, axis=1), np.stack([depth, position], axis=1)], axis=2)

    @cached_property
    def distance(self) -> Interval:
        """Of both spaces, all pairs and layers at once, [space versus layer]."""
        return self._band(self.distances)

    @cached_property
    def hidden(self) -> Interval:
        """Of all pairs and layers at once, [versus layer]."""
        return self._band(self.hidden_shares)

    @cached_property
    def relative(self) -> Interval:
        """Of all pairs and layers at once, [versus layer]."""
        return self._band(self.relatives)

    @cached_property
    def parting(self) -> Interval:
        """Relative distances in the last third of the layers minus those in the first, [versus]."""
        third = max(1, len(self.measured.layer) // 3)
        first, last = self.relatives[..., :third], self.relatives[..., -third:]
        return self._band(mean(last, axis=2) - mean(first, axis=2))

    @cached_property
    def turning(self) -> Interval:
        """Of everything at once, [along space word layer]."""
        return self._band(self.turns)

    @cached_property
    def trajectory(self) -> Interval:
        """Mean coordinates of the target, [word layer axis]."""
        return self._band(self.measured.coordinate[:, :, PLACES.index("target")])

    @cached_property
    def first_share(self) -> Interval | None:
        """Of axis 1's variance, [1]; None where position 0 is left out."""
        share = self.measured.first_share
        return None if share is None else self._band(share[:, None])

    def _band(self, x: np.ndarray) -> Interval:
        return band_or_nothing(x, seed=self.seed)


def between(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Angles between vectors of the last axis, in [0, π]; NaN where one is zero. Source: Kahan, as in
    kernels/reference.py."""
    u, v = (over(x, np.linalg.norm(x, axis=-1, keepdims=True)) for x in (u, v))
    return np.asarray(2 * np.arctan2(np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1)))
