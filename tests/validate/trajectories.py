"""Trajectories: coverage of every band, error rate of the test of T2, and verdicts of what lies on the edge.

Where groups share their prompts and where each has its own.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import Interval
from laminar_lens.studies.measured import of_dataset, to_dataset
from laminar_lens.studies.study import Answer
from laminar_lens.studies.trajectories.answer import answer
from laminar_lens.studies.trajectories.centres import every_part
from laminar_lens.studies.trajectories.facts import Facts
from laminar_lens.studies.trajectories.measure import PLACES, Measurement
from tests.validate.bounds import FULL, coverage_ok, least_hits, rejections_range
from tests.validate.rows import Row

WORDS = (" her", " him", " round")
PAIRS = list(combinations(range(len(WORDS)), 2))
LAYERS, SETS, SIZES = 6, 1000, (54, 200)
NULLS, LEVELS, N_PERM = 500, (0.05, 0.10, 0.50), 199
ENDS = ("_low", "_high")
CORNERS = np.array([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]) / 3**0.5
"""Of a triangle of side 1: each two groups are as far apart."""
PARTS = 50
"""So many times 4,000 prompts at most, whose means are the truth."""
OWN_SIZES = ((20, 20, 20), (54, 54, 54), (20, 54, 200))
"""Prompts of groups that have their own."""
HIDDEN, PARTING, WIDTH, BASE, NOISE = 0.3, 0.2, 8, 4.0, 0.5
"""Of those: share left out and growth with depth; numbers of a vector, length of what all have, spread."""
WIDE, LOUD = 64, (0.6, 1.3)
"""Of vectors whose means chance sets apart: 0.9 and 4 times the square of 1, of 54 prompts each, almost all
of it outside the plane."""
SHARES = np.array([0.4, 0.2, 0.1])


def run(seeds: int) -> list[Row]:
    """Bands of made-up trajectories whose truths are known, and truths on the edge of each claim."""
    n_sets = min(seeds, SETS)
    truth, own_truth = _truth(PARTS if seeds >= FULL else 5), _own_truth()
    return [
        *(row for n in SIZES for row in _covered(n, n_sets, truth)),
        *(row for sizes in OWN_SIZES for row in _own_covered(sizes, n_sets, own_truth)),
        *(_wide(noise, n_sets) for noise in LOUD),
        _nothing(n_sets),
        *(row for sizes in (*SIZES, *OWN_SIZES) for row in _null(sizes, min(n_sets, NULLS))),
        _edge(n_sets),
    ]


def _truth(parts: int) -> dict[str, np.ndarray]:
    """Means of very many prompts, without intervals."""
    made = []
    for part in range(parts):
        data = measurement(4000, seed=[9, part], hidden=0.3, parting=0.2, first=0.4)
        facts = facts_of(data, 0)
        full, plane = facts.distances.swapaxes(0, 1)
        outside = np.sqrt(full**2 - plane**2)
        each = (facts.distances, facts.hidden_shares, facts.relatives, facts.scores, facts.turns, outside)
        made.append([one.mean(axis=0) for one in each])
    *found, outside = (np.mean(each, axis=0) for each in zip(*made, strict=True))
    truth = dict(zip(NAMES, found, strict=False))
    plane = truth["distance"][1]
    whole = np.hypot(plane, outside)
    return truth | {"mean_distance": np.stack([whole, plane]), "mean_hidden": 1 - (plane / whole) ** 2}


NAMES = ("distance", "hidden", "relative", "parting", "turning", "mean_distance", "mean_hidden")


def _covered(n: int, n_sets: int, truth: dict[str, np.ndarray]) -> list[Row]:
    truth |= {"first_share": np.array([0.4]), "explained": SHARES, "explained_so_far": SHARES.cumsum()}
    hits = dict.fromkeys(truth, 0)
    for seed in range(n_sets):
        facts = facts_of(measurement(n, seed=[1, n, seed], hidden=0.3, parting=0.2, first=0.4), seed)
        for name, right in truth.items():
            hits[name] += inside(getattr(facts, name), right)
    check = "band of trajectories"
    return [_covers(check, f"{name}, {n} prompts", hit, n_sets) for name, hit in hits.items()]


def _own_covered(sizes: tuple[int, ...], n_sets: int, truth: dict[str, np.ndarray]) -> list[Row]:
    hits = dict.fromkeys(truth, 0)
    for seed in range(n_sets):
        facts = facts_of(own_measurement(sizes, seed=[4, *sizes, seed]), seed)
        for name, right in truth.items():
            hits[name] += inside(getattr(facts, name), right)
    check, where = "band of groups' means", _of_their_own(sizes)
    return [_covers(check, f"{name}, {where}", hit, n_sets, 0.98) for name, hit in hits.items()]


def _covers(check: str, setting: str, hits: int, n_sets: int, most: float = 0.97) -> Row:
    said = f"{100 * hits / n_sets:.1f}%"
    ok = coverage_ok(hits, n_sets, high=most)
    return Row(check, setting, f"covers in 93–{100 * most:.0f}%", said, n_sets, ok)


def _of_their_own(sizes: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, sizes))} prompts of their own"


def _wide(noise: float, n_sets: int) -> Row:
    """What chance adds lies outside the plane: the share that is left out must not be sure of it."""
    hits, needed, right = 0, least_hits(n_sets, 0.93), np.full((len(PAIRS), LAYERS), HIDDEN)
    for seed in range(n_sets):
        made = own_measurement((54, 54, 54), seed=[10, seed], parting=0.0, width=WIDE, noise=noise)
        hits += inside(facts_of(made, seed).hidden, right)
    setting = f"hidden, {_of_their_own((54, 54, 54))}, {WIDE} numbers, noise {noise:g}"
    name, said = "band of groups' means", f"{100 * hits / n_sets:.1f}%"
    return Row(name, setting, "covers in ≥ 93%", said, n_sets, hits >= needed)


def _nothing(n_sets: int) -> Row:
    """Groups whose means are the same: chance sets them apart, and the band must know."""
    hits, needed = 0, least_hits(n_sets, 0.95)
    for seed in range(n_sets):
        facts = facts_of(own_measurement((20, 20, 20), seed=[5, seed], size=0.0), seed)
        hits += bool((facts.distance.low == 0).all())
    name, setting = "groups that are not apart", f"0 in the band, {_of_their_own((20, 20, 20))}"
    return Row(name, setting, f"in ≥ {needed}", str(hits), n_sets, hits >= needed)


def _null(sizes: int | tuple[int, ...], n_sets: int) -> list[Row]:
    """p of distances that do not change with depth: uniform."""
    p = np.zeros(n_sets)
    for seed in range(n_sets):
        if isinstance(sizes, int):
            data = measurement(sizes, seed=[6, sizes, seed], hidden=0.3, parting=0.0, first=0.4)
        else:
            data = own_measurement(sizes, seed=[7, *sizes, seed], parting=0.0)
        p[seed] = float(facts_of(data, seed).p.min())
    where = (
        f"{sizes} prompts" if isinstance(sizes, int) else f"{', '.join(map(str, sizes))} prompts of their own"
    )
    rows = []
    for level in LEVELS:
        (low, high), hits = rejections_range(n_sets, level), int((p <= level).sum())
        setting, required = f"{where}, level {level:g}", f"{low}–{high} rejections"
        rows.append(
            Row("test of no change with depth", setting, required, str(hits), n_sets, low <= hits <= high)
        )
    return rows


def _edge(n_sets: int) -> Row:
    """Half left out, no change with depth, half of the first axis: called neither true nor false."""
    wrong = 0
    for seed in range(n_sets):
        made = answer_again(measurement(54, seed=[3, seed], hidden=0.5, parting=0.0, first=0.5), seed)
        wrong += any(claim.verdict != "undetermined" for claim in made.claims.values())
    most = rejections_range(n_sets, 0.15)[1]
    said = f"not in ≤ {most}"
    return Row(
        "a truth on the edge stays open",
        "three claims of trajectories",
        said,
        str(wrong),
        n_sets,
        wrong <= most,
    )


def inside(found: Interval, truth: np.ndarray) -> bool:
    """Whether a band covers the truth wherever there is one."""
    known = np.isfinite(found.low)
    return bool(((found.low <= truth) & (truth <= found.high))[known].all() and known.any())


def facts_of(data: xr.Dataset, seed: int) -> Facts:
    """What the answer rests on."""
    return Facts(of_dataset(Measurement, data), N_PERM, seed)


def answer_again(data: xr.Dataset, seed: int = 0) -> Answer:
    """The answer under a seed."""
    return answer(data.assign_attrs(seed=seed), n_perm=N_PERM)


def measurement(n: int, *, seed: Any, hidden: float, parting: float, first: float) -> xr.Dataset:
    """What `n` prompts might have given: each two groups differ by a distance that grows by `parting` from
    the first third of the layers to the last, over a norm of 1, and of which the plane leaves out a share, on
    average `hidden`. What is random is a prompt's own."""
    rng = np.random.default_rng(seed)
    share = np.clip(hidden + 0.1 * _noise(rng, n, LAYERS), 0.01, 0.99)  # [prompt layer]
    size = _growing(parting) + 0.05 * _noise(rng, n, LAYERS)
    way = np.cumsum(rng.normal(size=(n, 1, 1, LAYERS, 2)), axis=3)  # of a prompt, the same in every group
    sides = (np.sqrt(1 - share) * size)[:, None, None, :, None] * CORNERS[:, None, None, :]
    beside = rng.normal(size=(n, len(WORDS), len(PLACES), LAYERS, 2)) * np.array([1, 0, 1])[:, None, None]
    plane = way + sides + beside
    made = _made(
        coordinate=np.concatenate([plane, rng.normal(size=(*plane.shape[:-1], 1))], axis=-1),
        distance=np.stack([size] * len(PAIRS), axis=1),
        norm=np.ones((n, len(WORDS), LAYERS)),
        depth_turn=1.5 + 0.1 * rng.normal(size=(n, len(WORDS), LAYERS)),
        position_turn=2.0 + 0.1 * rng.normal(size=(n, len(WORDS), LAYERS)),
        first=first + 0.1 * rng.normal(size=n),
        vectors=[_vectors(share, size, corner) for corner in CORNERS],
        rows=[np.arange(n)] * len(WORDS),
        rng=rng,
    )
    made.depth_turn[..., [0, -1]] = np.nan
    return to_dataset(made, seed=0)


def own_measurement(
    sizes: Sequence[int], *, seed: Any, size: float = 1.0, parting: float = PARTING, hidden: float = HIDDEN,
    width: int = WIDTH, noise: float = NOISE,
) -> xr.Dataset:  # fmt: skip
    """What groups of so many prompts of their own might have given: their means are apart by `size`, which
    grows by `parting` in all, in a plane and outside; each prompt's vector is random around its group's."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    x = _around(rng, group, _apart(group, size, parting, hidden), width, noise)
    rows = [np.flatnonzero(group == one) for one in range(len(sizes))]
    by_word = np.full((len(group), len(sizes), LAYERS), np.nan)
    by_word[np.arange(len(group)), group] = np.linalg.norm(x, axis=-1)
    coordinate = np.full((len(group), len(sizes), len(PLACES), LAYERS, 3), np.nan)
    coordinate[np.arange(len(group)), group, 1] = x[..., :3]
    made = _made(
        coordinate=coordinate,
        distance=None,
        norm=by_word,
        depth_turn=by_word,
        position_turn=by_word,
        first=0.4 + 0.1 * rng.normal(size=len(group)),
        vectors=[x[one] for one in rows],
        rows=rows,
        rng=rng,
    )
    return to_dataset(made, seed=0)


def _own_truth() -> dict[str, np.ndarray]:
    rng, size = np.random.default_rng(8), _growing(PARTING)
    group = np.repeat(np.arange(len(WORDS)), 30_000)
    norm = np.linalg.norm(_around(rng, group, _apart(group, 1.0, PARTING, HIDDEN)), axis=-1)
    means = np.stack([norm[group == one].mean(axis=0) for one in range(len(WORDS))])
    relative = np.stack([2 * size / (means[a] + means[b]) for a, b in PAIRS])
    third = LAYERS // 3
    return {
        "distance": np.stack([[size] * len(PAIRS), [(1 - HIDDEN) ** 0.5 * size] * len(PAIRS)]),
        "hidden": np.full((len(PAIRS), LAYERS), HIDDEN),
        "relative": relative,
        "parting": relative[:, -third:].mean(axis=1) - relative[:, :third].mean(axis=1),
    }


def _apart(group: np.ndarray, size: float, parting: float, hidden: float) -> np.ndarray:
    """Means of the groups of prompts, [prompt layer 4]."""
    lengths = np.broadcast_to(size * _growing(parting), (len(group), LAYERS))
    found = np.zeros((len(group), LAYERS, 4))
    for one, corner in enumerate(CORNERS):
        found[group == one] = _vectors(hidden, lengths[group == one], corner)
    return found


def _around(
    rng: np.random.Generator, group: np.ndarray, means: np.ndarray, width: int = WIDTH, noise: float = NOISE
) -> np.ndarray:
    """Vectors [prompt layer number] around the means of their groups."""
    x = np.zeros((len(group), LAYERS, width))
    x[..., :4] = means
    x[..., -1] += BASE
    shared = rng.standard_t(8, size=(len(group), 1, width)), rng.standard_t(8, size=x.shape)
    return np.asarray(x + noise * 0.75**0.5 * (0.6 * shared[0] + 0.8 * shared[1]))


def _vectors(share: Any, size: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Of one group, [prompt layer 4]: two numbers in the plane, two that it leaves out."""
    parts = (np.sqrt(one) * size for one in (1 - share, share))
    return np.concatenate([part[..., None] * corner for part in parts], axis=-1)


def _growing(parting: float) -> np.ndarray:
    return np.asarray(1 + parting * np.repeat([-0.5, 0.0, 0.5], LAYERS // 3))


def _made(
    *, vectors: list[np.ndarray], rows: list[np.ndarray], first: np.ndarray, rng: np.random.Generator,
    **how: Any,
) -> Measurement:  # fmt: skip
    """With what is the same in both designs; the distances of means are those of `vectors`."""
    n, paired = len(how["coordinate"]), how["distance"] is not None
    means = [one.mean(axis=0) for one in vectors]
    along = np.concatenate([SHARES, [1 - SHARES.sum()]]) * rng.gamma(4, 0.25, size=(n, 4))
    along *= 1 + 0.3 * rng.exponential(size=(n, 1))
    along /= along.sum() / n
    return Measurement(
        part=every_part(vectors, rows, n, paired=paired),
        published=np.stack([np.linalg.norm(means[a] - means[b], axis=-1) for a, b in PAIRS]),
        explained=along[:, :3].mean(axis=0),
        along=along[:, :3],
        first_share=first * along[:, 0] / along[:, 0].mean(),
        spread=along.sum(axis=1),
        layer=np.arange(LAYERS),
        word=np.array(WORDS),
        place=np.array(PLACES),
        axis=np.arange(1, 4),
        target_at=np.full((n, len(WORDS)), 2),
        text=np.full(n, "text", dtype=object),
        paired=paired,
        keep_first=True,
        rows=1000,
        exact=True,
        **how,
    )


def _noise(rng: np.random.Generator, n: int, layers: int) -> np.ndarray:
    """[prompt layer], of which a part is a prompt's in every layer."""
    return np.asarray(0.6 * rng.normal(size=(n, 1)) + 0.8 * rng.normal(size=(n, layers)))
