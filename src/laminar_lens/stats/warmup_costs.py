"""What leaving out first positions costs and saves: bias and variance of a mean over places k … P − 1.

A text of the window has L places (positions, or pairs of neighbours), R of which are the reference. Of a text
with P places the mean over those from k on has the bias

    b = Σ ω_i E[x_i] − E[mean of x over R],

with weights ω_i = 1 / (P − k) on the places k … min(P, L) − 1; those of a longer text, which were not seen,
are taken to have R's mean. Its variance over texts is Σ K_ij E⟨e_i, e_j⟩ with e = x − E[x]; for P ≤ L it is
the measured one (K_ij = ω_i ω_j), and places that were not seen are taken to vary as R's do: alone, with
their neighbour, and with others of the same text however far away. A mean over n texts has the same bias,
and an n-th of the variance.

The same formulas hold for angles, for vectors, and for the first principal axis of vectors, which to first
order is a mean over places too (of each place's influence on it).

Source: docs/definition.md, §3; the axis: Critchley, Biometrika 72 (1985) (influence functions).
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse.linalg import ArpackError, svds

from laminar_lens.stats.one_thread import one_thread
from laminar_lens.stats.streams import stream

Array = np.ndarray

SPANS = (32, 64, 128, 512)
"""Tokens of a text, of which costs are given."""
LEFT_OUT = (0, 1, 2, 4, 8, 16, 32)
LEADING = 16
"""So many leading directions of all places, and of the reference's, are told apart when an axis turns."""


def left_out(window: slice) -> list[int]:
    """The numbers of first places whose leaving out is looked at: none of the reference's."""
    return [k for k in LEFT_OUT if k <= window.start]


@dataclass(frozen=True)
class Plan:
    """Which means are looked at.

    Attributes:
        places: of a text of the window, L.
        window: its reference places R.
        sizes: P, places of the texts that are averaged over.
        left_out: k.
    """

    places: int
    window: slice
    sizes: Sequence[int]
    left_out: Sequence[int]

    def weights(self) -> Float[Array, "size k place"]:
        """ω, with R's places standing for those that were not seen; NaN where nothing is left."""
        out = np.zeros((len(self.sizes), len(self.left_out), self.places))
        for at, (size, k) in self._each():
            out[at][k : min(size, self.places)] = 1
            out[at][self.window] += max(size - self.places, 0) / self._reference().sum()
            out[at] = out[at] / (size - k) if size > k else np.nan
        return out

    def contrasts(self) -> Float[Array, "size k place"]:
        """ω less the mean over R: of a text's places they make its part in the bias."""
        return np.asarray(self.weights() - self._reference() / self._reference().sum())

    def kernels(self) -> tuple[Float[Array, "size k place place"], Float[Array, "size k"], Array]:
        """K without what texts have in common wherever one looks, the weight of that, and the pairs of R's
        places that show it; NaN where nothing is left, or where R is too short to show it."""
        inside = self._reference()
        apart = np.abs(np.subtract.outer(np.arange(self.places), np.arange(self.places)))
        both = np.outer(inside, inside)
        own, near, far = (_average(both * lag) for lag in (apart == 0, apart == 1, apart > 1))
        pairs = np.zeros((len(self.sizes), len(self.left_out), self.places, self.places))
        common = np.zeros(pairs.shape[:2])
        for at, (size, k) in self._each():
            kept = np.zeros(self.places)
            kept[k : min(size, self.places)] = 1
            pairs[at] = np.outer(kept, kept)
            if (unseen := size - self.places) > 0:
                outside = unseen * np.outer(kept * (1 - inside), inside / inside.sum())
                pairs[at] += outside + outside.T + unseen * own + 2 * unseen * near
                common[at] = 2 * unseen * (kept @ inside) - 2 + (unseen - 1) * (unseen - 2)
            left = float(size - k) if size > k else np.nan
            pairs[at], common[at] = pairs[at] / left**2, common[at] / left**2
        return pairs, common, far

    def _each(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        return [
            ((row, column), (size, k))
            for row, size in enumerate(self.sizes)
            for column, k in enumerate(self.left_out)
        ]

    def _reference(self) -> Float[Array, " place"]:
        return np.isin(np.arange(self.places), np.arange(self.places)[self.window]).astype(float)


def _average(pairs: Float[Array, "place place"]) -> Float[Array, "place place"]:
    """Weights of a mean over some pairs of places; NaN where there are none."""
    return pairs / pairs.sum() if pairs.any() else np.full(pairs.shape, np.nan)


@dataclass(frozen=True)
class Costs:
    """By text: `bias`, whose mean is the bias, and `spread`, whose mean is the variance of a text's own mean;
    NaN where either is not defined."""

    bias: Float[Array, "n size k"]
    spread: Float[Array, "n size k"]


@one_thread
def angle_costs(theta: Float[Array, "n place"], plan: Plan) -> Costs:
    """Costs of a mean angle, in radians and radians²."""
    bias = np.einsum("skl,nl->nsk", plan.contrasts(), theta)
    apart = theta - theta.mean(0)
    gram = np.einsum("ni,nj->nij", apart, apart)
    return Costs(bias, _spread(gram, plan))


def measured_texts(n: int) -> Int[Array, " n"]:
    """Those of n texts that are measured along the directions that the others choose."""
    return np.arange(n // 3, n)


@one_thread
def vector_costs(x: Float[Array, "text place d_model"], plan: Plan) -> tuple[Costs, Costs]:
    """Costs of the mean vector, and of the first principal axis of vectors.

    The first third of the texts chooses the direction in which the mean vector moves, and that in which the
    axis turns; the others are measured along it, so that where nothing moves the bias is 0 on average.

    Returns:
        Of each measured text. The mean vector's are in units of the reference's typical length (the root of
        its mean square), the axis's in radians; all NaN where a vector is not finite, or nothing varies.
    """
    few = int(measured_texts(len(x))[0])
    shape = (len(x) - few, len(plan.sizes), len(plan.left_out))
    nothing = Costs(np.full(shape, np.nan), np.full(shape, np.nan))
    typical = float(np.sqrt(np.square(x[few:, plan.window], dtype=np.float64).sum(-1).mean()))
    if not few or not np.isfinite(x).all() or not typical > 0:
        return nothing, nothing
    choosing, measured = x[:few] / typical, x[few:] / typical
    contrasts = plan.contrasts()
    moved = contrasts @ choosing.mean(0)
    length = np.linalg.norm(moved, axis=-1, keepdims=True)
    along = (
        measured
        @ np.divide(moved, length, out=np.zeros_like(moved), where=length != 0).reshape(-1, x.shape[-1]).T
    )
    bias = np.einsum("skl,nlsk->nsk", contrasts, along.reshape(*along.shape[:2], *contrasts.shape[:2]))
    apart = measured - measured.mean(0)
    mean = Costs(bias, _spread(apart @ apart.transpose(0, 2, 1), plan))
    return mean, _axis_costs(choosing, measured, plan) or nothing


def _spread(gram: Float[Array, "n place place"], plan: Plan) -> Float[Array, "n size k"]:
    """Each text's part in the variance, of the products of its places' distances from the mean over texts."""
    pairs, common, far = plan.kernels()
    rows = gram.reshape(len(gram), -1)
    seen = rows @ pairs.reshape(-1, rows.shape[1]).T
    return _with_common(seen.reshape(-1, *common.shape), rows @ far.ravel(), common)


def _with_common(seen: Array, far: Array, common: Any) -> Array:
    """With what a text's places have in common however far apart: a variance, and 0 where it seems less."""
    shared = np.where(far.mean() < 0, 0.0, far).reshape(-1, *[1] * np.ndim(common))
    found = seen + np.where(common == 0, 0.0, shared * common)
    return np.asarray(found * len(seen) / max(len(seen) - 1, 1))


def _axis_costs(choosing: Array, measured: Array, plan: Plan) -> Costs | None:
    """Costs of the first principal axis; None where nothing varies.

    Source: Critchley (1985): a place's influence on an axis a with variance λ is (λ − C)⁺ y ⟨y, a⟩, y its
    distance from the mean and C the covariance.
    """
    centre, basis = _leading(choosing, plan.window)  # of the measured ones it would know their noise
    first, z = (choosing - centre) @ basis, (measured - centre) @ basis
    rest = (measured - centre) - z @ basis.T
    rest = rest @ rest.transpose(0, 2, 1)
    weights = plan.weights()
    reference = weights[0, 0] - plan.contrasts()[0, 0]
    pairs, common, far = plan.kernels()
    home, goal_home = _Axis.of(z, reference), _Axis.of(first, reference)
    if home is None or goal_home is None:
        return None
    home = home.towards(goal_home.lead)
    bias, spread = (np.full((len(z), *common.shape), np.nan) for _ in range(2))
    for at in np.ndindex(common.shape):
        goal, found = _Axis.of(first, weights[at]), _Axis.of(z, weights[at])
        if goal is None or found is None:
            continue
        goal = goal.towards(goal_home.lead)
        found = found.towards(goal.lead)
        plane = np.stack([goal_home.lead, _unit(goal.lead - (goal.lead @ goal_home.lead) * goal_home.lead)])
        bias[:, *at] = found.angle(plane, z, weights[at]) - home.angle(plane, z, reference)
        gram = found.products(z, rest)
        seen, apart = (np.einsum("nij,ij->n", gram, kernel) for kernel in (pairs[at], far))
        spread[:, *at] = _with_common(seen, apart, common[at])
    return Costs(bias, spread)


def _leading(x: Float[Array, "text place d_model"], window: slice) -> tuple[Array, Array]:
    """The mean of all vectors, and an orthonormal basis of their leading directions and the reference's."""
    centre = x.mean((0, 1))
    found = [_directions(part) for part in (x - centre, x[:, window] - x[:, window].mean((0, 1)))]
    return centre, np.linalg.svd(np.concatenate(found, 1), full_matrices=False)[0]


def _directions(x: Float[Array, "text place d_model"]) -> Float[Array, "d_model few"]:
    """Orthonormal directions in which vectors lie most."""
    rows = x.reshape(-1, x.shape[-1])
    few = min(LEADING, *rows.shape)
    if few < min(rows.shape) and rows.any():  # Lanczos's method leaves out one at least
        start = stream(0, "leading directions").standard_normal(min(rows.shape)).astype(rows.dtype)
        with contextlib.suppress(ArpackError):  # some are almost as large: all of them, then
            return np.asarray(svds(rows, few, v0=start, return_singular_vectors="vh")[2].T)
    return np.asarray(np.linalg.svd(rows, full_matrices=False)[2][:few].T)


@dataclass(frozen=True)
class _Axis:
    """The first principal axis of weighted places [n place q]: its direction, its variance, the mean, and
    (λ − C)⁺."""

    lead: Float[Array, " q"]
    value: float
    mean: Float[Array, " q"]
    inverse: Float[Array, "q q"]

    @classmethod
    def of(cls, z: Float[Array, "n place q"], weights: Float[Array, " place"]) -> "_Axis | None":
        """None where nothing varies, or no place has weight."""
        if not np.isfinite(weights).all():
            return None
        mean = weights @ z.mean(0)
        apart = (z - mean).reshape(-1, z.shape[-1])
        share = np.tile(weights / len(z), len(z))
        values, vectors = np.linalg.eigh((apart * share[:, None]).T @ apart)
        if not values[-1] > 1e-12 * np.square(z).sum(-1).max():
            return None
        gaps = values[-1] - values
        gaps[-1] = np.inf
        return cls(vectors[:, -1], float(values[-1]), mean, (vectors / gaps) @ vectors.T)

    def towards(self, other: Float[Array, " q"]) -> "_Axis":
        """The same axis in the direction that is nearer to another."""
        return self if self.lead @ other >= 0 else replace(self, lead=-self.lead)

    def angle(self, plane: Float[Array, "2 q"], z: Array, weights: Array) -> Float[Array, " n"]:
        """Each text's part in the axis's angle in a plane, in radians; the angle is their mean."""
        x, y = plane @ self.lead
        apart = z - self.mean
        moved = np.einsum("l,nl,nlq->nq", weights, apart @ self.lead, apart) @ self.inverse
        dx, dy = plane @ (moved - moved.mean(0)).T
        return np.asarray(np.arctan2(y, x) + (x * dy - y * dx) / (x * x + y * y))

    def products(self, z: Array, rest: Float[Array, "n place place"]) -> Float[Array, "n place place"]:
        """Of the influences of a text's places, those outside the leading directions included."""
        apart = z - self.mean
        along = apart @ self.lead
        moved = (apart * along[..., None]) @ self.inverse
        moved = moved - moved.mean(0)
        outside = (along / self.value)[:, :, None] * (along / self.value)[:, None, :] * rest
        return np.asarray(moved @ moved.transpose(0, 2, 1) + outside)


def _unit(x: Float[Array, " q"]) -> Float[Array, " q"]:
    length = np.linalg.norm(x)
    return x / length if length > 1e-12 else np.zeros_like(x)
