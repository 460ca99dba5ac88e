"""How many first tokens stand apart from the rest of a text: exact, bracketed, undetermined, or drift.

For text n and pair p, d[n, p] is its angle minus the mean over a reference window R of the same text; δ[p]
is its mean over texts, and k* the smallest k with |δ[p]| < τ for every p in k … R−1. Two statements bound
it:

- from the last p before R downwards, δ[p] is shown to lie inside ±τ (two one-sided tests); the first
  failure stops the walk, so that P(k_hi < k*) ≤ 0.05 without correction (nested intersection-union tests);
- the last p whose simultaneous interval over positions × layers lies outside ±τ gives k_lo ≤ k*; below
  `MIN_SHOWN` texts there is no such interval, and k_lo is 0.

k is decided by δ, the contrast of texts' means, since k* is defined by it. The paired shift (the same bigram
first and deep inside) is reported beside it and decides nothing.

The number to act on is k_hi: enough, with P(too few) ≤ 0.05. Where the two meet the answer is "exact", where
both are finite it is "bracketed". Not having shown equivalence is never taken for a difference: where it was
not shown next to R the answer is "undetermined", and only a difference that was shown there is "drift" (no
finite k).

Source: docs/definition.md, §3.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import ndtri

from laminar_lens.arguments import number, shown, wholes
from laminar_lens.axes import Window
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.stats.streams import stream
from laminar_lens.stats.warmup_intervals import intervals
from laminar_lens.stats.warmup_power import MIN_TEXTS, Deciding, Needed, correlated_normals, last

Array = np.ndarray

NO_K = -1
"""Stands for "no finite k" in integer arrays."""

MIN_SHOWN = 40
"""Below this many independent texts no difference is claimed: of two texts every resample has t = 0, and of
twenty the band covers 98% instead of 95% (tests/validate/warmup.py)."""

TOLERANCES = (0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)
"""At which the answer is given beside the one that was asked for, in radians."""

_WINDOWS = {"last quarter": 4, "last third": 3, "last half": 2}


@dataclass(frozen=True)
class Answer:
    """One answer. `k_hi` is None where no finite upper bound was shown."""

    verdict: str
    k_lo: int | None
    k_hi: int | None
    n_needed: int | None
    sign: str

    @property
    def skip(self) -> int | None:
        """The number of first tokens to leave out, which is enough; None where no such bound was shown."""
        return self.k_hi


@dataclass(frozen=True)
class WarmupAnswer:
    """Curves [layer, pair] in radians, an `Answer` per layer, and one that holds in all layers at once.

    `delta` covers every pair; the intervals are NaN from the reference window on, which is not tested, and
    the simultaneous band is NaN everywhere below `MIN_SHOWN` texts.
    """

    tau: float
    n: int
    reference: tuple[int, int]
    delta: Float[Array, "layer pair"]
    sd: Float[Array, "layer pair"]
    low90: Float[Array, "layer pair"]
    high90: Float[Array, "layer pair"]
    band_low: Float[Array, "layer pair"]
    band_high: Float[Array, "layer pair"]
    layers: tuple[Answer, ...]
    overall: Answer
    tolerances: Float[Array, " tolerance"]
    curve: tuple[tuple[Answer, ...], ...]
    """At each tolerance the answer of each layer and, last, that of all at once, without texts needed."""


def warmup(
    theta: ArrayLike,
    *,
    tau: float = 0.05,
    reference: Window = None,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    n_boot: int = 1999,
    seed: int = 0,
) -> WarmupAnswer:
    """Answer how many first tokens stand apart, from adjacent-pair angles [n, layer, pair] in radians.

    Args:
        theta: angles of independent texts; a text with a NaN is dropped whole and counted.
        tau: differences smaller than this, in radians, do not matter; between 0 and π.
        reference: the window R of pairs, see `reference_pairs`.
        groups: one label a text; texts of one group (windows of a book) are averaged into one observation.
        level: of the simultaneous band, and of each of the two one-sided tests.

    Raises:
        InputError: tau or level out of range, fewer than 2 texts left, a reference that leaves nothing to
            test.
        ShapeError: theta has not three axes.
    """
    check_tau(tau)
    if not 0.5 < level < 1:
        raise InputError(f"level is {level}; give a confidence between 0.5 and 1, such as 0.95")
    values, _ = independent_texts(theta, groups)
    window = reference_pairs(values.shape[-1], reference)
    d = contrast(values, window)
    start, n = window.start, len(d)
    tested = d[:, :, :start]
    delta, sd = tested.mean(0), tested.std(0, ddof=1)
    low90, high90, critical = intervals(tested, level, n_boot, stream(seed, "bootstrap of the warm-up"))
    half = (critical if n >= MIN_SHOWN else np.nan) * sd / np.sqrt(n)
    bounds_shown = (low90, high90, delta - half, delta + half)
    inside, above, below = _shown(*bounds_shown, tau, n)
    # a maximum over columns is never less than one column's; of a few texts the bootstrap's may be
    planned = max(critical, float(ndtri((1 + level) / 2)))
    decide = Deciding(delta, sd, correlated_normals(tested, seed), n, tau, planned, level)
    answers = [_answer(inside[[i]], above[[i]], below[[i]], decide.layer(i)) for i in range(len(delta))]
    tolerances = np.array(sorted({*TOLERANCES, tau}))
    curve = tuple(_at_tolerance(_shown(*bounds_shown, float(at), n)) for at in tolerances)
    untested = ((0, 0), (0, d.shape[-1] - start))
    wide = [np.pad(end, untested, constant_values=np.nan) for end in bounds_shown]
    return WarmupAnswer(
        tau=tau,
        n=n,
        reference=(window.start, window.stop),
        delta=d.mean(0),
        sd=d.std(0, ddof=1),
        low90=wide[0],
        high90=wide[1],
        band_low=wide[2],
        band_high=wide[3],
        layers=tuple(answers),
        overall=_at_least(_answer(inside, above, below, decide.all()), answers),
        tolerances=tolerances,
        curve=curve,
    )


def _at_least(overall: Answer, layers: list[Answer]) -> Answer:
    """All layers at once never need fewer texts than one of them that has the same verdict."""
    same = [one.n_needed for one in layers if one.verdict == overall.verdict]
    if overall.n_needed is None or None in same:
        return replace(overall, n_needed=None)
    return replace(overall, n_needed=max([overall.n_needed, *(n for n in same if n is not None)]))


def _shown(
    low90: Array, high90: Array, band_low: Array, band_high: Array, tau: float, n: int
) -> tuple[Array, Array, Array]:
    """Where a pair was shown to be inside ±tau, above it, below it: [layer tested pair] each."""
    return (low90 > -tau) & (high90 < tau) & (n >= MIN_TEXTS), band_low > tau, band_high < -tau


def _at_tolerance(found: tuple[Array, Array, Array]) -> tuple[Answer, ...]:
    """The answer of each layer, and last that of all at once."""
    inside, above, below = found
    rows = [slice(i, i + 1) for i in range(len(inside))]
    return tuple(
        _answer(inside[row], above[row], below[row], lambda exact: None) for row in (*rows, slice(None))
    )


def check_tau(tau: object) -> None:
    """InputError unless `tau` is a tolerance that an angle can keep or break."""
    try:
        angle = number("tau", tau)
    except InputError:
        angle = np.nan
    if not 0 < angle < np.pi:
        raise InputError(f"tau is {shown(tau)}; give a tolerance in radians between 0 and π, such as 0.05")


def reference_pairs(n_pair: int, reference: object = None) -> slice:
    """The window of pairs that the others are compared with; everything before it is tested.

    Args:
        reference: "last third" (the default), "last half", "last quarter", a slice, or (first, stop).

    Raises:
        InputError: an unknown name, what is no window, or one that is empty or leaves nothing before it.
    """
    name = "last third" if reference is None else reference
    if isinstance(name, str):
        if name not in _WINDOWS:
            raise InputError(
                f"reference {name!r} is unknown; use one of {', '.join(map(repr, _WINDOWS))} or (first, stop)"
            )
        first, stop = n_pair - max(n_pair // _WINDOWS[name], 1), n_pair
    elif isinstance(name, slice):
        try:
            first, stop, step = name.indices(n_pair)
        except (TypeError, ValueError):
            raise InputError(f"reference {shown(name)} is no window of pairs; give (first, stop)") from None
        if step != 1:
            raise InputError(f"reference {name} has a step; give a plain window of pairs")
    elif isinstance(name, list | tuple) and len(name) == 2:
        try:
            first, stop = wholes("reference", name)
        except InputError:
            raise InputError(
                f"reference {shown(name)} is no window of pairs; give (first, stop), two whole numbers"
            ) from None
    else:
        raise InputError(
            f"reference {shown(name)} is no window of pairs; give (first, stop), two whole numbers"
        )
    if not 1 <= first < stop <= n_pair:
        raise InputError(
            f"reference pairs {first}…{stop - 1} of {n_pair}: need 1 ≤ first < stop ≤ {n_pair}, "
            "so that something is left to test"
        )
    return slice(first, stop)


def independent_texts(
    theta: ArrayLike, groups: ArrayLike | None = None
) -> tuple[Float[Array, "n layer pair"], int]:
    """Texts without NaN, those of one group averaged, and how many were dropped."""
    values = np.asarray(theta, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape[1:]:
        raise ShapeError(f"theta has shape {values.shape}; give angles [n, layer, pair]")
    keep = np.asarray(np.isfinite(values).all(axis=(1, 2)))
    n_dropped = int((~keep).sum())
    kept = values[keep]
    if groups is not None:
        labels = np.asarray(groups)
        if labels.shape != keep.shape:
            raise InputError(f"groups has shape {labels.shape}; give one label for each of {len(keep)} texts")
        _, group = np.unique(labels[keep], return_inverse=True)
        kept = (
            np.stack([kept[group == g].mean(0) for g in range(group.max(initial=-1) + 1)])
            if len(kept)
            else kept
        )
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} independent texts without NaN ({n_dropped} dropped); at least 2 are needed"
        )
    return kept, n_dropped


def contrast(theta: Float[Array, "n layer pair"], window: slice) -> Float[Array, "n layer pair"]:
    """Each angle minus the mean over the reference window of the same text and layer, in radians."""
    return np.asarray(theta - theta[:, :, window].mean(axis=-1, keepdims=True))


def _answer(inside: Array, above: Array, below: Array, needed: Needed) -> Answer:
    """Combine what was shown in these layers [layer, tested pair]."""
    start = inside.shape[-1]
    k_hi, k_lo = last(~inside.all(axis=0)), last((above | below).any(axis=0))
    signs = {name for name, shown in (("wider", above), ("narrower", below)) if shown.any()}
    sign = "mixed" if len(signs) == 2 else next(iter(signs), "none")
    if k_lo == start:
        return Answer("drift", None, None, None, sign)
    if k_lo == k_hi:
        return Answer("exact", k_lo, k_hi, None, sign)
    if k_hi < start:
        return Answer("bracketed", k_lo, k_hi, needed(True), sign)
    return Answer("undetermined", k_lo, None, needed(False), sign)


def encode(k: Int[Array, " layer"] | list[int | None]) -> Int[Array, " layer"]:
    """Integers with `NO_K` for None, as result files hold them."""
    return np.array([NO_K if x is None else int(x) for x in k], dtype=np.int64)
