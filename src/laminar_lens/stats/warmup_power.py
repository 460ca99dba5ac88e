"""How many texts would decide a warm-up that is still undetermined."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from laminar_lens.stats.one_thread import one_thread
from laminar_lens.stats.streams import stream

Array = np.ndarray
Needed = Callable[[bool], int | None]
"""Called with True for the texts that make an answer exact, with False for those that show an upper bound."""

MIN_TEXTS = 150
"""Below this many independent texts equivalence is never claimed, whatever the intervals say: texts that hold
no trace of an effect say nothing of how large it is where it occurs. 2.5% of texts moved by 2 rad are a mean
of 0.05 rad, and n texts hold none of them with a chance of 0.975ⁿ: 47% at 30, 8% at 100, 2% at 150."""

MAX_TEXTS = 1_000_000
"""A larger number of texts that would decide is not named."""

N_DRAW = 400


@one_thread
def correlated_normals(d: Array, seed: int) -> Float[Array, "draw layer pair"]:
    """Standard normal draws with the correlations that the texts show between positions and layers."""
    sd = d.std(0)
    z = (d - d.mean(0)) / np.where(sd > 0, sd, 1.0)
    drawn = stream(seed, "correlated normals of a power").standard_normal((N_DRAW, len(d)))
    weights = drawn / np.sqrt(len(d))
    return np.asarray(weights @ z.reshape(len(d), -1)).reshape(N_DRAW, *d.shape[1:])


def last(flags: ArrayLike) -> int:
    """1 + the last True along the only axis, 0 if none."""
    hits = np.flatnonzero(flags)
    return int(hits[-1]) + 1 if len(hits) else 0


@dataclass(frozen=True)
class Deciding:
    """The number of texts at which the answer would be exact nine times in ten, or at which some number would
    be shown to be enough, if the means are what they seem.

    The means are shrunk towards 0 by what chance can explain (empirical Bayes over the positions still
    open, chance at its 90% quantile), but not below what the simultaneous band has shown; errors keep the
    correlations observed. Where one text more would then do, although these did not, the means are taken as
    they were observed.
    """

    delta: Array
    sd: Array
    normals: Array
    n: int
    tau: float
    critical: float
    level: float
    power: float = 0.9

    def layer(self, i: int) -> "Needed":
        """Call it for the number that makes one layer exact, or shows a bound; None beyond a million."""
        return lambda exact: self._search(slice(i, i + 1), exact)

    def all(self) -> "Needed":
        """The same of all layers at once."""
        return lambda exact: self._search(slice(None), exact)

    def _means(self, layers: slice) -> Array:
        delta, error = self.delta[layers], self.sd[layers] / np.sqrt(self.n)
        magnitude = np.abs(delta)
        shown = np.maximum(magnitude - self.critical * error, 0.0)
        out = np.empty_like(magnitude)
        noise = (error * self.normals[:, layers]) ** 2
        for row, (m, s) in enumerate(zip(magnitude, shown, strict=True)):
            first = last(s > self.tau)
            open_, chance = (m[first:] ** 2).sum(), np.quantile(noise[:, row, first:].sum(-1), 0.9)
            shrink = max(0.0, 1 - chance / open_) if open_ > 0 else 0.0
            out[row, :first], out[row, first:] = m[:first], np.maximum(shrink * m[first:], s[first:])
        return np.asarray(out * np.sign(delta))

    def _search(self, layers: slice, exact: bool) -> int | None:
        fewest = max(MIN_TEXTS, self.n + 1)
        sizes = np.unique(np.geomspace(fewest, MAX_TEXTS, 400).astype(int))
        found = self._smallest(self._means(layers), sizes, layers, exact)
        if found == fewest > MIN_TEXTS:
            found = self._smallest(self.delta[layers], sizes, layers, exact) or found
        return None if found is None else _two_digits(found)

    def _smallest(self, mean: Array, sizes: Array, layers: slice, exact: bool) -> int | None:
        k = last((np.abs(mean) >= self.tau).any(0))
        if not exact and k == mean.shape[-1]:
            return None
        share_at = partial(self._exact, k=k) if exact else self._bounded
        lowest, highest = 0, len(sizes)
        while lowest < highest:
            middle = (lowest + highest) // 2
            if share_at(mean, self.sd[layers], self.normals[:, layers], n=int(sizes[middle])) >= self.power:
                highest = middle
            else:
                lowest = middle + 1
        return int(sizes[lowest]) if lowest < len(sizes) else None

    def _bounded(self, mean: Array, sd: Array, normals: Array, n: int) -> float:
        """How often the pair next to the reference is shown to be inside, in every layer."""
        error = sd[:, -1] / np.sqrt(n)
        size = np.abs(mean[:, -1] + error * normals[..., -1])
        inside = size + student_t.ppf(self.level, n - 1) * error < self.tau
        return float(inside.all(axis=1).mean())

    def _exact(self, mean: Array, sd: Array, normals: Array, k: int, n: int) -> float:
        error = sd / np.sqrt(n)
        size = np.abs(mean + error * normals)
        margin = student_t.ppf(self.level, n - 1) * error
        inside = (size[..., k:] + margin[:, k:] < self.tau).all(axis=(1, 2))
        if k:
            inside &= (size[..., k - 1] - self.critical * error[:, k - 1] > self.tau).any(axis=1)
        return float(inside.mean())


def _two_digits(n: int) -> int:
    """Rounded up to two significant digits: an estimate, not a count."""
    unit: int = 10 ** max(len(str(n)) - 2, 0)
    return -(-n // unit) * unit
