"""The target against one baseline: modes and what explains them, difference, dispersion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import Interval, mean_or_nothing, simultaneous_band
from laminar_lens.stats.means import mean
from laminar_lens.stats.mixture import MIN_TEXTS as MODES_FROM
from laminar_lens.stats.mixture import Attribution, TwoModes, attribute, two_modes_by_layer
from laminar_lens.stats.permutation import SignFlip, sign_flip
from laminar_lens.stats.sinks import both_sinks, typical_norm
from laminar_lens.studies.layers import named_layers

MIN_TEXTS = 2
"""A comparison of fewer texts is left out."""


@dataclass(frozen=True)
class Difference:
    """Target minus baseline over texts: simultaneous band and sign-flip test, or why there is none."""

    band: Interval | None
    flip: SignFlip | None
    note: str = ""


@dataclass(frozen=True)
class Baseline:
    """One baseline's angles and what they say.

    Attributes:
        angle: [layer prompt draw] in radians; draw 0 is the published single draw.
        pairs: [draw prompt 2].
        mean: interval of the mean over texts of each text's mean over draws, by layer.
        median, iqr: of the single draws, averaged over draws, by layer.
        modes, attribution: of draw 0, by layer.
        difference: of all pairs; not run where the baseline has two modes, or too few texts to see them.
        stratified: without the pairs at the position that explains the two modes.
    """

    name: str
    angle: np.ndarray
    pairs: np.ndarray
    mean: Interval
    median: np.ndarray
    iqr: np.ndarray
    modes: list[TwoModes]
    attribution: list[Attribution | None]
    difference: Difference
    stratified: Difference


def compare(
    target: np.ndarray,
    target_pairs: np.ndarray,
    name: str,
    angle: np.ndarray,
    pairs: np.ndarray,
    layers: Sequence[int],
    *,
    n_perm: int,
    seed: int,
) -> Baseline:
    """Everything that is said about target [layer prompt] against a baseline [layer prompt draw]."""
    single, averaged = angle[:, :, 0], mean(angle, axis=2)
    modes = modes_by_layer(single, seed)
    attribution = [attribute(found.upper, pairs[0], seed=seed) if found.has_two else None for found in modes]
    two = [layer for layer, found in zip(layers, modes, strict=True) if found.has_two]
    stratified = Difference(None, None)
    if two:
        positions = tuple(
            sorted({a.position for a in attribution if a is not None and a.position is not None})
        )
        note = f"not run: two modes in {named_layers(two)}, so differences are not symmetric under the null"
        difference = Difference(None, None, note)
        if positions:
            stratified = _without(target, target_pairs, angle, pairs, positions, n_perm, seed)
    else:
        difference = _difference(target - averaged, single, n_perm, seed)
    return Baseline(
        name,
        angle,
        pairs,
        mean_or_nothing(averaged.T, seed=seed),
        mean(quantile(angle, 0.5), axis=1),
        mean(quantile(angle, 0.75) - quantile(angle, 0.25), axis=1),
        modes,
        attribution,
        difference,
        stratified,
    )


def modes_by_layer(single: np.ndarray, seed: int) -> list[TwoModes]:
    """`two_modes_by_layer` of [layer prompt]; too few texts give "one mode" and say so."""
    try:
        return two_modes_by_layer(single.T, seed=seed)
    except InputError as error:
        nan = float("nan")
        pair = (nan, nan)
        nothing = np.zeros(single.shape[1], dtype=bool)
        return [TwoModes(False, pair, pair, pair, nan, nan, nan, nan, str(error), nothing, 0)] * len(single)


def without_position(single: np.ndarray, pairs: np.ndarray, position: int = 0) -> np.ndarray:
    """The single draw [layer prompt] with NaN where its pair [prompt 2] contains a position."""
    return np.where((pairs == position).any(axis=-1), np.nan, single)


def quantile(x: np.ndarray, q: float) -> np.ndarray:
    """Quantile over axis 1 of what is not NaN; NaN where nothing is left."""
    gone = np.isnan(x).all(axis=tuple(a for a in range(x.ndim) if a != 1))
    kept = x[:, ~gone]
    if kept.shape[1] == 0:
        return np.full((x.shape[0], *x.shape[2:]), np.nan)
    if not np.isnan(kept).any():
        return np.asarray(np.quantile(kept, q, axis=1))
    empty = np.isnan(kept).all(axis=1)
    filled = np.where(np.expand_dims(empty, 1), 0.0, kept)
    return np.where(empty, np.nan, np.nanquantile(filled, q, axis=1))


def pairs_of_sinks(
    length: np.ndarray, pairs: np.ndarray, angle: np.ndarray, adjacent: np.ndarray
) -> np.ndarray:
    """True [layer prompt] where both tokens of a prompt's pair are sinks, by `both_sinks`.

    Args:
        length: of each token's vector, [layer prompt pos], NaN after a prompt's end.
        pairs: positions [prompt 2], −1 for none.
        angle: of these pairs, [layer prompt].
        adjacent: of all neighbours, [layer prompt pair], whose median is the typical angle.
    """
    real = np.isfinite(length).all(axis=0)
    usual = typical_norm(length[:, real], np.nonzero(real)[1] == 0)
    ratio = length[:, np.arange(len(pairs))[:, None], np.maximum(pairs, 0)] / usual[:, None, None]
    typical = quantile(adjacent.reshape(len(length), -1), 0.5)
    return both_sinks(ratio, angle, typical) & (pairs >= 0).all(axis=-1)


def _without(
    target: np.ndarray,
    target_pairs: np.ndarray,
    angle: np.ndarray,
    pairs: np.ndarray,
    positions: tuple[int, ...],
    n_perm: int,
    seed: int,
) -> Difference:
    """The comparison once more, without the pairs at positions that explain the two modes."""
    keep = ~np.isin(pairs, positions).any(axis=-1)  # draw prompt
    left = np.where(keep.T, angle, np.nan)
    first = np.argmax(keep, axis=0)
    single = np.take_along_axis(left, np.broadcast_to(first[:, None], (len(left), *first.shape, 1)), axis=2)
    named = " and ".join(map(str, positions))
    if any(found.has_two for found in modes_by_layer(single[:, :, 0], seed)):
        return Difference(None, None, f"two modes remain without position {named}")
    aimed = np.where(np.isin(target_pairs, positions).any(axis=-1), np.nan, target)
    return _difference(aimed - mean(left, axis=2), single[:, :, 0], n_perm, seed)


def _difference(difference: np.ndarray, single: np.ndarray, n_perm: int, seed: int) -> Difference:
    """Band and test, where the single draw [layer prompt] has enough texts to have shown two modes."""
    count = int(np.isfinite(difference).any(axis=0).sum())
    if count < MIN_TEXTS:
        return Difference(None, None, f"not run: {count} texts have both angles")
    in_layer = np.isfinite(single).sum(axis=1)
    seen = int(in_layer[in_layer > 0].min(initial=len(single[0])))
    if seen < MODES_FROM:
        why = "so the difference may not be symmetric under the null"
        return Difference(None, None, f"not run: {seen} texts, too few to look for two modes, {why}")
    band = simultaneous_band(difference.T, seed=seed)
    return Difference(band, sign_flip(difference.T, n_perm=n_perm, seed=seed))
