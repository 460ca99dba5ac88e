"""Error rate and power of the sign-flip test over layers."""

import numpy as np

from laminar_lens.stats.permutation import sign_flip
from tests.validate.bounds import least_hits, rejections_range
from tests.validate.rows import Row

N_TEXTS, N_LAYERS, N_PERM, NULL_SETS = 54, 49, 999, 500
LEVELS = (0.01, 0.05, 0.10)


def run(seeds: int) -> list[Row]:
    """Rejections on true nulls (normal, heavy-tailed, grouped), and a planted difference in three layers."""
    n_sets = min(seeds, NULL_SETS)
    rows = []
    for noise in ("normal", "t with 3 degrees of freedom", "normal, groups of 3 texts"):
        p = np.array([_null_p(noise, seed) for seed in range(n_sets)])
        for level in LEVELS:
            low, high = rejections_range(n_sets, level)
            rejected = int((p <= level).sum())
            rows.append(
                Row(
                    "sign-flip p on a true null",
                    f"{noise}, {N_TEXTS} texts, {N_LAYERS} layers, level {level:g}",
                    f"{low}–{high} rejections",
                    f"{rejected} rejections",
                    n_sets,
                    low <= rejected <= high,
                )
            )
    found = sum(_planted_found(seed) for seed in range(n_sets))
    needed = least_hits(n_sets, 0.95)
    rows.append(
        Row(
            "sign-flip finds a planted difference",
            "one standard deviation in layers 20–22",
            f"p ≤ 0.05 in all three in ≥ {needed}",
            str(found),
            n_sets,
            found >= needed,
        )
    )
    return rows


def _layers(rng: np.random.Generator, n: int) -> np.ndarray:
    return 0.6 * rng.normal(size=(n, 1)) + 0.8 * rng.normal(size=(n, N_LAYERS))


def _null_p(noise: str, seed: int) -> float:
    rng = np.random.default_rng([5, seed])
    x = _layers(rng, N_TEXTS)
    groups = None
    if noise.startswith("t "):
        x = x / np.sqrt(rng.chisquare(3, size=(N_TEXTS, 1)) / 3)
    elif "groups" in noise:
        groups = np.arange(N_TEXTS) // 3
        x = x + rng.normal(size=(N_TEXTS // 3, N_LAYERS))[groups]
    return sign_flip(x, groups=groups, n_perm=N_PERM, seed=seed).p_overall


def _planted_found(seed: int) -> bool:
    x = _layers(np.random.default_rng([6, seed]), N_TEXTS)
    x[:, 20:23] += 1.0
    return bool((sign_flip(x, n_perm=N_PERM, seed=seed).p[20:23] <= 0.05).all())
