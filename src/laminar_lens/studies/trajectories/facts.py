"""What a trajectory study's claims and sentence rest on."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from laminar_lens.stats.bootstrap import Interval, band_or_nothing, nothing
from laminar_lens.stats.means import mean
from laminar_lens.stats.permutation import sign_flip
from laminar_lens.stats.strata import stratified_band
from laminar_lens.studies.lengths import over
from laminar_lens.studies.trajectories import centres
from laminar_lens.studies.trajectories.measure import PLACES, Measurement

SPACES = ("full", "plane")
ALONG = ("depth", "positions")
PLANE = 2
"""Axes of the plane."""
LEVEL = 0.05


@dataclass(frozen=True)
class Facts:
    """A measurement with its intervals.

    Attributes:
        measured: by prompt.
        n_perm: sign flips.
        seed: of resampling and flips.
    """

    measured: Measurement
    n_perm: int
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
    def has(self) -> np.ndarray:
        """Whether a prompt is of a word, and was measured, [prompt word]."""
        found = np.isfinite(self.measured.norm).all(axis=2)
        return np.asarray(found & (found.all(axis=1, keepdims=True) | (not self.measured.paired)))

    @cached_property
    def sizes(self) -> list[int]:
        """Prompts of each group."""
        found: list[int] = self.has.sum(axis=0).tolist()
        return found

    @cached_property
    def sides(self) -> list[list[np.ndarray]]:
        """The groups of each pair, bool [prompt]: one where both have the same prompts."""
        if self.measured.paired:
            return [[self.has[:, 0]]] * len(self.pairs)
        return [[self.has[:, a], self.has[:, b]] for a, b in self.pairs]

    @cached_property
    def squares(self) -> np.ndarray:
        """Pseudo-values of the squared distance of two groups' means, [prompt space versus layer]."""
        rows = [np.flatnonzero(one) for one in self.has.T]
        inside = [self.target[one, word] for word, one in enumerate(rows)]
        plane = centres.every_part(inside, rows, len(self.has), paired=self.measured.paired)
        parts = np.stack([self.measured.part, plane], axis=1)
        found = [centres.squared(parts[:, :, at], sides) for at, sides in enumerate(self.sides)]
        return np.stack(found, axis=2)

    @cached_property
    def published(self) -> np.ndarray:
        """Distance of the groups' mean points as it is, with what chance adds, [space versus layer]."""
        points = mean(self.target, axis=0)
        plane = [np.linalg.norm(points[a] - points[b], axis=-1) for a, b in self.pairs]
        return np.stack([self.measured.published, np.stack(plane)])

    @cached_property
    def chance(self) -> np.ndarray:
        """What chance adds to its square."""
        return np.asarray(self.published**2 - self.squares.mean(axis=0))

    @cached_property
    def distances(self) -> np.ndarray:
        """[prompt space versus layer]; of groups with prompts of their own, pseudo-values of their means'."""
        if self.measured.distance is None:
            return centres.distances(self.squares, self.published)
        plane = [np.linalg.norm(self.target[:, a] - self.target[:, b], axis=-1) for a, b in self.pairs]
        return np.stack([self.measured.distance, np.stack(plane, axis=1)], axis=1)

    @cached_property
    def hidden_shares(self) -> np.ndarray:
        """1 − (distance in the plane/distance in full)², [prompt versus layer]."""
        if self.measured.distance is None:
            full, plane = self.squares.swapaxes(0, 1)
            whole = full.mean(axis=0)
            share = self.mean_hidden.estimate
            return np.asarray(share + over((1 - share) * full - plane, whole))
        full, plane = self.distances.swapaxes(0, 1)
        return np.asarray(np.clip(1 - over(plane, full) ** 2, 0, 1))

    @cached_property
    def norms(self) -> np.ndarray:
        """Mean of the two groups' norms, [prompt versus layer]; a prompt's own where it is in one of them."""
        return np.stack([mean(self.measured.norm[:, pair], axis=1) for pair in self.pairs], axis=1)

    @cached_property
    def relatives(self) -> np.ndarray:
        """Distance in full over the mean of the two norms, [prompt versus layer]."""
        if self.measured.distance is None:
            return self._over_norms(self.distances[:, 0])
        return over(self.measured.distance, self.norms)

    def _over_norms(self, lengths: np.ndarray) -> np.ndarray:
        """Pseudo-values of lengths [prompt versus layer] over the mean norms of groups."""
        each = [
            centres.relative(lengths[:, at], self.norms[:, at], sides) for at, sides in enumerate(self.sides)
        ]
        return np.stack(each, axis=1)

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
        return self._of_groups(self.distances) if self.measured.paired else self.mean_distance

    @cached_property
    def hidden(self) -> Interval:
        """Of all pairs and layers at once, [versus layer]."""
        return self._of_groups(self.hidden_shares) if self.measured.paired else self.mean_hidden

    @cached_property
    def mean_distance(self) -> Interval:
        """Of the groups' means, in both spaces, all pairs and layers at once, [space versus layer]."""
        found = self._of_groups(centres.lengths(self.squares, self.published))
        return centres.distance(found, self.chance)

    @cached_property
    def mean_hidden(self) -> Interval:
        """The share of its square that lies outside the plane, [versus layer]; from 0 to 1 where the band of
        the distance reaches 0: of what may be nothing, any share may be left out."""
        full, plane = self.squares.swapaxes(0, 1)
        found = self._of_groups(centres.angles(full, plane, self.published))
        found = centres.left_out(found, self.published, self.chance)
        any_share = (self.mean_distance.low[SPACES.index("full")] == 0) & np.isfinite(found.low)
        low, high = (np.where(any_share, *ends) for ends in ((0, found.low), (1, found.high)))
        return replace(found, low=low, high=high)

    @cached_property
    def relative(self) -> Interval:
        """Of all pairs and layers at once, [versus layer]."""
        if self.measured.paired:
            return self._of_groups(self.relatives)
        found = self._of_groups(self._over_norms(centres.lengths(self.squares, self.published)[:, 0]))
        norm = [centres.mean_of(self.norms[:, at], sides) for at, sides in enumerate(self.sides)]
        return centres.distance(found, over(self.chance[0], np.square(norm)))

    @cached_property
    def scores(self) -> np.ndarray:
        """Relative distances in the last third of the layers minus those in the first, [prompt versus]."""
        third = max(1, len(self.measured.layer) // 3)
        first, last = self.relatives[..., :third], self.relatives[..., -third:]
        return np.asarray(mean(last, axis=2) - mean(first, axis=2))

    @cached_property
    def parting(self) -> Interval:
        """The mean of these, [versus]."""
        return self._of_groups(self.scores)

    @cached_property
    def p(self) -> np.ndarray:
        """Of sign flips of prompts that it is 0, adjusted for the largest of all pairs, [versus]; NaN where
        the interval is withheld."""
        if not np.isfinite(self.parting.low).any():
            return np.full(self.parting.low.shape, np.nan)
        return sign_flip(self.scores, n_perm=self.n_perm, seed=self.seed).p

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
        """Of axis 1's variance, [1], a ratio of sums over prompts where all states were held; None where
        position 0 is left out."""
        share, along = self.measured.first_share, self.measured.along
        if share is None:
            return None
        whole = 1.0 if along is None else over(along[:, 0], self.measured.explained[0])
        found = self._band((share + share.mean() * (1 - whole))[:, None])
        return replace(found, estimate=np.array([share.mean()]))

    @cached_property
    def explained(self) -> Interval:
        """Share of the variance of all states that each axis has, [axis]; the axes are given."""
        return self._explained(self.measured.explained, self.measured.along)

    @cached_property
    def explained_so_far(self) -> Interval:
        """The same of each axis with those before it."""
        ratio, along = self.measured.explained, self.measured.along
        return self._explained(ratio.cumsum(), None if along is None else along.cumsum(axis=1))

    def _explained(self, ratio: np.ndarray, along: np.ndarray | None) -> Interval:
        """Of a ratio of sums over prompts, from each one's pseudo-value."""
        if along is None or self.measured.spread is None:
            why = "interval withheld: the PCA is incremental, so that states were not held"
            return replace(nothing(ratio.shape, why), estimate=ratio)
        found = self._band(ratio + along - ratio * self.measured.spread[:, None])
        return replace(found, estimate=ratio)

    def _of_groups(self, x: np.ndarray) -> Interval:
        """The band; of groups with prompts of their own, each is resampled by itself."""
        if self.measured.paired:
            return self._band(x)
        known = self.has.any(axis=1)
        found = stratified_band(x[known], self.has[known].argmax(axis=1), seed=self.seed)
        least = min(self.sizes)
        word = str(self.measured.word[self.sizes.index(least)])
        why = f"group {word!r} has {least} prompts, the fewest"
        return replace(found, withheld=f"{found.withheld}; {why}" if found.withheld else "")

    def _band(self, x: np.ndarray) -> Interval:
        return band_or_nothing(x, seed=self.seed)


def between(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Angles between vectors of the last axis, in [0, π]; NaN where one is zero. Source: Kahan, as in
    kernels/reference.py."""
    u, v = (over(x, np.linalg.norm(x, axis=-1, keepdims=True)) for x in (u, v))
    return np.asarray(2 * np.arctan2(np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1)))
