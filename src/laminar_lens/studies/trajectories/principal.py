"""One PCA of many states, by scikit-learn: exact up to a stated size, incremental above it."""

from dataclasses import dataclass, replace

import numpy as np

from laminar_lens.errors import InputError

MOST_NUMBERS = 2**25
"""So many numbers (256 MiB of float64) are held for an exact PCA."""
BLOCK = 4
"""Above that, so many rows a number of a vector are held at a time."""
SPARE = 16
"""The incremental PCA follows so many more components than are asked for, which the asked-for ones need."""


@dataclass(frozen=True)
class Principal:
    """What was fitted.

    Attributes:
        mean: [d_model].
        components: [axis d_model], orthonormal.
        variance: of each axis.
        ratio: its share of the whole variance.
        rows: states that were seen.
        along: what each observation's states add to `ratio`, [observation axis], times the number of
            observations; None where not all states were held at once.
        spread: what they add to the whole variance, [observation], as a share of it, times that number.
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    ratio: np.ndarray
    rows: int
    along: np.ndarray | None = None
    spread: np.ndarray | None = None

    @property
    def exact(self) -> bool:
        """Whether all states were held at once."""
        return self.along is not None

    def project(self, x: np.ndarray) -> np.ndarray:
        """Coordinates [… axis] of vectors [… d_model]."""
        return np.asarray((x - self.mean) @ self.components.T)


class Fit:
    """Takes states as they come.

    Args:
        rows: how many there will be.
        width: numbers of each.
        n: axes.
        observations: what the states are of.
    """

    def __init__(self, rows: int, width: int, n: int, observations: int = 1) -> None:
        from sklearn.decomposition import IncrementalPCA

        self.n, self.rows, self.observations = n, rows, observations
        self.exact = rows * width <= MOST_NUMBERS
        blocks = 1 if self.exact else max(1, rows // (BLOCK * width))
        self.held, self.filled, self.varies = np.empty((-(-rows // blocks), width)), 0, False
        self.of = np.zeros(len(self.held), dtype=np.int32)
        followed = min(width, len(self.held), n + SPARE)
        self.model = None if self.exact else IncrementalPCA(n_components=followed)

    def add(self, x: np.ndarray, of: np.ndarray | int = 0) -> None:
        """States [row d_model], and which observation each is of."""
        of = np.broadcast_to(of, len(x))
        while len(x):
            taken = min(len(x), len(self.held) - self.filled)
            here = slice(self.filled, self.filled + taken)
            self.held[here], self.of[here] = x[:taken], of[:taken]
            self.filled, x, of = self.filled + taken, x[taken:], of[taken:]
            if self.filled == len(self.held) and not self.exact:
                self._follow()

    def done(self) -> Principal:
        """The axes.

        Raises:
            InputError: every state is the same vector.
        """
        from sklearn.decomposition import PCA

        if self.filled and not self.exact:
            self._follow()
        self.varies |= bool((self.held != self.held[0]).any())
        if not self.varies:
            raise InputError("every hidden state is the same vector: there is no axis to see them along")
        made = self.model or PCA(self.n, svd_solver="covariance_eigh").fit(self.held)
        some = slice(0, self.n)
        found = Principal(
            made.mean_, made.components_[some], made.explained_variance_[some],
            made.explained_variance_ratio_[some], self.rows,
        )  # fmt: skip
        return self._by_observation(found) if self.exact else found

    def _by_observation(self, found: Principal) -> Principal:
        """With what each observation adds; the states that were held are used up."""
        self.held -= found.mean
        squares = np.einsum("ij,ij->i", self.held, self.held)
        scale = self.observations / squares.sum()
        along = [self._summed(one**2) * scale for one in (self.held @ found.components.T).T]
        return replace(found, along=np.stack(along, axis=1), spread=self._summed(squares) * scale)

    def _summed(self, x: np.ndarray) -> np.ndarray:
        """Sums of [row] over each observation's."""
        return np.bincount(self.of, x, minlength=self.observations)

    def _follow(self) -> None:
        block = self.held[: self.filled]
        self.varies |= bool((block != block[0]).any())
        assert self.model is not None
        self.model.partial_fit(block)
        self.filled = 0
