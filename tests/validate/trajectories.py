"""Trajectories: coverage of every band, and verdicts of what lies on the edge."""

from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.studies.measured import of_dataset, to_dataset
from laminar_lens.studies.study import Answer
from laminar_lens.studies.trajectories.answer import answer
from laminar_lens.studies.trajectories.facts import Facts
from laminar_lens.studies.trajectories.measure import PLACES, Measurement
from tests.validate.bounds import coverage_ok, rejections_range
from tests.validate.rows import Row

WORDS = (" her", " him", " round")
PAIRS = list(combinations(range(len(WORDS)), 2))
LAYERS, SETS, SIZES = 6, 1000, (54, 200)
ENDS = ("_low", "_high")
CORNERS = np.array([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]) / 3**0.5
"""Of a triangle of side 1: each two groups are as far apart."""
PARTS = 50
"""So many times 4,000 prompts, whose means are the truth."""


def run(seeds: int) -> list[Row]:
    """Bands of made-up trajectories whose truths are known, and truths on the edge of each claim."""
    n_sets = min(seeds, SETS)
    truth = _truth()
    return [*(row for n in SIZES for row in _covered(n, n_sets, truth)), _edge(n_sets)]


def _truth() -> dict[str, np.ndarray]:
    """Means of very many prompts, without intervals."""
    parts = []
    for part in range(PARTS):
        data = measurement(4000, seed=[9, part], hidden=0.3, parting=0.2, first=0.4)
        facts = Facts(of_dataset(Measurement, data), 0)
        third, relative = LAYERS // 3, facts.relatives
        parting = relative[..., -third:].mean(axis=2) - relative[..., :third].mean(axis=2)
        each = (facts.distances, facts.hidden_shares, relative, parting, facts.turns)
        parts.append([one.mean(axis=0) for one in each])
    return {name: np.mean(each, axis=0) for name, each in zip(NAMES, zip(*parts, strict=True), strict=True)}


NAMES = ("distance", "hidden", "relative", "parting", "turning")


def _covered(n: int, n_sets: int, truth: dict[str, np.ndarray]) -> list[Row]:
    hits = dict.fromkeys((*NAMES, "first_share"), 0)
    for seed in range(n_sets):
        made = answer_again(measurement(n, seed=[1, n, seed], hidden=0.3, parting=0.2, first=0.4), seed)
        for name in NAMES:
            low, high = (made.data[f"{name}{end}"].values for end in ENDS)
            known = np.isfinite(low)
            hits[name] += bool(((low <= truth[name]) & (truth[name] <= high))[known].all() and known.any())
        claim = made.claims["T3"]
        hits["first_share"] += claim.low <= 0.4 <= claim.high
    return [
        Row(
            "band of trajectories", f"{name}, {n} prompts", "covers in 93–97%", f"{100 * hit / n_sets:.1f}%",
            n_sets, coverage_ok(hit, n_sets),
        )
        for name, hit in hits.items()
    ]  # fmt: skip


def _edge(n_sets: int) -> Row:
    """Half hidden, no parting, half of the first axis: called neither true nor false."""
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


def answer_again(data: xr.Dataset, seed: int = 0) -> Answer:
    """The answer under a seed."""
    return answer(data.assign_attrs(seed=seed))


def measurement(n: int, *, seed: Any, hidden: float, parting: float, first: float) -> xr.Dataset:
    """What `n` prompts might have given: each two groups differ by a distance that grows by `parting` from
    the first third of the layers to the last, over a norm of 1, and of which the plane hides a share, on
    average `hidden`. What is random is a prompt's own."""
    rng = np.random.default_rng(seed)
    share = np.clip(hidden + 0.1 * _noise(rng, n, LAYERS), 0.01, 0.99)  # [prompt layer]
    size = 1 + parting * np.repeat([-0.5, 0.0, 0.5], LAYERS // 3) + 0.05 * _noise(rng, n, LAYERS)
    way = np.cumsum(rng.normal(size=(n, 1, 1, LAYERS, 2)), axis=3)  # of a prompt, the same in every group
    sides = (np.sqrt(1 - share) * size)[:, None, None, :, None] * CORNERS[:, None, None, :]
    beside = rng.normal(size=(n, len(WORDS), len(PLACES), LAYERS, 2)) * np.array([1, 0, 1])[:, None, None]
    plane = way + sides + beside
    made = Measurement(
        coordinate=np.concatenate([plane, rng.normal(size=(*plane.shape[:-1], 1))], axis=-1),
        distance=np.stack([size] * len(PAIRS), axis=1),
        norm=np.ones((n, len(WORDS), LAYERS)),
        depth_turn=1.5 + 0.1 * rng.normal(size=(n, len(WORDS), LAYERS)),
        position_turn=2.0 + 0.1 * rng.normal(size=(n, len(WORDS), LAYERS)),
        explained=np.array([0.4, 0.2, 0.1]),
        layer=np.arange(LAYERS),
        word=np.array(WORDS),
        place=np.array(PLACES),
        axis=np.arange(1, 4),
        target_at=np.full((n, len(WORDS)), 2),
        text=np.full(n, "text", dtype=object),
        keep_first=True,
        rows=1000,
        exact=True,
        first_share=first + 0.1 * rng.normal(size=n),
    )
    made.depth_turn[..., [0, -1]] = np.nan
    return to_dataset(made, seed=0)


def _noise(rng: np.random.Generator, n: int, layers: int) -> np.ndarray:
    """[prompt layer], of which a part is a prompt's in every layer."""
    return np.asarray(0.6 * rng.normal(size=(n, 1)) + 0.8 * rng.normal(size=(n, layers)))
