"""The three-valued warm-up answer on simulated angles whose k* is known.

Angles have a text's own level, scatter that is normal or skewed (a shifted exponential) and shared between
layers, and scatter of their own. A share that must stay below 5% may exceed it by what chance gives in that
many data sets (the 99% quantile of the binomial).
"""

import numpy as np
from scipy.stats import binom

from laminar_lens.stats.warmup import MIN_SHOWN, WarmupAnswer, warmup
from laminar_lens.stats.warmup_shape import effects
from laminar_lens.studies.options import USUAL_TEXTS
from tests.validate.rows import Row

TAU = 0.05
STATED = {"n": USUAL_TEXTS, "sd": 0.28, "layers": 9, "pairs": 63}
MAX_LARGE = 200


def texts(
    seed: int,
    n: int,
    *,
    sd: float,
    layers: int = 1,
    pairs: int = 24,
    delta: np.ndarray | None = None,
    skewed: bool = False,
) -> np.ndarray:
    """Angles [text, layer, pair] around 1.2 rad, plus `delta` [pair] in every layer or [layer, pair]."""
    rng = np.random.default_rng([seed, 21])

    def scatter(*shape: int) -> np.ndarray:
        return rng.exponential(size=shape) - 1 if skewed else rng.standard_normal(shape)

    noise = (
        np.sqrt(0.5) * (scatter(n, 1, pairs) + scatter(n, layers, pairs))
        if layers > 1
        else scatter(n, 1, pairs)
    )
    theta = 1.2 + 0.1 * rng.standard_normal((n, 1, 1)) + sd * noise
    return theta if delta is None else theta + delta


def first(k: int, size: float, pairs: int = 24) -> np.ndarray:
    """A step: the first k pairs differ by `size`."""
    return np.where(np.arange(pairs) < k, size, 0.0)


def run(seeds: int) -> list[Row]:
    """All checks; those on the stated n, which are slow, on at most 200 data sets."""
    rows = [_boundary(seeds, n, sd, skewed) for n, sd in ((150, 0.1), (400, 0.2)) for skewed in (False, True)]
    rows += [_sparse(seeds, n) for n in (150, 400)]
    rows.append(_nothing(min(seeds, MAX_LARGE)))
    rows += [_few(seeds, sd) for sd in (0.02, 0.17, 0.28)]
    rows += [_found(seeds, k, size) for k in (1, 2, 4) for size in (2 * TAU, -2 * TAU, 1.0)]
    rows += [_never_more(seeds), _drift(seeds), _enough(min(seeds, MAX_LARGE)), _coverage(seeds)]
    return rows + [_band(seeds, n) for n in (20, 54, 200)]


def _answers(seeds: int, n: int, tau: float = TAU, **settings: object) -> list[WarmupAnswer]:
    return [warmup(texts(seed, n, **settings), tau=tau, seed=seed) for seed in range(seeds)]  # type: ignore[arg-type]


def _at_most(check: str, setting: str, bad: list[bool], what: str, level: float = 0.05) -> Row:
    limit = int(binom.ppf(0.99, len(bad), level))
    required = f"{what} in ≤ {level:.0%} (at most {limit})"
    return Row(check, setting, required, f"{np.mean(bad):.1%} ({sum(bad)})", len(bad), sum(bad) <= limit)


def _at_least(check: str, setting: str, good: list[bool], what: str, share: float = 0.95) -> Row:
    measured = float(np.mean(good))
    return Row(check, setting, f"{what} in ≥ {share:.0%}", f"{measured:.1%}", len(good), measured >= share)


def _boundary(seeds: int, n: int, sd: float, skewed: bool) -> Row:
    found = _answers(seeds, n, sd=sd, delta=first(2, TAU), skewed=skewed)
    bad = [a.overall.k_hi is not None and a.overall.k_hi < 2 for a in found]
    shape = "skewed" if skewed else "normal"
    return _at_most("warm-up: δ = τ exactly, k* = 2", f"n = {n}, sd {sd}, {shape}", bad, "k_hi < k*")


def _sparse(seeds: int, n: int) -> Row:
    """A mean of τ that few texts carry: 2.5% of them, by 2 rad."""
    size = 2.0
    bad = []
    for seed in range(seeds):
        theta = texts(seed, n, sd=0.1)
        theta[np.random.default_rng([seed, 22]).random(n) < TAU / size, :, 0] += size
        k_hi = warmup(theta, tau=TAU, seed=seed).overall.k_hi
        bad.append(k_hi is not None and k_hi < 1)
    setting = f"n = {n}, sd 0.1, {TAU / size:.1%} of texts by {size:g} rad"
    return _at_most("warm-up: δ = τ exactly, k* = 1", setting, bad, "k_hi < k*")


def _nothing(seeds: int) -> Row:
    s = STATED
    found = _answers(seeds, int(s["n"]), sd=s["sd"], layers=int(s["layers"]), pairs=int(s["pairs"]))
    setting = f"n = {s['n']}, sd {s['sd']}, {s['layers']} layers × {s['pairs']} pairs"
    return _at_least(
        "warm-up: δ = 0 at the stated n", setting, [a.overall.skip == 0 for a in found], "skip = 0"
    )


def _few(seeds: int, sd: float) -> Row:
    found = _answers(seeds, 20, sd=sd, layers=3)
    good = [a.overall.verdict == "undetermined" and all(x.skip is None for x in a.layers) for a in found]
    return _at_least("warm-up: too few texts", f"n = 20, δ = 0, sd {sd}", good, "undetermined", 1.0)


def _found(seeds: int, k: int, size: float) -> Row:
    delta = np.stack([np.zeros(24), first(k, size), first(k, size)])
    found = _answers(seeds, 400, sd=0.15, layers=3, delta=delta)
    sign = "wider" if size > 0 else "narrower"
    want = ["none", sign, sign]
    good = [a.overall.skip == k and [x.sign for x in a.layers] == want for a in found]
    setting = f"δ = {size:+.2g} rad, k* = {k}, in 2 of 3 layers, n = 400, sd 0.15"
    return _at_least("warm-up: found", setting, good, "skip = k*, layers and sign")


def _never_more(seeds: int) -> Row:
    found = _answers(seeds, 200, sd=0.2, layers=3, delta=first(2, TAU))
    bad = [a.overall.verdict == "drift" or (a.overall.k_lo or 0) > 0 for a in found]
    return _at_most("warm-up: δ = τ is not above τ", "n = 200, sd 0.2, 3 layers", bad, "k_lo > 0")


def _drift(seeds: int) -> Row:
    delta = np.linspace(0.3, 0, 24)
    found = _answers(seeds, 400, sd=0.15, delta=delta * 2)
    good = [a.overall.verdict == "drift" for a in found]
    return _at_least("warm-up: drift", "0.6 rad along the text, n = 400, sd 0.15", good, "drift")


def _enough(seeds: int) -> Row:
    """The number of texts that a study of 150 names does what it says, about nine times in ten: it shows an
    upper bound, or makes the answer exact."""
    decided = []
    for seed in range(seeds):
        pilot = warmup(texts(seed, 150, sd=0.2, layers=3), seed=seed).overall
        n = pilot.n_needed
        fresh = None if n is None else warmup(texts(seed + 10**6, n, sd=0.2, layers=3), seed=seed).overall
        wanted = pilot.verdict == "undetermined" or (fresh is not None and fresh.verdict == "exact")
        decided.append(fresh is not None and fresh.skip is not None and wanted)
    return _at_least(
        "warm-up: n that would decide", "named by 150 texts, sd 0.2, δ = 0", decided, "decided", 0.8
    )


def _coverage(seeds: int) -> Row:
    """The interval that a sentence names, of layers chosen by looking: half of 12 layers lie near the
    threshold."""
    size = np.linspace(0.02, 0.12, 12)
    delta = np.where(np.arange(24) < 1, size[:, None], 0.0)
    hits = []
    for seed in range(seeds):
        theta = texts(seed, 400, sd=0.2, layers=12, delta=delta)
        d = theta - theta[:, :, 16:].mean(-1, keepdims=True)
        for effect in effects(d, 1, TAU, seed=seed):
            truth = np.mean([size[layer] for layer, _ in effect.cells])
            hits.append(bool(effect.interval.low <= truth <= effect.interval.high))
    return _covers("warm-up: interval of named layers", "12 layers with δ of 0.02 … 0.12 rad, n = 400", hits)


def _band(seeds: int, n: int) -> Row:
    """The simultaneous band covers every tested pair of every layer at once, or is withheld."""
    setting = f"3 layers × 24 pairs, δ = 0, n = {n}, sd 0.2"
    if n < MIN_SHOWN:
        (answer,) = _answers(1, n, sd=0.2, layers=3)
        none = bool(np.isnan([answer.band_low, answer.band_high]).all())
        shown = f"withheld: {n} texts, validated from {MIN_SHOWN} up" if none else "shown"
        return Row("warm-up: simultaneous band", setting, "withheld", shown, 1, none)
    found = _answers(seeds, n, sd=0.2, layers=3)
    tested = found[0].reference[0]
    hits = [bool(((a.band_low <= 0) & (a.band_high >= 0))[:, :tested].all()) for a in found]
    return _covers("warm-up: simultaneous band", setting, hits)


def _covers(check: str, setting: str, hits: list[bool]) -> Row:
    n = max(len(hits), 1)
    share = sum(hits) / n
    low, high = (float(binom.ppf(q, n, 0.95)) / n for q in (0.005, 0.995))
    low, high = min(low, 0.93), max(high, 0.97)
    required = f"95% interval covers in {low:.1%}–{high:.1%}"
    return Row(check, setting, required, f"{share:.1%}", len(hits), low <= share <= high)
