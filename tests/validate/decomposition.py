"""Whether writes to a token are related: error rate, coverage, false discoveries and power over layers."""

import numpy as np
import torch
from scipy.stats import kstest

from laminar_lens.stats.bootstrap import mean_interval, simultaneous_band
from laminar_lens.stats.false_discovery import LEVEL, discovery_values
from laminar_lens.stats.permutation import sign_flip
from laminar_lens.studies.decomposition.parts import Writes, other_tokens
from tests.validate.bounds import coverage_ok, least_hits, rejections_range
from tests.validate.rows import Row

N_LAYERS, N_TOKENS, WIDTH, N_PERM, NULL_SETS = 8, 16, 24, 1999, 500
SIZES = (20, 54, 200)
LEVELS = (0.01, 0.05, 0.10)
KINDS = ("normal", "a direction in common", "few tokens, heavy tails")
UNIFORM = 1e-3
"""A Kolmogorov–Smirnov test of uniform p-values passes above it."""


def run(seeds: int) -> list[Row]:
    """p-values and intervals on exchangeable tokens, then related writes in half of the layers."""
    n_sets = min(seeds, NULL_SETS)
    rows: list[Row] = []
    for kind in KINDS:
        for n in SIZES:
            rows += _null_rows(kind, n, n_sets)
    return [*rows, *_discovery_rows(n_sets)]


def differences(seed: int, kind: str, n: int, related: np.ndarray | None = None) -> np.ndarray:
    """By text and layer: cosine of the writes to a token minus that of writes to different ones.

    Tokens of a layer are exchangeable; where `related`, the MLP's write holds a part of attention's.
    """
    rng, found = np.random.default_rng([11, seed, n, KINDS.index(kind)]), np.zeros((n, N_LAYERS))
    few = kind.startswith("few")
    length = 3 if few else N_TOKENS
    for layer in range(N_LAYERS):
        x, attn, mlp = rng.normal(size=(3, n, length, WIDTH))
        if kind != "normal":
            attn, mlp = attn + rng.normal(size=WIDTH), mlp + rng.normal(size=WIDTH)
        if few:
            tail = rng.chisquare(2, size=(2, n, length, 1))
            attn, mlp = np.stack([attn, mlp]) / tail + rng.normal(size=(2, n, 1, WIDTH))
        if related is not None and related[layer]:
            mlp = mlp + 0.25 * attn
        terms = [torch.from_numpy(np.ascontiguousarray(one)) for one in (x, attn, mlp)]
        same = Writes.of(*terms, parallel=False).cosine.mean(-1)
        found[:, layer] = (same - other_tokens(*terms[1:])).numpy()
    return found


def _null_rows(kind: str, n: int, n_sets: int) -> list[Row]:
    first, covered, banded = np.zeros(n_sets), 0, 0
    for seed in range(n_sets):
        x = differences(seed, kind, n)
        first[seed] = sign_flip(x, n_perm=N_PERM, seed=seed).p_alone[0]
        alone = mean_interval(x[:, 0], seed=seed)
        covered += bool(alone.low <= 0 <= alone.high)
        if n >= 54:
            band = simultaneous_band(x, seed=seed)
            banded += bool(((band.low <= 0) & (band.high >= 0)).all())
    setting = f"{kind}, {n} texts"
    rows = []
    for level in LEVELS:
        low, high = rejections_range(n_sets, level)
        found = int((first <= level).sum())
        bound, said = f"{low}–{high} rejections", f"{found} rejections"
        ok = low <= found <= high
        rows.append(Row("p of a layer, exchangeable", f"{setting}, level {level:g}", bound, said, n_sets, ok))
    uniform = float(kstest(first, "uniform").pvalue)
    bound = f"Kolmogorov–Smirnov p > {UNIFORM:g}"
    rows.append(Row("p of a layer is uniform", setting, bound, f"{uniform:.3f}", n_sets, uniform > UNIFORM))
    shares = {"interval of the difference": covered} | ({"its band over layers": banded} if n >= 54 else {})
    for name, hits in shares.items():
        ok, said = coverage_ok(hits, n_sets), f"{hits / n_sets:.1%}"
        rows.append(Row(f"{name} covers 0", setting, "95% interval covers in 93–97%", said, n_sets, ok))
    return rows


def _discovery_rows(n_sets: int) -> list[Row]:
    """Half of the layers have related writes: the share of false discoveries, and how many are made."""
    related = np.arange(N_LAYERS) < N_LAYERS // 2
    shares, found = np.zeros(n_sets), 0
    for seed in range(n_sets):
        x = differences(seed, KINDS[1], SIZES[1], related)
        named = discovery_values(sign_flip(x, n_perm=N_PERM, seed=seed).p_alone) <= LEVEL
        shares[seed] = named[~related].sum() / max(int(named.sum()), 1)
        found += bool(named[related].all())
    slack = 3 * shares.std() / np.sqrt(n_sets)
    needed = least_hits(n_sets, 0.95)
    setting = f"{KINDS[1]}, {SIZES[1]} texts, related in 4 of {N_LAYERS} layers"
    share = float(shares.mean())
    return [
        Row(
            "false discoveries",
            setting,
            "at most 5% on average",
            f"{share:.2%}",
            n_sets,
            share <= LEVEL + slack,
        ),
        Row(
            "related writes are found",
            setting,
            f"in all 4 layers in ≥ {needed}",
            str(found),
            n_sets,
            found >= needed,
        ),
    ]
