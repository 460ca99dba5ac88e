"""Classes of words: error rate of the test of all ratios, coverage of their band, verdicts; what frequency
alone makes must be seen through."""

from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.studies.measured import to_dataset
from laminar_lens.studies.speech.answer import answer
from laminar_lens.studies.speech.classes import CLASSES
from laminar_lens.studies.speech.measure import Measurement
from laminar_lens.studies.study import Answer
from tests.validate.bounds import coverage_ok, least_hits, rejections_range
from tests.validate.rows import Row

LAYERS, WORDS, N_PERM, SETS, SIZES = 4, 60, 199, 500, (54, 200)
SHARES = (0.3, 0.2, 0.1, 0.4)
LEVELS = (0.05, 0.10)
LONGER = {"nouns": 0.06, "verbs": 0.02, "adjectives": 0.0, "function words": -0.03}
"""Logarithm of how much longer a class's paths are made."""
RARER = {"nouns": 1.0, "verbs": 0.5, "adjectives": -1.0, "function words": -2.0}
"""By how much a class's words are rarer, in logarithms."""
SLOPE = 0.1
"""How much longer the path of a word is that is rarer by a factor of e."""
ZERO = dict.fromkeys(CLASSES, 0.0)


def run(seeds: int) -> list[Row]:
    """Of classes that do and that do not differ, with and without frequencies that do."""
    n_sets = min(seeds, SETS)
    rows = [row for n in SIZES for row in _coverage(n, n_sets)]
    shorter = {name: -value for name, value in LONGER.items()}
    needed = least_hits(n_sets, 0.95)
    for name, how, verdicts in (
        ("nouns' paths 6% longer", {"longer": LONGER}, {"N1": "holds", "N2": "holds"}),
        ("nouns' paths 6% shorter", {"longer": shorter}, {"N1": "fails", "N2": "fails"}),
        ("frequency makes it", {"rarer": RARER}, {"N1": "fails", "N2": "holds"}),
    ):
        hits = 0
        for seed in range(n_sets):
            found = _answer(measurement(120, seed=[6, seed], noise=0.02, **how), seed).claims
            hits += all(found[claim].verdict == verdict for claim, verdict in verdicts.items())
        said = ", ".join(f"{claim} {verdict}" for claim, verdict in verdicts.items())
        rows.append(Row(name, f"{said}, 120 texts", f"in ≥ {needed}", str(hits), n_sets, hits >= needed))
    return rows


def _coverage(n: int, n_sets: int) -> list[Row]:
    rows = []
    for name, how in {"nothing differs": {}, "all differ": {"longer": LONGER, "rarer": RARER}}.items():
        p, covered = np.zeros(n_sets), 0
        for seed in range(n_sets):
            data = _answer(measurement(n, seed=[7, n, len(how), seed], **how), seed).data
            p[seed] = float(data["ratio_p"].min())
            truth = np.exp(expected(**how))
            covered += bool(((data["ratio_low"] <= truth) & (truth <= data["ratio_high"])).all())
        setting, measured = f"{name}, {n} texts of {WORDS} words", f"{100 * covered / n_sets:.1f}%"
        ok = coverage_ok(covered, n_sets)
        rows.append(Row("band of 36 ratios", setting, "covers in 93–97%", measured, n_sets, ok))
        for level in () if how else LEVELS:
            low, high = rejections_range(n_sets, level)
            hits = int((p <= level).sum())
            setting, ok = f"{n} texts, 36 ratios, level {level:g}", low <= hits <= high
            rows.append(
                Row("test of no difference", setting, f"{low}–{high} rejections", str(hits), n_sets, ok)
            )
    return rows


def expected(longer: dict[str, float] = ZERO, rarer: dict[str, float] = ZERO) -> np.ndarray:
    """The logarithms of all ratios [measure pair held]; a path makes neither winding nor rotation."""
    from laminar_lens.studies.speech.effects import pairs

    names = list(CLASSES)
    of = [(names[a], names[b]) for a, b in pairs(len(names))]
    matched = np.array([longer[a] - longer[b] for a, b in of])
    plain = matched + SLOPE * np.array([rarer[a] - rarer[b] for a, b in of])
    found = np.zeros((3, len(of), 2))
    found[0] = np.stack([plain, matched], axis=1)
    return found


def _answer(data: xr.Dataset, seed: int) -> Answer:
    return answer(data.assign_attrs(seed=seed), classes=tuple(CLASSES), n_perm=N_PERM)


def measurement(
    n: int,
    *,
    seed: Any,
    longer: dict[str, float] = ZERO,
    rarer: dict[str, float] = ZERO,
    noise: float = 0.2,
    words: int = WORDS,
) -> xr.Dataset:
    """What `n` texts might have given; texts differ in how long their paths are, and in how words do.

    Args:
        longer: logarithm of how much longer the paths of a class's words are.
        rarer: by how much, in logarithms, they are rarer; rarer words have longer paths.
        noise: spread of a word's logarithms.
    """
    rng = np.random.default_rng(seed)
    size, names = (n, words), list(CLASSES)
    kind = rng.choice(len(names), size, p=SHARES)
    by_class = [np.array([of[name] for name in names])[kind] for of in (longer, rarer)]
    rare = by_class[1] + rng.normal(size=size)
    n_tokens, n_characters = rng.geometric(0.6, size), 1 + rng.poisson(5, size)
    position = np.tile(np.arange(1, words + 1), (n, 1))
    made = 4 + by_class[0] + SLOPE * rare + 0.05 * np.log(n_tokens) - 0.03 * np.log(position)
    made = made + 0.02 * np.log(n_characters)
    made = made + 0.1 * rng.normal(size=(n, 1)) + noise * rng.standard_t(8, size)
    wind, turn = 0.7 + noise * rng.normal(size=size), -0.5 + noise * rng.normal(size=size)
    path = np.exp(made)
    so_far = np.arange(1, LAYERS + 1)[None, :, None] / LAYERS
    found = Measurement(
        step=np.repeat(path[:, None] / LAYERS, LAYERS, axis=1),
        displacement=so_far * (path / np.exp(wind))[:, None],
        rotation=np.repeat(np.exp(turn)[:, None], LAYERS, axis=1),
        kind=kind,
        count=np.exp(3 - rare),
        n_tokens=n_tokens.astype(float),
        position=position.astype(float),
        n_characters=n_characters.astype(float),
        mean_state=rng.normal(size=(len(names), LAYERS + 1, 8)),
        layer=np.arange(1, LAYERS + 1),
        state=np.arange(LAYERS + 1),
        tagger="a tagger",
        observed="texts",
        tags=np.array(["NOUN", "VERB", "ADJ", "DET"], dtype=object),
        tokens="last",
    )
    return to_dataset(found, seed=0)
