"""What a path study's claims and sentence rest on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laminar_lens.stats.bootstrap import Interval, band_or_nothing
from laminar_lens.stats.means import mean
from laminar_lens.stats.permutation import SignFlip, flips_or_nothing
from laminar_lens.studies.lengths import logarithm, over, tortuosity
from laminar_lens.studies.paths.correlations import METHODS, by_text, ranks
from laminar_lens.studies.paths.measure import Measurement

WHICH = ("every position", "without position 0")
LENGTHS = ("path", "relative path")
PREDICTED = ("logit", "log_prob")
HELD = ("every position", "without position 0", "token frequency held fixed")
"""The last also without position 0."""
PARTS = ("first block", "middle blocks", "last block", "every block")


@dataclass(frozen=True)
class Facts:
    """A measurement with its intervals.

    Attributes:
        measured: by text.
        n_perm: sign flips.
        seed: of resampling and flips.
    """

    measured: Measurement
    n_perm: int
    seed: int

    @property
    def n(self) -> int:
        """Texts."""
        return len(self.measured.norm)

    @cached_property
    def lengths(self) -> dict[str, np.ndarray]:
        """Everything by text, layer and position: steps, their sums, and how they compare; NaN where a norm
        or a displacement is 0."""
        one = self.measured
        step, norm, away = (x.astype(np.float64) for x in (one.step, one.norm, one.displacement))
        relative = over(step, norm[:, :-1])
        path = step.cumsum(axis=1)
        return {
            "step": step,
            "relative_step": relative,
            "path": path,
            "relative_path": relative.cumsum(axis=1),
            "displacement": away,
            "tortuosity": tortuosity(path, away),
            "log_growth": logarithm(over(norm[:, 1:], norm[:, :-1])),
        }

    @cached_property
    def by_layer(self) -> dict[str, Interval]:
        """Means over positions and texts, with and without position 0, in all layers: [which layer]."""
        return {
            name: self._band(np.stack([mean(x, axis=2), mean(x[:, :, 1:], axis=2)], axis=1))
            for name, x in self.lengths.items()
        }

    @cached_property
    def growth(self) -> Interval:
        """Mean logarithm of a norm over the one before, a block: [which part]."""
        x = self.lengths["log_growth"]
        layers = x.shape[1]
        at = np.arange(layers)
        parts = (at == 0, (at > 0) & (at < layers - 1), at == layers - 1, at >= 0)
        none = np.full(len(x), np.nan)
        found = [
            [mean(x[:, chosen][:, :, first:], axis=(1, 2)) if chosen.any() else none for chosen in parts]
            for first in (0, 1)
        ]
        return self._band(np.moveaxis(np.array(found), 2, 0))

    @cached_property
    def correlations(self) -> np.ndarray:
        """[text length predicted statistic held]."""
        xs = [self.lengths[name.replace(" ", "_")][:, -1] for name in LENGTHS]
        ys = [getattr(self.measured, name).astype(np.float64) for name in PREDICTED]
        own, following = self.frequencies
        found = np.full((self.n, len(LENGTHS), len(PREDICTED), len(METHODS), len(HELD)), np.nan)
        for held, first in enumerate((0, 1, 1)):
            part = slice(first, -1)
            for method in range(len(METHODS)):
                shape = ranks if METHODS[method] == "spearman" else np.asarray
                fixed = None
                if held == len(HELD) - 1:
                    fixed = np.stack([shape(own[:, part]), shape(following[:, part])], axis=-1)
                for row, x in enumerate(xs):
                    for column, y in enumerate(ys):
                        two = shape(x[:, part]), shape(y[:, part])
                        found[:, row, column, method, held] = by_text(*two, fixed)
        return found

    @cached_property
    def frequencies(self) -> tuple[np.ndarray, np.ndarray]:
        """Unigram log-probability [text pos] of each token, counted in these texts without their BOS, and of
        the token after it; NaN where there is none."""
        tokens, bos = self.measured.token_id, int(self.measured.bos)
        kinds, place = np.unique(tokens, return_inverse=True)
        place = place.reshape(tokens.shape)
        counts = np.bincount(place[:, bos:].ravel(), minlength=len(kinds))
        with np.errstate(divide="ignore"):
            own = np.log(counts / counts.sum())[place]
        own[~np.isfinite(own)] = np.nan
        following = np.full(own.shape, np.nan)
        following[:, :-1] = own[:, 1:]
        return own, following

    @cached_property
    def correlation(self) -> Interval:
        """Mean over texts, of every correlation at once: [length predicted statistic held]."""
        return self._band(self.correlations)

    @cached_property
    def flips(self) -> SignFlip | None:
        """The test that each is 0 on average, adjusted for the largest of all."""
        how = {"n_perm": self.n_perm, "seed": self.seed}
        return flips_or_nothing(self.correlations, groups=self.measured.group, **how)

    @cached_property
    def pooled(self) -> np.ndarray:
        """As published: one correlation [length predicted statistic] over the tokens of all texts, position 0
        among them."""
        xs = [self.lengths[name.replace(" ", "_")][:, -1, :-1].reshape(1, -1) for name in LENGTHS]
        ys = [getattr(self.measured, name)[:, :-1].reshape(1, -1).astype(np.float64) for name in PREDICTED]
        found = np.full((len(xs), len(ys), len(METHODS)), np.nan)
        for row, x in enumerate(xs):
            for column, y in enumerate(ys):
                both = np.isfinite(x[0]) & np.isfinite(y[0])
                for method, name in enumerate(METHODS):
                    shape = ranks if name == "spearman" else np.asarray
                    found[row, column, method] = by_text(shape(x[:, both]), shape(y[:, both]))[0]
        return found

    def _band(self, x: np.ndarray) -> Interval:
        return band_or_nothing(x, groups=self.measured.group, seed=self.seed)
